"""Keeps Triton out of a process that has TensorFlow: its library, loaded second, ends the process (both hold LLVM).

On Linux the torch of the package index brings Triton, and imports it with its compiler. The other order works.
"""

from __future__ import annotations

import sys


def keep_triton_out() -> None:
    """If TensorFlow is loaded and Triton is not, let `import triton` raise ImportError from now on: torch copes."""
    if sys.modules.get("tensorflow") is not None and "triton" not in sys.modules:
        sys.modules["triton"] = None  # type: ignore[assignment]
