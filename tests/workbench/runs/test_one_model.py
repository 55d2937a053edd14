"""A run is of one model: it names it, never goes on with another, and never mixes two."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from tests.fixtures.plugin.mean_logits import MeanLogits
from tests.workbench.letters import letters
from workbench.errors import UsageError, WorkbenchError
from workbench.internals.chat_text import chat_text, clock_at
from workbench.probe.contract import Outcome
from workbench.records.comparison import compare
from workbench.records.record import DataUse
from workbench.runs.rerun import agreement, rerun


def stopped(session: wb.Session, runs: Path) -> Path:
    """A run that was stopped behind its first stage."""

    def stop(event: Any) -> None:
        if event.stage == "prompts" and event.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wb.run("mean-logits", session, preset="smoke", runs=runs, progress=stop)
    (folder,) = (path for path in runs.iterdir() if not path.name.startswith("."))
    assert (folder / "stages").is_dir()
    return folder


def hooked(model: Any) -> None:
    model.model.layers[0].mlp.register_forward_hook(lambda module, args, output: output * 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda model: model.lm_head.weight.data.view(-1)[1:2].add_(1), "fingerprint"),
        (lambda model: setattr(model.config, "rms_norm_eps", 0.5), "config_sha256"),
        (lambda model: setattr(model.model.layers[0].self_attn, "scaling", 0.1), "state_sha256"),
        (lambda model: setattr(model.generation_config, "eos_token_id", 9), "ends"),
        (hooked, r"a forward hook on model\.layers\.0\.mlp"),
    ],
)
def test_another_model_does_not_go_on_with_a_run(change: Callable[[Any], object], told: str, at: Path) -> None:
    model = tiny("llama")
    session = wb.load(model)
    folder = stopped(session, at / "runs")
    change(model)
    with pytest.raises(UsageError, match=rf"cannot be resumed: .*{told}"):
        wb.run("mean-logits", session, preset="smoke", runs=at / "runs", progress=False, resume=folder)


def test_the_same_model_goes_on(at: Path) -> None:
    model = tiny("llama")
    folder = stopped(wb.load(model), at / "runs")
    run = wb.run("mean-logits", wb.load(model), preset="smoke", runs=at / "runs", progress=False, resume=folder)
    fresh = wb.run("mean-logits", wb.load(tiny("llama")), preset="smoke", runs=at / "runs", progress=False)
    assert run.status == "success" and agreement(run, fresh)["same"] and agreement(run, fresh)["model"] == {}


@pytest.mark.parametrize("hidden", [False, True])
def test_a_model_that_changes_while_a_run_lasts_ends_it(hidden: bool, at: Path) -> None:
    model = tiny("llama")
    session = wb.load(model)

    def change(event: Any) -> None:
        if event.stage == "prompts" and event.done == 1:
            with torch.no_grad():
                (model.lm_head.weight.data if hidden else model.lm_head.weight).mul_(1.01)

    with pytest.raises(WorkbenchError, match="weights changed while the run lasted"):
        wb.run("mean-logits", session, preset="smoke", runs=at / "runs", progress=change)
    (folder,) = (path for path in (at / "runs").iterdir() if not path.name.startswith("."))
    assert wb.open(folder).status == "error" and len(list((folder / "stages").iterdir())) == 1


def test_a_hook_that_comes_while_a_run_lasts_ends_it(at: Path) -> None:
    model = tiny("llama")

    def change(event: Any) -> None:
        if event.stage == "prompts" and event.done == 1:
            hooked(model)

    with pytest.raises(WorkbenchError, match="hooks"):
        wb.run("mean-logits", wb.load(model), preset="smoke", runs=at / "runs", progress=change)


def test_two_runs_on_either_side_of_a_training_step_name_two_models(at: Path) -> None:
    model = tiny("llama")
    session = wb.load(model)
    first = wb.run("mean-logits", session, preset="smoke", runs=at / "runs", progress=False)
    model.model.layers[0].self_attn.v_proj.weight.data.mul_(0)
    second = wb.run("mean-logits", session, preset="smoke", runs=at / "runs", progress=False)
    assert list(agreement(first, second)["model"]) == ["fingerprint"]


def test_code_of_the_users_own_stands_in_the_record_and_among_the_limits(at: Path) -> None:
    model = tiny("llama")
    hooked(model)
    session = wb.load(model)
    first, second = (wb.run("mean-logits", session, preset="smoke", runs=at / "r", progress=False) for _ in range(2))
    (told,) = first.record["model"]["state"]
    assert told.startswith("a forward hook on model.layers.0.mlp")
    assert any(told in limit for limit in first.record["limits"])
    assert list(agreement(first, second)["model"]) == ["state_sha256"]


class Reading(MeanLogits):
    """Reads a file, and the date of the chat template."""

    name = "reading"

    def run(self, session: Any, config: Any, context: Any) -> Outcome:
        outcome = super().run(session, config, context)
        told = chat_text(session.tokenizer, [{"role": "user", "content": "a"}])
        path = Path("lic.txt")
        outcome.sources[:] = [DataUse(name="lic.txt", sha256=f"{len(path.read_bytes()):064}", n_used=1)]
        outcome.limits[:] = [f"told {told}"]
        return outcome


DATED = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}"


@pytest.fixture
def reading() -> Any:
    made = wb.PROBES.add(Reading)
    yield made
    wb.PROBES._known.pop("reading", None)


def test_a_rerun_reads_the_clock_of_the_first_run(reading: Any, at: Path) -> None:
    (at / "lic.txt").write_text("one")
    session = wb.load((tiny("llama"), letters(template=DATED)))
    with clock_at(datetime(2026, 3, 1, 8, 30)):
        first = wb.run("reading", session, preset="smoke", runs=at / "runs", progress=False)
    assert first.record["spec"]["clock"] == "2026-03-01T08:30:00"
    assert first.record["limits"] == ["Told 01 Mar 2026 a."]
    again = rerun(first, session, at / "runs")
    assert again.record["limits"] == first.record["limits"] and agreement(first, again)["sources"] == {}
    now = wb.run("reading", session, preset="smoke", runs=at / "runs", progress=False)
    assert now.record["limits"] != first.record["limits"]
    assert list(compare([first.typed_record, now.typed_record])["settings"]) == ["clock"]
    plain = wb.run("mean-logits", wb.load(tiny("llama")), preset="smoke", runs=at / "runs", progress=False)
    assert plain.record["spec"]["clock"] is None


def test_a_rerun_on_data_that_changed_says_so(reading: Any, at: Path, cli: Any) -> None:
    (at / "lic.txt").write_text("one")
    tiny("llama").save_pretrained(at / "model")
    letters(template=DATED).save_pretrained(at / "model")  # type: ignore[attr-defined]
    session = wb.load(at / "model")
    first = wb.run("reading", session, preset="smoke", runs=at / "runs", progress=False)
    (at / "lic.txt").write_text("one more")
    found = agreement(first, rerun(first, session, at / "runs"))
    assert found["sources"] == {"lic.txt": [f"{3:064}", f"{8:064}"]}
    said = cli("rerun", first.folder)
    assert said.status == 0 and "lic.txt: not what was read before" in said.out


def test_a_stage_belongs_to_the_model_it_was_computed_on(at: Path) -> None:
    folder = stopped(wb.load(tiny("llama")), at / "runs")
    record = json.loads((folder / "record.json").read_text())
    assert record["model"]["state_sha256"] and record["model"]["ends"] == [2]
