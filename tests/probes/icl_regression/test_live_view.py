"""A label is moved: the learner's line is its own, known algorithms' are straight, and wrong words are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import UsageError
from workbench.internals.session import Session
from workbench.probes.icl_regression.asking import answers_to
from workbench.probes.icl_regression.live_view import live
from workbench.probes.icl_regression.prompts import sample
from workbench.progress import Reporter

TEXTS = {"task": "3", "pairs": "6", "label": "2"}


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.load("organism/icl-depth2")


def test_the_line_is_what_the_learner_says_of_prompts_with_that_label(session: Session) -> None:
    prompt = live().start(session, TEXTS, None)
    drawn = sample(1, 7, 4, np.random.default_rng(3))
    assert prompt.scale.marks["as drawn"] == float(drawn.y[0, 1]) and prompt.true == float(drawn.y[0, 6])
    found = prompt.learner(session, torch.tensor([0.5, float(drawn.y[0, 1])], dtype=torch.float64))
    for value, each in zip((0.5, float(drawn.y[0, 1])), found, strict=True):
        labels = drawn.y.clone()
        labels[0, 1] = value
        said = answers_to(session, drawn.x[:, :6], labels[:, :6], drawn.x[:, 6:], Reporter(), "")
        torch.testing.assert_close(each, said[0, 0], rtol=1e-5, atol=1e-6)


def test_least_squares_moves_by_its_hat_row(session: Session) -> None:
    prompt = live().start(session, TEXTS, None)
    drawn = sample(1, 7, 4, np.random.default_rng(3))
    values = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    said = prompt.known(values)["ols"]
    hat = drawn.x[0, 6].numpy() @ np.linalg.pinv(drawn.x[0, :6].numpy())
    np.testing.assert_allclose(np.diff(said.numpy()), hat[1], rtol=1e-8)


def test_answers_and_the_figure_are_there_after_the_beginning(session: Session) -> None:
    prompt = live().start(session, TEXTS, None)
    assert prompt.figure() is None
    prompt.begin(session)
    own = prompt.scale.marks["as drawn"]
    assert set(prompt.said) == {None, own, -own}
    assert prompt.said[None] == prompt.said[own] != prompt.said[-own]
    assert prompt.said[own].text.startswith("learner ") and "ols " in prompt.said[own].text
    figure = prompt.figure()
    assert figure is not None and figure.name == "moved"
    assert figure.matplotlib() is not None


@pytest.mark.parametrize(
    ("texts", "said"),
    (
        ({"task": "one"}, "Task: write a whole number"),
        ({"task": "-1"}, "whole number from 0"),
        ({"pairs": "12"}, "1 to 11 pairs"),
        ({"pairs": "0"}, "1 to 11 pairs"),
        ({"label": "7"}, "no pair 7"),
    ),
)
def test_words_that_are_no_prompt_are_refused(session: Session, texts: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        live().start(session, TEXTS | texts, None)


def test_it_is_offered_for_learners_alone() -> None:
    view = live()
    assert list(view.sources("organism/icl-depth1", []).values()) == [""]
    assert view.sources("smollm2-135m-instruct", []) == {}
    assert "organism/icl-depth4" in view.missing("smollm2-135m-instruct", [])
    snippet = view.snippet("organism/icl-depth1", None, TEXTS, None)
    assert compile(snippet, "snippet", "exec")
