"""The lens against the model's own logits, and against the formula in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import build, hooked, relative, tiny
from workbench.errors import Cancelled, SiteError, UsageError, WorkbenchError
from workbench.internals import edits
from workbench.internals.affine_maps import AffineMaps
from workbench.internals.borrowing import borrowed
from workbench.internals.lens import lens
from workbench.internals.session import Session, load
from workbench.internals.unembedding import Unembedding
from workbench.progress import Progress, Reporter

from .hf_reference import everything

ROWS = [[5, 17, 3, 44, 9, 58, 23, 31], [8, 30, 41, 6, 22]]
_SIZES = {
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MAMBA = {"mamba_d_ssm": 48, "mamba_n_heads": 6, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1}
SCALED: dict[str, tuple[dict[str, Any], float, float | None]] = {
    "Granite": ({"logits_scaling": 8.0}, 1 / 8, None),
    "HyperCLOVAX": ({"logits_scaling": 3.0}, 3.0, None),
    "Cohere": ({"logit_scale": 0.25}, 0.25, None),
    "FalconH1": ({"lm_head_multiplier": 0.4, "head_dim": 8, **_MAMBA}, 0.4, None),
    "Gemma2": ({"final_logit_softcapping": 30.0, "query_pre_attn_scalar": 6, "head_dim": 8}, 1.0, 30.0),
    "Gemma3": ({"final_logit_softcapping": 1.5, "query_pre_attn_scalar": 6, "head_dim": 8}, 1.0, 1.5),
}
"""Models with a scale or a softcap after the unembedding: what its configuration says, and what that means."""


@pytest.fixture(scope="module")
def session() -> Session:
    return load(tiny("gemma2", final_logit_softcapping=2.0))


def test_the_last_block_through_the_final_norm_is_the_logits(architecture: str) -> None:
    model = hooked(tiny(architecture))
    last = f"resid_post.{model.shape.layers - 1}"
    seen = lens(model, ROWS, [last, "final_norm"])
    expected = model.logits(ROWS)
    assert relative(seen[last], expected) <= 1e-6
    assert relative(seen["final_norm"], expected) <= 1e-6
    assert not seen[last][1, 5:].any()
    assert relative(lens(model, ROWS, last, [7, 60, 0])[last], expected[..., [7, 60, 0]]) <= 1e-5


@pytest.mark.parametrize("stem", list(SCALED))
def test_scale_and_softcap_are_the_models_own(stem: str) -> None:
    changes, multiplier, softcap = SCALED[stem]
    model = hooked(build(stem, {**_SIZES, **changes}))
    after = Unembedding.of(model.engine).after
    assert after.softcap == softcap
    assert after.multiplier == pytest.approx(multiplier, rel=1e-6)
    assert relative(lens(model, ROWS, "resid_post.1")["resid_post.1"], model.logits(ROWS)) <= 1e-6


@pytest.mark.parametrize("name", ("transformerlens", "nnsight"))
def test_other_engines_give_the_same(session: Session, name: str) -> None:
    sites = ["embed", "resid_mid.1", "attn_out.0", "resid_post.2"]
    for through in ("norm", "raw"):
        expected, found = (session.lens(ROWS, sites, through=through, engine=engine) for engine in ("hf", name))
        for site in sites:
            assert relative(found[site], expected[site]) <= 1e-5, (through, site)
    assert relative(found["resid_post.2"], session.lens(ROWS, "resid_post.2", through="raw")["resid_post.2"]) <= 1e-5


def _plain(model: Any, stream: Tensor, norm: bool) -> Tensor:
    """The lens written down once more: RMS norm or layer norm, unembedding, softcap."""
    config, last = model.config, model.transformer.ln_f if model.config.model_type == "gpt2" else model.model.norm
    if norm and config.model_type == "gpt2":
        centred = stream - stream.mean(-1, keepdim=True)
        spread = (centred.square().mean(-1, keepdim=True) + config.layer_norm_epsilon).sqrt()
        stream = centred / spread * last.weight + last.bias
    elif norm:
        one = 1.0 if config.model_type == "gemma2" else 0.0
        stream = stream / (stream.square().mean(-1, keepdim=True) + config.rms_norm_eps).sqrt() * (last.weight + one)
    logits = stream @ model.lm_head.weight.T
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


@pytest.mark.parametrize("architecture", ("llama", "gemma2", "gpt2"))
def test_every_site_against_the_formula_in_float64(architecture: str) -> None:
    model = tiny(architecture, torch.float64)
    own = hooked(model)
    sites = ["embed", "resid_pre.1", "resid_mid.1", "attn_out.1", "mlp_out.0", "resid_post.1"]
    maps = AffineMaps.of(
        {site: (torch.randn(24, 24, dtype=torch.float64), torch.randn(24, dtype=torch.float64)) for site in sites}
    )
    for i, row in enumerate(ROWS):
        with borrowed(model, own.engine.implementations):  # eager attention takes Gemma 2's softmax in float32
            streams = everything(model, [row])
        for through, norm in (("norm", True), ("raw", False), (maps, True)):
            seen = lens(own, ROWS, sites, through=through)
            for site in sites:
                stream = streams[site]
                if through is maps:
                    weight, bias = maps.maps[next(s for s in maps.maps if str(s) == site)]
                    stream = torch.einsum("oi,bpi->bpo", weight, stream) + bias
                found = seen[site][i : i + 1, : len(row)]
                torch.testing.assert_close(found, _plain(model, stream, norm), rtol=1e-10, atol=1e-10)


def test_asked_ids_are_computed_alone(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    linear = torch.nn.functional.linear
    session.lens(ROWS, "embed")  # the check against the model's logits is behind us

    def seen(x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
        used.append(weight.shape[0])
        return linear(x, weight, bias)

    whole = session.lens(ROWS, ["resid_post.0", "resid_post.2"], positions=[-1, 0])
    monkeypatch.setattr("workbench.internals.unembedding.functional.linear", seen)
    some = session.lens(ROWS, ["resid_post.0", "resid_post.2"], [9, 2, 9], positions=[-1, 0])
    assert used and 61 not in used[-2:]
    assert some.ids == (9, 2, 9) and whole.ids is None
    for site in some:
        assert some[site].shape == (2, 2, 3)
        torch.testing.assert_close(some[site], whole[site][..., [9, 2, 9]])


def test_log_probabilities_are_over_the_whole_vocabulary(session: Session) -> None:
    logits = session.lens(ROWS, "resid_post.1", positions=[-1, 2])["resid_post.1"]
    whole = session.lens(ROWS, "resid_post.1", positions=[-1, 2], log_probs=True)["resid_post.1"]
    torch.testing.assert_close(whole, logits - logits.exp().sum(-1, keepdim=True).log())
    some = session.lens(ROWS, "resid_post.1", [4, 7], positions=[-1, 2], log_probs=True)["resid_post.1"]
    torch.testing.assert_close(some, whole[..., [4, 7]])


def test_a_few_tokens_at_a_time_with_progress_and_an_end_on_request(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = ["resid_post.0", "resid_post.1"]
    expected = session.lens(ROWS, sites)
    monkeypatch.setattr("workbench.internals.lens.BLOCK", 3 * 61)
    events: list[Progress] = []
    found = session.lens(ROWS, sites, progress=Reporter(events.append))
    for site in sites:
        torch.testing.assert_close(found[site], expected[site])
    assert [(e.done, e.total) for e in events if e.stage == "lens"] == [(n, 10) for n in range(11)]
    held: list[int] = []
    best = session.lens(ROWS, sites, reduce=lambda logits: held.append(len(logits)) or logits.topk(2).indices)
    assert max(held) == 3
    assert torch.equal(best["resid_post.1"][0], expected["resid_post.1"][0].topk(2).indices)
    assert not best["resid_post.1"][1, 5:].any()
    reporter = Reporter(lambda event: reporter.cancelled.set() if event.stage == "lens" and event.done == 2 else None)
    with pytest.raises(Cancelled):
        session.lens(ROWS, sites, progress=reporter)


def test_edits_are_seen(session: Session) -> None:
    change = edits.add("resid_post.0", 3.0, positions=[2])
    plain, edited = (session.lens(ROWS, "resid_post.2", edits=e)["resid_post.2"] for e in ([], [change]))
    torch.testing.assert_close(edited, session.logits(ROWS, edits=[change]))
    assert (edited - plain).abs().max() > 1e-2


def test_an_adapter_on_the_unembedding_is_part_of_it() -> None:
    import peft

    config = peft.LoraConfig(r=4, target_modules=["lm_head", "q_proj"], init_lora_weights=False)
    session = load(peft.get_peft_model(tiny("llama"), config).eval())
    expected = session.logits(ROWS)
    assert relative(session.lens(ROWS, "resid_post.2")["resid_post.2"], expected) <= 1e-6
    assert relative(session.lens(ROWS, "resid_post.2", [3, 5])["resid_post.2"], expected[..., [3, 5]]) <= 1e-5


def test_maps_come_back_from_their_file(tmp_path: Path, session: Session) -> None:
    one = AffineMaps.of({"blocks.1.hook_resid_post": (torch.eye(24), torch.zeros(24))}, {"trained_on": "nothing"})
    one.save(tmp_path / "maps.safetensors")
    again = AffineMaps.load(tmp_path / "maps.safetensors")
    assert again.about == {"trained_on": "nothing"} and [str(site) for site in again.maps] == ["resid_post.1"]
    through = session.lens(ROWS, "resid_post.1", through=again)["resid_post.1"]
    torch.testing.assert_close(through, session.lens(ROWS, "resid_post.1")["resid_post.1"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.safetensors"]


def test_what_is_wrong_is_said(tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = AffineMaps.of({"resid_post.1": (torch.eye(24), torch.zeros(24))})
    for error, says, call in (
        (SiteError, "'z.1' is not in the residual stream; a lens reads: embed", {"sites": "z.1"}),
        (SiteError, "no layer 9", {"sites": "resid_post.9"}),
        (UsageError, "at least one site", {"sites": []}),
        (UsageError, "entries of the vocabulary, 0 to 60, not 61", {"sites": "embed", "ids": [3, 61]}),
        (UsageError, "at least one", {"sites": "embed", "ids": []}),
        (UsageError, "through is 'norm', 'raw' or AffineMaps, not 'tuned'", {"sites": "embed", "through": "tuned"}),
        (UsageError, r"no map for 'resid_post\.2'; there is one for: resid_post\.1", {"sites": "resid_post.2"}),
        (UsageError, "reduce returns one row a token", {"sites": "embed", "reduce": lambda x: x.mean(0)}),
    ):
        with pytest.raises(error, match=says):
            session.lens(ROWS, **({"through": maps} if "no map" in says else {}), **call)
    monkeypatch.setattr("workbench.internals.lens.MOST", 1000)
    with pytest.raises(UsageError, match="1 × 16 × 61, take 4 KiB, more than 1000 B: give the positions"):
        session.lens(ROWS, "embed")
    session.lens(ROWS, "embed", positions=[-1], ids=[3])
    wrong = torch.eye(24).index_fill(0, torch.tensor([3]), float("nan"))
    for maps_of, error, says in (
        ({}, UsageError, "at least one site"),
        ({"z.1": (torch.eye(24), torch.zeros(24))}, SiteError, "has no map"),
        ({"embed": (torch.eye(23), torch.zeros(24))}, UsageError, r"needed are \(24, 24\)"),
        ({"embed": (wrong, torch.zeros(24))}, UsageError, "not made of finite numbers"),
    ):
        with pytest.raises(error, match=says):
            AffineMaps.of(maps_of)
    narrow = AffineMaps.of({"embed": (torch.eye(8), torch.zeros(8))})
    with pytest.raises(UsageError, match="stream of 8 numbers, and this model's has 24"):
        session.lens(ROWS, "embed", through=narrow)
    (tmp_path / "broken").write_bytes(b"no tensors")
    with pytest.raises(WorkbenchError, match="not readable as safetensors"):
        AffineMaps.load(tmp_path / "broken")
    with pytest.raises(UsageError, match="there is no file"):
        AffineMaps.load(tmp_path / "nowhere")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(UsageError, match="holds no affine maps"):
        AffineMaps.load(tmp_path / "other")


def test_a_model_whose_logits_are_something_else_has_no_lens() -> None:
    model = tiny("llama")
    own = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        output.logits = output.logits + output.logits.square()
        return output

    model.forward = forward
    with pytest.raises(UsageError, match="no lens on llama: its logits are not its final norm and its unembedding"):
        lens(hooked(model), ROWS, "embed")
