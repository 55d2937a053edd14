"""Weights by address give what the model computes with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.conftest import hooked, tiny
from workbench.errors import SiteError, UnknownName
from workbench.internals.architectures import bare
from workbench.internals.hooked_model import HookedModel
from workbench.internals.sites import Site
from workbench.internals.weights import weight

ROW = [5, 17, 3, 44, 9, 58, 23]


@pytest.fixture
def model(architecture: str) -> HookedModel:
    return hooked(tiny(architecture, torch.float64))


def of(model: HookedModel, address: str) -> Tensor:
    return weight(model.engine.model, model.architecture, address)


def bias(model: HookedModel, address: str) -> Tensor | float:
    """A bias, 0 where the model has none."""
    try:
        return of(model, address)
    except SiteError:
        return 0.0


def entering(model: HookedModel, kind: str) -> Tensor:
    """What the projection at a kind of layer 1 is given."""
    module = bare(model.engine.model).get_submodule(model.architecture.path(Site(kind, 1)))
    given: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    try:
        model.logits(ROW)
    finally:
        handle.remove()
    return given[-1]  # a hook of the user's makes the model be examined once more


@pytest.mark.parametrize(("letter", "kind"), [("Q", "q"), ("K", "k"), ("V", "v")])
def test_heads_are_read_as_they_are_computed(model: HookedModel, letter: str, kind: str) -> None:
    seen = model.capture(ROW, f"{kind}.1")[f"{kind}.1"]
    given = entering(model, kind)
    for head in range(seen.shape[2]):
        expected = given @ of(model, f"W_{letter}.1.{head}") + bias(model, f"b_{letter}.1.{head}")
        torch.testing.assert_close(seen[:, :, head], expected)
    assert torch.equal(of(model, f"W_{letter}.1")[head], of(model, f"W_{letter}.1.{head}"))


def test_what_heads_write_and_what_pairs_of_weights_are(model: HookedModel) -> None:
    heads, shared = model.shape.heads, model.shape.heads // model.shape.kv_heads
    whole = of(model, "W_O.1")
    assert whole.shape == (heads, model.shape.d_head, model.shape.d_model)
    for head in range(heads):
        values, keys = (of(model, f"W_{letter}.1.{head // shared}") for letter in "VK")
        torch.testing.assert_close(of(model, f"W_OV.1.{head}"), values @ whole[head])
        torch.testing.assert_close(of(model, f"W_QK.1.{head}"), of(model, f"W_Q.1.{head}") @ keys.T)
    linear = bare(model.engine.model).get_submodule(model.architecture.path(Site("z", 1)))
    z = model.capture(ROW, "z.1")["z.1"]
    written = torch.einsum("bphd,hdm->bpm", z, whole) + bias(model, "b_O.1")
    with torch.no_grad():
        torch.testing.assert_close(written, linear(z.flatten(2)))


def test_neurons_are_read_as_they_are_computed(model: HookedModel) -> None:
    seen = model.capture(ROW, ["mlp_pre.1", "mlp_post.1", "mlp_post.1.17"])
    given = entering(model, "mlp_pre")
    into = "gate" if gated(model) else "in"
    torch.testing.assert_close(seen["mlp_pre.1"], given @ of(model, f"W_{into}.1") + bias(model, f"b_{into}.1"))
    torch.testing.assert_close(seen["mlp_post.1"][..., 17], seen["mlp_post.1.17"])
    linear = bare(model.engine.model).get_submodule(model.architecture.path(Site("mlp_post", 1)))
    with torch.no_grad():
        expected = linear(seen["mlp_post.1"])
    torch.testing.assert_close(seen["mlp_post.1"] @ of(model, "W_out.1") + bias(model, "b_out.1"), expected)
    assert torch.equal(of(model, "W_out.1.17"), of(model, "W_out.1")[17])


def gated(model: HookedModel) -> bool:
    try:
        of(model, "W_gate.1")
    except SiteError:
        return False
    return True


def test_ends_are_those_of_the_model(model: HookedModel) -> None:
    seen = model.capture(ROW, ["embed", "final_norm"], logits=True)
    unbounded, cap = seen["final_norm"] @ of(model, "W_U"), softcap(model)
    torch.testing.assert_close(seen.logits, unbounded if cap is None else cap * torch.tanh(unbounded / cap))
    scale = seen["embed"] / of(model, "W_E")[ROW]
    if "gpt2" in type(bare(model.engine.model)).__name__.lower():
        torch.testing.assert_close(seen["embed"][0], of(model, "W_E")[ROW] + of(model, "W_pos")[: len(ROW)])
    else:
        torch.testing.assert_close(scale, torch.full_like(scale, float(scale[0, 0, 0])))


def softcap(model: HookedModel) -> float | None:
    return getattr(bare(model.engine.model).config, "final_logit_softcapping", None)


@pytest.mark.parametrize("address", ["W_Q", "W_X.1", "q.1", "W_U.1", "W_Q.1.9", "W_OV.1", "W_O.77", "W_out.1.4000"])
def test_wrong_addresses_are_told(address: str) -> None:
    model = hooked(tiny("llama"))
    with pytest.raises((SiteError, UnknownName)):
        of(model, address)
