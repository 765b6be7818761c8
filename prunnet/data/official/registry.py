"""The table of benchmarks: name -> loader, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from prunnet.data.official.task import RetrievalTask
from prunnet.errors import DatasetError, UnknownNameError

_LOADERS = {
    "cub200": "cub:open_cub200",
    "gldv2": "gldv2:open_gldv2",
    "inshop": "inshop:open_inshop",
    "roxford5k": "revisited:open_roxford5k",
    "rparis6k": "revisited:open_rparis6k",
    "sop": "sop:open_sop",
    "veri776": "veri:open_veri776",
}


def benchmark_names() -> tuple[str, ...]:
    """Return the names that `open_task` knows."""
    return tuple(_LOADERS)


def open_task(name: str, root: str | Path) -> RetrievalTask:
    """Open an official benchmark.

    The lists are read, and every query and gallery picture must be there; none is opened. Training pictures are
    looked for by `RetrievalTask.training`: an evaluation does without them.

    Args:
        name: One of `benchmark_names()`.
        root: The folder into which the official archive was unpacked.

    Raises:
        UnknownNameError: No such benchmark.
        DatasetError: A file of the layout is missing or does not say what it must.
    """
    if name not in _LOADERS:
        raise UnknownNameError("benchmark", name, benchmark_names())
    folder = Path(root)
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; {name} needs the folder of the unpacked archive")
    module, function = _LOADERS[name].split(":")
    load: Callable[[Path], RetrievalTask] = getattr(
        import_module(f"prunnet.data.official.{module}"), function
    )
    return load(folder)
