from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch

from prunnet.data.glyph_set import glyph_set
from prunnet.train import training
from prunnet.train.ahead import made_ahead, threads_for
from prunnet.train.training import train
from tests.prunnet.train.test_training import Short, _recipe


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_all_steps_come_in_order(threads: int) -> None:
    def make(step: int) -> int:
        time.sleep(0.002 * (step % 3))  # later ones are often done first
        return step * step

    assert list(made_ahead(make, range(4, 30), threads)) == [step * step for step in range(4, 30)]
    assert list(made_ahead(make, range(4, 4), threads)) == []


def test_several_are_made_at_a_time() -> None:
    together = threading.Barrier(3, timeout=20)
    assert list(made_ahead(lambda step: together.wait() >= 0, range(9), 3)) == [True] * 9


@pytest.mark.parametrize("threads", [0, 3])
def test_an_error_comes_at_its_own_step(threads: int) -> None:
    def make(step: int) -> int:
        if step == 5:
            raise OSError("no such picture")
        return step

    seen = []
    with pytest.raises(OSError, match="no such picture"):
        for step in made_ahead(make, range(20), threads):
            seen.append(step)
    assert seen == [0, 1, 2, 3, 4]


def test_a_cpu_makes_each_batch_when_it_is_asked_for() -> None:
    assert threads_for(torch.device("cpu"), 1) == 0
    assert threads_for(torch.device("cuda"), 1) >= 1
    assert threads_for(torch.device("cuda"), 10_000) == 1


def test_batches_made_ahead_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Short(glyph_set(32).train, 64)
    one = train(_recipe(5), source, tmp_path / "one", quiet=True)
    monkeypatch.setattr(training, "threads_for", lambda device, processes: 3)
    other = train(_recipe(5), source, tmp_path / "other", quiet=True)
    for name, tensor in one.prunable.state_dict().items():
        assert torch.equal(tensor, other.prunable.state_dict()[name]), name
