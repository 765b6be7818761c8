"""The official figures of a retrieval benchmark, from embeddings."""

from prunnet.protocols.embedding import embed_pictures
from prunnet.protocols.index import GalleryIndex
from prunnet.protocols.measurement import measure, per_query
from prunnet.protocols.result import ProtocolResult

__all__ = ["GalleryIndex", "ProtocolResult", "embed_pictures", "measure", "per_query"]
