"""Does the model compute with these statistics what it computes without them?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from workbench.internals.session import Session

TOKENS = 256
"""How much of a text is compared."""


def difference(session: Session, ids: np.ndarray) -> float:
    """The largest difference of the last residual norm among tokens, relative to its norm, on the first tokens."""
    import torch

    from workbench.internals import attention_statistics
    from workbench.internals.layer_statistics import StatisticsSpec
    from workbench.internals.tokens import TokenBatch

    hooked = session.hooked
    if not attention_statistics.uses_custom_attention(hooked.engine):
        return 0.0  # the statistics are read from the pattern, and nothing takes the place of attention
    tokens = TokenBatch.of(ids[:TOKENS].tolist())
    layers = range(session.shape.layers)
    recorder = attention_statistics.Recorder(
        StatisticsSpec(stats=("entropy",)).of(tokens), lambda part: None, len(layers)
    )
    with session.lock, torch.no_grad():
        plain = hooked.capture(tokens, "final_norm")["final_norm"].double()
        with attention_statistics.recording(hooked.engine, recorder, layers):
            ours = hooked.capture(tokens, "final_norm")["final_norm"].double()
    return float(((ours - plain).norm(dim=-1) / plain.norm(dim=-1)).max())
