"""Edits: each writes what it says where it says, and the model goes on from there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import eager, hooked, tiny
from workbench.errors import Cancelled, SiteError, UsageError
from workbench.internals import edits
from workbench.internals.edits import Edit
from workbench.internals.hooked_model import HookedModel
from workbench.internals.sites import MAP_KINDS, Site
from workbench.progress import Progress, Reporter

ROWS = [[5, 17, 3, 44, 9, 58, 23, 31, 7, 12], [8, 30, 41, 6, 22, 11], [27, 3, 19, 50, 33, 14, 60]]
OTHER = [[6, 18, 4, 45, 10, 59, 24, 32, 8, 13], [9, 31, 42, 7, 23, 12], [28, 4, 20, 51, 34, 15, 2]]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


def name(kind: str, layer: int = 1) -> str:
    return kind if kind in ("embed", "final_norm") else f"{kind}.{layer}"


def editable(model: HookedModel) -> list[str]:
    return [name(kind) for kind in model.kinds if kind not in (*MAP_KINDS, "logits")]


def test_an_edit_is_read_back_at_its_positions_and_nowhere_else(architecture: str) -> None:
    model = hooked(tiny(architecture))
    torch.manual_seed(0)
    for site in editable(model):
        plain = model.capture(ROWS, site)[site]
        value = torch.randn(len(ROWS), 2, *plain.shape[2:])
        edited = model.capture(ROWS, site, edits=[edits.set(site, value, positions=[1, -1])])[site]
        expected = plain.clone()
        for i, row in enumerate(ROWS):
            expected[i, [1, len(row) - 1]] = value[i]
        close(edited, expected)


def test_the_model_goes_on_from_a_patch(architecture: str) -> None:
    """Patching everything that something depends on from another prompt gives what that prompt gives there."""
    model = hooked(tiny(architecture))
    whole = [
        s
        for s in ("embed", "resid_pre.1", "resid_mid.1", "resid_post.1", "final_norm")
        if s.split(".")[0] in model.kinds
    ]
    causes: list[tuple[list[str], str]] = [([site], "logits") for site in whole]
    causes += [(["q.1", "k.1", "v.1"], "attn_out.1"), (["z.1"], "attn_out.1"), (["mlp_post.1"], "mlp_out.1")]
    causes += [(["resid_pre.1", "attn_out.1", "mlp_out.1"], "resid_post.1")]
    if "q_rot" in model.kinds:
        causes += [(["q_rot.1", "k_rot.1", "v.1"], "z.1"), (["q_rot.1", "k_rot.1"], "pattern.1")]
    if architecture in ("gpt2", "gpt_neox", "gpt_neox-sequential"):
        causes += [(["mlp_pre.1"], "mlp_out.1")]
    names = sorted({site for sources, effect in causes for site in (*sources, effect)})
    other = model.capture(OTHER, names)
    for sources, effect in causes:
        patches = [edits.patch(site, other[site]) for site in sources]
        close(model.capture(ROWS, effect, edits=patches)[effect], other[effect])
        assert not torch.allclose(model.capture(ROWS, effect)[effect], other[effect], atol=1e-2), effect


def test_the_gate_of_a_gated_mlp_is_what_an_edit_sets() -> None:
    for architecture in ("llama", "phi3", "gemma2"):
        model = hooked(tiny(architecture))
        plain = model.capture(ROWS, ["mlp_pre.1", "mlp_post.1"])
        activation = getattr(model.engine.model.model.layers[1].mlp, "act_fn", None) or torch.nn.functional.silu
        up = plain["mlp_post.1"] / activation(plain["mlp_pre.1"])
        edited = model.capture(ROWS, "mlp_post.1", edits=[edits.set("mlp_pre.1", 0.7)])["mlp_post.1"]
        torch.testing.assert_close(edited, up.nan_to_num() * activation(torch.tensor(0.7)), rtol=1e-3, atol=1e-3)


def test_an_edit_of_one_head_leaves_the_others(architecture: str) -> None:
    model = hooked(tiny(architecture))
    for kind in ("q", "k", "v", "z", "q_rot", "k_rot"):
        if kind not in model.kinds:
            continue
        plain = model.capture(ROWS, [f"{kind}.1", "attn_out.1"])
        edited = model.capture(ROWS, [f"{kind}.1", "attn_out.1"], edits=[edits.set(f"{kind}.1.1", 0.5)])
        expected = plain[f"{kind}.1"].clone()
        for i, row in enumerate(ROWS):
            expected[i, : len(row), 1] = 0.5
        close(edited[f"{kind}.1"], expected)
        both = model.capture(ROWS, "attn_out.1", edits=[edits.patch(f"{kind}.1", expected)])["attn_out.1"]
        close(edited["attn_out.1"], both)
        assert not torch.allclose(both, plain["attn_out.1"], atol=1e-3)


def test_the_formulas_of_add_and_project() -> None:
    model = hooked(tiny("llama"))
    torch.manual_seed(1)
    for site in ("resid_post.1", "z.1", "z.1.2", "k.0.1"):
        plain = model.capture(ROWS, site)[site]
        real = model.capture(ROWS, site)[site] != 0
        direction = torch.randn(plain.shape[-1])
        unit = direction / direction.norm()
        along = (plain @ unit)[..., None]
        for edit, expected in (
            (edits.add(site, direction), plain + direction),
            (edits.add(site, 2.5), plain + 2.5),
            (edits.project(site, direction), plain - along * unit),
            (edits.project(site, direction, 3.0), plain - along * unit + 3.0 * unit),
        ):
            close(model.capture(ROWS, site, edits=[edit])[site], expected * real)


def test_edits_of_one_site_act_one_after_the_other() -> None:
    model = hooked(tiny("gpt2"))
    twice = [edits.set("resid_mid.1", 2.0), edits.add("resid_mid.1", 1.0)]
    seen = model.capture([[5, 6, 7]], "resid_mid.1", edits=twice)["resid_mid.1"]
    close(seen, torch.full_like(seen, 3.0))


def test_a_patch_takes_its_positions_from_a_whole_capture() -> None:
    model = hooked(tiny("llama"))
    other = model.capture(OTHER, "resid_post.1")["resid_post.1"]
    some = model.capture(OTHER, "resid_post.1", positions=[0, -2])["resid_post.1"]
    first, second = (
        model.logits(ROWS, edits=[edits.patch("resid_post.1", value, positions=[0, -2])]) for value in (other, some)
    )
    assert torch.equal(first, second) and not torch.allclose(first, model.logits(ROWS), atol=1e-2)


def test_plain_hooks_do_the_same_as_an_edit() -> None:
    direction = torch.randn(24, generator=torch.Generator().manual_seed(3))
    unit = direction / direction.norm()
    reference = eager("llama")

    def remove(_: Any, __: Any, out: Tensor) -> Tensor:
        return out - (out @ unit)[..., None] * unit

    def zero(_: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        changed = args[0].clone()
        changed[:, 2, 8:16] = 0
        return (changed,)

    reference.model.layers[1].register_forward_hook(remove)
    reference.model.layers[2].self_attn.o_proj.register_forward_pre_hook(zero)
    with torch.no_grad():
        expected = reference(torch.tensor([ROWS[0]])).logits
    both = [edits.project("resid_post.1", direction), edits.set("z.2.1", 0.0, positions=[2])]
    close(hooked(tiny("llama")).logits(ROWS[0], edits=both), expected)


def test_generation_is_hugging_faces_own(architecture: str) -> None:
    model, reference = hooked(tiny(architecture)), eager(architecture)
    reference.generation_config.eos_token_id = None
    found = model.generate(ROWS, 12, stop=())
    for row, new in zip(ROWS, found.rows(), strict=True):
        prompt = torch.tensor([row])
        own = reference.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False)
        assert new == own[0, len(row) :].tolist()
        assert model.generate(row, 12, stop=()).rows() == [new]


def chosen_without_a_cache(model: HookedModel, row: list[int], new: list[int], edit: Edit) -> list[int]:
    """The best next token after the prompt and after each new token but the last, in one pass edited where it is meant.

    Where these are the new tokens, each is what the tokens before it give: a token sees nothing that follows it.
    """
    text = row + new[:-1]
    places = range(len(text)) if edit.positions is None else [p % len(row) for p in edit.positions]
    if edit.during == "prompt":
        places = [p for p in places if p < len(row)]
    elif edit.during == "generation":
        places = [p for p in places if p >= len(row)]
    now = [Edit(edit.site, edit.op, edit.value, edit.direction, list(places))] if places else []
    logits = model.logits(text, positions=list(range(len(row) - 1, len(text))), edits=now)
    return logits.reshape(len(new), -1).argmax(-1).tolist()


@pytest.mark.parametrize("during", ["all", "prompt", "generation"])
def test_generation_with_an_edit_is_the_same_without_a_cache(architecture: str, during: Any) -> None:
    model = hooked(tiny(architecture))
    torch.manual_seed(2)
    plain = model.generate(ROWS, 6, stop=()).rows()
    changed = 0
    for site in ("resid_post.1", "resid_mid.0", "z.1.1", "k_rot.1", "q_rot.1.2", "v.0", "k.1.1", "mlp_post.2", "embed"):
        if site.split(".")[0] not in model.kinds:
            continue
        width = model.capture(ROWS, site)[site].shape[-1]
        made = [
            edits.add(site, torch.randn(width) * 3, during=during),
            edits.project(site, torch.randn(width), 4.0, during=during),
        ]
        if during != "generation":
            made.append(edits.set(site, 1.5, positions=[1, -2], during=during))
        for edit in made:
            found = model.generate(ROWS, 6, [edit], stop=()).rows()
            for row, new in zip(ROWS, found, strict=True):
                assert len(new) == 6 and new == chosen_without_a_cache(model, row, new, edit), (site, edit.op)
            changed += found != plain
    assert changed >= 8


def test_a_patch_in_generation_writes_the_prompt() -> None:
    model = hooked(tiny("gemma2"))
    other = model.capture(OTHER, "resid_post.0")["resid_post.0"]
    for i, row in enumerate(ROWS):
        alone = edits.patch("resid_post.0", other[i : i + 1, : len(row)])
        expected = model.generate(row, 6, [alone], stop=()).rows()[0]
        assert model.generate(ROWS, 6, [edits.patch("resid_post.0", other)], stop=()).rows()[i] == expected


def test_generation_stops_and_pads() -> None:
    model = hooked(tiny("llama"))
    free = model.generate(ROWS, 8, stop=())
    end = free.rows()[0][3]
    found = model.generate(ROWS, 8, stop=[end])
    for row, new, stopped in zip(free.rows(), found.rows(), found.stopped.tolist(), strict=True):
        cut = row[: row.index(end) + 1] if end in row else row
        assert new == cut and stopped == (end in row)
    assert found.ids.shape == (3, int(found.lengths.max())) and found.lengths[0] <= 4
    assert not found.ids[torch.arange(found.ids.shape[1]) >= found.lengths[:, None]].any()
    assert found.whole.rows()[1] == ROWS[1] + found.rows()[1]


def test_sampling_follows_its_seed_and_its_temperature() -> None:
    model = hooked(tiny("llama"))
    first, again, other = (model.generate(ROWS, 8, stop=(), temperature=2.0, seed=s).rows() for s in (0, 0, 1))
    assert first == again != other
    assert model.generate(ROWS, 8, stop=(), temperature=1e-4).rows() == model.generate(ROWS, 8, stop=()).rows()


def test_generation_reports_every_token_and_can_be_cancelled_between_them() -> None:
    model = hooked(tiny("llama"))
    events: list[Progress] = []
    reporter = Reporter()

    def listen(event: Progress) -> None:
        events.append(event)
        if event.done == 3:
            reporter.cancelled.set()

    reporter.listener = listen
    with pytest.raises(Cancelled):
        model.generate(ROWS, 8, stop=(), progress=reporter)
    assert [event.done for event in events] == [0, 1, 2, 3] and events[0].total == 8


@pytest.mark.parametrize("kind", ["pattern", "scores", "logits"])
def test_what_is_computed_from_other_sites_is_read_only(kind: str) -> None:
    with pytest.raises(SiteError, match="is read-only: it is computed from other sites"):
        edits.set("logits" if kind == "logits" else f"{kind}.1", 0.0)


def test_wrong_edits_are_refused() -> None:
    model = hooked(tiny("llama"))
    with pytest.raises(UsageError, match=r"tensor of shape \(7,\), which does not broadcast to \(3, 10, 24\)"):
        model.logits(ROWS, edits=[edits.add("resid_post.1", torch.ones(7))])
    with pytest.raises(
        UsageError, match=r"patch at 'z.1.2' has shape \(3, 4, 8\); needed is \(3, 2, 8\).*or 10 positions"
    ):
        model.logits(ROWS, edits=[edits.patch("z.1.2", torch.ones(3, 4, 8), positions=[0, 1])])
    with pytest.raises(UsageError, match="needs a tensor that was captured"):
        model.logits(ROWS, edits=[edits.patch("z.1.2", 0.0)])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="zero or not finite"):
        edits.project("z.1", torch.zeros(8))
    with pytest.raises(UsageError, match="cannot be edited during generation only"):
        edits.set("z.1", 0.0, positions=[0], during="generation")
    with pytest.raises(UsageError, match="during is 'all', 'prompt' or 'generation'"):
        edits.set("z.1", 0.0, during="decode")  # type: ignore[arg-type]
    with pytest.raises(SiteError, match="no layer 9"):
        model.generate(ROWS, 2, [edits.set("z.9", 0.0)])
    with pytest.raises(UsageError, match="position 6 is outside row 1"):
        model.generate(ROWS, 2, [edits.set(Site("z", 1), 0.0, positions=[6])])
    for wrong in ({"max_new_tokens": 0}, {"max_new_tokens": 2, "temperature": -1.0}):
        with pytest.raises(UsageError, match=r"max_new_tokens|temperature"):
            model.generate(ROWS, **wrong)  # type: ignore[arg-type]
