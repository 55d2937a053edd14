"""The axes of a grid: layers, heads or neurons, and positions that stand for one another in two prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError
from ..architectures import Architecture
from ..token_positions import by_row, positions_of

KINDS = "kind of site that is written"
HEADS = "query head within a layer, from 0; key-value head where the kind has those"
NEURONS = "MLP neuron within a layer, from 0"
PLACES = "what stands at a place of each prompt, such as its subject or its end"


@dataclass(frozen=True)
class Axis:
    """One axis of a table: its values, and what they mean where its name does not say so by itself."""

    values: Sequence[Any]
    meaning: str | None = None


@dataclass(frozen=True)
class Lengths:
    """Tokens of each prompt, of the run that is edited and of the one from which values come (None: there is none)."""

    base: Sequence[int]
    other: Sequence[int] | None = None
    after: int = 0
    """The most tokens that the metric puts after a prompt."""

    def pair(self, prompt: int) -> tuple[int, int]:
        """Those of one prompt, in both runs."""
        return self.base[prompt], (self.base if self.other is None else self.other)[prompt]


@dataclass(frozen=True)
class PositionAxis:
    """Positions of a grid: `[prompt][position]` columns in the edited run, and those that stand for them in the other.

    name, axis: the axis of the table, None where all positions are written together.
    """

    name: str
    axis: Axis | None
    columns: Sequence[Sequence[tuple[int, int]]]

    @classmethod
    def of(cls, given: Any, lengths: Lengths, each: bool) -> PositionAxis:
        """Read positions: None for all, numbers, or names of places with a position for each prompt.

        A place has one number for all prompts, or one for each, or for each a pair (in the edited run, in the other).
        Raises `UsageError` where positions of one prompt do not stand for those of another.
        """
        if isinstance(given, Mapping):
            columns = [[_place(name, spec, prompt, lengths) for name, spec in given.items()]
                       for prompt in range(len(lengths.base))]  # fmt: skip
            return cls("place", Axis([str(name) for name in given], PLACES) if each else None, columns)
        plain = positions_of(given)
        if by_row(plain):
            raise UsageError(
                "positions of a grid are numbers for all prompts; where they differ give names of places, such as "
                "{'subject': [3, 5]} with a position for each prompt"
            )
        counts = sorted({*lengths.base, *(lengths.other or ())})
        if plain is None:
            if len(counts) > 1 and (each or any(len(set(lengths.pair(row))) > 1 for row in range(len(lengths.base)))):
                raise UsageError(
                    f"the prompts have {', '.join(map(str, counts[:6]))} tokens, so their positions cannot be aligned: "
                    "give positions from the end (negative), or names of places, such as {'subject': [3, 5]} with a "
                    "position for each prompt"
                )
            columns = [[(at, at) for at in range(length)] for length in lengths.base]
            return cls("position", Axis(list(range(counts[0]))) if each else None, columns)
        numbers: list[int] = list(plain)  # type: ignore[arg-type]
        if not numbers:
            raise UsageError("a grid needs at least one position, or None for all")
        columns = [[_both(number, prompt, lengths) for number in numbers] for prompt in range(len(lengths.base))]
        if not each:
            return cls("position", None, columns)
        if len(counts) == 1:
            return cls("position", Axis([at for at, _ in columns[0]]), columns)
        return cls("place", Axis([str(number) for number in numbers], PLACES), columns)


def _place(name: Any, spec: Any, prompt: int, lengths: Lengths) -> tuple[int, int]:
    """The two columns of a named place in one prompt."""
    plain = spec.tolist() if hasattr(spec, "tolist") else spec
    if isinstance(plain, (list, tuple)):
        if len(plain) != len(lengths.base):
            raise UsageError(
                f"the place {name!r} has {len(plain)} positions, and there are {len(lengths.base)} prompts"
            )
        plain = plain[prompt]
    if isinstance(plain, (list, tuple)) and len(plain) == 2:
        base, other = lengths.pair(prompt)
        return _column(plain[0], base, prompt), _column(plain[1], other, prompt)
    return _both(plain, prompt, lengths)


def _both(number: Any, prompt: int, lengths: Lengths) -> tuple[int, int]:
    base, other = lengths.pair(prompt)
    return _column(number, base, prompt), _column(number, other, prompt)


def _column(number: Any, length: int, prompt: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        raise UsageError(f"a position is a whole number, negative from the end, not {number!r}")
    if not -length <= number < length:
        raise UsageError(
            f"position {number} is outside prompt {prompt}, which has {length} tokens; give {-length} to {length - 1}"
        )
    return number % length


def layers_of(given: Any, kinds: Sequence[str], architecture: Architecture) -> list[int]:
    """The layers of a grid: those given, or all that have one of the kinds."""
    if given is None:
        return sorted({layer for kind in kinds for layer in architecture.layers_with(kind)})
    return numbers("layers", given, architecture.shape.layers, architecture.name)


def numbers(word: str, given: Any, count: int, name: str) -> list[int]:
    """Numbers from 0 to below `count`, each once; raises `UsageError` for others."""
    plain = positions_of(given, word)
    if plain is None or not plain or by_row(plain):
        raise UsageError(f"{word} of a grid are whole numbers from 0 on, at least one; not {given!r}")
    found: list[int] = list(plain)  # type: ignore[arg-type]
    if wrong := [number for number in found if not 0 <= number < count]:
        raise UsageError(f"the grid asks for {word} {wrong[0]}: {name} has {word} 0 to {count - 1}")
    if len(set(found)) < len(found):
        raise UsageError(f"{word} of a grid are given once each; not {found}")
    return found
