"""Gradients at sites, against finite differences, and against plain hooks on Hugging Face's model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import eager, hooked, relative, tiny
from workbench.errors import SiteError, UsageError
from workbench.internals import edits
from workbench.internals.sites import MAP_KINDS

ROWS = [[5, 17, 3, 44, 9, 58, 23, 31], [8, 30, 41, 6, 22]]


def objective(logits: Tensor) -> Tensor:
    """Something smooth of every real token's logits."""
    return (logits.log_softmax(-1)[..., 7] * (logits != 0).any(-1)).sum() + logits[:, 1, 3].square().sum()


def test_finite_differences_at_every_site(architecture: str) -> None:
    model = hooked(tiny(architecture, torch.float64))
    layered = [kind for kind in model.kinds if kind not in (*MAP_KINDS, "embed", "final_norm", "logits")]
    names = ["embed", "final_norm", *(f"{kind}.1" for kind in layered)]
    names += [f"{kind}.1.1" for kind in ("q", "v", "z", "k_rot") if kind in model.kinds]
    found = model.gradients(ROWS, names, objective)
    torch.manual_seed(0)
    for name in names:
        direction = torch.randn_like(found[name])
        step = 1e-6
        up, down = (objective(model.logits(ROWS, edits=[edits.add(name, sign * step * direction)])) for sign in (1, -1))
        torch.testing.assert_close((found[name] * direction).sum(), (up - down) / (2 * step), rtol=1e-5, atol=1e-6)
        assert found[name].abs().sum() > 1e-3, name
        for i, row in enumerate(ROWS):
            assert not found[name][i, len(row) :].any(), name


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_plain_hooks_give_the_same(architecture: str) -> None:
    reference = eager(architecture)
    held: dict[str, Tensor] = {}

    def hold(name: str) -> Any:
        def hook(_: Any, args: Any) -> None:
            held[name] = args[0]
            args[0].retain_grad()

        return hook

    stack = reference.transformer.h if architecture == "gpt2" else reference.model.layers
    attention = stack[1].attn.c_proj if architecture == "gpt2" else stack[1].self_attn.o_proj
    stack[0].register_forward_pre_hook(hold("embed"))
    stack[2].register_forward_pre_hook(hold("resid_post.1"))
    attention.register_forward_pre_hook(hold("z.1"))
    objective(reference(torch.tensor([ROWS[0]])).logits).backward()
    found = hooked(tiny(architecture)).gradients(ROWS[0], list(held), objective)
    for name, tensor in held.items():
        assert relative(found[name], tensor.grad.view_as(found[name])) <= 1e-5


def test_weights_get_no_gradient_and_are_as_trainable_as_before() -> None:
    model = hooked(tiny("llama"))
    parameters = dict(model.engine.model.named_parameters())
    parameters["lm_head.weight"].requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in parameters.items()}

    def fail(_: Tensor) -> Tensor:
        raise RuntimeError("no objective")

    def frozen(logits: Tensor) -> Tensor:
        assert not any(parameter.requires_grad for parameter in parameters.values())
        return objective(logits)

    model.gradients(ROWS, ["resid_post.1", "q.0"], frozen)
    with pytest.raises(RuntimeError, match="no objective"):
        model.gradients(ROWS, ["resid_post.1"], fail)
    assert {name: parameter.requires_grad for name, parameter in parameters.items()} == before
    assert all(parameter.grad is None for parameter in parameters.values())
    assert not model.capture(ROWS, "resid_post.1")["resid_post.1"].requires_grad


def test_logits_at_some_positions_and_the_gradient_at_logits() -> None:
    model = hooked(tiny("llama", torch.float64))
    whole = model.gradients(ROWS, ["z.1", "logits"], lambda logits: logits[0, 7, 3] + 2 * logits[1, 4, 3])
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64)
    last = model.gradients(ROWS, ["z.1", "logits"], lambda logits: weights @ logits[:, 0, 3], logits_at=[-1])
    torch.testing.assert_close(whole["z.1"], last["z.1"])
    assert whole["logits"][1, 4, 3] == last["logits"][1, 0, 3] == 2 and whole["logits"].sum() == 3


def test_a_gradient_under_an_edit_is_taken_at_the_edited_value() -> None:
    model = hooked(tiny("gpt_neox-sequential", torch.float64))
    edit = edits.set("resid_mid.1", 0.3, positions=[2])
    found = model.gradients(ROWS, ["resid_mid.1", "resid_post.0"], objective, edits=[edit])
    step = torch.zeros(2, 8, 24, dtype=torch.float64)
    step[:, 2, 5] = 1e-5
    up, down = (objective(model.logits(ROWS, edits=[edit, edits.add("resid_mid.1", sign * step)])) for sign in (1, -1))
    torch.testing.assert_close(found["resid_mid.1"][:, 2, 5].sum(), (up - down) / 2e-5, rtol=1e-5, atol=1e-7)
    assert found["resid_post.0"][:, 1].any()


def test_what_has_no_gradient_is_refused() -> None:
    model = hooked(tiny("llama"))
    with pytest.raises(SiteError, match=r"no gradient at 'pattern.1': it is computed beside the model"):
        model.gradients(ROWS, ["pattern.1"], objective)
    for wrong in (lambda logits: logits, lambda logits: 1.0, lambda logits: logits.detach().sum()):
        with pytest.raises(UsageError, match="must return one number that depends on the logits"):
            model.gradients(ROWS, ["z.1"], wrong)  # type: ignore[arg-type]


@pytest.mark.model
def test_the_default_model_against_plain_hooks(default_model: Any) -> None:
    ids = default_model.tokenizer("The capital of France is").input_ids
    found = default_model.hooked.gradients(ids, ["resid_post.9", "z.17.3"], lambda logits: logits[0, -1, 7042])
    module = default_model.model
    held: list[Tensor] = []

    def keep(_: Any, args: Any) -> None:
        held.append(args[0])
        args[0].retain_grad()

    hooks = [module.model.layers[10].register_forward_pre_hook(keep)]
    hooks.append(module.model.layers[17].self_attn.o_proj.register_forward_pre_hook(keep))
    module(torch.tensor([ids])).logits[0, -1, 7042].backward()
    for hook in hooks:
        hook.remove()
    module.zero_grad(set_to_none=True)
    assert relative(found["resid_post.9"], held[0].grad) <= 1e-5
    assert relative(found["z.17.3"], held[1].grad.unflatten(-1, (9, 64))[:, :, 3]) <= 5e-5
