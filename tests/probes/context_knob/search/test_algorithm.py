"""The PatchScope readout, patching at the last token, the layer search by hand and on the organism."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from tests.conftest import TINY, tiny
from workbench.errors import Cancelled
from workbench.internals import edits, patchscope
from workbench.internals.patchscope import PatchScope
from workbench.internals.session import Session
from workbench.probes.context_knob.config import ContextKnobConfig
from workbench.probes.context_knob.organism import BLOCK, OrganismConfig, construct, single_words
from workbench.probes.context_knob.probe import ContextKnob
from workbench.probes.context_knob.search.algorithm import Thresholds, chosen_tau, search
from workbench.probes.context_knob.search.measure import locate
from workbench.probes.context_knob.search.patching import SETUPS, CleanRuns, Patching, PatchPair, paired
from workbench.probes.context_knob.search.summary import spans
from workbench.probes.context_knob.task.prompting import Prompter
from workbench.progress import Progress, Reporter
from workbench.runs import execute, prepare
from workbench.texts.facts import Item, make_item

ENGINES = ["hf", "transformerlens", "nnsight"]
IDENTITY = [5, 9, 5, 31, 40, 9, 40, 31, 7]
PROMPTS = [[5, 9, 11, 4, 8], [7, 3, 22], [40, 41, 42, 43, 6, 30, 12]]
LIMITS = Thresholds(0.6, 0.3, 0.05)


@pytest.fixture(scope="module", params=[False, True], ids=["organism", "null"])
def organism(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    folder = tmp_path_factory.mktemp("null" if request.param else "organism")
    construct(OrganismConfig(cut=request.param), folder, 0, Reporter())
    return folder, request.param


def items(count: int = 12) -> list[Item]:
    rng = np.random.default_rng(0)
    return [make_item(fact, "sentence", rng) for fact in single_words()[::5][:count]]


def read_plainly(session: Session, state: torch.Tensor, layer: int, tokens: torch.Tensor, ids: list[int]) -> Any:
    """The readout by its definition: the whole prompt is run, and the state is patched in."""
    written = edits.patch(f"resid_post.{layer}", state[:, None], positions=[-1])
    return session.logits([ids] * len(state), [-1], [written])[:, 0].double().softmax(-1).gather(-1, tokens)


@pytest.mark.parametrize(
    ("engine", "model"), [*((engine, "llama") for engine in ENGINES), *(("hf", each) for each in TINY)]
)
def test_a_reading_is_the_whole_prompt_run_with_the_state_patched_in(engine: str, model: str) -> None:
    session = wb.load((tiny(model), None), engine)
    tokens = torch.tensor([[3, 9], [60, 2], [11, 8]])
    layers = range(session.shape.layers)
    seen = session.capture(PROMPTS, [f"resid_post.{layer}" for layer in layers], positions=[-1], logits=True)
    scope = PatchScope(session, IDENTITY)
    states = torch.stack([seen[f"resid_post.{layer}"][:, 0] for layer in layers])
    read = scope.read(states, layers, tokens)
    plain = torch.stack([read_plainly(session, states[layer], layer, tokens, IDENTITY) for layer in layers])
    torch.testing.assert_close(read, plain, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scope.read(states[1:2], [1], tokens), read[1:2], rtol=1e-4, atol=1e-6)
    # after the last block it is what the model itself says next, and the prompt that repeats has no part in it
    assert seen.logits is not None
    own = seen.logits[:, 0].double().softmax(-1).gather(-1, tokens)
    torch.testing.assert_close(read[-1], own, rtol=0, atol=1e-5)
    other = PatchScope(session, [7, 5, 9]).read(states, layers, tokens)
    torch.testing.assert_close(other[-1], own, rtol=0, atol=1e-5)
    assert (other[0] - read[0]).abs().max() > 1e-3


def test_readings_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    session = wb.load((tiny("llama"), None))
    states = torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(1))
    tokens, scope = torch.arange(10).reshape(5, 2), PatchScope(session, IDENTITY)
    whole = scope.read(states, range(3), tokens)
    monkeypatch.setattr(patchscope, "ROWS", 4)
    torch.testing.assert_close(scope.read(states, range(3), tokens), whole, rtol=1e-5, atol=1e-7)
    reporter = Reporter()
    reporter.cancelled.set()
    with pytest.raises(Cancelled):
        scope.read(states, range(3), tokens, reporter)


@pytest.mark.parametrize("engine", ["hf", "transformerlens"])
def test_patched_runs_are_whole_prompts_with_attention_outputs_patched(
    engine: str, organism: tuple[Path, bool]
) -> None:
    session = wb.load(str(organism[0]), engine)
    prompter, scope = Prompter(session), PatchScope(session)
    runs = paired(prompter, items(5), "prior")
    here = Patching(CleanRuns(session, items(5), "instruction", True), runs, scope)
    sources, targets = (
        [prompter.ask(*end, "instruction") for end in ends]
        for ends in zip(*((each.source, each.target) for each in runs), strict=True)
    )
    assert len({len(row) for row in targets}) > 1
    for blocks in ((), (2,), (0, 3), (1, 2, 3)):
        sites = [f"attn_out.{layer}" for layer in blocks]
        taken = session.capture(sources, sites, positions=[-1]) if blocks else {}
        changed = [edits.patch(site, taken[site], positions=[-1]) for site in sites]
        after = [f"resid_post.{layer}" for layer in range(4)]
        seen = session.capture(targets, after, positions=[-1], edits=changed, logits=True)
        plain = [
            read_plainly(session, seen[site][:, 0], layer, here.answers, scope.ids) for layer, site in enumerate(after)
        ]
        torch.testing.assert_close(here.read(blocks), torch.stack(plain), rtol=1e-4, atol=1e-6)
        assert seen.logits is not None
        own = seen.logits[:, 0].double().softmax(-1).gather(-1, here.answers)
        torch.testing.assert_close(here.next(blocks), own, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(here.next(blocks), here.read(blocks)[-1], rtol=0, atol=1e-5)


def test_all_blocks_patched_are_the_source_where_the_last_token_is_the_same(organism: tuple[Path, bool]) -> None:
    session = wb.load(str(organism[0]))
    scope = PatchScope(session)
    one, other = items(2)
    runs = [PatchPair((one, True), (one, False)), PatchPair((other, False), (other, True))]
    asked = CleanRuns(session, [one, other], "instruction", True)
    here = Patching(asked, runs, scope)
    itself = Patching(asked, [PatchPair(each.source, each.source) for each in runs], scope)
    torch.testing.assert_close(here.read(range(4))[..., 0], itself.read(())[..., 0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(itself.read(range(4)), itself.read(()), rtol=1e-4, atol=1e-6)


def test_partners_are_the_next_with_another_query_and_another_first_token() -> None:
    def ask(name: str, query: str, prior: str, other: str) -> Item:
        return Item(name, "r", "", query, prior, other)

    prompter: Any = SimpleNamespace(answer=lambda text: [ord(text[0])])
    a, b, c = ask("a", "qa", "Rome", "Oslo"), ask("b", "qb", "Riga", "Bern"), ask("c", "qc", "Lima", "Oslo")
    same = ask("d", "qd", "Paris", "Prague")
    chosen = paired(prompter, [a, b, same, c], "prior")
    assert [(each.source[0], each.target[0]) for each in chosen] == [(c, a), (c, b), (a, c)]
    assert not any(way for each in chosen for _, way in (each.source, each.target))
    chosen = paired(prompter, [a, b, same, c], "context")
    assert [(each.source[0], each.target[0]) for each in chosen] == [(b, a), (c, b), (b, c)]
    assert all(way for each in chosen for _, way in (each.source, each.target))
    assert paired(prompter, [a, a], "prior") == []  # nobody else to take an answer from
    assert paired(prompter, [a], "to_context") == [PatchPair((a, True), (a, False))]
    assert paired(prompter, [a], "to_prior") == [PatchPair((a, False), (a, True))]


def brought_in(needed: Collection[int], erased: dict[int, float], layers: int = 12) -> Any:
    """Means of a made-up model: the answer needs some blocks, and later blocks that are not patched take some away."""
    calls: list[tuple[int, ...]] = []

    def read(blocks: Collection[int]) -> np.ndarray:
        calls.append(tuple(blocks))
        source = np.zeros(layers)
        if set(needed) <= set(blocks):
            source[max(needed) :] = 0.9
            for layer, loss in erased.items():
                source[layer:] -= 0.0 if layer in blocks else loss
        return np.stack([source, 0.95 - source], axis=1)

    return read, calls


@pytest.mark.parametrize("first", range(12))
@pytest.mark.parametrize("last", range(12))
def test_both_bounds_are_exact_where_more_blocks_never_hurt(first: int, last: int) -> None:
    if first > last:
        return
    read, calls = brought_in({first, last}, {})
    found = search(read, 12, LIMITS)
    assert found.verdict == "found" and found.blocks == tuple(range(first, last + 1))
    assert len(calls) <= 2 + 4 + 4 + 1
    # the bounds that are returned were evaluated, and one block less was too, on either side
    sets = {look.blocks: look.decision for look in found.looks}
    assert found.blocks in sets and tuple(range(last)) in {(), *sets}
    assert sets.get(tuple(range(first + 1, last + 1)), "not there yet").startswith(("too few", "not there"))


def test_later_blocks_that_overwrite_are_patched_too_and_the_loop_ends() -> None:
    read, _ = brought_in({3, 4}, {7: 0.4, 10: 0.4})
    found = search(read, 12, LIMITS)
    assert (found.verdict, found.blocks) == ("found", (3, 4, 7, 10))
    assert [look.step for look in found.looks[-3:]] == ["bounds", "C", "C"]
    assert "block 7" in found.looks[-3].decision and "block 10" in found.looks[-2].decision
    # a loss that no single block explains: the published loop would patch the last block for ever
    read, calls = brought_in({3, 4}, dict.fromkeys(range(5, 12), 0.04))
    found = search(read, 12, Thresholds(0.6, 0.6, 0.05))
    assert (found.verdict, found.blocks) == ("overwritten", (3, 4)) and len(calls) < 20
    # a block that takes the answer away although it is patched is not taken twice
    base, _ = brought_in({3}, {})

    def stubborn(blocks: Collection[int]) -> np.ndarray:
        means = base(blocks)
        means[8:, 0] = 0.0
        return means

    found = search(stubborn, 12, LIMITS)
    assert (found.verdict, found.blocks) == ("overwritten", (3, 8))


def test_nothing_is_found_where_there_is_nothing_to_find() -> None:
    def always(value: float) -> Any:
        return lambda blocks: np.full((6, 2), value)

    assert (search(always(0.1), 6, LIMITS).verdict, search(always(0.1), 6, LIMITS).blocks) == ("out of reach", ())
    assert search(always(0.9), 6, LIMITS).verdict == "there already"
    assert len(search(always(0.9), 6, LIMITS).looks) == 1 and len(search(always(0.1), 6, LIMITS).looks) == 2
    assert chosen_tau(np.array([0.1, 0.8, 0.7])) == pytest.approx(0.72)
    assert chosen_tau(np.array([0.1, 0.2])) == 0.5


class _Context:
    """What a run hands to a probe, as far as the search needs it."""

    seed = 0

    def __init__(self, progress: Reporter | None = None) -> None:
        self.progress = progress or Reporter()

    def rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(0)


def test_the_search_names_the_planted_block_and_in_the_null_none(organism: tuple[Path, bool]) -> None:
    folder, cut = organism
    session = wb.load(str(folder))
    told: list[Progress] = []
    context: Any = _Context(Reporter(told.append))
    chosen = items(40)
    found = locate(session, chosen[:16], chosen[16:], ContextKnobConfig(search=True), context, "plain")
    blocks = {
        name: np.flatnonzero(found["found"].sel(setting=name).values).tolist() for name in found["setting"].values
    }
    verdicts = dict(zip(found["setting"].values.tolist(), found["verdict"].values.tolist(), strict=True))
    assert len(told) >= len(found["look"]) and set(blocks) == set(SETUPS)
    mean = found["mean"].sel(answer="source", layer=3)
    if cut:
        assert set(verdicts.values()) == {"out of reach"} and not found["found"].any()
        assert float(mean.sel(setting="to_prior").max() - mean.sel(setting="to_prior").min()) < 1e-6
        # its answers are less likely than one half; with a threshold below, the intent is still nowhere to be found
        low = ContextKnobConfig(search=True, tau=0.3, epsilon=0.05)
        again = locate(session, chosen[:16], chosen[16:], low, context, "plain")
        assert again["verdict"].values.tolist() == ["out of reach", "found", "there already", "out of reach"]
        assert np.argwhere(again["found"].values).tolist() == [[1, 2]]
        return
    assert blocks == {"prior": [2], "context": [2], "to_context": [BLOCK], "to_prior": [BLOCK]}
    assert set(verdicts.values()) == {"found"}
    # one block brings in all that every block brings in; this model gives its own answers that probability
    np.testing.assert_allclose(mean.sel(condition="found"), mean.sel(condition="every"), rtol=0, atol=0.01)
    assert float(mean.sel(condition="found").min()) > 0.65
    assert float(mean.sel(condition="none").max()) < 0.1
    # patched after the block that carries the intent, the block that reads it brings the answer by itself
    alone = found["alone"].sel(width=1, answer="source").mean("example") > 0.65
    for name in blocks:
        alike = [2] if name in ("prior", "context") else [BLOCK, 2]
        assert np.flatnonzero(alone.sel(setting=name)).tolist() == alike
        assert (float(mean.sel(setting=name, condition="others")) > 0.65) == (len(alike) == 2)
    for name in ("", "alone_"):
        low, mean, high = (found[f"{name}{end}"].values for end in ("low", "mean", "high"))
        some = ~np.isnan(mean)
        assert ((low <= mean + 1e-9) & (mean <= high + 1e-9))[some].all() and (high > low)[some].any()
        assert some.any() and np.isnan(low[~some]).all()


def test_a_search_stops_when_it_is_cancelled(organism: tuple[Path, bool]) -> None:
    reporter = Reporter(lambda event: reporter.cancelled.set() if event.done == 3 else None)
    context: Any = _Context(reporter)
    with pytest.raises(Cancelled):
        locate(wb.load(str(organism[0])), items(6), items(4), ContextKnobConfig(search=True), context, "plain")


def test_a_run_keeps_the_search_with_its_table_figures_and_words(organism: tuple[Path, bool], tmp_path: Path) -> None:
    folder, cut = organism
    settings = {"search": True, "n": 10, "n_validation": 8, "search_items": 9, "layers": (BLOCK,), "curve": 3}
    prepared = prepare.prepare(ContextKnob(), wb.load(str(folder)), "smoke", 0, settings)
    result = wb.open(execute.execute(prepared, tmp_path / "runs"))
    found = result.data["search/plain"].to_dataset()
    assert (found.attrs["looked_at"], found.attrs["held_out"]) == (8, 9)
    table = pd.read_csv(result.folder / "tables" / "search.csv")
    assert len(table) == found.sizes["look"] and set(table["setting"]) == set(SETUPS)
    assert {"search_plain", "alone_plain"} <= set(result.figures)
    said = next(line for line in result.summary if "attention outputs" in line)
    assert ("no set of blocks suffices" in said) is cut
    assert ("from prior to context block 1 suffices: probability 0.8" in said) is not cut
    assert any("last token only" in limit for limit in result.record["limits"])
    titles = [panel.title for panel in result.figures["search_plain"].panels]
    assert titles[3] == ("intent to prior: no blocks suffice" if cut else "intent to prior: block 1")
    assert bool(found["found"].sel(setting=["to_context", "to_prior"]).any()) is not cut


@pytest.mark.parametrize(
    ("blocks", "said"), [((), "none"), ((4,), "4"), ((3, 4, 5, 8), "3–5, 8"), ((0, 2, 4, 5), "0, 2, 4–5")]
)
def test_blocks_are_written_as_ranges(blocks: tuple[int, ...], said: str) -> None:
    assert spans(np.isin(np.arange(9), blocks)) == said
