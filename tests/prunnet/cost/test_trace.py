"""The traced graph against real runs, brute force and torch.export."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunnet.cost import CostGraph, trace, trace_exported
from prunnet.errors import EncoderError
from prunnet.torch_fixes import torchvision as _torchvision
from tests.oracles.macs import folded_parameters, live_elements, macs_by_hooks
from tests.prunnet.cost.nets import AttentionEncoder, ConvEncoder, DepthwiseEncoder, settle

SHAPE = (3, 48, 48)
NETS = [ConvEncoder, DepthwiseEncoder, AttentionEncoder]


@pytest.mark.parametrize("net", [ConvEncoder, DepthwiseEncoder])
def test_macs_and_parameters_of_a_real_run(net: type[nn.Module]) -> None:
    module = settle(net())
    graph = trace(module, SHAPE)
    assert graph.macs == macs_by_hooks(module, SHAPE)
    assert graph.parameters == folded_parameters(module)
    assert sum(op.constants for op in graph.ops) == 6  # mean and std of three channels


def test_attention_counts_both_products() -> None:
    width, depth, tokens = 96, 3, 36
    module = AttentionEncoder(width, depth).eval()
    graph = trace(module, SHAPE)
    assert graph.macs == macs_by_hooks(module, SHAPE) + depth * 2 * tokens * tokens * width
    assert graph.parameters == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("net", NETS)
def test_liveness_is_what_brute_force_says(net: type[nn.Module]) -> None:
    graph = trace(settle(net()), SHAPE)
    assert graph.live_elements == live_elements(graph)
    assert graph.peak_elements == max(live_elements(graph))


def test_liveness_of_a_worked_example() -> None:
    class Skip(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = F.avg_pool2d(x, 2)
            z = torch.tanh(y)
            return torch.sigmoid(z) + y

    graph = trace(Skip().eval(), (3, 8, 8))
    image, small = 3 * 64, 3 * 16
    assert graph.live_elements == (image + small, 2 * small, 3 * small, 3 * small)


@pytest.mark.parametrize("net", NETS)
def test_a_meta_module_costs_what_the_real_one_costs(net: type[nn.Module]) -> None:
    module = settle(net())
    ghost = copy.deepcopy(module).to("meta")
    before = copy.deepcopy(module.state_dict())
    assert trace(ghost, SHAPE) == trace(module, SHAPE)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("name", "side"),
    [("resnet18", 64), ("mobilenetv2_100", 64), ("convnext_atto", 64), ("vit_tiny_patch16_224", 64)],
)
def test_export_sees_the_same_work(name: str, side: int) -> None:
    _torchvision.ensure()
    import timm

    options = {"img_size": side} if name.startswith("vit") else {}
    module = timm.create_model(name, num_classes=0, **options).eval()
    traced, exported = trace(module, (3, side, side)), trace_exported(module, (3, side, side))
    assert traced.macs == exported.macs > 10**7
    assert traced.parameters == exported.parameters > 10**6
    assert summary(traced) == summary(exported)


def summary(graph: CostGraph) -> list[tuple[str, int, int]]:
    return [(op.kind, op.macs, op.parameters) for op in graph.ops if op.macs]


def test_batch_norm_that_can_not_be_folded_stays_as_scale_and_shift() -> None:
    class After(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    graph = trace(After().eval(), (3, 4, 4))
    assert [op.name for op in graph.ops] == ["convolution", "native_batch_norm", "add"]
    assert graph.parameters == 3 * 8 + 8 + 2 * 8


def test_tied_weights_are_stored_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    module = Tied().eval()
    for graph in (trace(module, (3, 8, 8)), trace_exported(module, (3, 8, 8))):
        assert (graph.parameters, graph.macs) == (64, 2 * 3 * 8 * 64)


def test_grouped_transposed_and_in_place() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=4)
            self.up = nn.ConvTranspose2d(16, 4, 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(self.grouped(x.repeat(1, 3, 1, 1)[:, :8]), inplace=True)
            return self.up(y)

    graph = trace(Odd().eval(), (3, 6, 6))
    grouped, up = [op for op in graph.ops if op.macs]
    assert (grouped.kind, grouped.macs) == ("conv", 16 * 36 * 2 * 9)
    assert grouped.name.endswith("+relu")
    assert up.macs == 16 * 36 * 4 * 4
    assert trace_exported(Odd().eval(), (3, 6, 6)).macs == graph.macs


def test_a_recurrent_layer_counts_every_step() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x[0])[0]

    steps, batch, product = 3, 8, 8 * 4 * 8
    folded = batch * product  # the first step's recurrent product reads a state of zeros
    assert trace(Recurrent().eval(), (3, 8, 8)).macs == steps * batch * 2 * product - folded


def test_what_can_not_be_costed_is_refused() -> None:
    class Hidden(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cdist(x, x)

    class Reads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.mean().item()

    with pytest.raises(EncoderError, match="multiply-accumulates are unknown"):
        trace(Hidden().eval(), (3, 8, 8))
    with pytest.raises(EncoderError, match="reads tensor values"):
        trace(Reads().eval(), (3, 8, 8))
    with pytest.raises(EncoderError, match=r"call \.eval\(\)"):
        trace(ConvEncoder(), SHAPE)
    with pytest.raises(EncoderError, match="image size"):
        trace(AttentionEncoder().eval(), (3, 64, 64))


@pytest.mark.parametrize("solved", [torch.linalg.inv, torch.linalg.det, lambda x: torch.linalg.solve(x, x)])
def test_inverses_and_factorisations_are_refused_by_name(solved: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(EncoderError, match=r"^the op aten\._?linalg_\w+ cannot be costed"):
        trace(Then(solved).eval(), SHAPE)


def test_tensors_that_are_made_without_saying_where_are_no_obstacle() -> None:
    module = Then(lambda x: x @ torch.eye(46) + torch.arange(46.0)).eval()
    macs = macs_by_hooks(module, SHAPE) + 8 * 46**3
    assert trace(module, SHAPE).macs == trace_exported(module, SHAPE).macs == macs


class Statistics(nn.Module):
    """Goes on from results of an operation that is not its first."""

    def __init__(self, pool: Callable[[Tensor], Sequence[Tensor]], takes: Sequence[int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.fc = nn.Linear(8 * len(takes), 16)
        self.pool, self.takes = pool, takes

    def forward(self, x: Tensor) -> Tensor:
        found = self.pool(self.conv(x))
        return self.fc(torch.cat([found[place] for place in self.takes], dim=1))


STATISTICS = {
    "mean": (lambda x: torch.var_mean(x, dim=(2, 3)), (1,)),
    "both": (lambda x: torch.std_mean(x, dim=(2, 3)), (0, 1)),
    "variance": (lambda x: torch.var_mean(x, dim=(2, 3)), (0,)),
    "largest": (lambda x: torch.aminmax(x.flatten(2), dim=2), (1,)),
    "last of three": (lambda x: [part.mean((2, 3)) for part in x.split([8, 8, 7], dim=2)], (2,)),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_any_result_of_an_operation_leads_on(name: str) -> None:
    module = Statistics(*STATISTICS[name]).eval()
    graph = trace(module, SHAPE)
    assert graph.macs == macs_by_hooks(module, SHAPE) == trace_exported(module, SHAPE).macs
    assert graph.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert len(graph.results) == 1
    assert graph.live_elements == live_elements(graph)


def test_results_that_nothing_reads_take_no_memory() -> None:
    def pool(x: Tensor) -> tuple[Tensor, ...]:
        return (F.max_pool2d(x, 2, return_indices=True)[0].mean((2, 3)),)

    op = next(
        op for op in trace(Statistics(pool, (0,)).eval(), SHAPE).ops if op.name.startswith("max_pool2d")
    )
    assert len(op.outputs) == 1
    assert op.output_elements == 8 * 11 * 11


def test_the_sum_of_products_counts_each() -> None:
    class Summed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.addbmm(x[0, 0], x[0], x[0])

    graph = trace(Summed().eval(), SHAPE)
    assert graph.macs == 3 * 48**3


class Then(nn.Module):
    """A convolution, and what is done with its maps."""

    def __init__(self, then: Callable[[Tensor], Tensor], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.norm, self.then = nn.Conv2d(3, 8, 3, bias=False), norm or nn.Identity(), then
        self.query = nn.Parameter(torch.ones(46))

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.norm(self.conv(x)))


CASTS: dict[str, Callable[[Tensor], Tensor]] = {
    "float": lambda x: x.float().flatten(1),
    "to": lambda x: x.to(torch.float32).flatten(1),
    "mask": lambda x: (x * (x > 0).to(x.dtype)).flatten(1),
    "there and back": lambda x: x.double().mean((2, 3)).float(),
}


@pytest.mark.parametrize("name", CASTS)
def test_export_sees_the_same_work_across_casts(name: str) -> None:
    module = Then(CASTS[name]).eval()
    assert trace_exported(module, SHAPE).macs == trace(module, SHAPE).macs == macs_by_hooks(module, SHAPE)


def test_both_count_products_with_vectors() -> None:
    module = Then(lambda x: x).eval()
    module.then = lambda x: x @ module.query
    extra = 8 * 46 * 46
    for graph in (trace(module, SHAPE), trace_exported(module, SHAPE)):
        assert graph.macs == macs_by_hooks(module, SHAPE) + extra


def test_both_count_distances_that_are_computed_as_products() -> None:
    module = Then(lambda x: torch.cdist(x[:, 0], x[:, 1])).eval()
    extra = 46 * 46 * (46 + 2)
    for graph in (trace(module, SHAPE), trace_exported(module, SHAPE)):
        assert graph.macs == macs_by_hooks(module, SHAPE) + extra


def test_instance_norm_is_not_folded() -> None:
    module = Then(lambda x: x.mean((2, 3)), nn.InstanceNorm2d(8, affine=True)).eval()
    traced, exported = trace(module, SHAPE), trace_exported(module, SHAPE)
    assert traced.parameters == exported.parameters == 8 * 27 + 2 * 8
    assert [op.name for op in traced.ops] == [op.name for op in exported.ops]
    assert traced.peak_elements == exported.peak_elements == 2 * 8 * 46 * 46


def filled(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :4], y[:, 4:] = x[:, 4:], x[:, :4]
    return y


def doubled(x: Tensor) -> Tensor:
    x[:, :2] *= 2
    return x


@pytest.mark.parametrize("write", [filled, doubled])
def test_what_is_written_in_parts_is_whole(write: Callable[[Tensor], Tensor]) -> None:
    module = nn.Sequential(Then(write), nn.Conv2d(8, 4, 1)).eval()
    traced, exported = trace(module, SHAPE), trace_exported(module, SHAPE)
    assert traced.ops[-1].input_elements == exported.ops[-1].input_elements == 8 * 46 * 46
    assert traced.macs == exported.macs
    assert 2 * 8 * 46 * 46 <= traced.peak_elements <= exported.peak_elements


@pytest.mark.parametrize("constant", ["result", "product"])
def test_what_has_no_cost_is_refused(constant: str) -> None:
    class Unknown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = nn.Parameter(torch.zeros(1, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.answer + 1 if constant == "result" else torch.ops.aten._int_mm(*2 * [x[0, 0].char()])

    with pytest.raises(EncoderError, match="depend" if constant == "result" else "_int_mm"):
        trace(Unknown().eval(), SHAPE)
