"""The official figures of a retrieval benchmark, from embeddings."""

from prunnet.evaluate.protocol.embedding import embed_pictures
from prunnet.evaluate.protocol.index import GalleryIndex
from prunnet.evaluate.protocol.measurement import check_index, measure, per_query
from prunnet.evaluate.protocol.result import ProtocolResult

__all__ = ["GalleryIndex", "ProtocolResult", "check_index", "embed_pictures", "measure", "per_query"]
