"""Addresses: text form, aliases, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import SiteError, UnknownName
from workbench.internals.sites import ENDS, KINDS, MEANING, Site


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 200), st.none() | st.integers(0, 200))
def test_the_text_form_reads_back(kind: str, layer: int, head: int | None) -> None:
    whole = Site(kind, None if kind in ENDS else layer)
    assert Site.parse(str(whole)) == whole
    if whole.has_heads and head is not None:
        one = Site(kind, layer, head)
        assert Site.parse(str(one)) == one and Site.parse(one) is one
        assert set(one.axes) == set(whole.axes) - {"head", "kv_head"}


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("blocks.5.hook_resid_post", "resid_post.5"),
        ("blocks.5.hook_in", "resid_pre.5"),
        ("blocks.5.ln2.hook_in", "resid_mid.5"),
        ("blocks.0.hook_attn_out", "attn_out.0"),
        ("blocks.11.attn.hook_z", "z.11"),
        ("blocks.11.attn.o.hook_in", "z.11"),
        ("blocks.3.attn.hook_rot_k", "k_rot.3"),
        ("blocks.3.attn.hook_attn_scores", "scores.3"),
        ("blocks.3.attn.hook_pattern", "pattern.3"),
        ("blocks.3.mlp.gate.hook_out", "mlp_pre.3"),
        ("blocks.3.mlp.hook_post", "mlp_post.3"),
        ("ln_final.hook_out", "final_norm"),
        ("hook_embed", "embed"),
        ("model.layers.7", "resid_post.7"),
        ("model.layers[7].output", "resid_post.7"),
        ("model.layers[7].input", "resid_pre.7"),
        ("transformer.h.2", "resid_post.2"),
        ("gpt_neox.layers.2.input", "resid_pre.2"),
        ("model.layers.7.self_attn.q_proj", "q.7"),
        ("model.layers[0].self_attn.o_proj.input", "z.0"),
        ("model.layers.7.mlp.down_proj.input", "mlp_post.7"),
        ("lm_head", "logits"),
    ],
)
def test_names_of_other_libraries_are_understood(name: str, site: str) -> None:
    assert str(Site.parse(name)) == site


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("resid_post", "needs a layer; write for example 'resid_post.5'"),
        ("logits.3", "'logits' has no layer"),
        ("resid_post.3.1", "'resid_post' has no heads; write 'resid_post.3'"),
        (5, "a site is a text such as 'resid_post.5', not int 5"),
    ],
)
def test_a_wrong_address_says_what_is_right(wrong: str, says: str) -> None:
    with pytest.raises(SiteError, match=says):
        Site.parse(wrong)


@pytest.mark.parametrize("wrong", ["resid", "z.-1", "z.1.2.3", "Z.1", "blocks.5.hook_nothing", "", "z.1 "])
def test_an_unknown_name_lists_what_there_is(wrong: str) -> None:
    with pytest.raises(UnknownName, match="there is: attn_out"):
        Site.parse(wrong)


@pytest.mark.parametrize("layer", [-1, True, 1.0, "1"])
def test_a_layer_is_a_number_from_zero_on(layer: object) -> None:
    with pytest.raises(SiteError, match="not a number from 0 on"):
        Site("z", layer)  # type: ignore[arg-type]


def test_every_kind_has_a_meaning() -> None:
    assert set(MEANING) == set(KINDS)


def test_sites_and_edits_load_without_torch() -> None:
    core = "workbench.internals"
    code = f"import sys, {core}.sites, {core}.edits, {core}.tokens, {core}.architectures, {core}.engines"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
