"""The vendors' own runtimes on a bare file, with nothing of the project between: an independent oracle.

Each function takes a path and uint8 [N, H, W, 3], returns float32 [N, D] and the identity in the file.
"""

import json
from pathlib import Path

import numpy as np

Answer = tuple[np.ndarray, dict[str, str]]


def run_onnx(path: Path, images: np.ndarray) -> Answer:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = [
        session.run(["embedding"], {"image": image.transpose(2, 0, 1)[None].astype(np.float32)})[0]
        for image in images
    ]
    return np.concatenate(rows), session.get_modelmeta().custom_metadata_map


def run_tflite(path: Path, images: np.ndarray) -> Answer:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert taken["dtype"] == given["dtype"] == np.float32
    rows = []
    for image in images:
        interpreter.set_tensor(taken["index"], image[None].astype(np.float32))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(given["index"]).copy())
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    (entry,) = [entry for entry in entries if entry.Name() == b"prunnet"]
    return np.concatenate(rows), json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())


def run_executorch(path: Path, images: np.ndarray) -> Answer:
    import torch
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    method = program.load_method("forward")
    rows = [
        method.execute([torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float().contiguous()])[
            0
        ].clone()
        for image in images
    ]
    text = program.load_method("prunnet_identity").execute([])[0]
    assert text.dtype == torch.uint8
    return torch.cat(rows).numpy(), json.loads(bytes(text.tolist()))


RUNTIMES = {"onnx": run_onnx, "tflite": run_tflite, "executorch": run_executorch}
