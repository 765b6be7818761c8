"""The Core ML package inside an ExecuTorch program: a folder, as its files and an index behind them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field

from runtime_py.errors import BundleError
from runtime_py.record import Record

PACKAGE = "model.mlpackage"
METADATA = "metadata.json"
"""The delegate's own: the names of the model's inputs and outputs, and by what name it may cache what it compiled."""

_FILE, _FOLDER = 0, 1


class _Region(Record):
    offset: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=0)]


class _Node(Record):
    name: str
    kind: Literal[0, 1]
    children: dict[str, Annotated[int, Field(ge=0)]]
    data: _Region = Field(alias="dataRegion")


class _Index(Record):
    nodes: Annotated[tuple[_Node, ...], Field(min_length=1)]


def delegated(artifact: Path) -> dict[str, bytes]:
    """Return the files that a `.pte` hands to Core ML, if that is all that its method `forward` does.

    Args:
        artifact: The `.pte`; ExecuTorch has verified its structure.

    Returns:
        POSIX path -> content: those below `PACKAGE`, and `METADATA`.

    Raises:
        BundleError: It computes otherwise than by handing its input to one Core ML delegate.
    """
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.exir.schema import DelegateCall

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            program = deserialize_pte_binary(artifact.read_bytes()).program
    except Exception as error:  # it walks bytes, and raises whatever it meets
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
    at = forward.delegates[0].processed.index
    if not 0 <= at < len(program.backend_delegate_data):
        raise BundleError(artifact, "its delegate is not in it")
    try:
        return pieces(bytes(program.backend_delegate_data[at].data))
    except (ValueError, RecursionError) as error:
        raise BundleError(artifact, f"its Core ML delegate holds no folder ({error})") from error


def pieces(content: bytes) -> dict[str, bytes]:
    """Return the files of a folder as ExecuTorch's Core ML delegate stores it.

    The files come first. Behind them is their index, JSON with its bytes in reverse order: the nodes of a tree, the
    last of which is the folder itself. Read here, not with ExecuTorch's own function, which writes to wherever the
    names lead.

    Args:
        content: What the delegate stores.

    Returns:
        POSIX path -> bytes of each file.

    Raises:
        ValueError: It is no such folder, or its index contradicts itself.
        RecursionError: Its index is nested deeper than any folder.
    """
    # latin-1 keeps every byte one character: what is behind the index, read backwards, is the files.
    backwards = content[::-1].decode("latin-1")
    _, end = json.JSONDecoder().raw_decode(backwards)
    nodes = _Index.model_validate_json(backwards[:end].encode("latin-1")).nodes
    if sum(node.data.size for node in nodes) > len(content):
        raise ValueError("its files are larger than it is")
    found: dict[str, bytes] = {}
    seen: set[int] = set()

    def walk(at: int, path: PurePosixPath) -> None:
        if at in seen or at >= len(nodes):
            raise ValueError(f"{path} is in it twice, or not at all")
        seen.add(at)
        node = nodes[at]
        if node.kind == _FILE:
            start, end = node.data.offset, node.data.offset + node.data.size
            if end > len(content) or not path.parts:
                raise ValueError(f"{path} lies outside of it")
            found[path.as_posix()] = content[start:end]
            return
        for name, child in node.children.items():
            if not name or name in (".", "..") or set(name) & {"/", "\\", "\0"}:
                raise ValueError(f"it names a file {name!r}")
            if (
                child < len(nodes) and nodes[child].name != name
            ):  # which of both a device takes is not ours to say
                raise ValueError(f"it names a file {name!r} and {nodes[child].name!r}")
            walk(child, path / name)

    walk(len(nodes) - 1, PurePosixPath())
    return found


def flattened(files: dict[str, bytes]) -> bytes:
    """Return what `pieces` reads: the same bytes for the same files, whatever order they come in.

    ExecuTorch's own function takes the files in the order in which the file system lists them.

    Args:
        files: POSIX path -> content.
    """
    tree: dict[str, Any] = {}
    for path in sorted(files):
        *folders, name = PurePosixPath(path).parts
        within = tree
        for folder in folders:
            within = within.setdefault(folder, {})
        within[name] = files[path]
    stored: list[bytes] = []
    nodes: list[dict[str, Any]] = []

    def add(name: str, what: dict[str, Any] | bytes) -> int:
        children, region = {}, {"offset": 0, "size": 0}
        if isinstance(what, bytes):
            region = {"offset": sum(map(len, stored)), "size": len(what)}
            stored.append(what)
        else:
            children = {inner: add(inner, part) for inner, part in what.items()}
        kind = _FILE if isinstance(what, bytes) else _FOLDER
        nodes.append({"children": children, "dataRegion": region, "kind": kind, "name": name})
        return len(nodes) - 1

    add("model", tree)
    index = json.dumps({"nodes": nodes}, separators=(",", ":")).encode()
    return b"".join(stored) + index[::-1]


def write_pieces(files: dict[str, bytes], folder: Path) -> None:
    """Write files below a folder, by their POSIX paths."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
