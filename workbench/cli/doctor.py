"""`workbench doctor`."""

from __future__ import annotations

from ..formatting import byte_size
from .options import Json
from .output import as_json, columns


def doctor(json: Json = False) -> None:
    """What this machine can do."""
    from .machine import examine

    found = examine()
    if json:
        as_json(found)
        return
    packages = found["packages"]
    rows = [
        ("workbench", packages.get("workbench", "not installed")),
        ("python", found["python"]),
        ("platform", found["platform"]),
        ("cpus", found["cpus"]),
        ("memory", f"{byte_size(found['memory']['available'])} free of {byte_size(found['memory']['total'])}"),
        ("disk", f"{byte_size(found['disk']['free'])} free at {found['disk']['path']}"),
        ("gpu", found["gpu"] or "none: models run on the CPU"),
        ("triton", found["triton"]["detail"]),
        ("chrome", found["chrome"] or "none: figures are drawn by matplotlib, pages are not tested"),
        ("pdf", found["pdf"]),
        ("cache", found["cache"]),
        *((f"model {name}", "ready" if ready else "not fetched") for name, ready in found["models"].items()),
        *((name, version) for name, version in packages.items() if name != "workbench"),
    ]
    columns(("", ""), rows)
