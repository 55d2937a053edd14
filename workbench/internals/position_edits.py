"""Other positions for some heads: what they would attend to if tokens stood elsewhere, or rotations turned slower.

Attention that rotates queries and keys knows positions by their differences only. These edits turn both once more, from
the position that the model gave a token to the one it is to have, or from one frequency to another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import UsageError
from .attention_edits import AttentionEdit, HeadsLike, PositionsLike
from .edit_frame import During, Frame
from .token_positions import Positions, columns_of, positions_of

if TYPE_CHECKING:
    from torch import Tensor

Op = Literal["shift", "step", "at", "interpolate", "truncate", "ntk", "self_extend"]
OPS = get_args(Op)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PositionEdit(AttentionEdit):
    """Heads see tokens at other positions, or with other frequencies of rotation; made by the functions below.

    Several at one head act one after the other, on the positions that the ones before made.
    """

    op: Op
    by: float | tuple[float, ...] | tuple[tuple[float, ...], ...]
    tokens: Positions = None
    neighbours: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "tokens", positions_of(self.tokens, "tokens"))
        if self.op not in OPS:
            raise UsageError(f"there are no other positions {self.op!r}; there is: {', '.join(OPS)}")
        if self.queries is not None:
            raise UsageError("positions are those of all queries and keys of a head: leave queries out")
        by: Any = self.by.tolist() if hasattr(self.by, "tolist") else self.by
        by = tuple(tuple(one) if isinstance(one, (list, tuple)) else one for one in by) if _many(by) else by
        object.__setattr__(self, "by", by)
        if _many(by) != (self.op == "at") and not (_many(by) and self.op == "step"):
            raise UsageError(f"{self.op!r}: takes {'a number for each token' if self.op == 'at' else 'one number'}")
        numbers = [one for row in by for one in (row if _many(row) else (row,))] if _many(by) else [by]
        if not numbers or not all(isinstance(one, (int, float)) and math.isfinite(one) for one in numbers):
            raise UsageError(f"{self.op!r}: takes finite numbers, not {self.by!r}")

    @property
    def moves_all(self) -> bool:
        """Whether it moves tokens, for every layer and head."""
        return self.layers is None and self.heads is None and self.op in ("shift", "step", "at")

    @property
    def by_token(self) -> bool:
        """Whether there is a number for each token."""
        return _many(self.by)


def shift_positions(
    by: float,
    tokens: PositionsLike = None,
    layers: Any = None,
    heads: HeadsLike = None,
    *,
    during: During = "all",
) -> PositionEdit:
    """Move tokens of the prompt by `by` positions, forward or backward; generated tokens follow the last one.

    edits.shift_positions(1000, tokens=range(-12, 0))     # the question asked from further away
    """
    return PositionEdit(op="shift", by=by, tokens=tokens, layers=layers, heads=heads, during=during)


def step_positions(by: Any, layers: Any = None, heads: HeadsLike = None, *, during: During = "all") -> PositionEdit:
    """Let positions grow by `by` from token to token, a number or one for each token `[position]`, `[batch, position]`.

    With one for each token, the first is where the first token stands, and generated tokens grow by 1.
    """
    return PositionEdit(op="step", by=by, layers=layers, heads=heads, during=during)


def set_positions(at: Any, layers: Any = None, heads: HeadsLike = None, *, during: During = "all") -> PositionEdit:
    """Give each token its position `[position]` or `[batch, position]`; generated tokens follow the last one by 1."""
    return PositionEdit(
        op="at", by=tuple(at) if isinstance(at, range) else at, layers=layers, heads=heads, during=during
    )


def interpolate_positions(
    scale: float, layers: Any = None, heads: HeadsLike = None, *, during: During = "all"
) -> PositionEdit:
    """Divide positions by `scale` (linear interpolation, arXiv 2306.15595)."""
    return PositionEdit(op="interpolate", by=_above("scale", scale), layers=layers, heads=heads, during=during)


def truncate_frequencies(
    length: float, layers: Any = None, heads: HeadsLike = None, *, during: During = "all"
) -> PositionEdit:
    """Keep frequencies that turn at least once in `length` tokens, and slow the others down or stop them.

    With c = 2π / length: θ ≥ c stays, c/8 < θ < c becomes 2π / (16 · length), θ ≤ c/8 becomes 0 (the truncated basis
    of arXiv 2308.10882).
    """
    return PositionEdit(op="truncate", by=_above("length", length), layers=layers, heads=heads, during=during)


def ntk_frequencies(
    scale: float, layers: Any = None, heads: HeadsLike = None, *, during: During = "all"
) -> PositionEdit:
    """Raise the base of the rotation by scale^(d / (d − 2)): the slowest frequency is divided by `scale`.

    The fastest stays as it is (NTK-aware scaling).
    """
    return PositionEdit(op="ntk", by=_above("scale", scale), layers=layers, heads=heads, during=during)


def self_extend(
    group: int, neighbours: int, layers: Any = None, heads: HeadsLike = None, *, during: During = "all"
) -> PositionEdit:
    """Keys fewer than `neighbours` tokens away keep their positions, and further ones are seen in groups.

    There (arXiv 2401.01325) a key stands at ⌊p / group⌋ and a query at ⌊p / group⌋ + neighbours − ⌊neighbours / group⌋.
    """
    for word, value in (("group", group), ("neighbours", neighbours)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{word} is a whole number from 1 on, not {value!r}")
    return PositionEdit(op="self_extend", by=group, neighbours=neighbours, layers=layers, heads=heads, during=during)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where tokens stand, by columns of the run `[batch, column]`, float64.

    own: as the model has it. new: as edited. far_query, far_key: for keys at least `neighbours` tokens away, where
    there is a difference.
    """

    own: Tensor
    new: Tensor
    edits: tuple[PositionEdit, ...]
    neighbours: int | None = None
    far_query: Tensor | None = None
    far_key: Tensor | None = None

    def frequencies(self, own: Tensor) -> Tensor:
        """The frequencies of rotation `[frequency]` as edited, from the model's, the fastest first."""
        import torch

        found = own.double()
        for edit in self.edits:
            if edit.op == "truncate":
                least = 2 * math.pi / edit.by  # type: ignore[operator]
                slow = torch.where(found > least / 8, least / 16, 0.0)
                found = torch.where(found >= least, found, slow)
            elif edit.op == "ntk":
                index = torch.arange(len(own), device=own.device, dtype=torch.float64)
                found = found * float(edit.by) ** (-index / max(len(own) - 1, 1))  # type: ignore[arg-type]
        return found


