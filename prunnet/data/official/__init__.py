"""The official retrieval benchmarks, read from their official layouts (docs/reference/datasets.md)."""

from prunnet.data.official.registry import benchmark_names, open_task
from prunnet.data.official.task import Count, Labelled, RetrievalTask, Rules
from prunnet.data.official.truth import LabelTruth, ListTruth, Truth

__all__ = [
    "Count",
    "LabelTruth",
    "Labelled",
    "ListTruth",
    "RetrievalTask",
    "Rules",
    "Truth",
    "benchmark_names",
    "open_task",
]
