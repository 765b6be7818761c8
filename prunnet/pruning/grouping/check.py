"""Try groups on a forward pass: the slice must be the dense network with that part at zero where it is read."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunnet.encoder.batchnorm import reestimate
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.pruning.grouping.deadline import Deadline, OverdueError, running
from prunnet.pruning.grouping.pictures import pictures
from prunnet.pruning.grouping.shape import Table, fresh, owned, shaped
from prunnet.pruning.grouping.waking import wake
from prunnet.pruning.groups import ChannelGroup, Grouping
from prunnet.pruning.slicing import sliced

_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Largest difference of embeddings, whose entries spread by about 1, that is rounding."""
_KEPT = 0.6
"""How much of each group is kept in the trial."""


def tried(encoder: Encoder, blueprint: Encoder, grouping: Grouping, deadline: Deadline) -> Grouping:
    """Return the groups whose slice is the network with zeros; the others keep their full width.

    Args:
        encoder: A copy of the dense encoder in eval mode; what hardly does anything yet is changed.
        blueprint: The same on the meta device.
        grouping: What may be cut.
        deadline: Groups that were not tried until then keep their full width.

    Raises:
        EncoderError: A second copy of the encoder computes something else, or a single forward pass takes too long.
    """
    if not grouping.groups:
        return grouping
    trial = _Trial(encoder, blueprint, grouping, deadline)
    reasons: dict[str, str] = {}
    names = [g.name for g in grouping.groups]
    while (failure := trial.failure(names)) is not None:
        found = _guilty(trial, names, failure, deadline)
        reasons |= found
        names = [n for n in names if n not in found]
        if not names:
            break
    return grouping.without(reasons) if reasons else grouping


def _guilty(trial: _Trial, names: Sequence[str], failure: _Failure, deadline: Deadline) -> dict[str, str]:
    """Return at least one of the groups that fail, and why."""
    same = trial.failure([])
    if same is not None:
        raise EncoderError(
            f"the backbone {trial.kind} cannot be cut: a copy of it with all of its channels is not what it is "
            f"({same.why}); its forward must be the same each time in eval mode and survive copy.deepcopy"
        )
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        kinds[re.sub(r"\d+", "#", name)].append(name)
    found: dict[str, str] = {}
    suspects = {re.sub(r"\d+", "#", n) for n in trial.owners(failure.module) if n in names}
    for kind, alike in sorted(kinds.items(), key=lambda item: item[0] not in suspects):
        if found and kind not in suspects and suspects:
            break  # the rest is tried without these first
        if deadline.is_over:
            found |= dict.fromkeys(alike, "not tried: finding groups took too long")
            continue
        problem = trial.failure(alike)
        if problem is None:
            continue
        alone = trial.failure(alike[:1])
        if alone is not None:  # and so it is with its like
            found |= dict.fromkeys(alike, alone.why)
        else:
            found |= _halved(trial, alike, problem, deadline)
    return found or dict.fromkeys(names, failure.why)


