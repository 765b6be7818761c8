"""The public names of the three packages: pinned, lazy, and enough for the main job."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

FACES = {
    "prunnet": [
        "CutRule", "DatasetError", "DeviceProfile", "Encoder", "EncoderError", "EncoderPackage", "EvaluationError",
        "InfeasibleError", "MissingExtraError", "Plan", "ProfileError", "PrunableEncoder", "PrunnetError", "Recipe",
        "RecipeError", "TrainingError", "UnknownNameError", "__version__", "load_encoder", "load_profile",
        "load_profiles", "load_recipe", "measure_curve", "solve", "train_package",
    ],
    "exporters": [
        "ExportError", "Exported", "UnsupportedHostError", "__version__", "export_bundle", "export_fleet",
        "plan_export", "plan_fleet",
    ],
}  # fmt: skip


@pytest.mark.parametrize("package", FACES)
def test_the_public_surface(package):
    module = importlib.import_module(package)
    assert dir(module) == module.__all__ == FACES[package]
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = module.nonsense


@pytest.mark.parametrize("package", FACES)
def test_importing_the_package_alone_loads_nothing(package):
    script = f"import sys, {package}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"numpy", "pydantic", "torch", "timm"} & set(done.stdout.split())


def test_the_main_job_through_the_face(tmp_path):
    import exporters
    import prunnet
    import runtime_py

    package, profile = prunnet.load_encoder("glyphs"), prunnet.load_profile("galaxy_s24")
    plan = prunnet.solve(package, profile, "onnx")
    assert plan == exporters.plan_export(package, profile, "onnx")
    bundle = exporters.export_bundle(package, profile, "onnx", str(tmp_path), plan=plan)
    runtime_py.load(bundle.path).check().raise_if_incompatible()
