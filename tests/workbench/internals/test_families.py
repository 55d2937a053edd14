"""Models of many families: what they serve is what plain transformers computes, layer by layer, or refused in words."""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import workbench as wb
from tests.tiny_families import FAMILIES, family
from workbench.errors import SiteError, UsageError
from workbench.internals.sites import ENDS, KINDS, Site

if TYPE_CHECKING:
    from workbench.internals.session import Session

IDS = torch.randint(3, 60, (17,), generator=torch.Generator().manual_seed(21)).tolist()
WITHOUT_PATTERN = {"mamba"}
KINDS_OF = {
    # what layers are, as their configuration says
    "olmo3": ["window", "full", "window"],
    "llama4": ["chunk", "chunk", "full"],
    "qwen3_next": ["linear", "full", "linear"],
    "nemotron_h": ["state space", "full", "none"],
    "lfm2": ["convolution", "full", "convolution"],
    "falcon_h1": ["parallel mixture"] * 3,
    "deepseek_v32": ["indexed"] * 3,
    "gpt_neo": ["full", "window", "window"],
    "mamba": ["state space"] * 3,
}


class Opened:
    """A model in a session, and beside it what transformers computes by itself."""

    def __init__(self, name: str) -> None:
        model = family(name)
        self.plain = copy.deepcopy(model)
        with torch.no_grad():
            self.logits = self.plain(torch.tensor([IDS]), use_cache=False).logits
        self.patterns = self._patterns(copy.deepcopy(model))
        self.session: Session = wb.load(model)

    def _patterns(self, model: Any) -> list[Tensor]:
        """Attention weights of the layers that have some, by eager attention."""
        model.set_attn_implementation("eager")
        model.config._attn_implementation = "eager"
        with torch.no_grad():
            out = model(torch.tensor([IDS]), output_attentions=True, use_cache=False)
        found = getattr(out, "attentions", None) or ()
        return [weights for weights in found if isinstance(weights, Tensor) and weights.ndim == 4]

    def greedy(self, count: int) -> list[int]:
        """Tokens by whole passes without a cache."""
        ids = list(IDS)
        with torch.no_grad():
            for _ in range(count):
                ids.append(int(self.plain(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        return ids[len(IDS) :]

    @property
    def having(self) -> list[int]:
        """The layers with a pattern."""
        return self.session.hooked.architecture.layers_with("pattern")


@cache
def opened(name: str) -> Opened:
    return Opened(name)


@pytest.fixture(params=list(FAMILIES))
def each(request: pytest.FixtureRequest) -> str:
    return request.param


def test_logits_and_generation_are_the_models_own(each: str) -> None:
    model = opened(each)
    torch.testing.assert_close(model.session.logits(IDS), model.logits, rtol=1e-3, atol=1e-3)
    assert model.session.generate(IDS, 4, stop=()).rows() == [model.greedy(4)]


def test_patterns_are_those_of_eager_attention(each: str) -> None:
    model = opened(each)
    if each in WITHOUT_PATTERN:
        assert "pattern" not in model.session.hooked.kinds
        return
    assert len(model.having) == len(model.patterns)
    seen = model.session.capture(IDS, [f"pattern.{layer}" for layer in model.having])
    for layer, expected in zip(model.having, model.patterns, strict=True):
        torch.testing.assert_close(seen[f"pattern.{layer}"], expected, rtol=1e-3, atol=1e-4)


def test_statistics_are_those_of_the_patterns(each: str) -> None:
    model = opened(each)
    if each in WITHOUT_PATTERN:
        with pytest.raises(SiteError, match="'pattern' does not exist"):
            model.session.attention_statistics(IDS)
        return
    spec: dict[str, Any] = {"sink": 2, "recent": 4, "received": "sum", "layers": model.having}
    found = model.session.attention_statistics(IDS, **spec)
    places = torch.arange(len(IDS))
    gap = places[:, None] - places
    far = (places >= 2) & (gap >= 4)
    for layer, weights in zip(model.having, model.patterns, strict=True):
        p, stats = weights.double(), found[layer].present()
        expected = {
            "entropy": torch.special.entr(p).sum(-1),
            "far_mass": (p * far).sum(-1),
            "distance": (p * gap.clamp(min=0)).sum(-1),
            "received": p.sum(2),
        }
        for name, value in expected.items():
            torch.testing.assert_close(
                stats[name].double(), value, rtol=1e-3, atol=1e-4, msg=f"{name} of layer {layer}"
            )
        masses = stats["sink_mass"] + stats["recent_mass"] + stats["far_mass"] + stats.get("learned_sink_mass", 0)
        torch.testing.assert_close(masses, torch.ones_like(masses), rtol=1e-4, atol=1e-4)
        visible = stats["visible_keys"]
        assert bool((visible >= (weights > 1e-12).sum(-1).amax(1, keepdim=True)).all())
        assert int(visible[..., 0].max()) == 1 and int(visible.max()) <= len(IDS)


def test_every_site_is_served_or_refused_in_words(each: str) -> None:
    session = opened(each).session
    architecture = session.hooked.architecture
    for kind in KINDS:
        for layer in [None] if kind in ENDS else range(architecture.shape.layers):
            site = Site(kind, layer)
            if kind in architecture.kinds and (layer is None or layer in architecture.layers_with(kind)):
                seen = session.capture(IDS, site)[site]
                assert bool(seen[seen.isfinite()].numel()) and seen.shape[0] == 1
            else:
                with pytest.raises(SiteError, match=f"'{site}' does not exist|'{kind}' does not exist"):
                    session.capture(IDS, site)


def test_what_is_added_adds_up(each: str) -> None:
    session = opened(each).session
    architecture = session.hooked.architecture
    for layer in architecture.layers_with("attn_out"):
        names = [f"{kind}.{layer}" for kind in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
        pre, attention, mlp, post = session.capture(IDS, names).values()
        assert float((pre + attention + mlp - post).norm() / (post - pre).norm()) < 1e-5


@pytest.mark.parametrize("name", KINDS_OF)
def test_layers_are_of_the_kind_that_their_configuration_says(name: str) -> None:
    layers = opened(name).session.hooked.architecture.layers
    assert [layer.kind for layer in layers] == KINDS_OF[name]
    bounded = [layer.reach for layer in layers if layer.kind in ("window", "chunk")]
    assert set(bounded) <= {6}


def test_capabilities_are_those_of_the_models() -> None:
    layers = {
        name: opened(name).session.hooked.architecture.layers for name in ("gpt_oss", "gemma4", "qwen3_5", "glm4")
    }
    assert all(layer.learned_sinks for layer in layers["gpt_oss"])
    assert [layer.d_head for layer in layers["gemma4"]] == [8, 12, 8, 12]
    assert [layer.kv_source for layer in layers["gemma4"]] == [None, None, 0, 1]
    assert [layer.output_gate for layer in layers["qwen3_5"]] == [False, True, True]
    assert {layer.rotary_share for layer in layers["glm4"]} == {0.5}
    granite = opened("granite").session.hooked.architecture.layers
    assert all(layer.multiplier == pytest.approx(0.3) and layer.scale == pytest.approx(0.2) for layer in granite)
    assert {layer.qk_norm for layer in opened("olmo2").session.hooked.architecture.layers} == {"flat"}
    assert {layer.qk_norm for layer in opened("gemma3").session.hooked.architecture.layers} == {"head"}


def test_gated_queries_are_half_of_their_projection_and_z_is_before_the_gate() -> None:
    session = opened("qwen3_5").session
    seen = session.capture(IDS, ["q.1", "z.1", "pattern.1", "v.1"])
    assert seen["q.1"].shape == seen["z.1"].shape == (1, 17, 4, 8)
    mixed = seen["pattern.1"] @ seen["v.1"].transpose(1, 2).repeat_interleave(2, dim=1)
    torch.testing.assert_close(seen["z.1"], mixed.transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_an_edit_of_z_at_the_seam_is_an_edit_of_what_the_gate_is_given() -> None:
    session = opened("qwen3_5").session
    edited = session.capture(IDS, ["z.1", "attn_out.1"], edits=[wb.edits.set("z.1", 0.0)])
    assert not edited["z.1"].any() and not edited["attn_out.1"].any()


def test_the_layers_of_a_hybrid_that_attend_are_named() -> None:
    with pytest.raises(SiteError, match=r"layers 0, 2 of qwen3_next have no attention pattern .*give layers=\[1\]"):
        opened("qwen3_next").session.attention_statistics(IDS)


def test_edits_that_a_cache_would_forget_are_refused_while_generating() -> None:
    session = opened("deepseek_v3").session
    with pytest.raises(UsageError, match="its cache does not keep keys"):
        session.generate(IDS, 2, edits=[wb.edits.set("k_rot.0.1", 0.0)], stop=())
    assert session.generate(IDS, 2, edits=[wb.edits.set("z.0.1", 0.0)], stop=()).rows()


def test_rows_of_several_lengths_generate_what_each_generates_alone() -> None:
    rows = [IDS, IDS[4:11], IDS[2:13]]
    for name in ("bamba", "mamba", "gpt_oss", "gemma4", "bloom"):
        session = opened(name).session
        alone = [session.generate(row, 4, stop=()).rows()[0] for row in rows]
        assert session.generate(rows, 4, stop=()).rows() == alone, name


def test_a_knock_out_leaves_each_query_the_rest_of_its_weights(each: str) -> None:
    if each in WITHOUT_PATTERN:
        with pytest.raises(SiteError):
            opened(each).session.logits(IDS, edits=wb.edits.knock_out([-1], [3]))
        return
    session, layer = opened(each).session, opened(each).having[0]
    made = wb.edits.knock_out([-1, 9], [7, 8, 14], [layer])
    architecture = session.hooked.architecture
    if architecture.place(Site("pattern", layer)).side != "attention":
        with pytest.raises(SiteError, match="cannot be edited"):
            session.logits(IDS, edits=made)
        return
    sites = [f"{kind}.{layer}" for kind in ("pattern", "z", "v") if layer in architecture.layers_with(kind)]
    before, after = session.capture(IDS, sites), session.capture(IDS, sites, edits=made)
    plain, left = before[f"pattern.{layer}"], before[f"pattern.{layer}"].clone()
    for query, keys in ((16, [7, 8, 14]), (9, [7, 8])):
        left[:, :, query, keys] = 0
        # a learned sink keeps its share: it is no key
        left[:, :, query] /= 1 - plain[:, :, query, keys].sum(-1, keepdim=True)
    torch.testing.assert_close(after[f"pattern.{layer}"], left, rtol=1e-4, atol=1e-5)
    assert (left - plain).abs().max() > 1e-4
    if {f"z.{layer}", f"v.{layer}"} <= set(sites):
        values = after[f"v.{layer}"].transpose(1, 2).repeat_interleave(left.shape[1] // after[f"v.{layer}"].shape[2], 1)
        torch.testing.assert_close(after[f"z.{layer}"], (left @ values).transpose(1, 2), rtol=1e-4, atol=1e-4)
