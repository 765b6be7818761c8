"""Errors of training, profiles and the solver.

PrunnetError (runtime_py.errors)
├ DocumentError(ValueError)         file, line, field, given, allowed      exit 2
│ ├ ProfileError                    of a device profile                    exit 2
│ └ RecipeError                     of a training recipe                   exit 2
├ EncoderError(ValueError)          file or field of an encoder package    exit 2
├ DatasetError(ValueError)          what is missing on disk                exit 2
├ EvaluationError(ValueError)       what cannot be measured, or written   exit 2
├ TrainingError(RuntimeError)       what went wrong and the checkpoint     exit 2
└ InfeasibleError(ValueError)       binding budget, best reachable         exit 3
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from runtime_py.errors import MissingExtraError, PrunnetError, UnknownNameError

__all__ = [
    "DatasetError",
    "DocumentError",
    "EncoderError",
    "EvaluationError",
    "InfeasibleError",
    "MissingExtraError",
    "ProfileError",
    "PrunnetError",
    "RecipeError",
    "TrainingError",
    "UnknownNameError",
]


MOST_SHOWN = 80
"""Characters of a value that a message shows."""


class DocumentError(PrunnetError, ValueError):
    """A file of keys and values that does not say what it must.

    The attributes are those of the first problem; the message lists them all, a line each.

    Args:
        file: The file.
        problem: What is wrong, in words.
        line: 1-based line, if known.
        field: Dotted path of the field, if known.
        given: The offending value.
        allowed: What would be accepted.
        others: What else is wrong with the file.
    """

    def __init__(
        self,
        file: str | Path,
        problem: str,
        *,
        line: int | None = None,
        field: str | None = None,
        given: object = None,
        allowed: str | None = None,
        others: Sequence[DocumentError] = (),
    ) -> None:
        self.file, self.problem, self.line = Path(file), problem, line
        self.field, self.given, self.allowed = field, given, allowed
        self.others = tuple(others)
        where = f"{file}:{line}" if line else f"{file}"
        parts = [f"{where}: {field}: {problem}" if field else f"{where}: {problem}"]
        if given is not None:
            parts.append(f"given {shortened(given)}")
        if allowed:
            parts.append(f"allowed: {allowed}")
        own = "; ".join(parts)
        if others:
            listed = "\n".join(f"  {text}" for text in (own, *map(str, others)))
            own = f"{file}: {len(others) + 1} problems\n{listed}"
        super().__init__(own)

    @classmethod
    def of(cls, problems: Sequence[Self]) -> Self:
        """Return one error that lists several of a file, at least one; its attributes are the first one's."""
        first, *others = problems
        return cls(
            first.file,
            first.problem,
            line=first.line,
            field=first.field,
            given=first.given,
            allowed=first.allowed,
            others=others,
        )


class ProfileError(DocumentError):
    """A device profile, or a file that it names, that does not say what it must."""


class RecipeError(DocumentError):
    """A training recipe that does not say what it must."""


def shortened(value: object) -> str:
    """Return a value as text for a message, at most some 80 characters of it."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def first_of(items: Sequence[str], most: int, joint: str = ", ") -> str:
    """Return the first few items as text for a message, with the number of the others.

    Example:
        >>> first_of(["a", "b", "c"], 2), first_of(["a", "b", "c"], 2, "; "), first_of(["a"], 2)
        ('a, b and 1 more', 'a; b; and 1 more', 'a')
    """
    rest = len(items) - most
    last = f"{joint if joint.startswith(';') else ' '}and {rest} more" if rest > 0 else ""
    return joint.join(items[:most]) + last


class EncoderError(PrunnetError, ValueError):
    """An encoder, or an encoder package on disk, that cannot be used; says which part and the remedy."""


class DatasetError(PrunnetError, ValueError):
    """Images that are not where or what the data set's layout demands."""


class EvaluationError(PrunnetError, ValueError):
    """An evaluation that cannot be done as asked, or figures from which no other figure follows."""


class TrainingError(PrunnetError, RuntimeError):
    """Training that cannot go on; names the last good checkpoint."""


class InfeasibleError(PrunnetError, ValueError):
    """No capacity fits the budgets.

    Args:
        profile: Name of the profile.
        budget: The binding budget, e.g. "max_artifact".
        limit: What the budget allows, in `unit`.
        reachable: The smallest value that any capacity reaches, in `unit`.
        unit: Unit of both.
        remedy: What would help.
        written: The unit in which the profile writes the budget, if it is one of bytes, e.g. ("MB", 10**6).
    """

    exit_code = 3

    def __init__(
        self,
        profile: str,
        budget: str,
        limit: float,
        reachable: float,
        unit: str,
        remedy: str,
        written: tuple[str, int] = ("MiB", 2**20),
    ) -> None:
        self.profile, self.budget, self.limit = profile, budget, limit
        self.reachable, self.unit, self.remedy, self.written = reachable, unit, remedy, written
        super().__init__(
            f"profile {profile!r}: no capacity fits {budget} = {_show(limit, unit, written)}; "
            f"the smallest reachable is {_show(reachable, unit, written)}. {remedy}"
        )


def _show(value: float, unit: str, written: tuple[str, int]) -> str:
    name, size = written
    return f"{value:,.0f} bytes ({value / size:.2f} {name})" if unit == "bytes" else f"{value:g} {unit}"
