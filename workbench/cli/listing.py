"""`workbench probes`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from ..formatting import one_line
from .options import Json
from .output import as_json, columns, line


def probes(json: Json = False) -> None:
    """Probes, their settings and their papers."""
    from ..probe import settings
    from ..probe.registry import PROBES

    found, broken = PROBES.loaded()
    for why in broken.values():
        print(f"workbench: {one_line(why)}", file=sys.stderr)
    if json:
        as_json(
            [
                {
                    "name": probe.name,
                    "question": probe.question,
                    "method": probe.method,
                    "papers": [asdict(paper) for paper in probe.papers],
                    "presets": probe.presets,
                    "config": settings.describe(probe.Config),
                }
                for probe in found
            ]
        )
        return
    for probe in found:
        line(f"{probe.name}: {probe.question}")
        line(f"  method    {probe.method}")
        for paper in probe.papers:
            line(f"  paper     {paper.title} (arXiv:{paper.arxiv})")
        columns(("  setting", "type", "default"), [_setting(probe.Config, name) for name in probe.Config.model_fields])
        line()


def _setting(config: Any, name: str) -> tuple[str, str, str]:
    from ..probe import settings

    field = config.model_fields[name]
    default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
    return f"  {name}", settings.type_name(name, config), default
