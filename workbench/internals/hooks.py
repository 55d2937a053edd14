"""What goes into a run of any engine: tokens that the model knows, and edits as hooks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import UsageError
from .attention_plan import AttentionPlan
from .edit_frame import Frame
from .edited_attention import attention_hooks
from .edits import Edit, EditLike, divided
from .engines.base import Engine, Hook
from .position_edits import PositionEdit, placement
from .rotation import positions_of
from .site_changes import changed
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


@dataclass(frozen=True, eq=False)
class PreparedEdits:
    """The hooks of a run, and the edits that move all tokens of a model whose positions are learned."""

    hooks: list[Hook]
    frame: Frame
    moves: tuple[PositionEdit, ...]
    name: str
    context: int | None

    def positions(self, count: int) -> Tensor | None:
        """Positions to give the model in this pass of `count` tokens, int `[batch, token]`; None for its own.

        Raises `UsageError` for a position that the model has not learned.
        """
        if not self.moves:
            return None
        start = self.frame.before
        acting = tuple(edit for edit in self.moves if self.frame.acts(edit.during))
        placed = placement(acting, self.frame, start + count)
        new, real = placed.new[:, start:], placed.own[:, start:] >= 0
        wrong = real & ((new != new.round()) | (new < 0) | (new >= (self.context or float("inf"))))
        if wrong.any():
            raise UsageError(
                f"{self.name} has learned positions 0 to {(self.context or 0) - 1}, and these edits put a token at "
                f"{float(new[wrong][0]):g}"
            )
        return new.clamp(min=0).long()


def prepare(engine: Engine, edits: EditLike, frame: Frame) -> PreparedEdits:
    """Check edits for a run over these tokens, and make them ready.

    Raises before anything runs: `SiteError` for what is not there, `UsageError` for what does not fit.
    """
    architecture = engine.architecture
    at_sites, of_attention = divided(edits, architecture)
    engine.check(edit.site for edit in at_sites)  # type: ignore[misc]
    for edit in of_attention:
        edit.check(architecture)
    moves = tuple(edit for edit in of_attention if isinstance(edit, PositionEdit) and edit.moves_all)
    if moves and not positions_of(engine).only_learned:
        moves = ()
    plan = AttentionPlan(tuple(edit for edit in of_attention if edit not in moves), frame, engine)
    plan.check()

    def hook(edit: Edit) -> Hook:
        return Hook(edit.site.whole, lambda whole: changed(edit, whole, frame))  # type: ignore[union-attr]

    hooks = [*map(hook, at_sites), *attention_hooks(plan)]
    found = PreparedEdits(hooks, frame, moves, architecture.name, architecture.shape.context)
    found.positions(frame.tokens.width - frame.start)
    return found


def edit_hooks(engine: Engine, edits: EditLike, frame: Frame) -> list[Hook]:
    """The hooks of edits in a run that a caller makes by itself; raises as `prepare` does.

    Raises `UsageError` for edits that need other positions as an input.
    """
    ready = prepare(engine, edits, frame)
    if ready.moves:
        raise UsageError(
            f"{ready.name} is given positions as an input: they can be moved in capture, logits, gradients and generate"
        )
    return ready.hooks
