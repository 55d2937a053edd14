"""The package is light to import, and what it promises is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import workbench as wb

HEAVY = (
    "torch",
    "transformers",
    "transformer_lens",
    "nnsight",
    "panel",
    "panel_material_ui",
    "triton",
    "xarray",
    "peft",
)


def test_importing_is_fast_and_loads_nothing_heavy() -> None:
    code = "import sys, time; t = time.perf_counter(); import workbench; print(time.perf_counter() - t, *sys.modules)"
    seconds = []
    for _ in range(3):
        printed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        seconds.append(float(printed[0]))
        assert not set(HEAVY) & set(printed[1:])
    assert min(seconds) < 2


def test_models_are_listed_without_loading_torch() -> None:
    code = "import sys, workbench as wb; wb.models.listing(); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(HEAVY) & set(printed)


@pytest.mark.parametrize("name", list(wb.__all__))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(wb, name) is not None
    assert name in dir(wb)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        wb.lod  # noqa: B018


def test_the_session_brings_in_no_engine_that_is_not_used() -> None:
    code = (
        "import sys; import workbench as wb; wb.load; "
        "print(*[n for n in ('transformer_lens', 'nnsight', 'panel') if n in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == ""
