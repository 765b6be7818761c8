"""The official retrieval benchmarks, read from their official layouts (docs/reference/datasets.md)."""

from prunnet.data.benchmarks.registry import benchmark_names, open_task
from prunnet.data.benchmarks.task import Count, Labelled, RetrievalTask, Rules
from prunnet.data.benchmarks.truth import LabelTruth, ListTruth, Truth

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
