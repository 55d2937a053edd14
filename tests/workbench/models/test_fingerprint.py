"""Fingerprints: the same for the same weights however they were stored, another for other weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import WorkbenchError
from workbench.models import config_fingerprint, tokenizer_fingerprint, weights_fingerprint


def plain(state: dict[str, torch.Tensor]) -> str:
    """The definition, written out for float32 weights that are not tied."""
    digest = hashlib.sha256()
    for name in sorted(state):
        shape = ",".join(str(size) for size in state[name].shape)
        digest.update(f"{name}\0float32\0{shape}\0".encode())
        digest.update(np.asarray(state[name].detach().numpy(), dtype="<f4").tobytes())
    return digest.hexdigest()


def test_it_is_what_its_definition_says() -> None:
    model = tiny("llama", tie_word_embeddings=False)
    assert weights_fingerprint(model) == plain(dict(model.state_dict()))


def test_tied_weights_count_once_under_their_first_name() -> None:
    model = tiny("llama", tie_word_embeddings=True)
    state = dict(model.state_dict())
    assert state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr()
    del state["model.embed_tokens.weight"]
    assert weights_fingerprint(model) == plain(state)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_how_the_weights_were_stored_does_not_matter(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    found = {wb.load(tmp_path / folder, device="cpu").info.fingerprint for folder in ("whole", "shards")}
    assert found == {weights_fingerprint(model)}


def test_any_change_of_the_weights_changes_it() -> None:
    model = tiny("llama")
    before = weights_fingerprint(model)
    assert weights_fingerprint(tiny("llama", dtype=torch.bfloat16)) != before
    state = dict(model.state_dict())
    moved = {**state, "lm_head.weight": state["model.norm.weight"], "model.norm.weight": state["lm_head.weight"]}
    assert weights_fingerprint(moved) != before
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 2] += 1e-6
    assert weights_fingerprint(model) != before


def test_views_and_other_layouts_count_by_their_values() -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    assert weights_fingerprint({"w": weight.t().contiguous().t()}) == weights_fingerprint({"w": weight})
    assert weights_fingerprint({"a": weight[0], "b": weight[1]}) == plain({"a": weight[0], "b": weight[1]})
    assert weights_fingerprint({"w": weight.bfloat16()}) != weights_fingerprint({"w": weight.half()})


def test_weights_that_are_not_in_memory_are_refused() -> None:
    with pytest.raises(WorkbenchError, match="offloaded"):
        weights_fingerprint({"w": torch.empty(2, device="meta")})


def test_a_configuration_counts_by_what_the_model_is(tmp_path: Path) -> None:
    model = tiny("llama")
    model.save_pretrained(tmp_path)
    first = config_fingerprint(model.config.to_dict())
    assert first == config_fingerprint(wb.load(tmp_path, dtype="bfloat16", device="cpu").model.config.to_dict())
    assert first != config_fingerprint({**model.config.to_dict(), "rms_norm_eps": 1e-3})
    assert first == config_fingerprint({**model.config.to_dict(), "transformers_version": "9", "new_key": None})
    inner = {"model_type": "llama", "hidden_size": 8}
    assert config_fingerprint({"text": inner}) == config_fingerprint({"text": {**inner, "dtype": "float16", "x": None}})
    assert config_fingerprint({"text": inner}) != config_fingerprint({"text": {**inner, "hidden_size": 16}})


def words(template: str | None = None, split: bool = True) -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    whole = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    if split:
        whole.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=whole, unk_token="?")
    tokenizer.chat_template = template
    return tokenizer


def test_a_tokenizer_counts_by_what_it_does() -> None:
    same = [tokenizer_fingerprint(words()) for _ in range(2)]
    assert same[0] == same[1]
    assert (
        len({same[0], tokenizer_fingerprint(words("{{ messages }}")), tokenizer_fingerprint(words(split=False))}) == 3
    )
    used = words()
    used(["a", "a b"], padding=False, truncation=True, max_length=1)  # type: ignore[operator]
    assert tokenizer_fingerprint(used) == same[0], "padding and truncation are a state, not the tokenizer"
