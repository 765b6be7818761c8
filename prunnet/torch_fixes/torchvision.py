"""One cure for one trap: torchvision's wheel beside a CPU build of torch.

The wheel's C++ operators do not load there, and `import torchvision` (so `import timm`) then fails on the operators'
missing schemas. Only the schemas are defined, only when they are absent: no operator of torchvision is used here.
Both packages are imported without torch's compiler, which nothing here needs (`prunnet/torch_fixes/compiler.py`).
"""

from __future__ import annotations

import importlib.util
import sys

from prunnet.torch_fixes.compiler import compiler_put_off

_libraries: list[object] = []


def ensure() -> None:
    """Make `import torchvision` and `import timm` work; call it before either. Idempotent."""
    if "timm" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    import torch

    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    with compiler_put_off():
        try:
            import torchvision  # noqa: F401
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
            library.define(f"nms{signature}")  # type: ignore[no-untyped-call]
            library.define(f"qnms{signature}")  # type: ignore[no-untyped-call]
            _libraries.append(library)
        import timm  # noqa: F401
