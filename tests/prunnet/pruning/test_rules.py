"""Rules of operations: none fails on whatever arguments PyTorch itself is tested with, and one that fails is named."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from benchmarks.own_modules import ShuffleUnit, layer
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.grouping import trace
from prunnet.pruning.grouping.book import Book
from prunnet.pruning.grouping.call import Call, tensors_in
from prunnet.pruning.grouping.deadline import Deadline
from prunnet.pruning.grouping.labels import Labels
from prunnet.pruning.grouping.pictures import pictures
from prunnet.pruning.grouping.resolve import resolve
from prunnet.pruning.prunable import PrunableEncoder

_LARGEST = 2_000
"""Elements of a tensor that is worth following."""
_OPERATIONS = """
T addmm all amax amin aminmax argmax baddbmm bmm cat chunk clone cumsum dstack einsum expand expand_as flatten flip
fliplr full_like hstack index_select inner kron linalg.vector_norm log_softmax logsumexp matmul max mean median min mm
movedim mv nansum narrow native_batch_norm native_layer_norm new_full new_zeros norm outer permute prod ravel repeat
repeat_interleave reshape resolve_conj roll select slice softmax sort split split_with_sizes squeeze stack std std_mean
sum t tensordot tile transpose unbind unflatten unsqueeze var var_mean view view_as vstack zeros_like as_strided
__getitem__ bernoulli broadcast_to
nn.functional: adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d avg_pool2d avg_pool3d batch_norm
conv1d conv2d conv3d conv_transpose1d conv_transpose2d dropout embedding grid_sample group_norm instance_norm
interpolate layer_norm linear local_response_norm max_pool1d max_pool2d multi_head_attention_forward normalize pad
pixel_shuffle pixel_unshuffle rms_norm scaled_dot_product_attention upsample_bilinear upsample_nearest softmin gelu silu
hardswish prelu glu
"""
"""Operations whose parts have rules, by PyTorch's names for their samples."""


def _samples() -> Iterator[tuple[str, object, list[object]]]:
    from torch.testing._internal.common_methods_invocations import op_db

    names = set(_OPERATIONS.split())
    for operation in op_db:
        if operation.name.removeprefix("nn.functional.") not in names:
            continue
        found = list(operation.sample_inputs("cpu", torch.float32))
        for sample in found[:: max(1, len(found) // 5)]:
            values = [sample.input, *sample.args, *sample.kwargs.values()]
            if all(t.numel() <= _LARGEST for t in tensors_in(values)):
                yield (
                    operation.name,
                    lambda operation=operation, sample=sample: operation(
                        sample.input, *sample.args, **sample.kwargs
                    ),
                    values,
                )


def _later() -> Deadline:
    return Deadline(60, "this", "wait")


@pytest.mark.slow
def test_no_rule_fails_on_the_arguments_that_pytorch_tests_its_operations_with() -> None:
    faults, tried = [], 0
    for name, run, values in _samples():
        book = Book()
        following = trace._Following(book, [("", "Sample")], _later())
        floating = [t for t in tensors_in(values) if t.is_floating_point()]
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number, tensor in enumerate(floating):
                following.enter(tensor, book.enter(str(number), tensor.shape))
            try:
                with following:
                    run()
                tried += 1
            except EncoderError as error:
                faults.append(f"{name}: {error}")
            except Exception:  # what an operation itself refuses to do is none of a rule's business
                continue
    assert tried > 300
    assert not faults


def test_a_fault_of_a_rule_is_named_and_not_taken_for_something_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(call: Call) -> Labels:
        return (call.labels(call["self"])[99],)

    monkeypatch.setitem(trace._RULES, "aten::relu_", wrong)
    monkeypatch.setitem(trace._RULES, "aten::relu", wrong)
    encoder = Encoder.from_module(nn.Sequential(layer(3, 16)), dimension=4, image_size=(16, 16)).eval()
    with pytest.raises(
        EncoderError, match=r"rule for the operation relu on .* in the module backbone.0.2 \(ReLU\).*report"
    ):
        PrunableEncoder(encoder)


class _Tokens(nn.Module):
    """Cross attention of fewer queries than tokens, between RMSNorms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = layer(3, 32, 4, 4), nn.RMSNorm(32)
        self.queries = nn.Parameter(torch.randn(1, 5, 32))
        self.q, self.k, self.v, self.out = (nn.Linear(32, 32) for _ in range(4))
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.stem(x).flatten(2).transpose(1, 2))
        q, k, v = self.q(self.queries), self.k(tokens), self.v(tokens)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        mixed = mixed + self.down(torch.relu(self.up(self.norm(mixed))))
        out: Tensor = self.out(mixed).mean(1)
        return out


def test_rms_norm_and_cross_attention_are_understood() -> None:
    torch.manual_seed(0)
    encoder = Encoder.from_module(_Tokens(), dimension=4, image_size=(16, 16)).eval()
    prunable = PrunableEncoder(encoder)
    assert "backbone.up" in {g.name for g in prunable.cutter.groups}
    assert not [why for why in prunable.fixed.values() if "not understood" in why]


def test_what_takes_too_long_between_passes_names_a_module() -> None:
    torch.manual_seed(0)
    encoder = Encoder.from_module(ShuffleUnit(), dimension=4, image_size=(32, 32)).eval()
    book = trace.trace(encoder, pictures(encoder.image_size, 2), _later())
    with pytest.raises(EncoderError, match=r"takes too long; time was up in the module backbone\.stem"):
        resolve(book, encoder, Deadline(-1.0, "finding channel groups", "wait"))
