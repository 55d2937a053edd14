"""How results are printed: JSON, or columns of plain text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..formatting import strip_control


def as_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def columns(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; control characters in names and values do not reach the terminal."""
    texts = [[strip_control(str(cell)) for cell in row] for row in [list(header), *rows]]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def line(text: str = "") -> None:
    """Print one line of text that may hold anything."""
    print(strip_control(text))
