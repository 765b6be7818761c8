"""The Core ML package inside of an ExecuTorch program: a folder, written one file after the other."""

from __future__ import annotations

import json
import warnings
from pathlib import Path, PurePosixPath

from runtime_py.errors import BundleError

PACKAGE = "model.mlpackage"
METADATA = "metadata.json"
"""The delegate's own: the names of the model's inputs and outputs, and by what name Core ML may cache it."""

_FILE, _FOLDER = 0, 1


def delegated(artifact: Path) -> dict[str, bytes]:
    """Return the files of the Core ML package that is all that a `.pte` computes with.

    Args:
        artifact: The `.pte`.

    Returns:
        Path inside of the package -> content, and `METADATA`; see `pieces`.

    Raises:
        BundleError: It is no program, or computes otherwise than by handing its input to one Core ML delegate.
    """
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.exir.schema import DelegateCall

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            program = deserialize_pte_binary(artifact.read_bytes()).program
    except Exception as error:  # it runs a compiler of schemas, and raises whatever that did
        raise BundleError(artifact, f"ExecuTorch does not read it ({type(error).__name__})") from error
    (forward,) = (plan for plan in program.execution_plan if plan.name == "forward")
    calls = [each.instr_args for chain in forward.chains for each in chain.instructions]
    delegates = [each.id for each in forward.delegates]
    if delegates != ["CoreMLBackend"] or [type(call) for call in calls] != [DelegateCall]:
        raise BundleError(
            artifact,
            f"its delegates are {delegates or 'none'}, not the one of Core ML with nothing beside it",
        )
    if calls[0].args != [*forward.inputs, *forward.outputs]:
        raise BundleError(artifact, "its delegate does not take the program's input and give its output")
    content = bytes(program.backend_delegate_data[forward.delegates[0].processed.index].data)
    try:
        found = pieces(content)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise BundleError(artifact, f"its Core ML delegate holds no folder ({error})") from error
    return found


def write_pieces(files: dict[str, bytes], folder: Path) -> None:
    """Write what `pieces` returned below a folder, always in the same order."""
    for name, content in sorted(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pieces(content: bytes) -> dict[str, bytes]:
    """Return the files of a folder as ExecuTorch's Core ML delegate stores it.

    The files come first. At the end is their index, JSON with its bytes in reverse order: the nodes of a tree, the
    last of which is the folder itself. Read here, not with ExecuTorch's own function, which writes to wherever the
    names lead.

    Args:
        content: What the delegate stores.

    Returns:
        POSIX path -> bytes of each file.

    Raises:
        ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError: It is no such folder.
    """
    # latin-1 keeps every byte one character: what is behind the index, read backwards, is the files.
    index, _ = json.JSONDecoder().raw_decode(content[::-1].decode("latin-1"))
    nodes = index["nodes"]
    found: dict[str, bytes] = {}
    seen: set[int] = set()

    def walk(at: int, path: PurePosixPath) -> None:
        if at in seen:
            raise ValueError(f"{path} is in it twice")
        seen.add(at)
        node = nodes[at]
        if node["kind"] == _FOLDER:
            for name, child in node["children"].items():
                if not name or name in (".", "..") or set(name) & {"/", "\\", "\0"}:
                    raise ValueError(f"it names a file {name!r}")
                walk(child, path / name)
            return
        region = node["dataRegion"]
        start, size = int(region["offset"]), int(region["size"])
        if node["kind"] != _FILE or start < 0 or size < 0 or start + size > len(content):
            raise ValueError(f"{path} lies outside of it")
        found[path.as_posix()] = content[start : start + size]

    walk(len(nodes) - 1, PurePosixPath())
    return found
