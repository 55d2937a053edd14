"""An adapter that is put in for a while leaves the user's model as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import UsageError
from workbench.internals.adapter_switch import with_adapter

IDS = [3, 1, 4, 1, 5]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter")
    settings = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    wrapped: Any = get_peft_model(tiny("llama"), settings)
    wrapped.save_pretrained(folder)
    return folder


def told(model: Any) -> list[Any]:
    parameters = [(name, id(each), each.requires_grad) for name, each in model.named_parameters()]
    modules = [(name, id(each), each.training, sorted(vars(each))) for name, each in model.named_modules()]
    return [parameters, modules, model.config._attn_implementation]


def test_the_model_is_as_it_was(adapter: Path) -> None:
    model = tiny("llama").train()
    model.model.layers[0].eval()
    model.lm_head.weight.requires_grad_(False)
    with wb.load(model) as session:
        plain, before = session.logits(IDS), told(model)
        with with_adapter(session, str(adapter)) as arms:
            tuned = arms.session.logits(IDS)
            with arms.without() as without:
                assert torch.equal(without.logits(IDS), plain)
        assert not torch.allclose(tuned, plain)
        assert told(model) == before
        assert torch.equal(session.logits(IDS), plain)
    assert told(model) == before


def test_the_model_is_as_it_was_after_an_adapter_that_does_not_fit(adapter: Path) -> None:
    model = tiny("gpt2").train()
    with wb.load(model) as session:
        before = told(model)
        with pytest.raises(wb.WorkbenchError, match="does not fit"), with_adapter(session, str(adapter)):
            pass
        assert told(model) == before


def test_an_adapter_of_the_users_own_is_never_taken_out(adapter: Path) -> None:
    model = tiny("llama")
    with wb.load(model) as session, with_adapter(session, str(adapter)):
        within = told(model)
        with pytest.raises(UsageError, match="carries an adapter already"), with_adapter(session, str(adapter)):
            pass
        assert told(model) == within
