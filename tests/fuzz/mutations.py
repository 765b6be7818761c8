"""Structured damage: to trees of JSON, to lines of YAML, to bytes. Every choice comes from the generator given."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**400), 1e308, -1e-320, 0.5, float("nan"), float("inf"),
    "", " ", "x" * 100_000, "\0", "\x1b[2J", "\ud800", "ünï\u202eçödé", "../../etc/passwd", "/dev/zero", "%s%n{}", "-1",
    "1e999", "NaN", [], {}, [[]], {"": {}}, [None] * 1000, [[[[1]]]], {"__proto__": 1}, ["fp32"], "cuda:0",
)  # fmt: skip


def _places(tree: Any) -> list[tuple[Any, ...]]:
    """Return the path of every value of a tree, its own first; trees may be deeper than Python's stack."""
    found, waiting = [], [((), tree)]
    while waiting:
        path, value = waiting.pop()
        found.append(path)
        inner = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        waiting += [((*path, key), below) for key, below in inner]
    return found


def damage_tree(tree: Any, random: Random) -> Any:
    """Return a copy of a JSON tree in which one to three places are damaged."""
    tree = {"root": copy.deepcopy(tree)}
    for _ in range(random.randint(1, 3)):
        place = random.choice(_places(tree)[1:])
        holder = tree
        for key in place[:-1]:
            holder = holder[key]
        key, kind = place[-1], random.randrange(7)
        if kind == 0 and isinstance(holder, dict) and len(place) > 1:
            del holder[key]
        elif kind == 1 and isinstance(holder[key], dict):
            holder[key][random.choice(("unknown", "", "a.b", "seal", "\ud800"))] = copy.deepcopy(
                random.choice(NASTY)
            )
        elif kind == 2 and isinstance(holder[key], list):
            holder[key] = holder[key] * random.choice((0, 2, 300))
        elif kind == 3 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = random.choice(
                (-holder[key], holder[key] * 10**9, holder[key] + 1, str(holder[key]))
            )
        elif kind == 4:
            for _ in range(random.choice((3, 50, 600))):
                holder[key] = [holder[key]]
        elif kind == 5 and isinstance(holder[key], str):
            holder[key] = random.choice(
                (holder[key] * 2, holder[key][:-1], holder[key].upper(), [holder[key]])
            )
        else:
            holder[key] = copy.deepcopy(random.choice(NASTY))
    return tree["root"]


def damage_json_text(text: str, random: Random) -> bytes:
    """Damage the spelling of a JSON file."""
    kind = random.randrange(7)
    if kind == 0:
        return text.replace("{", '{"twice": 1, "twice": 2, ', 1).encode()
    if kind == 1:
        depth = random.choice((1000, 100_000, 1_000_000))
        return ("[" * depth + "]" * depth).encode()
    if kind == 2:
        return json.dumps({"a": ["x" * 1000] * 8000}).encode()
    if kind == 3:
        return b"\xef\xbb\xbf" + text.encode()
    if kind == 4:
        return text.replace(": 1", ": " + "1" * 5000, 1).encode()
    return damage_bytes(text.encode(), random)


ALIASES = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
)
"""Eight levels of nine: 43 million items."""

YAML_VALUES = (
    "", "~", "[", "]", "{a: ", "&x [*x]", "*nowhere", "!!python/object/apply:os.system [id]", "!!binary x", ".inf",
    ".nan", "1e999", "0x10", "1_000", "-0", "99999999999999999999", "yes", "'", '"\\ud800"', "\"\\0\"", "|", ">",
    "2026-11-28", "12:30:45", "12MiB", "-3MiB", "1e9GiB", "[1, 2]", "{a: 1, a: 2}", "<<: *x", "? x", "\t", "x" * 20_000,
    "[" * 3000, "{a: " * 1000, "\u202e", "\x07", "%YAML 9.9", "--- x", "#",
)  # fmt: skip


def damage_yaml(text: str, random: Random) -> bytes:
    """Damage a YAML file by its lines."""
    lines = text.splitlines()
    for _ in range(random.randint(1, 3)):
        kind, number = random.randrange(9), random.randrange(len(lines))
        line = lines[number]
        if kind == 0 and len(lines) > 1:
            del lines[number]
        elif kind == 1:
            lines.insert(number, line)
        elif kind == 2:
            lines[number] = random.choice(("  ", "\t", "")) + line.lstrip()
        elif kind == 3:
            lines.insert(
                number, random.choice((ALIASES, "---", "...", "unknown_key: 1", "? [a]: b", "<<: {a: 1}"))
            )
        elif kind == 4 and ":" in line:
            lines[number] = random.choice((line.replace(":", "", 1), "x" + line.lstrip(), line.upper()))
        elif kind == 5:
            return damage_bytes("\n".join(lines).encode(), random)
        elif kind == 6:
            lines = lines[: number + 1]
        else:
            start = line.partition(":")[0]
            lines[number] = f"{start}: {random.choice(YAML_VALUES)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def damage_bytes(content: bytes, random: Random) -> bytes:
    """Damage a binary file: bits, bytes, numbers of 32 bit, blocks, its end."""
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        if not found:
            break
        place, kind = random.randrange(len(found)), random.randrange(7)
        if kind == 0:
            found[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            found[place] = random.randrange(256)
        elif kind == 2:  # a length or an offset of a flatbuffer, as likely as not
            number = random.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(found), random.randrange(2**32)))
            start = place // 4 * 4
            found[start : start + 4] = number.to_bytes(4, "little")
        elif kind == 3:
            size = random.choice((1, 16, 400))
            found[place : place + size] = bytes(len(found[place : place + size]))
        elif kind == 4:
            other, size = random.randrange(len(found)), random.choice((4, 64))
            found[place : place + size] = found[other : other + size]
        elif kind == 5:
            del found[place:]
        else:
            found += random.randbytes(random.choice((1, 100)))
    return bytes(found)
