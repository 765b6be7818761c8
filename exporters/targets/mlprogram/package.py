"""Makes a saved Core ML package the same bytes for the same model, so that its hashes mean something."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from runtime_py.mil_executor.package import Package

_DATE = "com.github.apple.coremltools.conversion_date"
_DEBUG_MAPPING = "executorch_debug_handle_mapping.json"
"""Which node of the captured graph each operation came from; Core ML does not read it."""


def make_reproducible(path: Path) -> None:
    """Rewrite what differs between two identical conversions: random ids, a date, the order of map entries.

    The debugging file that coremltools adds is removed.

    Args:
        path: A package that is complete but not yet part of a bundle; changed in place.
    """
    package = Package(path)
    package.model.description.metadata.userDefined.pop(_DATE, None)
    package.model_path.write_bytes(package.model.SerializeToString(deterministic=True))
    (path / _DEBUG_MAPPING).unlink(missing_ok=True)
    manifest = path / "Manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    items = content["itemInfoEntries"]
    ids = {
        old: str(uuid.uuid5(uuid.NAMESPACE_URL, f"prunnet/{item['path']}")).upper()
        for old, item in items.items()
    }
    content["rootModelIdentifier"] = ids[content["rootModelIdentifier"]]
    content["itemInfoEntries"] = {
        ids[old]: items[old] for old in sorted(items, key=lambda old: items[old]["path"])
    }
    manifest.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
