"""The process that opens damaged files: `python -m tests.fuzz.worker SUBJECT SOUND SEED FIRST COUNT`.

A line of JSON before each case and one after it: who reads them knows which case a process died of.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

from runtime_py.errors import PrunnetError
from tests.fuzz.subjects import SUBJECTS

MEMORY_BYTES = 4 * 2**30
OWN = ("prunnet", "exporters", "runtime_py")


def main(subject: str, sound: Path, seed: int, first: int, count: int) -> None:
    """Run cases `first` to `first + count` of a subject."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    run, _ = SUBJECTS[subject]
    for case in range(first, first + count):
        print(json.dumps({"begin": case}), file=answers, flush=True)
        with tempfile.TemporaryDirectory(prefix="fuzz-") as work:
            began = time.process_time()
            try:
                result, detail = "fine", run(sound, Path(work), Random(f"{subject}-{seed}-{case}"))
            except PrunnetError as error:
                result, detail = "refused", f"{type(error).__name__}: {error}"
                if type(error).__module__.partition(".")[0] not in OWN:
                    result = "other"
            except BaseException:
                result, detail = "other", traceback.format_exc()[-1500:]
            seconds = time.process_time() - began
        record = {
            "case": case,
            "result": result,
            "detail": detail,
            "seconds": seconds,
            "peak_mib": _peak_mib(),
        }
        print(json.dumps(record), file=answers, flush=True)


def _peak_mib() -> int:
    """Not ru_maxrss, which a process inherits from the one that started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
