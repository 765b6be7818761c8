"""Find photos in a gallery without prunnet on the board: python plain.py BUNDLE GALLERY.npz PHOTO...

It needs numpy, Pillow and one runtime: LiteRT for a TFLite bundle, ONNX Runtime for an ONNX bundle.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

PILLOWS_BILINEAR = {"filter": "bilinear", "antialias": True, "fit": "stretch"}
"""What `read` does. Manifests before schema version 4 call it "bilinear"."""


def open_artifact(bundle: Path, manifest: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from the artifact's input tensor to its embedding, float32 [D]."""
    file = str(bundle / manifest["artifact"])
    taken, given = manifest["input"]["name"], manifest["output"]["name"]
    if manifest["target"] == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=file)
        run = interpreter.get_signature_runner("serving_default")
        return lambda tensor: run(**{taken: tensor})[given][0].copy()
    if manifest["target"] == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return lambda tensor: session.run([given], {taken: tensor})[0][0]
    sys.exit(f"{bundle} is for {manifest['target']}; this example opens tflite and onnx")


def check(manifest: dict[str, Any], space_id: str) -> None:
    """End the program unless the gallery is of the encoder's space, and `read` makes what the encoder takes."""
    if manifest["space_id"] != space_id:
        sys.exit(f"the gallery is of space {space_id}, the bundle of {manifest['space_id']}")
    resize = manifest["preprocessing"]["resize"]
    if resize != "bilinear" and any(resize[key] != value for key, value in PILLOWS_BILINEAR.items()):
        sys.exit(f"the bundle wants another resize, {resize}: change `read`")
    if manifest.get("resize_inside"):
        sys.exit("the artifact resizes by itself (raw_input): change `read`")
    if manifest["input"]["dtype"] != "float32" or manifest["input"]["value_range"] != [0, 255]:
        sys.exit(f"the bundle takes {manifest['input']}: change `read`")


def read(photo: str, manifest: dict[str, Any]) -> np.ndarray:
    """Return a photo as the input tensor: turned upright, RGB, resized; its values stay 0..255."""
    width, height = manifest["preprocessing"]["width"], manifest["preprocessing"]["height"]
    picture = Image.open(photo)
    if picture.mode not in {"RGB", "L"} or "transparency" in picture.info:
        sys.exit(f"{photo} is {picture.mode}, or transparent: convert it, or use search.py, which reads it")
    upright = ImageOps.exif_transpose(picture).convert("RGB")
    # Columns first, in a call of its own: Pillow 13 otherwise begins with the rows where they shrink more.
    narrow = upright.resize((width, upright.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(narrow.resize((width, height), Image.Resampling.BILINEAR), np.float32)  # [H, W, 3]
    planes = manifest["input"]["layout"] == "NCHW"
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) if planes else pixels)[None]


def main(folder: str, gallery_file: str, *photos: str) -> None:
    """Print the five nearest labels of each photo."""
    manifest = json.loads((Path(folder) / "manifest.json").read_text())
    gallery = np.load(gallery_file)  # embeddings float32 [G, D], labels [G], space_id
    check(manifest, str(gallery["space_id"]))
    embed = open_artifact(Path(folder), manifest)
    for photo in photos:
        scores = gallery["embeddings"] @ embed(read(photo, manifest))
        print(photo)
        for item in np.argsort(-scores)[:5]:
            print(f"  {gallery['labels'][item]}  {scores[item]:.3f}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
