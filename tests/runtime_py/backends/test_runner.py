"""The runner's process, played by a few lines of Python: its answers belong to the questions that were asked."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime_py.backends.executorch_runner import RUNNER, ExecuTorchRunnerBackend
from runtime_py.bundle.manifest import TensorInfo

SIZE = 4
PLAYED = f"""
import json, sys, time
def say(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
say(b"ready\\n")
sys.stdin.buffer.readline()
tensor = lambda *shape: {{"dtype": 6, "shape": shape}}
about = {{"version": "played", "identity": "7b7d", "input": tensor(1, {SIZE}, {SIZE}, 3), "output": tensor(1, 1)}}
say(json.dumps(about).encode() + b"\\n")
while picture := sys.stdin.buffer.read({SIZE * SIZE * 3 * 4}):
    time.sleep(0.2)
    say(picture[:4])  # the first value of the picture
"""


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExecuTorchRunnerBackend:
    (tmp_path / "runner.py").write_text(PLAYED)
    (tmp_path / "any.pte").touch()
    monkeypatch.setenv(RUNNER, json.dumps([sys.executable, str(tmp_path / "runner.py")]))
    shape, pixels, numbers = (1, SIZE, SIZE, 3), (0, 255), (-1, 1)
    return ExecuTorchRunnerBackend(
        tmp_path / "any.pte",
        TensorInfo(name="image", shape=shape, layout="NHWC", dtype="float32", value_range=pixels),
        TensorInfo(name="embedding", shape=(1, 1), layout="NC", dtype="float32", value_range=numbers),
    )


def pictures(*values: int) -> np.ndarray:
    return np.stack([np.full((SIZE, SIZE, 3), value, np.uint8) for value in values])


def test_an_interrupt_between_question_and_answer_shifts_no_answer(backend: ExecuTorchRunnerBackend) -> None:
    assert backend.run(pictures(7, 8)).tolist() == [[7], [8]]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            backend.run(pictures(9))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(RuntimeError, match="an embedding was interrupted; load the bundle again"):
        backend.run(pictures(10))
    backend.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_forked_process_ends_no_runner_of_its_parent(backend: ExecuTorchRunnerBackend) -> None:
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)  # to end it, should it wait
        backend.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert backend.run(pictures(7)).tolist() == [[7]]
    backend.close()
