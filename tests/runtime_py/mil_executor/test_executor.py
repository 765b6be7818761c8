"""Modes, inputs and the contradictions that an executor must not swallow."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.targets.spec import Artifact
from runtime_py.errors import BundleError, UnknownNameError
from runtime_py.mil_executor.executor import Executor
from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.ops.linear import product
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.registry import KERNELS, register
from tests.exporters.nets import SmallEncoder, glyph_images, torch_embeddings
from tests.runtime_py.mil_executor.programs import Case, write
from tests.runtime_py.mil_executor.test_package import block, rewrite_model

IMAGES = glyph_images(12)


def embed(path: Path, mode: str, chunk: int = 32) -> np.ndarray:
    executor = Executor(Package(path), mode, chunk)
    feeds = [{"image": image.transpose(2, 0, 1)[None].astype(np.float32)} for image in IMAGES]
    return np.concatenate([executor.run(feed)["embedding"] for feed in feeds])


def worst(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest 1 - cosine of two sets of embeddings."""
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    return float((1 - (found * wanted).sum(1) / np.linalg.norm(found, axis=1)).max())


def test_fp32_is_torch_in_every_mode(artifact: Callable[[str], Artifact]) -> None:
    wanted = torch_embeddings(SmallEncoder(), IMAGES)
    for mode in ("float32", "declared", "fp16acc"):
        found = embed(artifact("fp32").path, mode)
        assert np.abs(found - wanted).max() < 1e-6


def test_each_mode_errs_more_than_the_one_before(artifact: Callable[[str], Artifact]) -> None:
    wanted = torch_embeddings(SmallEncoder(), IMAGES)
    path = artifact("fp16").path
    errors = [
        worst(embed(path, "float32"), wanted),
        worst(embed(path, "declared"), wanted),
        worst(embed(path, "fp16acc", 1), wanted),
    ]
    assert 0 < errors[0] < errors[1] < errors[2] < 1e-4
    assert errors[1] < 1e-5


def test_declared_rounds_exactly_what_is_declared_fp16(artifact: Callable[[str], Artifact]) -> None:
    path = artifact("fp16").path
    executor = Executor(Package(path))
    declared = {name: t.dtype for step in executor._plan.steps for name, t in step.operation.outputs.items()}
    seen: dict[str, bool] = {}

    def look(kind: str, name: str, value: torch.Tensor) -> None:
        seen[name] = bool(torch.equal(value, value.half().float()))

    executor.run({"image": IMAGES[0].transpose(2, 0, 1)[None].astype(np.float32)}, look)
    assert seen.keys() == declared.keys() and {"fp16", "fp32"} <= set(declared.values())
    for name, dtype in declared.items():
        assert dtype != "fp16" or seen[name]
    assert not seen["embedding"], "the embedding itself stays in fp32"


def test_fp16_accumulation_loses_what_hardware_would() -> None:
    """2048 + 1 is 2048 in fp16: one by one, the ones vanish."""
    x, y = torch.tensor([[2048.0, 1, 1, 1, 1]]), torch.ones(5, 1)
    assert product(x, y, 0).item() == 2052
    assert product(x, y, 1).item() == 2048
    assert product(x, y, 3).item() == 2052  # (2048 + 1 + 1) + (1 + 1), each exact in fp16


def test_inputs_must_be_those_declared(artifact: Callable[[str], Artifact]) -> None:
    executor = Executor(Package(artifact("fp32").path))
    with pytest.raises(ValueError, match="no input 'image'; given: picture"):
        executor.run({"picture": np.zeros((1, 3, 32, 32), np.float32)})
    with pytest.raises(ValueError, match="declared is"):
        executor.run({"image": np.zeros((2, 3, 32, 32), np.float32)})


def test_bad_modes_are_refused(artifact: Callable[[str], Artifact]) -> None:
    package = Package(artifact("fp32").path)
    with pytest.raises(UnknownNameError, match="declared, float32, fp16acc"):
        Executor(package, "float16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="chunk is 0"):
        Executor(package, "fp16acc", 0)


def test_a_result_of_another_shape_than_declared_is_refused(copied: Path) -> None:
    def widen(model) -> None:
        layer = next(o for o in block(model).operations if o.type == "linear")
        layer.outputs[0].type.tensorType.dimensions[1].constant.size = 7

    rewrite_model(copied, widen)
    with pytest.raises(BundleError, match=r"linear .* yields shape \[1, 24\], declares \[1, 7\]"):
        embed(copied, "declared")


def test_operands_that_do_not_fit_are_the_files_fault(tmp_path: Path) -> None:
    path = tmp_path / "case.mlpackage"
    case = Case("matmul", {"x": np.ones((2, 3), np.float32), "y": np.ones((3, 4), np.float32)}, np.matmul)
    write([case], path)

    def drop(model) -> None:
        del next(o for o in block(model).operations if o.type == "matmul").inputs["y"]

    rewrite_model(path, drop)
    executor = Executor(Package(path))
    with pytest.raises(BundleError, match=r"matmul .* cannot be executed: has no operand 'y'"):
        executor.run({"c0_x_0": case.feeds["x"], "c0_y_0": case.feeds["y"]})


def test_operands_are_typed() -> None:
    two = (torch.ones(1), torch.ones(1))
    operands = Operands({"x": two, "s": ("text",), "v": (torch.ones(3),)})
    with pytest.raises(OperandError, match="has 2 operands 'x', not one"):
        operands.tensor("x")
    with pytest.raises(OperandError, match="'text' as 's', not a tensor"):
        operands.tensor("s")
    with pytest.raises(OperandError, match=r"\[3\] as 'v', not a single value"):
        operands.number("v")
    with pytest.raises(OperandError, match="not a string"):
        operands.text("v")
    with pytest.raises(OperandError, match="no operand 'w'"):
        operands.integer("w")
    with pytest.raises(OperandError, match="no static output shape"):
        operands.output_size(2)
    assert operands.integer("w", 3) == 3 and operands.flags("w", [True]) == [True]


def test_a_kernel_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'relu' is registered twice"):
        register("relu")(KERNELS["relu"])
