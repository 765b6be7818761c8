"""Progress: rounds, speed and the time left; threads that wait asleep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from prunnet.train.build import Start, build
from prunnet.train.rounds import plan_of, rounds_of
from prunnet.train.threads import SPINS, let_threads_sleep
from prunnet.train.watch import progress as room
from prunnet.train.watch.progress import Progress, Round
from tests.prunnet.train.test_training import _recipe


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(room, "time", made)
    return made


def test_the_time_left_knows_what_each_round_costs(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress([Round("dense encoder", 100), Round("subnetworks", 200, 3.0)], 0, 32, False) as shown:
        for _ in range(40):
            clock.now += 1.0
            shown.advance({"dense": 2.0})
        assert shown.seconds_left() == pytest.approx(60 * 1.0 + 200 * 3.0)
        assert "round 1/2 (dense encoder) step" in capsys.readouterr().err
        for _ in range(60):
            clock.now += 1.0
            shown.advance({"dense": 2.0})
        for _ in range(10):  # the second round takes 4 seconds, not the 3 that were estimated
            clock.now += 4.0
            shown.advance({"0.1": 0.2})
        assert shown.seconds_left() == pytest.approx(190 * 4.0)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "round 2/2 (subnetworks) step 10/200  step 110/300 in all  8 images/s  12:40 left" in last


def test_what_is_no_step_counts_for_no_round(clock: Clock) -> None:
    shown = Progress([Round("dense encoder", 10)], 0, 8, True)
    for _ in range(5):
        clock.now += 2.0
        shown.advance({"dense": 1.0})
        clock.now += 100.0  # a checkpoint on a slow disk
        shown.leave_out()
    assert shown.seconds_left() == pytest.approx(10.0)


def test_the_second_round_is_timed_and_leaves_no_trace() -> None:
    recipe = _recipe(
        6, subnetworks="after", adapters="full", objective="embedding", capacities=(0.3,), project=False
    ).for_items(32)
    torch.manual_seed(0)
    joint = build(recipe, 5, torch.device("cpu"), Start())
    before = {name: tensor.clone() for name, tensor in joint.prunable.state_dict().items()}
    drawn = torch.random.get_rng_state()
    dense, second = rounds_of(recipe, joint, torch.device("cpu"), 0)
    assert (dense.steps, second.steps) == (2, 4) and dense.seconds is None and second.seconds > 0
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in joint.prunable.state_dict().items())
    assert all(parameter.grad is None for parameter in joint.parameters)


def test_rounds_of_joint_training() -> None:
    recipe = _recipe(10, dense_share=0.25).for_items(32)
    joint = build(recipe, 5, torch.device("cpu"), Start())
    assert [r.steps for r in rounds_of(recipe, joint, torch.device("cpu"), 0)] == [3, 7]
    recipe = _recipe(10).for_items(32)
    assert [r.steps for r in rounds_of(recipe, joint, torch.device("cpu"), 0)] == [10]


def test_a_batch_of_more_than_there_is_is_said() -> None:
    recipe = _recipe()
    asked = recipe.schedule.batch_size
    assert plan_of(recipe, asked, False)[0].endswith(f"batches of {asked}")
    said = plan_of(recipe, asked - 1, False)[0]
    assert said.endswith(f"batches of all {asked - 1} pictures (schedule.batch_size asks for {asked})")


def test_threads_sleep_unless_the_user_said_how_they_wait() -> None:
    environment: dict[str, str] = {}
    assert not let_threads_sleep(environment), "torch is loaded in this process"
    script = (
        "from prunnet.train.threads import let_threads_sleep\n"
        "own = {}; said = {'OMP_WAIT_POLICY': 'active'}\n"
        "print(let_threads_sleep(own), own, let_threads_sleep(said), said)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3], capture_output=True, text=True
    )
    wanted = f"True {{'GOMP_SPINCOUNT': '{SPINS}'}} False {{'OMP_WAIT_POLICY': 'active'}}"
    assert done.stdout.strip() == wanted, done.stderr


def test_the_command_says_so_before_torch_is_loaded(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from prunnet.cli.train import main\n"
        "try:\n    main(['--recipe', 'nothing', '--out', sys.argv[1]])\n"
        "finally:\n    print(os.environ.get('GOMP_SPINCOUNT'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == SPINS, done.stderr
