"""A report as JSON: the records, what was said, and every figure with its numbers."""

from __future__ import annotations

import json

from ..records.comparison import differences
from .blocks import Report

SCHEMA = 1


def render(report: Report) -> str:
    """All that the report rests on; `figures` are descriptions that `Figure.from_json` reads."""
    content = {
        "schema": SCHEMA,
        "title": report.title,
        "runs": [
            {part: run[part] for part in ("record", "summary", "notes", "damage", "figures")} for run in report.runs
        ],
        "differences": [
            {"field": one.path, "values": one.as_json} for one in differences([run["record"] for run in report.runs])
        ],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
