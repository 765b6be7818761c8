"""A process that has TensorFlow never loads Triton, whose library would end it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRITON = """
import os, sys
if sys.modules.get("tensorflow") is not None:
    os.abort()
"""
COMPILES = "; import tensorflow, torch._dynamo"


@pytest.mark.parametrize(
    "script",
    [
        "import sys, tensorflow; from runtime_py import load; load(sys.argv[1])",
        "from runtime_py import load" + COMPILES,
        "from exporters import export_bundle" + COMPILES,
        "from prunnet import load_encoder" + COMPILES,
    ],
)
def test_torch_does_without_triton_where_tensorflow_is_loaded(make_bundle, tmp_path, script):
    for name, source in {"triton": TRITON, "tensorflow": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", script, str(make_bundle("executorch"))],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
