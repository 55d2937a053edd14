"""Heads found by two scores: the choice of both by keyboard, and a click on a point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.test_run_page import click_at, drawn, heading

pytestmark = pytest.mark.browser


def lonely(run: Any) -> tuple[float, float, int, int]:
    """Both scores, layer and head of the point that lies furthest from all others, and is not that of head 1.2."""
    heads = run.data["heads"].to_dataset().sel(repeat="far")
    places = np.stack([heads[name].values.ravel() for name in ("induction", "duplicate_token")], axis=-1)
    apart = np.linalg.norm((places[:, None] - places) / np.ptp(places, axis=0), axis=-1)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.min(-1)
    nearest[int(np.ravel_multi_index((1, 2), heads["named"].shape))] = 0
    best = int(nearest.argmax())
    assert nearest[best] > 0.05
    layer, head = np.unravel_index(best, heads["named"].shape)
    return float(places[best, 0]), float(places[best, 1]), int(layer), int(head)


def test_a_head_is_found_by_two_scores(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    run = viewed["roles"]
    watched = visit(f"/run/{run.id}?layer=1&head=2")
    page = watched.page
    heading(page, "Every head by two scores: retrieval score over induction score, near")
    across = page.get_by_role("combobox", name="X score")
    across.focus()
    page.keyboard.press("ArrowDown")
    heading(page, "Every head by two scores: retrieval score over induction score, far")
    page.wait_for_url("**/run/*?layer=1&head=2&needle=0&x_score=4&y_score=0")
    page.get_by_role("combobox", name="Y score").focus()
    page.keyboard.press("End")
    heading(page, "Every head by two scores: duplicate-token score, far over induction score, far")
    x, y, layer, head = lonely(run)
    click_at(page, drawn(page, "duplicate-token score, far up; head 1.2 is marked"), x, y)
    heading(page, f"Head {layer}.{head} among all heads")
    page.wait_for_url(f"**/run/*?layer={layer}&head={head}&needle=0&x_score=4&y_score=8")
    drawn(page, f"duplicate-token score, far up; head {layer}.{head} is marked")
    expect(page.get_by_role("textbox", name="Layer")).to_have_value(str(layer))
    page.go_back()
    heading(page, "Head 1.2 among all heads")
    expect(page.get_by_role("combobox", name="Y score")).to_have_value("duplicate-token score, far")
    page.go_back()
    heading(page, "Every head by two scores: retrieval score over induction score, far")
    page.goto(f"{page.url.split('?')[0]}?layer=3&head=1&x_score=2&y_score=5")
    heading(page, "Every head by two scores: previous-token score, near over retrieval score by chance")
    expect(page.get_by_role("combobox", name="X score")).to_have_value("retrieval score by chance")
    watched.is_quiet()
