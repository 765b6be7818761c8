"""The runtime must install and run on a board: what it imports, and when."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Third-party packages that `import runtime_py` may load: the two dependencies with what they need themselves.
ALLOWED = {"numpy", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_everything_public_loads_numpy_and_pydantic_only():
    loaded = run(
        "import sys; before = set(sys.modules)\n"
        "from runtime_py import *; import runtime_py.cli.check, runtime_py.cli.junit, runtime_py.check.server\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    ).split()
    foreign = {n for n in loaded if n not in sys.stdlib_module_names and n != "runtime_py"} - ALLOWED
    assert {name for name in foreign if not name.startswith("_")} == set()


def test_importing_the_package_alone_loads_nothing():
    loaded = run("import sys, runtime_py; print(*{n.split('.')[0] for n in sys.modules})").split()
    assert not {"numpy", "pydantic"} & set(loaded)


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_a_board_without_torch_loads_embeds_and_checks(make_bundle, target):
    verdict = run(
        "import sys\n"
        "for name in ('torch', 'tensorflow', 'prunnet', 'exporters', 'onnx', 'typer', 'rich'):\n"
        "    sys.modules[name] = None\n"
        "from runtime_py import load\n"
        f"encoder = load({str(make_bundle(target))!r})\n"
        "report = encoder.check()\n"
        "report.raise_if_incompatible()\n"
        "print(report.verdict)"
    )
    assert verdict.strip() == "compatible"


def test_the_public_surface():
    import runtime_py

    assert sorted(runtime_py.__all__) == [
        "BundleError",
        "DriftReport",
        "IncompatibleError",
        "MissingExtraError",
        "PrunnetError",
        "QueryEncoder",
        "UnknownNameError",
        "__version__",
        "load",
    ]
    for name in runtime_py.__all__:
        assert getattr(runtime_py, name)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = runtime_py.nonsense
