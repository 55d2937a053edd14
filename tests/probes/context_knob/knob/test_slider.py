"""The slider of the knob: it answers as the knob does, marks the natural values, and keeps a table."""

from __future__ import annotations

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import UsageError
from workbench.html_table import VIEW
from workbench.internals.projection import unit
from workbench.probes.context_knob.knob.knob import Knob
from workbench.probes.context_knob.knob.slider import show

PROMPT = [5, 9, 17, 3]


class Letters:
    """A tokenizer that writes ids as numbers, with a tag before them."""

    eos_token_id, pad_token_id = 2, 0

    def decode(self, ids, **_):
        return "<b>" + " ".join(str(int(one)) for one in ids)


@pytest.fixture
def session(monkeypatch):
    session = wb.load(tiny("llama"), tokenizer=None)
    monkeypatch.setattr(session, "text", Letters().decode)
    return session


@pytest.fixture
def knob(session):
    direction = unit(torch.randn(session.shape.d_model, generator=torch.Generator().manual_seed(3)))
    return Knob(direction, 1, -40.0, 40.0, "a <b>model")


def test_it_answers_as_the_knob_does(session, knob):
    dial = show(knob, session, PROMPT, 4)
    for value in (-40.0, 40.0):
        expected = session.text(knob.apply(session, value).generate(PROMPT, 4).rows()[0])
        dial.slider.value = value
        assert dial.answers[value] == expected
        assert f"at {value:.2f}: <strong>{expected.replace('<', '&lt;').replace('>', '&gt;')}" in dial._shown.value
    assert dial.answers[None] == session.text(session.generate(PROMPT, 4).rows()[0])
    assert len(set(dial.answers.values())) > 1


def test_the_buttons_set_the_natural_values(session, knob):
    dial = show(knob, session, PROMPT, 2)
    prior, context = dial.view.children[1].children
    assert (prior.description, context.description) == ("prior: -40.00", "context: 40.00")
    context.click()
    assert dial.slider.value == 40.0
    prior.click()
    assert dial.slider.value == -40.0 and set(dial.answers) == {None, -40.0, 40.0}


def test_a_value_is_asked_once_and_the_table_keeps_it(session, knob, monkeypatch):
    dial = show(knob, session, PROMPT, 2)
    dial.slider.value = 10.0
    monkeypatch.setattr(type(session), "generate", None)
    dial.slider.value = -40.0
    dial.slider.value = 10.0
    shown = dial._repr_mimebundle_()
    assert VIEW in shown and shown["text/plain"].count("\n") == 4
    assert "without the knob" in shown["text/plain"] and "<b>" not in shown["text/html"]


def test_a_knob_describes_itself_escaped(knob):
    shown = knob._repr_mimebundle_()
    assert "resid_post.1" in shown["text/plain"] and "a &lt;b&gt;model" in shown["text/html"]


def test_a_knob_without_two_values_is_refused(session, knob):
    with pytest.raises(UsageError, match="nothing to turn"):
        show(Knob(knob.direction, 1, 2.0, 2.0), session, PROMPT)
