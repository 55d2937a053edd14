"""Writes the reference of the Python interface from the docstrings: build/docs/index.html."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "docs"
MODULES = (
    # what a notebook uses
    "workbench",
    "workbench.internals.edits",
    "workbench.internals.sweeps.grids",
    "workbench.internals.sweeps.metrics",
    "workbench.internals.hooked_model",
    "workbench.kernels",
    # what a probe is written with
    "workbench.probe",
    "workbench.records.results",
    "workbench.records.record",
    "workbench.figures",
    "workbench.texts",
    # what whoever builds on runs needs
    "workbench.reports",
    "workbench.errors",
)
"""The modules whose public names are documented; the rest of the code is free to change."""
EXAMPLE = 'wb.load("organism/head-roles")'
"""What `session` stands for in the examples: an organism, which is there without a network."""


def main() -> None:
    import pdoc

    from workbench import __version__

    pdoc.render.configure(
        docformat="google",
        include_undocumented=False,
        show_source=False,
        footer_text=f"workbench {__version__}. In examples wb is workbench, and session is {EXAMPLE}.",
    )
    pdoc.pdoc(*MODULES, output_directory=OUT)
    print(f"The reference: {OUT / 'index.html'}")


if __name__ == "__main__":
    main()
