"""Engines that run a twin of the model say so where its modules cannot be copied."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import tiny
from workbench.errors import WorkbenchError
from workbench.internals.engines.nnsight import NnsightEngine
from workbench.internals.engines.transformerlens import TransformerLensEngine
from workbench.internals.engines.twin import TwinEngine


@pytest.mark.parametrize("engine", [NnsightEngine, TransformerLensEngine])
def test_a_module_that_keeps_what_a_run_left_is_refused_in_words(engine: type[TwinEngine]) -> None:
    model = tiny("llama")
    kept = torch.nn.Linear(2, 2)
    model.model.layers[0].mlp.state = kept(torch.ones(1, 2))  # a recurrent state, still part of a graph
    with pytest.raises(WorkbenchError, match=f"the engine '{engine.name}' runs a copy .* use the engine 'hf'"):
        engine(model)
    model.model.layers[0].mlp.state = None
    assert "resid_post" in engine(model).kinds()
