"""What a report of several runs says about them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..records.comparison import differences
from . import headlines
from .blocks import Block, Headlines, Paragraphs, Section, Table
from .parts import limits


def comparisons(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """A section for each probe that ran more than once: its headlines side by side, and what differed."""
    sections: list[Section] = []
    for probe in dict.fromkeys(record["probe"] for record in records):
        same = [(i, record) for i, record in enumerate(records, start=1) if record["probe"] == probe]
        if len(same) > 1:
            title = f"{headlines.label(probe)}: {len(same)} runs compared"
            sections.append(Section(title, f"compare-{len(sections) + 1}", _comparison(same)))
    return sections


def reliability(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """How far the runs can be trusted together: their ends, checks and examples, and the limits that all share."""
    said = []
    named = [f"run {i} ({headlines.label(record['probe'])})" for i, record in enumerate(records, start=1)]
    ended = [f"{name}: {r['status']}" for name, r in zip(named, records, strict=True) if r["status"] != "success"]
    if ended:
        said.append(f"Not finished: {'; '.join(ended)}.")
    checks = [(name, check) for name, record in zip(named, records, strict=True) for check in record["checks"]]
    failed = [
        f"{name}: {check['name']}" + f" – {check['detail']}" * bool(check["detail"])
        for name, check in checks
        if not check["passed"]
    ]
    if failed:
        said.append(f"{len(failed)} of {len(checks)} checks failed. {'; '.join(failed)}.")
    elif checks:
        said.append(f"All {len(checks)} checks passed.")
    quoted = [(name, headline) for name, record in zip(named, records, strict=True) for headline in record["headline"]]
    if quoted:
        least, where = min((headline["n"], name) for name, headline in quoted)
        bare = sum(headline.get("control") is None for _, headline in quoted)
        said.append(
            f"The headlines rest on {least} examples or more (the fewest in {where}); "
            + (f"{bare} of {len(quoted)} have no control." if bare else "each is read against a control.")
        )
    shared = [limit for limit in limits(records[0]) if all(limit in limits(record) for record in records[1:])]
    said += [f"{limit[:1].upper()}{limit[1:].rstrip('.')}." for limit in shared]
    return [*said, "What limits a single run stands at the end of its part."]


def _comparison(same: Sequence[tuple[int, Mapping[str, Any]]]) -> list[Block]:
    names = [f"run {i}" for i, _ in same]
    records = [record for _, record in same]
    found = differences(records)
    blocks: list[Block] = []
    if found:
        rows = [(one.label, *one.texts) for one in found]
        blocks.append(Table("What differed", ("field", *names), rows))
    else:
        blocks.append(Paragraphs(["Settings, model, data and environment were the same in all of them."]))
    quoted = side_by_side(names, records)
    return [*blocks, *([quoted] if quoted.rows else [])]


def side_by_side(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> Headlines:
    """Every headline of the records, those of one name together on one scale; `names` say which run each is of."""
    rows = []
    for name in dict.fromkeys(headline["name"] for record in records for headline in record["headline"]):
        held = [
            (run, headline)
            for run, record in zip(names, records, strict=True)
            for headline in record["headline"]
            if headline["name"] == name
        ]
        scale = headlines.shared_scale([headline for _, headline in held])
        for run, headline in held:
            rows.append(replace(headlines.row(headline, run), strip=headlines.strip(headline, scale)))
    return Headlines(rows, "The same headline of each run, on one scale.")
