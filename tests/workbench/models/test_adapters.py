"""Adapters: unmerged, recorded, and refused where they do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import UsageError, WorkbenchError


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A LoRA in peft's format with random weights, and the logits of the model with it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(
        tiny("llama", tie_word_embeddings=False),
        LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
    )
    model.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter", model(torch.tensor([[1, 2, 3]])).logits.detach()


def test_an_adapter_acts_unmerged_and_is_recorded(saved: Path, adapter: tuple[Path, torch.Tensor]) -> None:
    folder, expected = adapter
    plain, session = wb.load(saved, device="cpu"), wb.load(saved, adapter=folder, device="cpu")
    assert torch.allclose(session.logits([1, 2, 3]), expected, atol=1e-5)
    assert not torch.allclose(plain.logits([1, 2, 3]), expected, atol=1e-2)
    assert session.info.fingerprint == plain.info.fingerprint, "the fingerprint is that of the model's own weights"
    told = session.info.adapter
    assert told is not None and told.id == folder.resolve().as_posix() and len(told.sha256) == 64
    assert told.id in session._repr_mimebundle_()["text/plain"]
    seen = session.capture([1, 2, 3], ["q.1"])["q.1"]
    assert not torch.allclose(seen, plain.capture([1, 2, 3], ["q.1"])["q.1"])
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 99}))
    again = wb.load(saved, adapter=folder, device="cpu").info.adapter
    assert again is not None and again.sha256 != told.sha256


def test_shipped_adapters_go_by_their_name(shipped: Path, adapter: tuple[Path, torch.Tensor]) -> None:
    shutil.copytree(adapter[0], shipped / "adapters" / "sample")
    for name in ("adapter/sample", "sample"):
        told = wb.load("organism/sample", adapter=name, device="cpu").info.adapter
        assert told is not None and told.id == "adapter/sample"


def test_adapters_that_do_not_fit_are_one_line(saved: Path, adapter: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    folder = adapter[0]
    tiny("llama", num_hidden_layers=4).save_pretrained(tmp_path / "deeper")
    tiny("llama", hidden_size=32).save_pretrained(tmp_path / "wider")
    tiny("gpt2").save_pretrained(tmp_path / "other")
    for model in ("deeper", "wider", "other"):
        with pytest.raises(WorkbenchError, match=r"the adapter .* does not fit") as caught:
            wb.load(tmp_path / model, adapter=folder, device="cpu")
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"is an adapter: load its base model"):
        wb.load(folder)
    with pytest.raises(UsageError, match=r"is not an adapter: there is no adapter_config\.json"):
        wb.load(saved, adapter=saved, device="cpu")
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(UsageError, match="not readable as JSON"):
        wb.load(saved, adapter=folder, device="cpu")
