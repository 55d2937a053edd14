"""Runs as a report needs them, with a real record, figures and a table, for the tests of reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tests.sample_figures import HOSTILE, curve, grid, hostile, several, text
from workbench.errors import WorkbenchError
from workbench.figures import Figure
from workbench.records.record import (
    Check,
    Control,
    DataUse,
    Environment,
    ErrorInfo,
    GitInfo,
    Headline,
    ModelInfo,
    Plan,
    Record,
    Spec,
    Stats,
)


@dataclass
class FakeRun:
    """A run without a folder on disk but its tables."""

    folder: Path
    record: dict[str, Any]
    figures: dict[str, Figure]
    summary: list[str]
    tree: xr.DataTree | None = None

    @property
    def data(self) -> xr.DataTree:
        if self.tree is None:
            raise WorkbenchError("the run has no data")
        return self.tree


MODEL = ModelInfo(
    id="smollm2-135m-instruct-q4_1",
    fingerprint="9f2c" * 16,
    config_sha256="1b" * 32,
    tokenizer_sha256="2c" * 32,
    dtype="float32",
    quantisation="Q4_1 (4 bits a weight), dequantised to float32",
    device="cpu",
    engine="hf",
    attention="workbench (sdpa)",
)
HEADLINES = [
    Headline(name="retrieval_head_share", value=8 / 270, n=270, unit="share of heads", split="held-out needles",
             exact=True, level=None, method="heads with a retrieval score of at least 0.1"),
    Headline(name="needle_recall", value=0.94, low=0.88, high=0.98, n=64, unit="share of needles",
             split="held-out needles", method="mean; percentile bootstrap over needles, 2000 draws",
             control=Control(name="no needle in the text", value=0.0, low=0.0, high=0.06, n=64)),
    Headline(name="needle_recall_top_ablated", value=0.12, low=0.06, high=0.2, n=64, unit="share of needles",
             split="held-out needles", method="mean ablation of the top 8 heads; paired bootstrap over needles",
             control=Control(name="20 random sets of 8, matched per layer", value=0.85, low=0.79, high=0.9, n=1280)),
    Headline(name="needle_recall_random_ablated", value=0.85, low=0.79, high=0.9, n=1280, unit="share of needles",
             split="held-out needles", method="mean over 20 random sets",
             control=Control(name="nothing ablated", value=0.94, low=0.88, high=0.98, n=64)),
]  # fmt: skip
SUMMARY = [
    "Three of 270 heads do most of the copying from far away: 17.3, 18.6 and 18.7.",
    "Without its top eight retrieval heads the model finds 12 % of the needles; without eight random heads of the same "
    "layers it still finds 85 %, so these heads are what it reads the needle with.",
]


def record(**changes: Any) -> Record:
    """A record as `head-roles` would write it."""
    fields: dict[str, Any] = {
        "id": "20260102T030405Z-head-roles-0a1b2c3d",
        "status": "success",
        "probe": "head-roles",
        "preset": "quick",
        "created": "2026-01-02T03:04:05Z",
        "started": "2026-01-02T03:04:06Z",
        "finished": "2026-01-02T03:05:39Z",
        "model": MODEL,
        "spec": Spec(given={"n": 64, "haystack": "my essays.txt"},
                     resolved={"n": 64, "haystack": "my essays.txt", "length": 512, "layers": None, "top": 8}, seed=3),
        "data": [DataUse(name="needles (built-in)", sha256="ab" * 32, n_used=64, n_dropped=2,
                         reasons={"answer is not one token": 2})],
        "environment": Environment(python="3.11.7", platform="Linux-6.1-x86_64", packages={"torch": "2.13.0"},
                                   git=GitInfo(commit="0f24fee8a1", dirty=False)),
        "plan": Plan(passes=412, bytes=1_400_000_000, seconds=88.0),
        "headline": HEADLINES,
        "checks": [Check(name="attention rows sum to one", passed=True, detail="largest error 3e-7"),
                   Check(name="selection and test needles are disjoint", passed=True)],
        "limits": ["The weights are 4-bit (Q4_1), dequantised; the original model may differ."],
        "stats": Stats(seconds=93.2, peak_bytes=1_320_000_000),
        "files": {"figures/grid.json": "cd" * 32},
    }  # fmt: skip
    return Record(**(fields | changes))


def sample_run(folder: Path, **changes: Any) -> FakeRun:
    """A finished run with four figures, a table and an array; `changes` go into its record."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"{layer},{head},{layer * head / 300}" for layer in range(30) for head in range(9))
    (folder / "tables" / "heads.csv").write_text(f"layer,head,copy_score\n{rows}\n")
    figures = {figure.name: figure for figure in (grid(), curve(), several(), text())}
    scores = xr.DataArray(
        np.zeros((30, 9)),
        dims=("layer", "head"),
        attrs={"units": "share", "description": "retrieval score of each head"},
    )
    tree = xr.DataTree.from_dict({"/heads": xr.Dataset({"copy_score": scores})})
    return FakeRun(folder, record(**changes).model_dump(mode="json", by_alias=True), figures, list(SUMMARY), tree)


def failed_run(folder: Path) -> FakeRun:
    """A run that ended with an error before it had any result."""
    error = ErrorInfo(kind="WorkbenchError", message="out of memory; choose smaller settings", traceback="Traceback …")
    nothing: dict[str, Any] = {"headline": [], "checks": [], "limits": [], "files": {}}
    made = record(id="20260102T040000Z-head-roles-ffffffff", status="error", error=error, **nothing)
    return FakeRun(folder, made.model_dump(mode="json", by_alias=True), {}, [])


def hostile_run(folder: Path) -> FakeRun:
    """A run with hostile text in every field that takes text."""
    h = HOSTILE
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    quoted = '"' + h.replace('"', '""') + '"'
    (folder / "tables" / "hostile.csv").write_text(f"{quoted},b\n{quoted},=1+1\n")
    control = Control(name=h, value=0.1, low=0.0, high=0.2, n=3)
    changes: dict[str, Any] = {
        "id": h,
        "probe": h,
        "preset": h,
        "created": h,
        "status": "error",
        "model": ModelInfo(**dict.fromkeys(("id", "revision", "dtype", "quantisation", "device", "engine"), h)),
        "spec": Spec(given={h: h}, resolved={h: h, "list": [h, {h: h}]}, seed=0),
        "data": [DataUse(name=h, sha256=h, n_used=1, reasons={h: 1})],
        "environment": Environment(python=h, platform=h, packages={h: h}, git=GitInfo(commit=h)),
        "headline": [Headline(name=h, value=0.5, low=0.4, high=0.6, n=3, unit=h, split=h, method=h, control=control)],
        "checks": [Check(name=h, passed=False, detail=h)],
        "limits": [h],
        "files": {h: h},
        "error": ErrorInfo(kind=h, message=h, traceback=h),
        "question": h,
    }
    return FakeRun(folder, record(**changes).model_dump(mode="json", by_alias=True), {"hostile": hostile()}, [h])
