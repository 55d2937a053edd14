"""Runs as they would lie on disk, made without a model, for the tests of pages."""

from __future__ import annotations

from pathlib import Path

from tests.sample_figures import curve, grid, text
from workbench import figures
from workbench.records import store
from workbench.records.environment import environment
from workbench.records.record import Check, Control, ErrorInfo, Headline, ModelInfo, Record, Spec, Status


def write_run(
    runs: Path,
    status: Status = "success",
    model: str = "smollm2-135m-instruct-q4_1",
    words: str = "",
    drawn: bool = True,
) -> str:
    """A run of head-roles as it would lie on disk, with `words` in every text of it."""
    now = store.now()
    record = Record(
        id=store.new_id("head-roles", model + status),
        status=status,
        probe="head-roles",
        created=now,
        started=now,
        finished=now,
        model=ModelInfo(id=model + words, engine="hf", dtype="float32", device="cpu"),
        spec=Spec(given={"haystack": words}, resolved={"n": 40, "haystack": words}),
        environment=environment(),
        summary=["Three of 270 heads copy the needle from far away." + words] if status == "success" else [],
        headline=[
            Headline(
                name="needle_recall_top_ablated",
                value=0.08,
                low=0.02,
                high=0.16,
                n=40,
                unit="1",
                split="held-out" + words,
                method="bootstrap over needles" + words,
                control=Control(name="random heads" + words, value=0.85, low=0.8, high=0.9, n=20),
            )
        ]
        if status == "success"
        else [],
        checks=[Check(name="splits share no needle" + words, passed=True, detail="0 shared" + words)],
        limits=["The weights are 4-bit." + words],
        error=ErrorInfo(kind="WorkbenchError", message="no space left" + words) if status == "error" else None,
    )
    folder = runs / record.id
    (folder / "figures").mkdir(parents=True)
    for figure in [grid(), curve(), text()] if drawn and status == "success" else []:
        figures.save(figure, folder / "figures")
        record.figures.append(figure.name)
    record.files = store.hash_files(folder)
    store.write_record(folder, record)
    return record.id
