"""The form of a probe in a notebook: made from its Config, it runs, stops, says what is wrong, and stays readable."""

from __future__ import annotations

import pytest

import workbench as wb
from tests.conftest import tiny
from tests.dashboards.slow_probe import HOSTILE, Slow
from workbench.errors import UnknownName
from workbench.html_table import VIEW
from workbench.notebook.probe_form import ProbeForm


@pytest.fixture
def session():
    return wb.load(tiny("llama"), tokenizer=None)


@pytest.fixture
def form(session, tmp_path):
    return ProbeForm(Slow(), session, tmp_path / "runs")


def test_every_setting_has_an_input_with_its_preset_value(form):
    assert set(form._inputs) == set(Slow.Config.model_fields)
    kinds = {name: type(control).__name__ for name, control in form._inputs.items()}
    assert kinds["twice"] == "Checkbox" and kinds["order"] == "Dropdown" and kinds["data"] == "Combobox"
    assert kinds["note"] == "Textarea" and kinds["n"] == "Text"
    assert form._inputs["n"].value == "3" and form._inputs["layers"].value == ""
    form.set(preset="smoke")
    assert form._inputs["n"].value == "2"


def test_what_is_wrong_is_said_beside_the_input_and_nothing_runs(form):
    form.set(n=0)
    assert form._start.disabled and "greater than or equal to 1" in form._notes["n"].value
    form.start()
    assert form._thread is None
    form.set(n=2, twice=True, order="down")
    assert form._start.disabled and "do not go together" in form._said.value
    form.set(twice=False)
    assert not form._start.disabled and form._said.value == ""
    with pytest.raises(UnknownName, match="pause"):
        form.set(paus=1)


def test_a_run_is_shown_with_its_figures(form, tmp_path):
    form.set(preset="smoke", length=8)
    form.start()
    form.wait(120)
    assert form._said.value == "finished" and not form._start.disabled and form._stop.disabled
    assert form.run is not None and form.run.record["spec"]["given"] == {"length": 8}
    shown = [output["data"] for output in form._result.outputs]
    assert "success" in shown[0]["text/html"] and len(shown) == 1 + len(form.run.figures)
    assert all("<img" not in str(part.get("text/html")) for part in shown)


def test_stop_ends_a_run_between_two_steps(form, tmp_path):
    form.set(n=500, pause=0.05)
    form.start()
    form.stop()
    form.wait(120)
    assert form._said.value == "stopped" and form.run is None and not form._start.disabled


def test_what_breaks_is_said(form):
    form.set(fails=True)
    form.start()
    form.wait(120)
    assert form.run is None and form._said.value not in ("", "finished", "stopped")
    (shown,) = form._result.outputs
    assert shown["output_type"] == "error" and shown["ename"] == "RuntimeError"
    assert any("in run" in line for line in shown["traceback"])


def test_an_input_that_changes_as_a_run_ends_leaves_no_form_that_cannot_start(form):
    form.set(preset="smoke", length=8)
    form.start()
    form._start.observe(lambda change: form.set(length=9) if not change["new"] else None, "disabled")
    form.wait(120)
    assert form.run is not None and not form._start.disabled


def test_without_a_kernel_the_settings_remain_as_a_table(form):
    shown = form._repr_mimebundle_()
    assert VIEW in shown and "synthetic" in shown["text/plain"] and "How long does it take?" in shown["text/html"]
    assert HOSTILE not in shown["text/html"] and "<img" not in shown["text/html"]
    assert all("<img" not in note.value for note in form._notes.values())


def test_explore_takes_names(session):
    assert isinstance(wb.explore("attention-profile", session), ProbeForm)
    with pytest.raises(UnknownName, match="attention-profile"):
        wb.explore("atention-profile", session)
