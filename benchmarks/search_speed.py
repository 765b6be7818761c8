"""Exact search and full ranking: time beside FAISS's flat index, and the memory that they take.

    python -m benchmarks.search_speed

Takes two minutes on two cores. Three searches take turns, so that a busy machine slows all: FAISS's, ours of the same
unit vectors, and ours by cosine, which also divides every vector by its length. The figures are ratios of medians. The
mean average precision of 60,000 pictures against themselves ranks 3.6 * 10**9 scores.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

from runtime_py.retrieval.metrics import evaluate, nearest
from runtime_py.retrieval.search import search as inner_product


def directions(rows: int, dimension: int, seed: int) -> np.ndarray:
    """Return random unit vectors, float32 [rows, dimension]."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def search(items: int, queries: int, dimension: int, k: int, rounds: int) -> dict[str, float]:
    import faiss

    gallery, wanted = directions(items, dimension, 0), directions(queries, dimension, 1)
    index = faiss.IndexFlatIP(dimension)
    index.add(gallery)
    calls = {
        "faiss": lambda: index.search(wanted, k),
        "search": lambda: inner_product(wanted, gallery, k),
        "nearest": lambda: nearest(wanted, gallery, k),
    }
    taken = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            taken[name].append(seconds(call))
    medians = {name: statistics.median(each[1:]) for name, each in taken.items()}
    return {f"{name}_s": median for name, median in medians.items()} | {
        f"{name}_ratio": medians[name] / medians["faiss"] for name in ("search", "nearest")
    }


def full_ranking(items: int, dimension: int) -> dict[str, float]:
    vectors, labels = directions(items, dimension, 2), np.arange(items) // 10
    before = peak_mib()
    took = seconds(lambda: evaluate(vectors, labels, vectors, labels, exclude_self=True))
    return {"seconds": took, "added_mib": peak_mib() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranked", type=int, default=60_000, help="0 leaves the full ranking out")
    given = parser.parse_args()
    result: dict[str, object] = {
        "search": search(given.items, given.queries, given.dimension, 10, given.rounds)
    }
    if given.ranked:
        result["full_ranking"] = full_ranking(given.ranked, given.dimension)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
