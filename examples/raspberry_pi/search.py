"""Find photos in a gallery, on a board: python search.py BUNDLE GALLERY.npz PHOTO..."""

from __future__ import annotations

import sys

import numpy as np

from runtime_py import load


def main(bundle: str, gallery_file: str, *photos: str) -> None:
    """Print the five nearest labels of each photo.

    Args:
        bundle: Folder that `prunnet-export` wrote, for any target that runs on the board.
        gallery_file: npz with embeddings float32 [G, D], labels [G] and space_id, from the server.
        photos: Picture files.
    """
    gallery = np.load(gallery_file)
    with load(bundle) as encoder:  # refuses a bundle if a single byte changed
        if str(gallery["space_id"]) != encoder.manifest.space_id:
            sys.exit(
                f"{gallery_file} is of space {gallery['space_id']}, {bundle} of {encoder.manifest.space_id}"
            )
        encoder.check().raise_if_incompatible()  # on this board's own kernels; once after an update is enough
        queries = encoder.embed_pictures(photos)
    for photo, scores in zip(photos, queries @ gallery["embeddings"].T, strict=True):
        print(photo)
        for item in np.argsort(-scores)[:5]:
            print(f"  {gallery['labels'][item]}  {scores[item]:.3f}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
