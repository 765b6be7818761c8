"""From the book of a forward pass to channel groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from prunnet.encoder.encoder import Encoder
from prunnet.pruning.grouping.book import Book, Size, Slot, components
from prunnet.pruning.grouping.deadline import Deadline
from prunnet.pruning.grouping.labels import Numbers, varying, without
from prunnet.pruning.groups import Attribute, ChannelGroup, Grouping, Slice

_ALWAYS = "nothing that can go alone"
_UNREAD = "not read by weights, so that leaving it out would not be zero"
_FROZEN = "frozen: its weights do not learn, so they keep their full width"


def resolve(book: Book, encoder: Encoder, deadline: Deadline) -> Grouping:
    """Return the groups that a book leaves, in the order of the encoder's modules, and why the rest stays.

    Raises:
        OverdueError: The deadline has passed.
    """
    unit_of = _units(book, encoder, deadline)
    order = {name: i for i, (name, _) in enumerate(encoder.named_modules())}
    first = {name: i + len(book.order) for name, i in order.items()} | {
        n: i for i, n in enumerate(book.order)
    }
    reasons = _reasons(book, unit_of)
    members = _members(book, unit_of)
    made, read = _numbers(book.made), _numbers(book.read)
    makers, readers = _slots_of(book, made), _slots_of(book, read)
    frozen = {name for name, p in encoder.named_parameters() if not p.requires_grad}
    alike: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for unit, positions in members.items():
        alike[tuple((slot, len(at)) for slot, at in positions.items())].append(unit)
    groups: list[ChannelGroup] = []
    roots: list[int] = []
    """The first position of each group in the module that it is named after."""
    group_of: dict[int, int] = {}
    for signature, units in alike.items():
        owned = [slot for slot, _ in signature]
        names = sorted((first[_module(book.slots[s].tensor)], s) for s in owned if s in makers)
        reading = [s for s in owned if s in readers]
        if not names:
            continue
        root = names[0][1]
        free = sorted((u for u in units if u not in reasons.kept), key=lambda u: members[u][root][0])
        if not reading or len(free) < 2:
            reasons.kept |= {u: reasons.tied.get(u, _ALWAYS) if reading else _UNREAD for u in free}
            continue
        if any(book.slots[s].tensor in frozen for s in owned if s in makers or s in readers):
            reasons.kept.update(dict.fromkeys(free, _FROZEN))
            continue
        group_of.update(dict.fromkeys(free, len(groups)))
        roots.append(members[free[0]][root][0])
        groups.append(_group(book, root, free, members, readers, makers))
    position = sorted(range(len(groups)), key=lambda i: (order[groups[i].name], roots[i]))
    taken: set[str] = set()
    for i in position:
        name = groups[i].name
        if name in taken:  # parts of one module's channels that go different ways
            groups[i] = replace(groups[i], name=f"{name}:{roots[i]}")
        taken.add(name)
    fixed = _fixed(book, unit_of, reasons, makers, group_of, first)
    named = {u: groups[g] for u, g in group_of.items()}
    attributes = _attributes(book, unit_of, named, encoder)
    return Grouping(tuple(groups[i] for i in position), fixed, attributes)


class _Reasons:
    """Why units keep their full width, and what ties them."""

    def __init__(self) -> None:
        self.kept: dict[int, str] = {}
        self.tied: dict[int, str] = {}


def _reasons(book: Book, unit_of: Numbers) -> _Reasons:
    reasons = _Reasons()
    for notes, found in ((book.kept, reasons.kept), (book.tied, reasons.tied)):
        for numbers, why in notes:
            for unit in np.unique(unit_of[numbers]).tolist():
                found.setdefault(unit, why)
    return reasons


def _units(book: Book, encoder: Encoder, deadline: Deadline) -> Numbers:
    """Return the unit of each number: what was joined, and what must go together for blocks to stay blocks."""
    while True:
        unit_of = components(book.count, book.pairs)
        before = len(book.pairs)
        for array in book.blocks.values():
            if deadline.is_over:
                name = book.module_of(int(array.flat[0]))
                deadline.check(name, type(encoder.get_submodule(name)).__name__)
            units, dims = unit_of[array], varying(array)
            changing = [
                d
                for d in dims
                if not np.array_equal(np.broadcast_to(without(units, [d]), units.shape), units)
            ]
            if len(changing) > 1:
                most = max(changing, key=lambda d: (array.shape[d], d))
                book.tie(array, [d for d in changing if d != most], "laid out as a block")
        if len(book.pairs) == before:
            return unit_of


def _members(book: Book, unit_of: Numbers) -> dict[int, dict[int, list[int]]]:
    """Return the positions of each unit by slot."""
    members: dict[int, dict[int, list[int]]] = defaultdict(dict)
    for number, slot in enumerate(book.slots):
        for position, unit in enumerate(unit_of[slot.first : slot.first + slot.size].tolist()):
            members[unit].setdefault(number, []).append(position)
    return members


def _numbers(arrays: Iterable[Numbers]) -> Numbers:
    flat = [a.reshape(-1) for a in arrays]
    return np.unique(np.concatenate(flat)) if flat else np.zeros(0, np.int64)


def _slots_of(book: Book, numbers: Numbers) -> set[int]:
    """Return the slots that numbers lie in."""
    firsts = np.array([s.first for s in book.slots])
    at = np.searchsorted(firsts, numbers, side="right") - 1
    return {int(i) for i in np.unique(at) if numbers.size}


def _group(
    book: Book,
    root: int,
    units: list[int],
    members: Mapping[int, Mapping[int, list[int]]],
    readers: set[int],
    makers: set[int],
) -> ChannelGroup:
    slices, narrow = [], []
    tables: dict[bytes, torch.Tensor] = {}
    for slot in members[units[0]]:
        where: Slot = book.slots[slot]
        rows = np.array([members[u][slot] for u in units], np.int64)
        table = tables.setdefault(repr(rows.shape).encode() + rows.tobytes(), torch.from_numpy(rows))
        module, tensor = _module(where.tensor), where.tensor.rpartition(".")[2]
        slices.append(Slice(module, tensor, where.dim, table, slot in readers))
        if slot in readers or slot in makers:
            narrow.append(table.shape[1])
    return ChannelGroup(_module(book.slots[root].tensor), len(units), min(narrow), tuple(slices))


def _fixed(
    book: Book,
    unit_of: Numbers,
    reasons: _Reasons,
    makers: set[int],
    group_of: Mapping[int, int],
    order: Mapping[str, int],
) -> dict[str, str]:
    """Return one module for each set of channels that stays, and why."""
    told: set[int] = set()
    fixed: dict[str, str] = {}
    for slot in sorted(makers, key=lambda s: (order[_module(book.slots[s].tensor)], s)):
        where = book.slots[slot]
        units = unit_of[where.first : where.first + where.size].tolist()
        staying = [u for u in units if u not in group_of]
        name = _module(where.tensor)
        if not staying or told & set(staying):
            told |= set(staying)
            continue
        told |= set(staying)
        why = next((reasons.kept[u] for u in staying if u in reasons.kept), _ALWAYS)
        part = f" ({len(staying)} of its {len(units)} channels)" if len(staying) < len(units) else ""
        fixed.setdefault(name, why + part)
    if "head.project" in fixed:
        fixed["head.project"] = "the embedding's dimension is the gallery's"
    return fixed


def _attributes(
    book: Book, unit_of: Numbers, named: Mapping[int, ChannelGroup], encoder: Encoder
) -> tuple[Attribute, ...]:
    """Return the numbers in modules that say how wide something is which a subnetwork has less of."""
    modules = dict(encoder.named_modules())
    found: dict[tuple[str, str, int | None], Attribute] = {}
    for size in book.sizes:
        units = unit_of[size.array]
        others = [d for d in varying(size.array) if d != size.dim]
        line = without(units, others)
        if not np.array_equal(np.broadcast_to(line, units.shape), units):
            continue
        line = line.reshape(-1)
        terms: dict[str, int] = defaultdict(int)
        for unit in line.tolist():
            if unit in named:
                terms[named[unit].name] += 1
        per_unit = {n: terms[g.name] / g.units for g in named.values() for n in [g.name] if n in terms}
        if not terms or any(p != int(p) for p in per_unit.values()):
            continue
        each = tuple((name, int(p)) for name, p in per_unit.items())
        rest = size.value - sum(terms.values())
        for module, attribute, index in _places(modules, size):
            found.setdefault((module, attribute, index), Attribute(module, attribute, index, rest, each))
    return tuple(found.values())


def _places(modules: Mapping[str, nn.Module], size: Size) -> Iterable[tuple[str, str, int | None]]:
    """Yield where a module keeps a size, and its children that keep the same by the same name."""
    own = list(_held(modules[size.module], size))
    yield from ((size.module, attribute, index) for attribute, index in own)
    names = [attribute for attribute, index in own if index is None]
    for child, module in modules[size.module].named_children():
        if any(vars(module).get(attribute) == size.value for attribute in names):
            yield from (
                (f"{size.module}.{child}", attribute, index) for attribute, index in _held(module, size)
            )


def _held(module: nn.Module, size: Size) -> Iterable[tuple[str, int | None]]:
    """Yield the attributes of a module that hold a size, and its position if they are lists."""
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return  # these follow from their tensors
    for name, held in vars(module).items():
        if name.startswith("_"):
            continue
        if _is_number(held) and held == size.value:
            yield name, None
        elif isinstance(held, list | tuple):
            at = [i for i, item in enumerate(held) if _is_number(item) and item == size.value]
            if len(at) > 1:  # a shape in which other sizes are as large
                at = [i for i in at if i == size.dim and len(held) == size.array.ndim]
            yield from ((name, index) for index in at)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _module(tensor: str) -> str:
    return tensor.rpartition(".")[0]
