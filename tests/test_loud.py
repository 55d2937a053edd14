"""What is forgotten in one of several places is loud: at import, or where it is met."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import hooked, tiny
from tests.sample_figures import all_figures
from workbench.errors import UnknownName, UsageError
from workbench.figures import Axis, Figure, Panel, Scatter, spec
from workbench.internals import sites
from workbench.internals.attention import Call
from workbench.internals.edits import Edit
from workbench.internals.engines import hook_values
from workbench.internals.engines.base import Hook
from workbench.internals.sites import Site
from workbench.kernels import result


class Unknown:
    """Something that is in no list."""

    x = y = values = (0.0, 1.0)
    label = ""
    names = low = high = None
    secondary = False


def unknown_figure() -> Figure:
    return Figure("one", "One", [Panel([Unknown()], Axis("x"), Axis("y"))], "", "One.")  # type: ignore[list-item]


@pytest.mark.parametrize("way", ["plotly", "matplotlib", "data", "to_json"])
def test_a_mark_that_a_renderer_does_not_know_is_never_left_out(way: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        made = getattr(unknown_figure(), way)
        made() if callable(made) else made


@pytest.mark.parametrize("place", ["traces", "draw_mark"])
def test_a_mark_without_its_series_is_an_error(place: str) -> None:
    from workbench.figures import matplotlib_marks, plotly_marks

    panel = next(panel for figure in all_figures() for panel in figure.panels if isinstance(panel.marks[0], Scatter))
    with pytest.raises(AssertionError, match="series"):
        if place == "traces":
            plotly_marks.traces(panel, 0, None, None)
        else:
            matplotlib_marks.draw_mark(None, panel, 0, None)  # type: ignore[arg-type]


def test_a_block_that_a_format_does_not_know_is_an_error() -> None:
    from workbench.reports import html, markdown
    from workbench.reports.blocks import Report, Section

    report = Report("A", "b", [Section("C", "c", [Unknown()])], [])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="no template draws the block Unknown"):
        html.render(report)
    with pytest.raises(AssertionError):
        markdown.render(report, lambda picture: "")


def test_a_report_format_is_in_one_table() -> None:
    from workbench.reports.write import _FORMATS, FORMATS, format_of

    assert set(FORMATS.values()) == set(_FORMATS)
    assert all(callable(one.render) and one.endings for one in _FORMATS.values())
    assert [format_of(Path(f"a{one.endings[0]}")) for one in _FORMATS.values()] == list(_FORMATS)


def test_a_kind_of_site_at_attention_that_is_not_one_is_an_error() -> None:
    q = torch.zeros(1, 1, 2, 4)
    call = Call.of(None, q, q, q, None, scaling=1.0)
    with pytest.raises(AssertionError, match="'z' is not found"):
        hook_values.at_attention(call, Hook(Site("z", 0), lambda value: None))


def test_a_side_of_a_module_that_is_not_one_is_an_error() -> None:
    model = hooked(tiny("llama"))
    layers = model.architecture.layers
    place = dataclasses.replace(layers[0].places["q"], side="sideways")  # type: ignore[arg-type]
    layer = dataclasses.replace(layers[0], places={**layers[0].places, "q": place})
    model.engine.architecture = dataclasses.replace(model.architecture, layers=(layer, *layers[1:]))
    with pytest.raises(AssertionError, match="sideways"):
        model.capture([[1, 2, 3]], "q.0")


def test_an_edit_of_an_unknown_kind_is_refused() -> None:
    there = "set, add, project, project_out, patch, scale, clamp, apply"
    with pytest.raises(UsageError, match=f"there is no edit 'erase'; there is: {there}"):
        Edit(Site("resid_post", 0), "erase", 0.0)  # type: ignore[arg-type]


def test_a_statistic_that_a_pattern_does_not_tell_is_not_left_out_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.internals import pattern_statistics
    from workbench.internals.architectures import Layer
    from workbench.internals.layer_statistics import StatisticsSpec
    from workbench.internals.tokens import TokenBatch

    request = StatisticsSpec(stats=("entropy", "distance")).of(TokenBatch.of([0, 1, 2]))
    pattern = torch.ones(1, 1, 3, 3).tril()
    found = pattern_statistics.statistics(pattern, request, Layer(0, "full")).present()
    assert found.keys() - {*result.OF_A_RUN} == {"entropy", "distance"}
    assert found["visible_keys"].flatten().tolist() == [1, 2, 3]
    wanted = dataclasses.replace(request.wanted, stats=("entropy", "skewness"))
    with pytest.raises(UsageError, match="skewness cannot be told from an attention pattern"):
        pattern_statistics.statistics(pattern, dataclasses.replace(request, wanted=wanted), Layer(0, "full"))


def test_a_field_that_no_form_draws_is_an_error() -> None:
    from workbench.notebook.probe_form import _control
    from workbench.probe.form_fields import Field

    with pytest.raises(AssertionError):
        _control(Field("a", "dial", ""))  # type: ignore[arg-type]


def _router(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sites.KINDS, "router", ("batch", "position", "expert"))


def _no_mlp_post(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sites.KINDS, "mlp_post")


def _one_more_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "SCALARS", (*result.SCALARS, "skewness"))


def _another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "SCALARS", result.SCALARS[::-1])


def _one_more_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "Axis", dataclasses.make_dataclass("Axis", [("label", str), ("angle", float)]))


@pytest.mark.parametrize(
    ("change", "module"),
    [
        (_router, "workbench.internals.engines.transformerlens"),
        (_router, "workbench.internals.engines.nnsight"),
        (_no_mlp_post, "workbench.internals.engines.transformerlens"),
        (_one_more_statistic, "workbench.kernels.cpu_tiles"),
        (_another_order, "workbench.kernels.triton_rows"),
        (_one_more_field, "workbench.figures.codec"),
    ],
)
def test_what_is_added_in_one_place_alone_fails_at_import(
    change: Callable[[pytest.MonkeyPatch], None], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module(module)
    monkeypatch.delitem(sys.modules, module)
    change(monkeypatch)
    with pytest.raises(AssertionError):
        importlib.import_module(module)


@pytest.mark.parametrize("wrong", [{"task": "regresion"}, {"head": "deep"}])
def test_a_probe_of_an_unknown_task_or_head_is_refused(wrong: dict[str, Any]) -> None:
    from workbench.probe.position_probe import PositionProbe

    x, y = torch.zeros(1, 4, 2, 3), np.array([0, 1, 0, 1])
    asked: dict[str, Any] = {"task": "classification", "rng": np.random.default_rng(0), **wrong}
    with pytest.raises(UnknownName, match=next(iter(wrong.values()))):
        PositionProbe.fit(x, y, (x, y), **asked)


def test_a_rule_of_a_probe_that_no_branch_knows_is_an_error() -> None:
    from workbench.probes.context_knob.task.matching import rule
    from workbench.probes.head_roles.ablation import replace
    from workbench.probes.head_roles.scores import retrieval_score

    unknown: Any = "median"
    with pytest.raises(AssertionError):
        rule(unknown, "base")
    with pytest.raises(AssertionError):
        replace([(0, 0)], np.zeros((1, 2, 1, 4)), unknown, 3, np.random.default_rng(0))
    with pytest.raises(AssertionError):
        retrieval_score(np.zeros((1, 1, 1), int), [1, 2], [1], (0, 1), (0, 1), unknown)
