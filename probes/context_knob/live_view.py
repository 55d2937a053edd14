"""The live view of the knob: a context and a query of the reader's own, and the knob turned while the model answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from workbench.errors import UsageError
from workbench.probe.live_view import Live, Text
from workbench.texts.facts import Item

from .knob.for_session import knob_for_session, shipped
from .knob.knob import knobs, load
from .knob.live_answers import KnobAnswers
from .task.prompting import Prompter

if TYPE_CHECKING:
    from workbench.internals.session import Session
    from workbench.probe.live_view import FinishedRun
    from workbench.records.record import Record

NAME = "context-knob"


def live() -> LiveKnob:
    """The live view of the probe."""
    return LiveKnob()


class LiveKnob(Live):
    """A slider between prior and context."""

    title = "Turn the knob between prior and context"
    about = (
        "The context says one thing, and the model may have learnt another. At the last token, and at every token that "
        "is generated, the value along one direction is set to that of the slider. The prompt does not tell which "
        "answer is wanted."
    )
    turned = "Value along the direction"
    plain = "without the knob"
    source = "Knob"
    texts = (
        Text("context", "Context", "The capital of France is Oslo.", "What the model is told; empty for none."),
        Text("query", "Query", "The capital of France is", "The beginning of a sentence that the answer completes."),
    )

    def sources(self, model: str, records: Iterable[Record]) -> dict[str, str]:
        name = shipped(model)
        found = {} if name is None else {f"the one that ships ({name})": ""}
        runs = [record for record in records if _holds(record) and record.model.id == model]
        return found | {f"run of {run.created}, {run.preset} ({run.id[-8:]})": run.id for run in runs}

    def missing(self, model: str, records: Iterable[Record]) -> str:
        shipped_for = sorted({load(name).model for name in knobs()})
        learnt_for = sorted({record.model.id for record in records if _holds(record)} - set(shipped_for))
        there = [f"one ships for {', '.join(shipped_for)}"] if shipped_for else ["none ships"]
        there += [f"runs in this folder learnt one for {', '.join(learnt_for)}"] if learnt_for else []
        return (
            f"There is no knob for {model}: {', and '.join(there)}. Choose such a model, or run {NAME} on this one: "
            "that learns a knob."
        )

    def start(self, session: Session, texts: Mapping[str, str], run: FinishedRun | None) -> KnobAnswers:
        knob = knob_for_session(session, run)
        return KnobAnswers(knob, session, written(session, texts["context"], texts["query"]))

    def snippet(self, model: str, adapter: str | None, texts: Mapping[str, str], run: str | None) -> str:
        with_adapter = f", adapter={adapter!r}" if adapter else ""
        of_run = f", wb.open({run!r})" if run else ""
        return (
            "import workbench as wb\n"
            "from workbench.probes.context_knob.knob.for_session import knob_for_session\n"
            "from workbench.probes.context_knob.live_view import written\n"
            "from workbench.probes.context_knob.knob.slider import show\n\n"
            f"session = wb.load({model!r}{with_adapter})\n"
            f"knob = knob_for_session(session{of_run})\n"
            f"prompt = written(session, {texts['context']!r}, {texts['query']!r})\n"
            "show(knob, session, prompt)"
        )


def _holds(record: Record) -> bool:
    """Whether a run holds a direction."""
    return record.probe == NAME and record.status == "success" and "tensors.safetensors" in record.files


def written(session: Session, context: str, query: str) -> list[int]:
    """A context and the beginning of a sentence that is to be completed, as ids, without an intent line.

    Without a context it is the bare query. Raises `UsageError` if there is no query, or no tokenizer.
    """
    if session.tokenizer is None:
        raise UsageError("this model has no tokenizer, and the question is made of text")
    if not query.strip():
        raise UsageError("there is no query: write the beginning of a sentence that the answer completes")
    prompter = Prompter(session)
    if not context.strip():
        return prompter.bare(query.strip())
    return prompter.ask(Item("", "", context.strip(), query.strip(), "", ""), False, "none")
