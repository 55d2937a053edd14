"""What a run has come to at every token: what checks compare."""

from __future__ import annotations

from torch import Tensor

from .engines.base import Engine, Hook, Inputs
from .sites import Site


def stream_end(engine: Engine, inputs: Inputs) -> Tensor:
    """What every token has come to, `[batch, position, d_model]`: the normed end of the stream, else the logits.

    Logits may be nothing but rounding, in a model that has nothing to say after these tokens; the stream never is.
    """
    if "final_norm" not in engine.kinds():
        found = engine.run(inputs)
        assert found is not None
        return found
    kept: list[Tensor] = []
    engine.run(inputs, [Hook(Site("final_norm"), lambda whole: kept.append(whole.clone()))], logits=False)
    return kept[0]
