"""torch's compiler is imported when something is compiled, not before, and works then."""

from __future__ import annotations

import subprocess
import sys

LOADED = "('torch._dynamo' in sys.modules)"
PLAN = """
import sys
import prunnet
package, profile = prunnet.load_encoder("glyphs"), prunnet.load_profile("pixel8")
prunnet.solve(package, profile, "tflite")
"""


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_plan_does_not_import_it():
    assert run(PLAN + f"print({LOADED})") == "False"


def test_it_compiles_and_disables_afterwards():
    """What was kept from being compiled before the compiler came is kept from it afterwards too."""
    script = (
        PLAN
        + """
import torch, timm, torchvision
from prunnet.torch_fixes.compiler import _disable

seen = []
kept = _disable(lambda x: seen.append(torch.compiler.is_compiling()) or x + 1)
assert kept(torch.zeros(1)).item() == 1

@torch.compile(backend="eager")
def double(x):
    return kept(x) * 2

print(double(torch.ones(3)).tolist(), seen, torch._dynamo.__file__ is not None)
"""
    )
    assert run(script) == "[4.0, 4.0, 4.0] [False, False] True"


def test_another_name_of_the_compiler_is_the_real_one():
    script = """
from prunnet.torch_fixes.compiler import compiler_put_off
with compiler_put_off():
    from torch._dynamo import reset
    from torch._dynamo.utils import counters
print(reset.__module__, type(counters).__name__)
"""
    assert run(script) == "torch._dynamo defaultdict"
