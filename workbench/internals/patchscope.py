"""The token-identity PatchScope: which token a residual stream of the middle of the model stands for.

Ghandeharioun et al. (2401.06102), section 4; used so in Controllable Context Sensitivity (2411.07404).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .engines.base import Hook
from .prefix_cache import prefill, run
from .sites import Site

if TYPE_CHECKING:
    from ..progress import Reporter
    from .session import Session

IDENTITY = "cat -> cat\n1135 -> 1135\nhello -> hello\n?"
"""A prompt that repeats words, so that what is written at its last token is repeated too."""
ROWS = 96
"""States that are read at once."""


class PatchScope:
    """Reads states of the last token after any block by writing them at the last token of a prompt that repeats.

    Keys and values of the prompt are kept, so that a reading costs one token from the block after the state's own on,
    and states of several blocks are read together. After the last block a state is read as the model itself reads it.
    """

    def __init__(self, session: Session, ids: Sequence[int] | None = None) -> None:
        self._session = session
        self.ids = list(session.tokens(IDENTITY).rows()[0] if ids is None else ids)
        self._waiting = prefill(session, [self.ids])

    def read(self, states: Tensor, layers: Sequence[int], tokens: Tensor, progress: Reporter | None = None) -> Tensor:
        """Probability of tokens, read from states `[layer, batch, d_model]` after blocks.

        Tokens are `[batch, answer]`; the answer is `[layer, batch, answer]`, in float64.
        """
        count = states.shape[1]
        flat = states.flatten(0, 1)
        rows = [(layer, row) for layer in layers for row in range(count)]
        found = []
        for start in range(0, len(rows), ROWS):
            if progress is not None:
                progress.check()
            part = rows[start : start + ROWS]
            wanted = tokens[[row for _, row in part]]
            found.append(self._read(flat[start : start + ROWS], [layer for layer, _ in part], wanted))
        return torch.cat(found).reshape(len(layers), count, -1)

    def _read(self, states: Tensor, layers: list[int], tokens: Tensor) -> Tensor:
        after = torch.tensor(layers)
        first = min(layers)

        def hook(layer: int) -> Hook:
            own = states[after == layer]

            def write(whole: Tensor) -> Tensor:
                written = own[:, None].to(whole)
                return written if layer == first else torch.cat([whole, written])

            return Hook(Site("resid_post", layer), write)

        # one row runs as far as the first written block; from there on each block runs on the rows written before it
        waiting = self._waiting.pick([0])
        for block, kept in enumerate(waiting.cache.layers):
            rows = max(1, int((after < block).sum()))
            kept.batch_select_indices(torch.zeros(rows, dtype=torch.int64, device=kept.keys.device))
        with torch.no_grad():
            logits = run(self._session, waiting, [hook(layer) for layer in sorted(set(layers))])
        return (logits.gather(-1, tokens.to(logits.device)) - logits.logsumexp(-1, keepdim=True)).cpu().double().exp()
