"""Edits of attention: what some heads may see, and how much of it, written down as ranges and never as a T×T mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UsageError
from .edit_frame import During, during_of
from .edit_values import EditValue, is_tensor
from .sites import Site
from .token_positions import Positions, positions_of

if TYPE_CHECKING:
    from .architectures import Architecture

PositionsLike = Any
HeadsLike = Any
"""Heads of every layer asked for, or pairs (layer, head); None for all."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AttentionEdit(EditValue):
    """The base of edits of attention: which layers, heads and queries, and when.

    `heads` are numbers of query heads in all of `layers`, or pairs (layer, head). `queries` and `keys` count tokens of
    the prompt, negative from each row's end; queries None are all, generated tokens too. Several edits of one head act
    in this order: positions, scores in the order given, what is hidden, the softmax, and last the weights.
    """

    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | tuple[tuple[int, int], ...] | None = None
    queries: Positions = None
    during: During = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _numbers("layers", self.layers))
        object.__setattr__(self, "heads", _heads(self.heads, self.layers))
        object.__setattr__(self, "queries", positions_of(self.queries, "queries"))
        object.__setattr__(self, "during", during_of(self.during))
        if self.during not in ("all", "prompt") and self.queries is not None:
            raise UsageError(
                "queries count tokens of the prompt, so they do not go with generation only: leave them out"
            )

    @property
    def pairs(self) -> bool:
        """Whether `heads` are pairs (layer, head)."""
        return self.heads is not None and any(isinstance(head, tuple) for head in self.heads)

    def heads_in(self, layer: int, architecture: Architecture) -> tuple[int, ...]:
        """The query heads of a layer that it acts on; none where the layer has no attention that can be told."""
        if "pattern" not in architecture.layers[layer].places:
            return ()
        if self.pairs:
            return tuple(sorted({head for at, head in self.heads if at == layer}))  # type: ignore[misc, union-attr]
        if self.layers is not None and layer not in self.layers:
            return ()
        every = range(architecture.heads("pattern", layer))
        return tuple(every) if self.heads is None else tuple(sorted(dict.fromkeys(self.heads)))  # type: ignore[arg-type]

    def check(self, architecture: Architecture) -> None:
        """Raise `SiteError` for a layer or head that the model does not have."""
        named: Sequence[Any] = self.heads or ()
        layers = self.layers or architecture.layers_with("pattern") or (0,)
        pairs = named if self.pairs else [(layer, head) for layer in layers for head in named or (None,)]
        for layer, head in pairs:
            architecture.check(Site("pattern", layer, head))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class KeyEdit(AttentionEdit):
    """The base of edits that act on some keys; None is every key."""

    keys: Positions = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "keys", positions_of(self.keys, "keys"))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class KnockOut(KeyEdit):
    """Queries no longer see keys: hidden before the softmax, or with weights of zero after it; see `knock_out`."""

    renormalise: bool = True


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ScoreEdit(KeyEdit):
    """Scores of queries and keys are multiplied or raised; see `scale_scores` and `add_to_scores`."""

    op: Literal["scale", "add"]
    value: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "value", _finite(f"{self.op} of scores", self.value))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class WeightEdit(KeyEdit):
    """Weights of queries and keys are multiplied after the softmax; see `scale_weights`."""

    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "factor", _finite("the factor of weights", self.factor))
        if self.factor < 0:
            raise UsageError(f"weights are multiplied by 0 or more, not {self.factor}")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class WindowEdit(AttentionEdit):
    """Queries see the first keys and the latest ones only; see `window`."""

    recent: int
    sinks: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for word, value, least in (("recent", self.recent, 1), ("sinks", self.sinks, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"{word} are a whole number of tokens from {least} on, not {value!r}")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DocumentMask(AttentionEdit):
    """Tokens of a document see documents by a table; see `block_mask`."""

    documents: tuple[int, ...] | tuple[tuple[int, ...], ...]
    sees: tuple[tuple[bool, ...], ...] | None = None
    generated: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        documents = positions_of(self.documents, "documents")
        object.__setattr__(self, "documents", tuple(documents) if isinstance(documents, range) else documents)
        if not self.documents:
            raise UsageError("documents has the number of each token's document, -1 for none; it is empty")
        if min(self.numbers) < -1 or self.generated < -1:
            raise UsageError("documents are numbered from 0 on, and -1 is for tokens of none")
        if self.sees is not None:
            table = self.sees.tolist() if hasattr(self.sees, "tolist") else self.sees
            table = tuple(tuple(bool(one) for one in row) for row in table)
            count = max(*self.numbers, self.generated) + 1
            if any(len(row) != len(table) for row in table) or len(table) < count:
                raise UsageError(f"sees is a table of {count} × {count} documents: which may look at which")
            object.__setattr__(self, "sees", table)

    @property
    def numbers(self) -> set[int]:
        """The numbers that there are."""
        rows = self.documents if isinstance(self.documents[0], tuple) else (self.documents,)
        return {number for row in rows for number in row}


def knock_out(
    queries: PositionsLike = None,
    keys: PositionsLike = None,
    layers: Any = None,
    heads: HeadsLike = None,
    *,
    renormalise: bool = True,
    during: During = "all",
) -> KnockOut:
    """Let queries no longer see keys, in some heads.

    With `renormalise` the keys are hidden before the softmax, and the weights that are left sum to 1. Without it their
    weights are set to zero after the softmax, the others stay what they were, and the row sums to less than 1.

        edits.knock_out(queries=[-1], keys=range(12, 20), layers=range(10, 20))
    """
    return KnockOut(
        queries=queries, keys=keys, layers=layers, heads=heads, renormalise=bool(renormalise), during=during
    )


def scale_scores(
    factor: float,
    queries: PositionsLike = None,
    keys: PositionsLike = None,
    layers: Any = None,
    heads: HeadsLike = None,
    *,
    during: During = "all",
) -> ScoreEdit:
    """Multiply the scores (after scale and softcap) of queries and keys before the softmax."""
    return ScoreEdit(op="scale", value=factor, queries=queries, keys=keys, layers=layers, heads=heads, during=during)


def add_to_scores(
    value: float,
    queries: PositionsLike = None,
    keys: PositionsLike = None,
    layers: Any = None,
    heads: HeadsLike = None,
    *,
    during: During = "all",
) -> ScoreEdit:
    """Add a number to the scores (after scale and softcap) of queries and keys before the softmax."""
    return ScoreEdit(op="add", value=value, queries=queries, keys=keys, layers=layers, heads=heads, during=during)


def scale_weights(
    factor: float,
    queries: PositionsLike = None,
    keys: PositionsLike = None,
    layers: Any = None,
    heads: HeadsLike = None,
    *,
    during: During = "all",
) -> WeightEdit:
    """Multiply weights by a factor after the softmax; nothing is renormalised, so rows sum to something else than 1."""
    return WeightEdit(factor=factor, queries=queries, keys=keys, layers=layers, heads=heads, during=during)


def window(
    recent: int,
    sinks: int = 0,
    queries: PositionsLike = None,
    layers: Any = None,
    heads: HeadsLike = None,
    *,
    during: During = "all",
) -> WindowEdit:
    """Let queries see the first `sinks` tokens of their row and the latest `recent`, themselves included.

    This is what a streaming head sees; `recent=1, sinks=0` leaves every token alone with itself.
    """
    return WindowEdit(recent=recent, sinks=sinks, queries=queries, layers=layers, heads=heads, during=during)


def block_mask(
    documents: PositionsLike,
    sees: Any = None,
    layers: Any = None,
    heads: HeadsLike = None,
    *,
    generated: int = -1,
    during: During = "all",
) -> DocumentMask:
    """Let the tokens of a document see some documents only: their own, or as the table `sees[query, key]` says.

    `documents` has each token's document `[position]`, or `[batch, position]`; tokens of none, -1, see all and are seen
    by all. Generated tokens belong to the document `generated`.
    """
    return DocumentMask(documents=documents, sees=sees, layers=layers, heads=heads, generated=generated, during=during)


def _numbers(word: str, value: Any) -> tuple[int, ...] | None:
    found = positions_of(value, word)
    if found is None:
        return None
    plain: tuple[Any, ...] = tuple(found)
    if not plain or any(isinstance(one, tuple) or one < 0 for one in plain):
        raise UsageError(f"{word} are whole numbers from 0 on, at least one, or None for all; not {value!r}")
    return plain


def _heads(value: Any, layers: tuple[int, ...] | None) -> Any:
    found = positions_of(value, "heads")
    if found is None:
        return None
    plain = tuple(found)
    pairs = [isinstance(one, tuple) for one in plain]
    if not plain or any(pairs) != all(pairs):
        raise UsageError(f"heads are numbers, or pairs (layer, head), at least one, or None for all; not {value!r}")
    if any(pairs):
        if layers is not None:
            raise UsageError("heads given as pairs (layer, head) name their layers: leave layers out")
        if any(len(one) != 2 for one in plain):  # type: ignore[arg-type]
            raise UsageError(f"a pair of heads is (layer, head); not {value!r}")
    if any(number < 0 for one in plain for number in (one if isinstance(one, tuple) else (one,))):
        raise UsageError(f"heads count from 0; not {value!r}")
    return plain


def _finite(word: str, value: Any) -> float:
    import math

    if is_tensor(value) and value.requires_grad:
        raise UsageError(f"{word}: takes a number and carries no gradient; learn a direction with edits.add instead")
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"{word}: takes a finite number, not {value!r}")
    return float(value)
