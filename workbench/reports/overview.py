"""What a report of several runs says about them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import headlines
from .blocks import Block, Headlines, Section, Table, Words
from .compare import differences, plain


def comparisons(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """A section for each probe that ran more than once: its headlines side by side, and what differed."""
    sections: list[Section] = []
    for probe in dict.fromkeys(record["probe"] for record in records):
        same = [(i, record) for i, record in enumerate(records, start=1) if record["probe"] == probe]
        if len(same) > 1:
            title = f"{headlines.label(probe)}: {len(same)} runs compared"
            sections.append(Section(title, f"compare-{len(sections) + 1}", _comparison(same)))
    return sections


def _comparison(same: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Block]:
    names = [f"run {i}" for i, _ in same]
    records = [record for _, record in same]
    found = differences(records)
    blocks: list[Block] = []
    if found:
        rows = [(_words(one.path), *(plain(value) for value in one.values)) for one in found]
        blocks.append(Table("What differed", ("field", *names), rows))
    else:
        blocks.append(Words(["Settings, model, data and environment were the same in all of them."]))
    rows_of_headlines = []
    for name in dict.fromkeys(headline["name"] for record in records for headline in record["headline"]):
        held = [
            (run, headline)
            for run, record in zip(names, records, strict=True)
            for headline in record["headline"]
            if headline["name"] == name
        ]
        scale = headlines.shared_scale([headline for _, headline in held])
        for run, headline in held:
            rows_of_headlines.append(replace(headlines.row(headline, run), strip=headlines.strip(headline, scale)))
    if rows_of_headlines:
        blocks.append(Headlines(rows_of_headlines, "The same headline of each run, on one scale."))
    return blocks


def _words(path: str) -> str:
    """A field of the record as a reader calls it."""
    for beginning, word in (("spec.resolved.", "setting "), ("spec.", ""), ("environment.packages.", "package ")):
        if path.startswith(beginning):
            return word + path.removeprefix(beginning)
    return path.replace(".", " ")
