"""Texts made of named pieces, as token ids with the piece that each token lies in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import UsageError
from . import make_needles
from .placement import Unplaceable, place_at_length

if TYPE_CHECKING:
    from . import Haystack

NEEDLES = 4
"""Needles that are tried before it is said that a tokenizer places none."""


class Piece(NamedTuple):
    """A stretch of a text with its name."""

    label: str
    text: str


def encode(tokenizer: Any, pieces: Sequence[Piece], special: bool = True) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Ids of the pieces joined as they are, the piece of each token's first character, and the pieces' names.

    The text is tokenised in one go, as the tokenizer does by itself; `special` is whether it may add its own tokens.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UsageError("this tokenizer does not tell where in the text its tokens lie; take one that does")
    text = "".join(piece.text for piece in pieces)
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special, verbose=False)
    starts = np.cumsum([0, *(len(piece.text) for piece in pieces)])[:-1]
    offsets = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    # a token may begin with the space or line end that closes the piece before
    first = offsets[:, 0] + [len(text[a:b]) - len(text[a:b].lstrip()) for a, b in offsets]
    first = np.where(first < offsets[:, 1], first, offsets[:, 0])
    inside = np.searchsorted(starts, first, side="right") - 1
    return np.asarray(encoded["input_ids"], dtype=np.int64), inside, [piece.label for piece in pieces]


def from_document(tokenizer: Any, pieces: Sequence[Piece], between: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The same with something between the pieces, which counts to the one before."""
    last = len(pieces) - 1
    return encode(
        tokenizer, [Piece(each.label, each.text + (between if at < last else "")) for at, each in enumerate(pieces)]
    )


def needle_pieces(
    tokenizer: Any, haystack: Haystack, length: int, depth: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A haystack of exactly `length` tokens with a needle at a depth and its question at the end.

    Raises `UsageError` if the length is too small, or if this tokenizer places none of a few needles exactly.
    """
    reasons = ""
    for needle in make_needles(NEEDLES, rng)[0]:
        try:
            trial = place_at_length(tokenizer, needle, haystack, length, depth, rng)
        except Unplaceable as error:
            reasons = str(error)
            continue
        ids = np.asarray(trial.prompt)
        ends = [*trial.needle, trial.question, len(ids)]
        return ids, np.repeat(np.arange(4), np.diff(ends, prepend=0)), ["before", "needle", "after", "question"]
    raise UsageError(f"this tokenizer places no needle exactly ({reasons}); take other segments than 'needle'")
