"""What every `.pte` of ours has, whatever runs it: constant methods, and a note on what its delegate left out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from exporters.targets.spec import ExportSpec

if TYPE_CHECKING:
    import torch

IDENTITY_METHOD = "prunnet_identity"
"""Constant method that returns uint8 [n]: the UTF-8 JSON of the identity."""

BOOKKEEPING = ("getitem", "alloc")
"""Nodes of the lowered graph that compute nothing."""


def constants(spec: ExportSpec) -> dict[str, Any]:
    """Return the constant methods: what an app can ask the program itself, named as ExecuTorch's own examples do.

    `runtime_py` reads the identity, whose bytes every binding of the runtime can hand out.
    """
    import torch

    text = json.dumps(spec.identity.entries()).encode()
    return {
        IDENTITY_METHOD: torch.tensor(list(text), dtype=torch.uint8),
        "get_space_id": spec.identity.space_id,
        "get_dimension": spec.identity.dimension,
        "get_input_height": spec.size[0],
        "get_input_width": spec.size[1],
    }


def undelegated(graph: torch.fx.GraphModule) -> str:
    """Return the operations of a lowered graph that are outside of its delegate, "" if none is."""
    from executorch.devtools.backend_debug import get_delegation_info

    rows = get_delegation_info(graph).delegation_by_operator.items()
    counts = {name: row.non_delegated for name, row in rows if not name.startswith(BOOKKEEPING)}
    return ", ".join(f"{name} x{count}" for name, count in sorted(counts.items()) if count)
