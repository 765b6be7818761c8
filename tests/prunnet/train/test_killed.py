"""A training that is killed or stopped: it goes on as if it had not been, and nothing lies about."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from prunnet.data.glyph_set import glyph_set
from prunnet.train.checkpoint.checkpoint import FILE, holds_run
from prunnet.train.training import Trained, train
from tests.prunnet.train.test_training import Short, _losses, _recipe

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("PRUNNET_KILLS", "6"))
"""`PRUNNET_KILLS=25 python -m pytest -m campaign tests/prunnet/train/test_killed.py` is the long campaign."""
STEPS = 120

FOLLOWING = {"subnetworks": "after", "adapters": "full", "objective": "embedding", "project": False}


def trained(folder: Path, resume: bool) -> Trained:
    recipe = _recipe(STEPS, **FOLLOWING)
    return train(recipe, Short(glyph_set(32).train, 64), folder, resume=resume, quiet=True)


def _child(folder: Path, resume: bool) -> subprocess.Popen[str]:
    script = f"""
from pathlib import Path
import torch
from tests.prunnet.train.test_killed import trained
print("ready", flush=True)
result = trained(Path({str(folder)!r}), {resume})
torch.save(result.prunable.state_dict(), {str(folder)!r} + "/result.pt")
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.campaign
def test_killed_at_any_moment_it_ends_as_an_uninterrupted_run(tmp_path: Path) -> None:
    began = time.monotonic()
    whole = _child(tmp_path / "whole", False)
    assert whole.stdout is not None and whole.stdout.readline() == "ready\n"
    ready = time.monotonic() - began
    _, said = whole.communicate(timeout=600)
    assert whole.returncode == 0, said
    lasts = time.monotonic() - began - ready
    folder, chance = tmp_path / "killed", random.Random(0)
    kills = 0
    while True:
        child = _child(folder, holds_run(folder))
        assert child.stdout is not None
        child.stdout.readline()
        if kills < KILLS:
            # Each attempt goes on where the last one was, so that kills fall everywhere in the run.
            try:
                child.wait(chance.random() * 2 * lasts / KILLS + 0.02)
            except subprocess.TimeoutExpired:
                child.kill()
                kills += 1
        _, said = child.communicate(timeout=600)
        assert child.returncode in (0, -signal.SIGKILL), said
        if holds_run(folder):
            with safe_open(folder / FILE, "pt") as stored:  # whole, whenever it was written
                assert int(stored.metadata()["step"]) <= STEPS
        if child.returncode == 0:
            break
    assert kills, "no kill fell into the run"
    assert _losses(folder) == _losses(tmp_path / "whole")
    one, other = (torch.load(each / "result.pt", weights_only=True) for each in (folder, tmp_path / "whole"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert not [f.name for f in folder.iterdir() if f.name.startswith(".")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["terminated", "interrupted"])
def test_a_stopped_command_says_how_to_go_on_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    out, scratch = tmp_path / "run", tmp_path / "tmp"
    scratch.mkdir()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "schema_version: 1\nname: stopped\ndata: {name: glyphs}\n"
        "encoder: {backbone: resnet18, options: {channels: [8, 8, 8, 8], layers: [1, 1, 1, 1]}, "
        "image_size: [32, 32], dimension: 8}\n"
        "method: {name: prunnet-channel, capacities: [0.4], channel_multiple: 2}\n"
        "schedule: {steps: 100000, batch_size: 8}\n"
    )
    command = [sys.executable, "-m", "prunnet.cli.train", "--recipe", str(recipe), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not holds_run(out) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 128 + number, said
    assert "continue with --resume" in said and "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    ours = [
        f for f in scratch.iterdir() if not f.name.startswith("torchinductor_")
    ]  # torch's cache, always there
    assert not ours and not [f for f in out.iterdir() if f.name.startswith(".")]
    assert not (out / "encoder").exists()