def placement(edits: tuple[PositionEdit, ...], frame: Frame, columns: int) -> Placement:
    """Where the tokens in the first `columns` columns of a run stand; raises `UsageError` for another length."""
    import torch

    own = torch.arange(columns, dtype=torch.float64) - frame.pads[:, None].double()
    new = own
    rest: dict[str, Any] = {}
    for edit in edits:
        if edit.op in ("shift", "step", "at"):
            new = _placed(edit, new, frame)
        elif edit.op == "interpolate":
            new = new / edit.by  # type: ignore[operator]
        elif edit.op == "self_extend":
            if rest:
                raise UsageError("self_extend is given twice for the same head")
            grouped = (new / edit.by).floor()  # type: ignore[operator]
            ahead = edit.neighbours - edit.neighbours // int(edit.by)  # type: ignore[arg-type, operator]
            rest = {"neighbours": edit.neighbours, "far_key": grouped, "far_query": grouped + ahead}
    return Placement(own, new, edits, **rest)


def _placed(edit: PositionEdit, now: Tensor, frame: Frame) -> Tensor:
    """Positions `[batch, column]` after a shift, a step, or positions that were given."""
    import torch

    width, count = frame.tokens.width, now.shape[1]
    prompt = now[:, :width].clone()
    pads, lengths = frame.pads, frame.tokens.lengths.cpu()
    step = 1.0
    if edit.op == "shift":
        columns, keep = columns_of(frame.tokens.lengths, edit.tokens, "tokens")
        columns, inside = columns + pads[:, None], keep & (columns + pads[:, None] < prompt.shape[1])
        rows = torch.arange(len(prompt))[:, None].expand_as(columns)
        prompt[rows[inside], columns[inside]] += edit.by  # type: ignore[arg-type]
    elif not edit.by_token:
        step = float(edit.by)  # type: ignore[arg-type]
        prompt = prompt * step
    else:
        numbers: Any = edit.by
        numbers = numbers if _many(numbers[0]) else (numbers,)
        if len({len(row) for row in numbers}) > 1:
            raise UsageError("positions of every row need as many numbers as the longest row has tokens")
        given = torch.tensor(numbers, dtype=torch.float64)
        if given.shape[1] != int(lengths.max()) or len(given) not in (1, len(prompt)):
            raise UsageError(
                f"positions of {len(given)} row(s) with {given.shape[1]} tokens are given, and the prompt has "
                f"{len(prompt)} with {int(lengths.max())}; give one number for each token"
            )
        given = given.cumsum(1) if edit.op == "step" else given
        column = (torch.arange(prompt.shape[1]) - pads[:, None]).clamp(0, given.shape[1] - 1)
        prompt = given.expand(len(prompt), -1).gather(1, column)
    if count <= width:
        return prompt
    last = prompt.gather(1, (pads + lengths - 1)[:, None])
    return torch.cat([prompt, last + step * torch.arange(1, count - width + 1)], dim=1)


def _many(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _above(word: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise UsageError(f"{word} is a number above 0, not {value!r}")
    return float(value)
