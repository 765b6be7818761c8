from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prunnet.pruning.grouping.book import Book, components
from prunnet.pruning.grouping.labels import compressed, reshaped, varying


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_components_are_those_of_a_slow_search(pairs: list[tuple[int, int]]) -> None:
    found = components(20, [(np.array([a]), np.array([b])) for a, b in pairs])
    wanted = list(range(20))
    for _ in range(20):
        for a, b in pairs:
            wanted[a] = wanted[b] = min(wanted[a], wanted[b])
    assert found.tolist() == wanted


@settings(max_examples=100)
@given(
    old=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    data=st.data(),
    order=st.randoms(use_true_random=False),
)
def test_reshaped_labels_are_those_of_the_reshaped_tensor(old: list[int], data: st.DataObject, order) -> None:
    factors = [f for n in old for f in ([2, 2] if n == 4 else [n])]
    order.shuffle(factors)
    new: list[int] = []
    while factors:
        taken = data.draw(st.integers(1, len(factors)))
        new.append(math.prod(factors[:taken]))
        factors = factors[taken:]
    dim = data.draw(st.integers(0, len(old) - 1))
    array = np.arange(old[dim]).reshape([-1 if d == dim else 1 for d in range(len(old))])
    found = reshaped(array, old, new)
    wanted = np.broadcast_to(array, old).reshape(new)
    assert np.array_equal(np.broadcast_to(found, new), wanted)
    assert np.array_equal(np.broadcast_to(compressed(found), new), wanted)
    assert all(compressed(found).shape[d] == 1 or new[d] > 1 for d in range(len(new)))


def test_labels_that_share_a_dimension_become_one_array() -> None:
    book = Book()
    heads, channels = book.enter("heads", [3, 1])[0], book.enter("other", [3, 4])
    labels = book.merge([heads, channels[0] + 0 * channels[1]])
    assert [varying(a) for a in labels] == [(0,)]
    unit_of = components(book.count, book.pairs)
    assert unit_of[:3].tolist() == unit_of[3:6].tolist(), "equal positions go together"
