"""Numbers and texts as a person reads them."""

from __future__ import annotations

import re
from typing import Any


def percent(part: float, digits: int = 2) -> str:
    """A share in percent with two significant digits, or more, so that a small one is not 0."""
    return f"{float(f'{100 * part:.{digits}g}'):g}%"


def sentence(text: str) -> str:
    """A remark with a capital, unless it begins with a name such as `best_block`, and a full stop."""
    first, _, _ = text.partition(" ")
    begun = text if "_" in first else text[:1].upper() + text[1:]
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."


def byte_size(count: float) -> str:
    """A number of bytes as a person reads it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def parse_size(text: str) -> int:
    """Bytes from a text such as `8GiB`, `500M` or `2000000`; raises `ValueError` otherwise.

    >>> parse_size("500MiB")
    524288000
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is not a size; write for example 8GiB or 500MiB")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def strip_control(text: str) -> str:
    """A text without the control characters that a terminal would obey."""
    return "".join(sign if sign.isprintable() else "�" for sign in text)


def one_line(text: str) -> str:
    """A text on one line, without control characters."""
    return strip_control(" ".join(text.split()))


def csv_safe(value: Any) -> Any:
    """A cell of a CSV file; a text that a spreadsheet would take for a formula gets a ' before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
