"""What every exporter refuses before its converter runs, and how it says so."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from exporters.errors import ExportError, UnsupportedHostError
from exporters.targets import registry
from exporters.targets.registry import TARGETS, get_exporter, target_entry
from prunnet.profile import OFFERED
from runtime_py.bundle.manifest import Precision
from runtime_py.errors import UnknownNameError
from tests.exporters.nets import DIMENSION, SmallEncoder, spec


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["head.weight", "block.3.running_var", "mean"])
def test_weights_that_are_not_finite_are_refused_by_name(name: str, value: float, tmp_path) -> None:
    module = SmallEncoder()
    module.state_dict()[name].reshape(-1)[0] = value
    with pytest.raises(ExportError, match=f"'{name}' has 1 of") as caught:
        get_exporter("onnx").convert(module, spec(), tmp_path)
    assert (caught.value.target, caught.value.stage, caught.value.exit_code) == ("onnx", "check", 4)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_not_the_networks_fault(tmp_path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("onnx.save", full)
    with pytest.raises(ExportError, match=r"convert failed: the disk is full; make room in .*TMPDIR[^.]*$"):
        get_exporter("onnx").convert(SmallEncoder(), spec(), tmp_path)


def test_training_mode_is_refused(tmp_path) -> None:
    module = SmallEncoder()
    module.block[3].train()
    with pytest.raises(ExportError, match=r"block\.3 is in training mode; call module\.eval"):
        get_exporter("tflite").convert(module, spec(), tmp_path)


def test_an_embedding_of_another_length_is_refused(tmp_path) -> None:
    class Longer(SmallEncoder):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return 1.01 * super().forward(image)

    with pytest.raises(ExportError, match=r"length 1\.01, not 1"):
        get_exporter("executorch").convert(Longer(), spec(), tmp_path)


def test_an_embedding_of_another_dimension_is_refused(tmp_path) -> None:
    with pytest.raises(ExportError, match=rf"shape \(1, {DIMENSION}\), not \(1, 25\)"):
        get_exporter("onnx").convert(SmallEncoder(), spec(dimension=25), tmp_path)


def test_a_zero_weight_head_gives_no_direction_and_is_refused(tmp_path) -> None:
    module = SmallEncoder()
    nn.init.zeros_(module.head.weight)
    nn.init.zeros_(module.head.bias)
    with pytest.raises(ExportError, match="length 0, not 1"):
        get_exporter("onnx").convert(module, spec(), tmp_path)


@pytest.mark.parametrize("target", ["executorch", "tflite", "onnx"])
def test_a_precision_that_is_not_offered_names_those_that_are(target: str, tmp_path) -> None:
    offered = OFFERED[target]
    wrong: Precision = "palette4"
    assert wrong not in offered
    with pytest.raises(
        ExportError, match=f"'palette4' is not offered; offered: {', '.join(offered)}"
    ) as caught:
        get_exporter(target).convert(SmallEncoder(), spec(precision=wrong), tmp_path)
    assert caught.value.stage == "plan"


def test_what_the_toolchain_raises_becomes_an_export_error_with_its_cause(tmp_path) -> None:
    class Branching(SmallEncoder):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image if image.sum() > 0 else -image)

    with pytest.raises(ExportError, match="onnx: convert failed: ") as caught:
        get_exporter("onnx").convert(Branching(), spec(), tmp_path)
    assert caught.value.__cause__ is not None and "\x1b" not in str(caught.value), "colours of a terminal"
    assert not list(tmp_path.iterdir())


def test_the_checks_use_a_real_image_and_do_without(tmp_path) -> None:
    none = np.zeros((0, 32, 32, 3), np.uint8)
    artifact = get_exporter("onnx").convert(SmallEncoder(), spec(calibration_images=none), tmp_path)
    assert artifact.path.is_file()


def test_an_unknown_target_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"target 'tflight'.*'tflite'.*coreml, executorch, executorch-coreml, onnx"
    ):
        get_exporter("tflight")


def test_the_table_is_the_exporters_own_word() -> None:
    for name in ("executorch", "tflite", "onnx"):
        exporter = get_exporter(name)
        assert (exporter.target, exporter.suffix) == (name, target_entry(name).suffix)
        assert OFFERED[name][0] == "fp32"


BLOCK = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == sys.argv[1]:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Block())
from exporters.targets import registry
from runtime_py.errors import MissingExtraError
registry.host = lambda: 'Linux x86_64'  # where all are built
try:
    registry.get_exporter(sys.argv[2])
except MissingExtraError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("target", list(TARGETS))
def test_a_missing_toolchain_names_the_pip_extra(target: str) -> None:
    package = TARGETS[target].imports[-1]
    command = [sys.executable, "-c", BLOCK, package, target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"exporting to {target} needs the package {package!r}" in done.stdout
    assert f"pip install 'prunnet[{TARGETS[target].extra}]'" in done.stdout


@pytest.mark.parametrize("target", list(TARGETS))
def test_a_converter_that_is_not_built_for_this_computer_says_where_to_export(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "host", lambda: "Linux aarch64")
    if target in ("executorch", "onnx"):
        assert get_exporter(target).target == target
        return
    with pytest.raises(
        UnsupportedHostError, match="not built for Linux aarch64, only for Linux x86_64 and Darwin"
    ):
        get_exporter(target)


def test_the_table_imports_no_toolchain() -> None:
    heavy = {entry for row in TARGETS.values() for entry in row.imports}
    code = (
        f"import sys, exporters.targets.base, exporters.targets.registry; print({heavy!r} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_int8_dynamic_is_refused_where_nothing_is_linear(tmp_path) -> None:
    class Pointwise(SmallEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Conv2d(32, DIMENSION, 1).eval()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            features = self.down(self.stem((image - self.mean) / self.std))
            return nn.functional.normalize(self.last(features).mean((2, 3)), dim=1)

    with pytest.raises(ExportError, match="quantises linear layers, and this network has none"):
        get_exporter("executorch").convert(Pointwise(), spec(precision="int8-dynamic"), tmp_path)