def _halved(trial: _Trial, names: Sequence[str], failure: _Failure, deadline: Deadline) -> dict[str, str]:
    if len(names) == 1 or deadline.is_over:
        return dict.fromkeys(names, failure.why)
    found: dict[str, str] = {}
    for half in (names[: len(names) // 2], names[len(names) // 2 :]):
        problem = trial.failure(half)
        if problem is not None:
            found |= _halved(trial, half, problem, deadline)
    return found or dict.fromkeys(names, failure.why)


@dataclass(frozen=True)
class _Failure:
    """What went wrong, and in which module."""

    why: str
    module: str = ""


class _Trial:
    """A copy of an encoder in which every part matters, and pictures to run it on."""

    def __init__(self, encoder: Encoder, blueprint: Encoder, grouping: Grouping, deadline: Deadline) -> None:
        self.kind, self._deadline = type(encoder.backbone).__name__, deadline
        self._grouping, self._dense, self._blueprint = grouping, encoder, blueprint
        device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
        self._pixels = pictures(encoder.image_size, 2).to(device)
        with torch.inference_mode(False), torch.no_grad():
            wake(self._dense)
            try:
                with running(self._dense, deadline):
                    _settle(self._dense, encoder.image_size, device)
            except OverdueError:
                raise
            except Exception as error:
                raise EncoderError(
                    f"the backbone {self.kind} cannot be cut: its normalisations do not run in training mode on three "
                    f"images: {_short(error)}"
                ) from error
            fresh(self._dense)

    def owners(self, module: str) -> set[str]:
        """Return the groups that own something in a module or below."""
        return {
            g.name
            for g in self._grouping.groups
            if module and any(f"{s.module}.".startswith(f"{module}.") for s in g.slices)
        }

    def failure(self, names: Sequence[str]) -> _Failure | None:
        """Cut some groups at once; None: the slice is the network with zeros."""
        others = {g.name: "" for g in self._grouping.groups if g.name not in names}
        cut = self._grouping.without(others)
        with torch.inference_mode(False), torch.no_grad():
            found, allowed = self._difference(cut, torch.float32), _ROUNDING[torch.float32]
            if isinstance(found, float) and found > allowed:
                exact = self._difference(cut, torch.float64)
                if isinstance(exact, float):
                    found, allowed = exact, _ROUNDING[torch.float64]
        if isinstance(found, _Failure):
            return found
        if found <= allowed:
            return None
        return _Failure(f"its slice is not the network with zeros: it differs by {found:.2g}")

    def _difference(self, grouping: Grouping, dtype: torch.dtype) -> float | _Failure:
        dense = self._dense if dtype == torch.float32 else fresh(copy.deepcopy(self._dense).to(dtype))
        kept = [_some(g) for g in grouping.groups]
        pixels = self._pixels.to(dtype)
        stack, module = [("", "")], self._blueprint
        try:
            module = shaped(self._blueprint, grouping, [len(k) for k in kept]).to(dtype)
            module = module.to_empty(device=pixels.device)
            _fill(module, dense, grouping.groups, kept)
            with running(module, self._deadline) as stack:
                part = module.features(pixels)
        except OverdueError:
            raise
        except Exception as error:
            name = stack[-1][0]
            where = name.rpartition(".")[0] if _is_leaf(module, name) else name
            what = "its forward fixes the number of channels" if grouping.groups else "it does not run"
            return _Failure(f"{what}: {_short(error)}", where)
        with _zeroed(dense, grouping.groups, kept), running(dense, self._deadline):
            whole = dense.features(pixels)
        if part.shape != whole.shape:
            return _Failure(f"its slice returns {list(part.shape)}, not {list(whole.shape)}")
        difference = (part - whole).abs().max()
        return float(difference / whole.abs().max().clamp(min=1)) if difference.isfinite() else float("inf")


def _some(group: ChannelGroup) -> Tensor:
    """Return some of a group's units, ascending: the same ones each time."""
    generator = torch.Generator().manual_seed(group.units)
    count = min(max(1, round(_KEPT * group.units)), group.units - 1)
    return torch.randperm(group.units, generator=generator)[:count].sort().values


def _fill(module: Encoder, dense: Encoder, groups: Sequence[ChannelGroup], kept: Sequence[Tensor]) -> None:
    """Copy what is kept of the dense tensors."""
    dims = owned(dense, groups)
    sources = dict(_tensors(dense))
    for name, target in _tensors(module):
        source = sources[name]
        indices = {
            dim: Table(source.shape[dim], parts, source.device).positions([k.to(source.device) for k in kept])
            for dim, parts in dims.get(name, {}).items()
        }
        target.copy_(sliced(source, indices))


@contextmanager
def _zeroed(dense: Encoder, groups: Sequence[ChannelGroup], kept: Sequence[Tensor]) -> Iterator[None]:
    """Set to zero what reads the units that are gone, for a while."""
    tensors = dict(_tensors(dense))
    before: dict[str, Tensor] = {}
    for group, units in zip(groups, kept, strict=True):
        gone = torch.ones(group.units, dtype=torch.bool)
        gone[units] = False
        for s in group.slices:
            if s.consumer:
                tensor = tensors[s.name]
                before.setdefault(s.name, tensor.clone())
                tensor.index_fill_(s.dim, s.table[gone].flatten().to(tensor.device), 0)
    try:
        yield
    finally:
        for name, tensor in before.items():
            tensors[name].copy_(tensor)


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    parameters = module.named_parameters(remove_duplicate=False)
    return [*parameters, *module.named_buffers(remove_duplicate=False)]


def _settle(module: Encoder, size: tuple[int, int], device: torch.device) -> None:
    """Normalise activations, so that none dies or explodes on the way."""
    images = pictures(size, 3).round().to(torch.uint8).permute(0, 2, 3, 1).to(device)
    reestimate(module, images)


def _is_leaf(module: nn.Module, name: str) -> bool:
    return not any(True for _ in module.get_submodule(name).children())


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160] if lines else ''}"
