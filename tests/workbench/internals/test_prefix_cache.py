"""Prompts that are run in parts and branched, against the same prompts run whole and alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conftest import build, tiny
from tests.tiny_families import family
from workbench.errors import SiteError, UsageError
from workbench.internals.cache_checks import checked
from workbench.internals.engines import Hook
from workbench.internals.prefix_cache import prefill, residuals, run
from workbench.internals.session import Session, load
from workbench.internals.sites import Site
from workbench.progress import Reporter

PROMPTS = [[5, 9, 11, 4, 8], [7, 3, 22], [40, 41, 42, 43, 6, 30, 12]]
_SIZES = {"vocab_size": 61, "hidden_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 40}
_DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}


@pytest.fixture(scope="module")
def session() -> Session:
    return load(tiny("llama"))


def ids(count: int, seed: int) -> list[int]:
    return torch.randint(3, 61, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_prompts_run_in_two_parts_give_what_they_give_whole(session: Session) -> None:
    cached = prefill(session, PROMPTS)
    torch.testing.assert_close(
        run(session, cached.pick(range(3))).detach(), session.logits(PROMPTS, [-1])[:, 0], rtol=1e-4, atol=1e-5
    )
    seen = session.capture(PROMPTS, ["resid_post.1"], positions=[-1])["resid_post.1"][:, 0]
    torch.testing.assert_close(residuals(session, cached, [1])[0], seen, rtol=1e-4, atol=1e-5)
    again = run(session, cached.pick([2, 0, 2]))
    torch.testing.assert_close(again[0], again[2])
    torch.testing.assert_close(again[1], run(session, cached.pick([0]))[0], rtol=1e-4, atol=1e-5)


def test_what_prompts_begin_with_is_run_once_and_gives_the_same(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [[5, 9, 11, 4, 8], [5, 9, 11, 22], [5, 9, 11, 43, 6, 30, 12], [5, 9, 11, 4, 8, 9]]
    prefill(session, prompts)  # the check of the model is behind us
    shapes: list[tuple[int, ...]] = []
    own = session.hooked.engine.run

    def seen(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        shapes.append(tuple(inputs.ids.shape))
        return own(inputs, *args, **kwargs)

    monkeypatch.setattr(session.hooked.engine, "run", seen)
    cached = prefill(session, prompts)
    assert shapes == [(1, 3), (4, 3)]
    together = run(session, cached.pick(range(4)))
    for row, prompt in enumerate(prompts):
        torch.testing.assert_close(together[row], run(session, prefill(session, [prompt]))[0], rtol=1e-4, atol=1e-5)
    same = prefill(session, [prompts[0], prompts[0]])
    torch.testing.assert_close(run(session, same)[1], together[0], rtol=1e-4, atol=1e-5)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "local windows": (
        "GPTNeo",
        {"num_layers": 2, "num_heads": 4, "window_size": 8, "attention_types": [[["global", "local"], 1]]},
    ),
    "biases by column": ("Mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 128}),
    "chunks": ("Llama4", {**_HEADS, "num_hidden_layers": 3, "num_local_experts": 2, "attention_chunk_size": 8}),
    "windows": ("Mistral", {**_HEADS, "num_hidden_layers": 2, "sliding_window": 6}),
    "states beside attention": (
        "Qwen3Next",
        {
            **_HEADS, "num_hidden_layers": 4, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16,
            "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
}  # fmt: skip
"""Models in which padding, or a row taken twice, is more than a matter of positions."""


@pytest.mark.parametrize("name", list(CASES))
def test_whatever_counts_columns_or_keeps_states_is_right(name: str) -> None:
    stem, changes = CASES[name]
    session = load(build(stem, {**_SIZES, **changes}))
    prompts = [ids(12, 1) + ids(9, 2), ids(12, 1) + ids(3, 3), ids(12, 1) + ids(6, 4)]
    found = run(session, prefill(session, prompts).pick([2, 0, 1, 0]))
    for row, prompt in enumerate([2, 0, 1, 0]):
        expected = session.logits(prompts[prompt], [-1])[0, 0]
        torch.testing.assert_close(found[row], expected, rtol=1e-3, atol=1e-4)
    assert not checked(session.hooked.engine).padding_between
    same = [
        ids(12, 1) + ids(3, seed) for seed in (5, 6)
    ]  # of one length there is no padding, so the beginning is shared
    together = run(session, prefill(session, same))
    torch.testing.assert_close(together, session.logits(same, [-1])[:, 0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("stem", "changes", "says"),
    [
        ("Mamba", {"num_hidden_layers": 2, "state_size": 4}, "cannot be run in two parts on mamba: "),
        (
            "Llama",
            {
                **_HEADS,
                "num_hidden_layers": 2,
                "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
            },
            "on llama: the frequencies of its rotation depend on the length of the text",
        ),
    ],
)
def test_a_model_that_cannot_go_on_from_a_cache_is_refused(stem: str, changes: dict[str, Any], says: str) -> None:
    session = load(build(stem, {**_SIZES, **changes}))
    with pytest.raises(UsageError, match=says):
        prefill(session, PROMPTS)


@pytest.mark.parametrize("engine", ["hf", "nnsight", "transformerlens"])
def test_a_site_that_is_not_there_is_told_with_its_reason(engine: str) -> None:
    session = load(tiny("gpt_neox"), engine=engine)
    cached = prefill(session, PROMPTS)
    for site, reason in ((Site("resid_mid", 1), "parallel residual"), (Site("resid_post", 9), "no layer 9")):
        with pytest.raises(SiteError, match=reason):
            run(session, cached.pick([0]), [Hook(site, lambda whole: None)])
    with pytest.raises(SiteError, match="no layer 9"):
        residuals(session, cached, [9])


def test_no_site_in_a_model_of_several_streams_is_told_in_words() -> None:
    session = load(family("gemma3n"))
    cached = prefill(session, [[5, 9, 11, 4], [7, 3, 22, 8]])
    with pytest.raises(SiteError, match="several residual streams"):
        residuals(session, cached, [1])
    with pytest.raises(SiteError, match="several residual streams"):
        session.capture([5, 9, 11], "resid_post.1")
    steps: list[object] = []
    told = session.hooked.capture([5, 9, 11], ["pattern.1"], progress=Reporter(steps.append))
    assert told["pattern.1"].shape[-1] == 3
