"""Every operation, saved in a real package, executed, against slow references and coremltools' own values."""

import inspect

import numpy as np
import pytest

import runtime_py.mil_executor.ops
from runtime_py.mil_executor import windows
from runtime_py.mil_executor.executor import Executor
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.registry import KERNELS
from tests.runtime_py.mil_executor import cases_plain, cases_structured
from tests.runtime_py.mil_executor.programs import flat, inferred, write

CASES = cases_plain.CASES + cases_structured.CASES
UNFOLDED = {name for name in KERNELS if name.startswith("constexpr_")}
"""Tested in test_compressed.py, against coremltools' decompression."""

# Where coremltools' value inference is not what its own documentation says.
NOT_INFERRED = {
    "exclusive": "coremltools' inference of an exclusive cumsum raises a TypeError",
    "interleave": "coremltools' inference of concat joins one input after the other",
}


def label(index: int) -> str:
    return f"{index}-{CASES[index].op}"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[np.ndarray]]:
    """Results of all cases, each opset's from one package."""
    found: dict[int, list[np.ndarray]] = {}
    for opset in sorted({case.opset for case in CASES}):
        chosen = [index for index, case in enumerate(CASES) if case.opset == opset]
        path = tmp_path_factory.mktemp("ops") / f"{opset}.mlpackage"
        write([CASES[index] for index in chosen], path)
        executor = Executor(Package(path), "declared")
        feeds = {}
        for place, index in enumerate(chosen):
            feeds |= flat(place, CASES[index].feeds)
        seen: set[str] = set()
        outputs = executor.run(feeds, lambda kind, name, value, seen=seen: seen.add(kind))
        assert {CASES[index].op for index in chosen} <= seen, "coremltools folded a case away"
        for place, index in enumerate(chosen):
            names = [name for name in executor.outputs if name.startswith(f"o{place}_")]
            found[index] = [outputs[name] for name in sorted(names)]
    return found


def test_every_operation_has_a_case() -> None:
    assert {case.op for case in CASES} | UNFOLDED == set(KERNELS)
    assert runtime_py.mil_executor.ops.__all__


UNREAD = {
    "validate_indices": "the runtime may check them; it computes nothing else",
    "output_dtype": "the declared type of the result says the same",
    "output_indices_dtype": "the declared type of the result says the same",
    "return_indices": "the number of declared results says the same",
    "sort": "unsorted results may come in any order, so in this one",
    "scale_factor_height": "the declared shape of the result says the same",
    "scale_factor_width": "the declared shape of the result says the same",
    "half_pixel_centers": "set by coremltools' converter from TensorFlow alone",
}
"""Operands that no kernel asks for."""


@pytest.mark.parametrize("kind", sorted(KERNELS))
def test_every_operand_is_read(kind: str) -> None:
    """One that is not would change what Core ML computes, and not what is executed here."""
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    specified = {key for each in SSAOpRegistry.core_ops[kind].values() for key in each.input_spec.input_types}
    source = inspect.getsource(inspect.getmodule(KERNELS[kind])) + inspect.getsource(windows)
    assert {key for key in specified if f'"{key}"' not in source} <= UNREAD.keys()


@pytest.mark.parametrize("index", range(len(CASES)), ids=label)
def test_executed_as_specified(index: int, results: dict[int, list[np.ndarray]]) -> None:
    wanted = CASES[index].wanted
    assert len(results[index]) == len(wanted)
    for found, expected in zip(results[index], wanted, strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected.astype(np.float64), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("index", range(len(CASES)), ids=label)
def test_executed_as_coremltools_infers(index: int, results: dict[int, list[np.ndarray]]) -> None:
    case = CASES[index]
    for parameter in NOT_INFERRED.keys() & case.fixed.keys():
        pytest.skip(NOT_INFERRED[parameter])
    values = inferred(case)
    if all(value is None for value in values):
        pytest.skip(f"coremltools has no value inference for {case.op}")
    for found, value in zip(results[index], values, strict=True):
        if value is not None:
            np.testing.assert_allclose(found, value.astype(np.float64), rtol=2e-5, atol=2e-5)
