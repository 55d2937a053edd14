"""One question: its answers under every method, and lower layers at the tokens of its best answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench.figures.text import escape_control
from workbench.probe.explore import Details, SelectableDim, TextTable

from .figures import divergences

if TYPE_CHECKING:
    import xarray as xr


def coordinates(data: xr.DataTree) -> list[SelectableDim]:
    """A test question, and one that was answered from its context."""
    asked = data["choices"].to_dataset()["question"].values
    answered = data["conflicts"].to_dataset()["question"].values
    return [
        SelectableDim("question", list(range(len(asked))), 0, [escape_control(str(each)) for each in asked]),
        SelectableDim("answered", list(range(len(answered))), 0, [escape_control(str(each)) for each in answered]),
    ]


def details(data: xr.DataTree, chosen: Mapping[str, int]) -> Details:
    """Scores of a question's answers, what was said to another with its context, and divergences where kept."""
    question, answered = chosen["question"], chosen["answered"]
    scored, said = data["choices"].to_dataset(), data["conflicts"].to_dataset()
    there = scored["tokens"].values[question] > 0
    true = int(scored["true"].values[question])
    rows = []
    for name in scored["condition"].values:
        sums = scored["score"].sel(condition=name, scoring="softmax").values[question][there]
        lead = sums[0] - sums[true:].max()
        rows.append([str(name), f"{lead:+.2f}", *(f"{each:.2f}" for each in sums)])
    columns = ["method", "lead of the best", *(f"{'true' if n < true else 'false'} {n}" for n in range(there.sum()))]
    answers = [
        [str(name), str(said["said"].values[row, answered]), f"{said['em'].values[row, answered]:.0f}"]
        for row, name in enumerate(said["condition"].values)
    ]
    gold, kind = str(said["gold"].values[answered]), str(said["kind"].values[answered])
    figures = [divergences(data, question)] if question < data["layers"].sizes["mapped"] else []
    return Details(
        figures,
        note=f"Sums of normalised scores over the tokens of {int(there.sum())} answers, {true} of them true.",
        tables=[
            TextTable("scores", "Scores of the answers", "The best answer comes first.", columns, rows),
            TextTable(
                "answers",
                "Answers with the context",
                f"The context says {gold}; a case of {kind} with the model.",
                ["method", "said", "exact match"],
                answers,
            ),
        ],
    )
