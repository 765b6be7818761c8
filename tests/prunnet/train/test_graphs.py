"""When a step is recorded and when not. What a GPU does with a recording is in test_cuda.py."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from prunnet.data.data_set import DataSet
from prunnet.data.glyph_set import glyph_set
from prunnet.encoder.encoder import Encoder
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step import graphs
from prunnet.train.step.graphs import GraphedStep
from prunnet.train.step.step import Classifier, JointStep

CAPACITIES = (0.3, 0.6)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return glyph_set(32)


@pytest.fixture
def joint() -> JointStep:
    torch.manual_seed(5)
    options = {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]}
    encoder = Encoder.from_timm("resnet18", dimension=16, image_size=(32, 32), options=options)
    prunable = PrunableEncoder(encoder, CutRule(channel_multiple=4)).train()
    return JointStep(
        prunable, Classifier(16, 2000, None), MethodSpec(name="prunnet-channel", capacities=CAPACITIES)
    )


class OnCpu:
    """Records on the CPU: a replay runs the step, and then does what it is told to."""

    def __init__(self, spoil: Callable[[Tensor], None] = lambda losses: None) -> None:
        self.spoil, self.replays, self.recordings = spoil, 0, 0

    def record(self, inputs: list[Tensor], step: Callable[[list[Tensor]], Tensor]) -> Replays:
        self.recordings += 1
        return Replays(self, step)


class Replays:
    def __init__(self, owner: OnCpu, step: Callable[[list[Tensor]], Tensor]) -> None:
        self._owner, self._step = owner, step

    def replay(self, inputs: list[Tensor]) -> Tensor:
        self._owner.replays += 1
        losses = self._step(inputs)
        self._owner.spoil(losses)
        return losses


def _train(run: Callable[..., object], joint: JointStep, data: DataSet, steps: int) -> list[list[float]]:
    optimizer = torch.optim.SGD(joint.parameters, lr=0.05)
    losses = []
    for step in range(steps):
        pixels, labels = data.train.batch(0, step, 16)
        losses.append([float(loss) for loss in run(pixels, labels, CAPACITIES)])
        optimizer.step()
    return losses


def test_recorded_once_checked_and_then_replayed(data: DataSet, joint: JointStep) -> None:
    plain = copy.deepcopy(joint)
    plain = JointStep(plain.prunable, plain.classifier, plain.method)
    wanted = _train(plain, plain, data, 6)
    recorder = OnCpu()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _train(GraphedStep(joint, recorder), joint, data, 6) == wanted
    assert recorder.replays == 5, "all but the first"
    # The checks ran the step twice, and the statistics know of one.
    for name, tensor in plain.prunable.state_dict().items():
        assert torch.equal(tensor, joint.prunable.state_dict()[name]), name


def test_a_checked_step_draws_what_the_step_alone_would(data: DataSet) -> None:
    torch.manual_seed(5)
    options = {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1], "drop_rate": 0.3}
    encoder = Encoder.from_timm("resnet18", dimension=16, image_size=(32, 32), options=options)
    prunable = PrunableEncoder(encoder, CutRule(channel_multiple=4)).train()
    joint = JointStep(prunable, Classifier(16, 2000, None), MethodSpec(name="joint", capacities=CAPACITIES))
    plain = copy.deepcopy(joint)
    plain = JointStep(plain.prunable, plain.classifier, plain.method)
    torch.manual_seed(6)
    wanted = _train(plain, plain, data, 6)
    recorder = OnCpu()
    torch.manual_seed(6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _train(GraphedStep(joint, recorder), joint, data, 6) == wanted
    assert recorder.replays == 5, "all but the first"


def _other_gradient(joint: JointStep) -> Callable[[Tensor], None]:
    def spoil(losses: Tensor) -> None:
        joint.parameters[3].grad = 1.1 * joint.parameters[3].grad

    return spoil


def _no_gradient(joint: JointStep) -> Callable[[Tensor], None]:
    def spoil(losses: Tensor) -> None:
        joint.parameters[0].grad = None

    return spoil


def _other_loss(joint: JointStep) -> Callable[[Tensor], None]:
    return lambda losses: losses.mul_(1.1)


@pytest.mark.parametrize("spoil", [_other_gradient, _no_gradient, _other_loss])
def test_an_unfaithful_recording_is_not_used(data: DataSet, joint: JointStep, spoil) -> None:
    plain = copy.deepcopy(joint)
    plain = JointStep(plain.prunable, plain.classifier, plain.method)
    wanted = _train(plain, plain, data, 5)
    recorder = OnCpu(spoil(joint))
    with pytest.warns(UserWarning, match="not the same when it is replayed"):
        assert _train(GraphedStep(joint, recorder), joint, data, 5) == wanted
    assert recorder.replays == 1


def test_a_step_that_can_not_be_recorded_is_run(data: DataSet, joint: JointStep) -> None:
    class Refuses(OnCpu):
        def record(self, inputs, step):
            raise RuntimeError("operation not permitted when stream is capturing")

    recorder = Refuses()
    with pytest.warns(UserWarning, match=r"cannot be recorded \(operation not permitted") as said:
        losses = _train(GraphedStep(joint, recorder), joint, data, 4)
    assert len(losses) == 4 and recorder.replays == 0 and len(said) == 1


def test_other_shapes_are_other_recordings(
    data: DataSet, joint: JointStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = OnCpu()
    graphed = GraphedStep(joint, recorder)
    pixels, labels = data.train.batch(0, 0, 16)
    near = 0.3 + 1e-4
    assert joint.prunable.at(near).achieved == joint.prunable.at(0.3).achieved
    for capacities in ((0.3, 0.6), (near, 0.6), (0.6,), (0.3, 0.6)):
        graphed(pixels, labels, capacities)
    assert recorder.recordings == graphed.recorded == 1
    graphed(pixels[:8], labels[:8], (0.6,))
    assert recorder.recordings == 1
    monkeypatch.setattr(graphs, "MOST_RECORDINGS", 3)
    for _ in range(3):
        graphed(pixels[:4], labels[:4], (0.6,))
    assert recorder.recordings == 1
    graphed(pixels[:8], labels[:8], (0.6,))
    assert recorder.recordings == graphed.recorded == 2


def test_drawn_masks_are_not_recorded(data: DataSet, joint: JointStep) -> None:
    prunable = PrunableEncoder(joint.prunable.encoder, CutRule("weight")).train()
    masks = JointStep(
        prunable,
        joint.classifier,
        MethodSpec(name="prunnet-channel", granularity="weight", capacities=(0.3,)),
    )
    recorder = OnCpu()
    graphed = GraphedStep(masks, recorder)
    pixels, labels = data.train.batch(0, 0, 16)
    for _ in range(3):
        graphed(pixels, labels, (0.3, 0.412))
    assert not recorder.recordings
    for _ in range(2):
        graphed(pixels, labels, (0.3,))
    assert recorder.recordings == 1


def test_steps_without_the_smallest_capacity_are_not_recorded(data: DataSet, joint: JointStep) -> None:
    method = MethodSpec(
        name="prunnet-channel", capacities=(0.3,), draw="sandwich", per_step=2, smallest_share=0.5
    )
    recorder = OnCpu()
    graphed = GraphedStep(JointStep(joint.prunable, joint.classifier, method), recorder)
    pixels, labels = data.train.batch(0, 0, 16)
    for _ in range(3):
        graphed(pixels, labels, (0.45, 0.6))
    assert not recorder.recordings
    for _ in range(2):
        graphed(pixels, labels, (0.3, 0.6))
    assert recorder.recordings == 1


def test_a_cpu_records_nothing(data: DataSet, joint: JointStep) -> None:
    graphed = GraphedStep(joint)
    _train(graphed, joint, data, 3)
    assert graphed.recorded == 0
