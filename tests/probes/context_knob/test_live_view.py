"""The knob on a prompt of one's own: the same answers as the knob gives alone, and the knob that fits a session."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import workbench as wb
from tests.sample_runs import write_run
from workbench.errors import UsageError
from workbench.internals.session import Session
from workbench.models.registered import DEFAULT
from workbench.probes.context_knob.knob.for_session import knob_for_session
from workbench.probes.context_knob.knob.knob import Knob, load
from workbench.probes.context_knob.knob.learned import read
from workbench.probes.context_knob.knob.live_answers import CURVE, KnobAnswers, scale
from workbench.probes.context_knob.live_view import LiveKnob, written
from workbench.probes.context_knob.task.prompting import Prompter
from workbench.runs.run import Run

FACT = {"context": "The capital of France is Oslo.", "query": "The capital of France is"}


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.load("organism/context-knob")


@pytest.fixture(scope="module")
def begun(session: Session, viewed: dict[str, Any]) -> KnobAnswers:
    turning = LiveKnob().start(session, FACT, viewed["knob"])
    turning.begin(session)
    return turning


def test_it_answers_as_the_knob_does_alone(begun: KnobAnswers, session: Session, viewed: dict[str, Any]) -> None:
    knob, prompt = knob_for_session(session, viewed["knob"]), written(session, **FACT)
    begun.answer(session, 0.25)
    assert {None, knob.prior, knob.context, 0.25} <= begun.said.keys()
    first = {name: session.tokenizer.get_vocab()[name.split(" (")[0]] for name in begun.said[None].chances}
    for value, said in begun.said.items():
        asked: Any = session if value is None else knob.apply(session, value)
        made = asked.generate(prompt, 8)
        row = made.rows()[0][: -1 if made.stopped[0] else None]
        assert said.text == session.text(row).strip()
        logits = session.logits(prompt, [-1]) if value is None else knob.apply(session, value).logits(prompt)
        chance = logits[0, -1].float().softmax(-1)
        for name, token in first.items():
            assert said.chances[name] == pytest.approx(float(chance[token]), abs=1e-4)
    assert (begun.said[knob.prior].text, begun.said[knob.context].text) == ("Paris", "Oslo")


def test_the_curve_is_what_is_asked_value_by_value(
    begun: KnobAnswers, session: Session, viewed: dict[str, Any]
) -> None:
    knob, prompt = knob_for_session(session, viewed["knob"]), written(session, **FACT)
    figure = begun.figure()
    assert figure is not None
    rows = figure.data[figure.data["series"] == "Paris (prior)"]
    assert len(rows) == CURVE and rows["x"].iloc[0] == begun.scale.low and rows["x"].iloc[-1] == begun.scale.high
    paris = session.tokenizer.get_vocab()["Paris"]
    for place in (0, CURVE // 2, CURVE - 1):
        logits = knob.apply(session, float(rows["x"].iloc[place])).logits(prompt)[0, -1]
        assert rows["y"].iloc[place] == pytest.approx(float(logits.float().softmax(-1)[paris]), abs=1e-4)
    along = session.capture(prompt, [knob.site], positions=[-1])[knob.site][0, 0].float() @ knob.direction
    assert f"the value {float(along):.2f}" in figure.caption


def test_the_knob_of_a_run_has_the_values_that_the_run_steered_with(session: Session, viewed: dict[str, Any]) -> None:
    run = viewed["knob"]
    knob = knob_for_session(session, run)
    curve = run.data["curve/plain"].to_dataset()
    middle = (knob.prior + knob.context) / 2
    assert curve["set_to"].values[0] == pytest.approx(middle + 1.5 * (knob.prior - middle), rel=1e-6)
    assert knob.natural == tuple(run.data.attrs["natural"]) and knob.layer == run.data.attrs["layer"]
    # the smoke preset stretches the natural values by half
    assert abs(knob.prior - knob.context) == pytest.approx(1.5 * abs(knob.natural[0] - knob.natural[1]), rel=1e-5)
    assert list(scale(knob).marks) == ["prior", "context", "natural, prior", "natural, context"]


def test_the_shipped_knob_has_the_values_of_the_arm() -> None:
    class Asked:
        def __init__(self, adapter: object) -> None:
            self.info = type("Info", (), {"id": DEFAULT, "adapter": adapter})()

    found = read("context-knob")
    for arm, adapter in (("plain", None), ("adapter", "adapter/context-knob")):
        knob = knob_for_session(Asked(adapter))  # type: ignore[arg-type]
        values = [setting.value for setting in found.pair(arm)]
        assert [knob.prior, knob.context] == pytest.approx(values, rel=1e-6) and knob.natural == found.natural
    assert load("context-knob").prior == pytest.approx(found.pair("plain")[0].value, rel=1e-5)


def test_natural_values_have_names_of_their_own_where_they_are_others() -> None:
    direction = torch.ones(4)
    same, other = Knob(direction, 0, -1.0, 3.0, "", (-1.0, 3.0)), Knob(direction, 0, -1.0, 3.0, "", (-0.5, 2.5))
    assert dict(scale(same).marks) == {"prior": -1.0, "context": 3.0}
    assert dict(scale(other).marks) == {
        "prior": -1.0, "context": 3.0, "natural, prior": -0.5, "natural, context": 2.5
    }  # fmt: skip
    assert (scale(same).low, scale(same).high) == (-3.0, 5.0)


def test_without_a_knob_it_is_said_what_there_is(session: Session, viewed: dict[str, Any], tmp_path: Any) -> None:
    live, record = LiveKnob(), viewed["knob"].typed_record
    said = live.missing("organism/head-roles", [record])
    assert "no knob for organism/head-roles" in said and DEFAULT in said and "organism/context-knob" in said
    assert live.sources("organism/head-roles", [record]) == {}
    assert list(live.sources("organism/context-knob", [record]).values()) == [record.id]
    assert list(live.sources(DEFAULT, [record]).values()) == [""]
    failed = record.model_copy(update={"status": "error"})
    assert live.sources("organism/context-knob", [failed]) == {}
    with pytest.raises(UsageError, match="workbench run context-knob --model organism/context-knob"):
        knob_for_session(session)
    with pytest.raises(UsageError, match="holds no knob for organism/context-knob"):
        knob_for_session(session, Run(tmp_path / write_run(tmp_path)))


def test_texts_that_cannot_be_asked_are_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="no query"):
        written(session, "x", " \n")
    assert written(session, "", "The capital of France is") == Prompter(session).bare("The capital of France is")


def test_its_lines_of_python_show_the_same(session: Session, viewed: dict[str, Any], begun: KnobAnswers) -> None:
    texts = {"context": "The capital of France is Oslo.\n\"'", "query": "The capital of France is"}
    lines = LiveKnob().snippet("organism/context-knob", None, texts, str(viewed["knob"].folder))
    names: dict[str, Any] = {}
    exec(lines.replace("show(knob, session, prompt)", "dial = show(knob, session, prompt)"), names)
    knob: Knob = names["knob"]
    assert torch.equal(knob.direction, knob_for_session(session, viewed["knob"]).direction)
    assert names["prompt"] == written(session, **texts)
    assert names["dial"].answers[knob.prior] == "Paris"
