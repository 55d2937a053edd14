"""Does the model compute with these statistics what it computes without them?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from workbench.session import Session

TOKENS = 256
"""How much of a text is compared."""


def difference(session: Session, ids: np.ndarray) -> float:
    """The largest difference of the last residual norm among tokens, relative to its norm, on the first tokens."""
    import torch

    from workbench import longrun
    from workbench.layer_statistics import Wanted
    from workbench.tokens import Tokens

    hooked = session.hooked
    if not longrun.native(hooked.engine):
        return 0.0  # the statistics are read from the pattern, and nothing takes the place of attention
    tokens = Tokens.of(ids[:TOKENS].tolist())
    layers = range(session.shape.layers)
    recorder = longrun.Recorder(Wanted(stats=("entropy",)).of(tokens), lambda part: None, len(layers))
    with session.lock, torch.no_grad():
        plain = hooked.capture(tokens, "final_norm")["final_norm"].double()
        with longrun.recording(hooked.engine, recorder, layers):
            ours = hooked.capture(tokens, "final_norm")["final_norm"].double()
    return float(((ours - plain).norm(dim=-1) / plain.norm(dim=-1)).max())
