"""Writes figures into a folder, as a description and as pictures."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..files import write
from .figure import Figure


def save(figure: Figure, folder: str | Path) -> list[Path]:
    """Write `<name>.json`, `<name>.svg` and `<name>.png`; the same figure gives the same bytes.

    Raises `UsageError` if the figure's name is no plain file name.
    """
    from . import codec, matplotlib

    if not figure.name or Path(figure.name).name != figure.name or figure.name.startswith("."):
        raise UsageError(f"a figure's name becomes a file name; {figure.name!r} cannot be one")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    svg, png = matplotlib.svg_and_png(figure)
    written = {"json": codec.dumps(figure).encode(), "svg": svg.encode(), "png": png}
    paths = []
    for suffix, content in written.items():
        paths.append(folder / f"{figure.name}.{suffix}")
        write(paths[-1], content)
    return paths


def load(path: str | Path) -> Figure:
    """The figure that a JSON file describes; `UsageError` if the file is missing or is no figure."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the figure {str(path)!r}: {error}") from error
    return Figure.from_json(text)
