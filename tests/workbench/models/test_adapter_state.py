"""The model's own weights keep their fingerprint whatever adapters wrap them; adapters are told as they are now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model

import workbench as wb
from tests.conftest import tiny
from workbench.errors import UsageError
from workbench.models import weights_fingerprint
from workbench.models.adapter_state import adapters_in, base_weights

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
KINDS: dict[str, dict[str, Any]] = {
    "some projections": {"target_modules": ["q_proj"]},
    "all projections": {"target_modules": "all-linear"},
    "a saved head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "some tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [3, 4]},
    "embeddings and head": {"target_modules": ["embed_tokens", "lm_head"]},
}


def tuned(tied: bool = False, **settings: Any) -> Any:
    torch.manual_seed(2)
    settings = {"target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **settings}
    return get_peft_model(tiny("llama", tie_word_embeddings=tied), LoraConfig(r=2, **settings)).eval()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_own_weights_have_their_own_names(kind: str, tied: bool) -> None:
    model = tuned(tied, **KINDS[kind]).get_base_model()
    plain = tiny("llama", tie_word_embeddings=tied)
    assert weights_fingerprint(base_weights(model)) == weights_fingerprint(plain)
    assert adapters_in(plain) is None
    told = adapters_in(model)
    assert told is not None and told.id == "in-memory/default" and told.merged == []


def test_a_model_of_peft_that_is_handed_in_is_recorded_with_its_adapter() -> None:
    model = tuned()
    model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.eval()
    plain = wb.load(tiny("llama", tie_word_embeddings=False)).info
    session = wb.load(model)
    first = session.info
    assert first.fingerprint == plain.fingerprint and first.adapter is not None
    assert first.adapter.id == "in-memory/default"
    model.set_adapter("second")
    second = session.info
    assert second.adapter is not None and second.adapter.id == "in-memory/second"
    assert second.adapter.sha256 != first.adapter.sha256 and second.fingerprint == plain.fingerprint
    model.base_model.model.model.layers[0].self_attn.q_proj.scaling["second"] *= 2
    scaled = session.info.adapter
    assert scaled is not None and scaled.sha256 != second.adapter.sha256
    with model.disable_adapter():
        assert session.info.adapter is None and session.info.fingerprint == plain.fingerprint
    model.merge_adapter()
    merged = session.info
    assert merged.fingerprint != plain.fingerprint
    assert merged.adapter is not None and merged.adapter.merged == ["second"]


def test_an_adapter_from_a_folder_is_named_by_it_only_while_it_is_what_was_there(tmp_path: Path) -> None:
    tiny("llama", tie_word_embeddings=False).save_pretrained(tmp_path / "model")
    tuned().save_pretrained(str(tmp_path / "adapter"))
    session = wb.load(tmp_path / "model", adapter=tmp_path / "adapter", device="cpu")
    first = session.info
    assert first.adapter is not None and first.adapter.id == (tmp_path / "adapter").as_posix()
    with torch.no_grad():
        session.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight.mul_(2)
    second = session.info
    assert second.adapter is not None and second.adapter.id == f"{first.adapter.id}, changed in memory"
    assert second.adapter.sha256 != first.adapter.sha256 and second.fingerprint == first.fingerprint


@pytest.mark.parametrize("how", ["pissa", "olora"])
def test_an_initialisation_that_rewrites_the_weights_keeps_the_fingerprint(how: str, tmp_path: Path) -> None:
    plain = tiny("llama", tie_word_embeddings=False)
    plain.save_pretrained(tmp_path / "model")
    model = tuned(init_lora_weights=how)
    assert weights_fingerprint(base_weights(model.get_base_model())) != weights_fingerprint(plain)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(1.5)
        expected = model(torch.tensor([IDS])).logits
    model.save_pretrained(str(tmp_path / "adapter"))
    session = wb.load(tmp_path / "model", adapter=tmp_path / "adapter", device="cpu")
    assert torch.allclose(session.logits(IDS), expected, atol=1e-4)
    assert session.info.fingerprint == weights_fingerprint(plain)
    # without its adapter it is not that model: a part of its weights is in the adapter
    session.model.model.layers[0].self_attn.q_proj.enable_adapters(False)
    session.model.model.layers[1].self_attn.q_proj.enable_adapters(False)
    assert session.info.fingerprint != weights_fingerprint(plain)


def test_adapters_that_do_not_work_through_the_weights_are_refused(tmp_path: Path) -> None:
    plain = tiny("llama", tie_word_embeddings=False)
    plain.save_pretrained(tmp_path / "model")
    activated = get_peft_model(
        tiny("llama"),
        LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], alora_invocation_tokens=[5, 9]),
    )
    prompt = get_peft_model(tiny("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    for model, told in ((activated, "activated LoRA"), (prompt, "learned prompt")):
        with pytest.raises(UsageError, match=told):
            wb.load(model)
        model.save_pretrained(str(tmp_path / told))
        with pytest.raises(UsageError, match=told):
            wb.load(tmp_path / "model", adapter=tmp_path / told)
