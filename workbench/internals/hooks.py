"""What goes into a run of any engine: tokens that the model knows, and edits as hooks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..errors import UsageError
from .edits import Edit, Frame, apply
from .engines.base import Engine, Hook
from .sites import Site
from .tokens import TokenBatch, TokensLike
from .values import ValueBatch


def known(engine: Engine, tokens: TokensLike) -> TokenBatch:
    """What goes into the model: token ids, or values of a model without a vocabulary.

    Raises `UsageError` for what the model cannot take, such as a token that it does not have.
    """
    if (d_in := engine.architecture.shape.d_in) is not None:
        return ValueBatch.read(tokens, d_in)
    batch = TokenBatch.of(tokens)
    if isinstance(batch, ValueBatch):
        raise UsageError("this model takes token ids, and these are values for a model without a vocabulary")
    if (top := int(batch.ids.max())) >= (size := engine.architecture.shape.vocabulary):
        raise UsageError(f"token id {top} is outside the vocabulary of {size}")
    check_lengths(engine, batch.lengths)
    return batch


def check_lengths(engine: Engine, lengths: Tensor, longest: int | None = None) -> None:
    """Raise `UsageError` where what is said of a token depends on the length, for rows of several lengths.

    `longest` is how long the rows may become.
    """
    border = engine.architecture.length_dependent
    if border is None or max(int(lengths.max()), longest or 0) <= border:
        return
    if int(lengths.min()) != int(lengths.max()):
        raise UsageError(
            f"beyond {border} tokens {engine.architecture.length_reason} depend in {engine.architecture.name} on the "
            f"length of the text, so rows of {int(lengths.min())} and {int(lengths.max())} tokens would not give what "
            "each gives alone; run them one by one"
        )


def refuse_without_vocabulary(engine: Engine, what: str) -> None:
    """Raise `UsageError` for a model that gives numbers and no tokens."""
    if engine.architecture.shape.vocabulary == 0:
        raise UsageError(f"this model has no vocabulary, so no {what}: it gives numbers; ask `logits` for its output")


def edit_hooks(engine: Engine, edits: Sequence[Edit], frame: Frame) -> list[Hook]:
    """Edits as hooks at their sites, in the order given; raises `SiteError` for a site that is not served."""
    engine.check(edit.site for edit in edits)

    def hook(edit: Edit) -> Hook:
        def see(whole: Tensor) -> Tensor | None:
            return apply(edit, whole, frame)

        return Hook(Site(edit.site.kind, edit.site.layer), see)

    return [hook(edit) for edit in edits]
