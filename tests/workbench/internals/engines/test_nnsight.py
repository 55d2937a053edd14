"""nnsight's traces as an engine, and its own model beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import tiny
from workbench.internals import edits
from workbench.internals.engines.nnsight import ORDER, NnsightEngine
from workbench.internals.hooked_model import HookedModel
from workbench.internals.session import load
from workbench.internals.sites import ENDS, Site

IDS = [[5, 17, 3, 44, 9, 58, 23, 31, 7, 12]]


def test_its_own_model_traces_on_the_same_weights() -> None:
    import nnsight

    session = load(tiny("llama"))
    expected = session.capture(IDS, ["resid_post.1", "q_rot.2"])
    with torch.no_grad(), session.lock, session.nnsight.trace(torch.tensor(IDS)):
        residual = nnsight.save(session.nnsight.model.layers[1].output)
        query = nnsight.save(session.nnsight.model.layers[2].self_attn.source.attention_interface_1.inputs[0][1])
    assert torch.equal(residual, expected["resid_post.1"])
    assert torch.equal(query.transpose(1, 2), expected["q_rot.2"])


def test_with_a_tokenizer_it_takes_text_and_leaves_the_sessions_tokenizer_alone(default_model: Any) -> None:
    import nnsight

    before = default_model.tokenizer.padding_side
    text = "The capital of France is"
    with torch.no_grad(), default_model.lock, default_model.nnsight.trace(text):
        residual = nnsight.save(default_model.nnsight.model.layers[5].output)
    torch.testing.assert_close(residual, default_model.capture(text, ["resid_post.5"])["resid_post.5"])
    assert default_model.tokenizer.padding_side == before


def test_sites_may_be_asked_for_in_any_order() -> None:
    model = HookedModel(NnsightEngine(tiny("gemma2")))
    inner = [kind for kind in reversed(ORDER) if kind not in ENDS]
    names = [f"{kind}.{layer}" for layer in (2, 0, 1) for kind in inner]
    seen = model.capture(IDS, names)
    assert list(seen) == names


def test_the_order_of_the_kinds_is_the_models_own(architecture: str) -> None:
    from tests.conftest import hooked
    from workbench.internals.engines import Hook, Inputs

    model = hooked(tiny(architecture))
    came: list[Site] = []
    sites = [Site(kind, 1) for kind in model.kinds if kind not in ENDS]
    hooks = [Hook(site, lambda _, site=site: came.append(site)) for site in sites]  # type: ignore[misc]
    model.engine.run(Inputs(torch.tensor(IDS)), hooks)
    assert came == sorted(came, key=lambda site: ORDER.index(site.kind))


def test_a_module_that_is_called_output_is_read_and_edited() -> None:
    """Blocks made of BERT hold one, and nnsight serves what leaves a module under the same name."""
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    config = BertConfig(vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)
    config.is_decoder = True
    session = load(BertLMHeadModel(config).eval())
    ids = list(range(3, 12))
    sites = ["resid_pre.1", "resid_post.0", "q.1", "pattern.0", "mlp_post.1"]
    own, traced = (session.capture(ids, sites, logits=True, engine=name) for name in ("hf", "nnsight"))
    assert all(torch.equal(own[site], traced[site]) for site in sites)
    change = [edits.add("resid_post.0", torch.ones(24))]
    one, other = (session.logits(ids, edits=change, engine=name) for name in ("hf", "nnsight"))
    assert torch.allclose(one, other, atol=1e-6) and not torch.allclose(one, own.logits, atol=1e-3)


def test_the_other_engines_model_is_left_as_it_was() -> None:
    session = load(tiny("llama"))
    before = {name: type(module) for name, module in session.model.named_modules()}
    session.engine("nnsight")
    session.engine("transformerlens")
    assert {name: type(module) for name, module in session.model.named_modules()} == before
    assert not any("forward" in vars(module) for module in session.model.modules())


def test_a_model_whose_source_has_no_call_of_attention_is_served_without_its_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workbench.internals.engines.nnsight.CALL", "no_such_call")
    engine = NnsightEngine(tiny("llama"))
    assert set(engine.refused) == {"q_rot", "k_rot", "scores", "pattern"}
    assert "z" in engine.kinds()


def test_the_libraries_are_imported_when_first_asked_for() -> None:
    code = """
import sys
from tests.conftest import tiny
import workbench as wb
session = wb.load(tiny("llama"))
session.capture([[1, 2, 3]], ["resid_post.1"])
for library, engine in (("nnsight", "nnsight"), ("transformer_lens", "transformerlens")):
    assert library not in sys.modules, library
    session.engine(engine)
    assert library in sys.modules, library
"""
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
