"""What goes into a run of any engine: tokens that the model knows, and edits as hooks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..errors import UsageError
from .cached_passes import check_frequencies
from .edits import Edit, Frame, apply
from .engines.base import Engine, Hook
from .sites import Site
from .tokens import TokenBatch


def known(engine: Engine, batch: TokenBatch) -> TokenBatch:
    """The tokens, if the model has them all; raises `UsageError` naming one that it does not have."""
    if (top := int(batch.ids.max())) >= (size := engine.architecture.shape.vocabulary):
        raise UsageError(f"token id {top} is outside the vocabulary of {size}")
    check_frequencies(engine, batch.lengths)
    return batch


def edit_hooks(engine: Engine, edits: Sequence[Edit], frame: Frame) -> list[Hook]:
    """Edits as hooks at their sites, in the order given; raises `SiteError` for a site that is not served."""
    engine.check(edit.site for edit in edits)

    def hook(edit: Edit) -> Hook:
        def see(whole: Tensor) -> Tensor | None:
            return apply(edit, whole, frame)

        return Hook(Site(edit.site.kind, edit.site.layer), see)

    return [hook(edit) for edit in edits]
