"""What decides a model's output beside its weights: changes of it are seen, code of the user's own is named."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import tiny
from workbench.internals.module_state import Snapshot, digest, users_own


def doubled(module: Any, args: Any, output: Any) -> Any:
    return output * 2


def replace_module(model: Any) -> None:
    block = model.model.layers[0]
    block.mlp = type(block.mlp)(model.config).eval()


CHANGES: dict[str, Callable[[Any], object]] = {
    "a module": replace_module,
    "a hook": lambda model: model.model.layers[0].mlp.register_forward_hook(doubled),
    "a scale": lambda model: setattr(model.model.layers[1].self_attn, "scaling", 0.5),
    "an activation": lambda model: setattr(model.model.layers[0].mlp, "act_fn", torch.nn.ReLU()),
    "a function": lambda model: setattr(model.model.layers[0].mlp, "forward", lambda x: x),
    "a parameter": lambda model: setattr(model.lm_head, "weight", torch.nn.Parameter(torch.zeros(61, 24))),
    "a buffer": lambda model: model.model.rotary_emb.register_buffer("inv_freq", torch.ones(4), persistent=False),
    "the configuration": lambda model: setattr(model.config, "rms_norm_eps", 0.1),
    "the dtype": lambda model: model.bfloat16(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_tree_is_another_one(what: str) -> None:
    model = tiny("llama")
    before = Snapshot(model)
    assert Snapshot(model) == before
    CHANGES[what](model)
    assert Snapshot(model) != before


def test_mode_gradients_and_weights_are_no_part_of_the_tree() -> None:
    model = tiny("llama")
    before, told = Snapshot(model), digest(model)
    model.train().requires_grad_(False)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert Snapshot(model) == before and digest(model) == told


def test_two_models_that_are_made_alike_have_one_digest() -> None:
    assert digest(tiny("llama")) == digest(tiny("llama"))
    assert digest(tiny("gpt2")) != digest(tiny("llama"))


@pytest.mark.parametrize(
    "change",
    [
        CHANGES["a scale"],
        CHANGES["an activation"],
        lambda model: model.model.rotary_emb.inv_freq.mul_(2),  # in place, in a buffer that no state dict holds
    ],
)
def test_what_no_state_dict_holds_is_in_the_digest(change: Callable[[Any], object]) -> None:
    model = tiny("llama")
    before = digest(model)
    change(model)
    assert digest(model) != before == digest(tiny("llama"))


def test_rounding_of_another_machine_is_not() -> None:
    model = tiny("llama")
    before = digest(model)
    buffer = model.model.rotary_emb.inv_freq
    buffer.copy_(torch.nextafter(buffer, torch.tensor(2.0)))
    assert digest(model) == before


def test_a_rotation_that_follows_the_text_does_not_change_with_it() -> None:
    scaled = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0, "original_max_position_embeddings": 8}
    model = tiny("llama", rope_parameters=scaled, max_position_embeddings=8)
    before, told = Snapshot(model), digest(model)
    model(torch.arange(3, 23)[None])
    assert Snapshot(model) == before and digest(model) == told


def test_code_of_the_users_own_is_named_with_its_place() -> None:
    model = tiny("llama")
    assert users_own(model) == []
    model.model.layers[1].mlp.register_forward_hook(doubled)
    model.model.layers[0].self_attn.forward = functools.partial(doubled, None)
    hook, forward = sorted(users_own(model))
    assert hook == f"a forward hook on model.layers.1.mlp (doubled of {__name__})"
    assert forward == f"a forward of its own on model.layers.0.self_attn (doubled of {__name__})"


def test_a_class_that_was_patched_is_named_even_if_the_patch_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    kind = type(model.model.norm)

    @functools.wraps(kind.forward)
    def patched(self: Any, hidden: Any) -> Any:
        return hidden

    patched.__module__ = __name__
    monkeypatch.setattr(kind, "forward", patched)
    (told,) = users_own(model)
    assert told.startswith("another forward in the class LlamaRMSNorm")


def test_what_a_record_cannot_hold_makes_every_digest_its_own() -> None:
    model = tiny("llama")
    handle = model.register_forward_pre_hook(lambda module, args: None)
    assert digest(model) != digest(model)
    handle.remove()
    assert digest(model) == digest(tiny("llama"))


def test_hooks_of_the_libraries_are_not_the_users() -> None:
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    model = tiny("llama")
    add_hook_to_module(model.model.layers[0], AlignDevicesHook())
    model.enable_input_require_grads()
    assert users_own(model) == []
