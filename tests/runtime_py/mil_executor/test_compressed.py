"""Compressed weights: unfolded by us, and decompressed by coremltools into a package without compression."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from exporters.targets.mlprogram.coremltools_import import coremltools
from runtime_py.mil_executor.executor import Executor
from runtime_py.mil_executor.operands import OperandError, Operands
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.program import read_program
from runtime_py.mil_executor.registry import KERNELS


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1152, 32),
    )
    return layers.eval()


@pytest.fixture(scope="module")
def converted() -> Callable[[str, str], Any]:
    """Convert the network once per (deployment target, precision)."""
    ct = coremltools()
    made: dict[tuple[str, str], Any] = {}
    x = torch.ones(1, 3, 8, 8)

    def convert(target: str, precision: str) -> Any:
        if (target, precision) not in made:
            made[target, precision] = ct.convert(
                torch.export.export(network(), (x,)).run_decompositions({}),
                inputs=[ct.TensorType(name="x", shape=x.shape, dtype=np.float32)],
                outputs=[ct.TensorType(name="y", dtype=np.float32)],
                minimum_deployment_target=getattr(ct.target, target),
                compute_precision=getattr(ct.precision, precision),
                skip_model_load=True,
            )
        return made[target, precision]

    return convert


def linear(model: Any, **how: Any) -> Any:
    from coremltools.optimize import coreml as c

    return c.linear_quantize_weights(
        model, c.OptimizationConfig(c.OpLinearQuantizerConfig(weight_threshold=0, **how))
    )


def palette(model: Any, **how: Any) -> Any:
    from coremltools.optimize import coreml as c

    return c.palettize_weights(model, c.OptimizationConfig(c.OpPalettizerConfig(weight_threshold=0, **how)))


def pruned(model: Any) -> Any:
    from coremltools.optimize import coreml as c

    return c.prune_weights(
        model, c.OptimizationConfig(c.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0))
    )


def joint(model: Any, then: Callable[..., Any], **how: Any) -> Any:
    """Compress what a magnitude pruner has left."""
    from coremltools.optimize import coreml as c

    sparse = pruned(model)
    if then is linear:
        config = c.OptimizationConfig(c.OpLinearQuantizerConfig(weight_threshold=0, **how))
        return c.linear_quantize_weights(sparse, config, joint_compression=True)
    config = c.OptimizationConfig(c.OpPalettizerConfig(weight_threshold=0, **how))
    return c.palettize_weights(sparse, config, joint_compression=True)


CASES = {
    "int8 per channel": ("iOS17", "FLOAT16", lambda m: linear(m, mode="linear_symmetric")),
    "int8 asymmetric, fp32": ("iOS17", "FLOAT32", lambda m: linear(m, mode="linear")),
    "uint8 per tensor": ("iOS18", "FLOAT16", lambda m: linear(
        m, dtype="uint8", granularity="per_tensor", mode="linear")),
    "int8 of iOS18": ("iOS18", "FLOAT16", lambda m: linear(m, mode="linear_symmetric")),
    "int4 in blocks": ("iOS18", "FLOAT16", lambda m: linear(
        m, dtype="int4", granularity="per_block", block_size=8)),
    "palette 4": ("iOS17", "FLOAT16", lambda m: palette(m, nbits=4, mode="uniform")),
    "palette 6": ("iOS17", "FLOAT32", lambda m: palette(m, nbits=6, mode="uniform")),
    "palette 1": ("iOS17", "FLOAT16", lambda m: palette(m, nbits=1, mode="uniform")),
    "palette 8": ("iOS17", "FLOAT16", lambda m: palette(m, nbits=8, mode="uniform")),
    "palette 3 of iOS18": ("iOS18", "FLOAT16", lambda m: palette(m, nbits=3, mode="uniform")),
    "grouped palette": ("iOS18", "FLOAT16", lambda m: palette(
        m, nbits=4, mode="uniform", granularity="per_grouped_channel", group_size=4)),
    "sparse": ("iOS17", "FLOAT16", pruned),
    "sparse of iOS18": ("iOS18", "FLOAT16", pruned),
    "sparse int8": ("iOS18", "FLOAT16", lambda m: joint(m, linear, mode="linear_symmetric")),
    "sparse palette": ("iOS18", "FLOAT16", lambda m: joint(m, palette, nbits=4, mode="uniform")),
}  # fmt: skip


@pytest.fixture(scope="module")
def compressed(converted: Callable[[str, str], Any]) -> Callable[[str], Any]:
    """Compress the network once per case."""
    made: dict[str, Any] = {}

    def model(name: str) -> Any:
        if name not in made:
            target, precision, compress = CASES[name]
            made[name] = compress(converted(target, precision))
        return made[name]

    return model


def saved(model: Any, path: Path) -> Package:
    model.save(str(path))
    return Package(path)


def output(package: Package) -> np.ndarray:
    x = np.random.default_rng(1).uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)
    return Executor(package).run({"x": x})["y"]


def unfolding(package: Package) -> set[str]:
    return {kind for kind in read_program(package).kinds if kind.startswith("constexpr_")}


@pytest.mark.parametrize("name", CASES)
def test_unfolds_as_coremltools_decompresses(name: str, compressed: Callable, tmp_path: Path) -> None:
    from coremltools.optimize.coreml import decompress_weights

    small = saved(compressed(name), tmp_path / "compressed.mlpackage")
    plain = saved(decompress_weights(compressed(name)), tmp_path / "plain.mlpackage")
    assert unfolding(small) and not unfolding(plain)
    wanted = output(plain)
    np.testing.assert_allclose(output(small), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def test_the_cases_meet_every_unfolding_operation(compressed: Callable, tmp_path: Path) -> None:
    met = set()
    for index, name in enumerate(CASES):
        met |= unfolding(saved(compressed(name), tmp_path / f"{index}.mlpackage"))
    assert met | {"constexpr_cast"} == {name for name in KERNELS if name.startswith("constexpr_")}


def test_half_precision_weights_of_full_precision_programs() -> None:
    """constexpr_cast, which coremltools reads but no longer writes."""
    stored = torch.tensor([0.1, 2.5]).half()
    found = KERNELS["constexpr_cast"](Operands({"source_val": (stored,)}))
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
    assert torch.equal(found, stored.float())


def test_a_mask_that_does_not_fit_its_values_is_refused() -> None:
    mask, values = torch.tensor([1, 0, 1], dtype=torch.uint8), torch.ones(3)
    with pytest.raises(OperandError, match="3 values for the 2 positions"):
        KERNELS["constexpr_sparse_to_dense"](Operands({"mask": (mask,), "nonzero_data": (values,)}))
