"""What is saved from the page of a run: with the prompts, or without any text."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from workbench.reports.redacted import mask

pytestmark = pytest.mark.browser


def test_a_report_is_saved_with_the_prompts_or_without(visit: Callable[..., Any], viewed: dict[str, Any]) -> None:
    run = viewed["knob"]
    watched = visit(f"/run/{run.id}?example=3")
    page = watched.page
    context = str(run.data["scored/plain"].to_dataset()["context"].sel(example=3).values)
    texts = [text for text in mask(run.data).texts if len(text.strip()) >= 8]
    assert context in texts

    def saved() -> tuple[str, str]:
        with page.expect_download(timeout=120_000) as taken:
            page.get_by_text("Report of this view (HTML)").click()
        return taken.value.suggested_filename, Path(taken.value.path()).read_text()

    name, whole = saved()
    assert name == f"{run.id}.html" and escape(context) in whole
    box = page.get_by_role("checkbox", name="Leave prompts and texts out")
    expect(box).not_to_be_checked()
    box.focus()
    page.keyboard.press("Space")
    expect(box).to_be_checked()
    name, bare = saved()
    assert name == f"{run.id}-without-texts.html"
    assert [text for text in texts if text in bare or escape(text) in bare] == []
    assert "Texts were left out of this report" in bare and "Every held-out item" in bare
    box.click()
    expect(box).not_to_be_checked()
    name, again = saved()
    assert name == f"{run.id}.html" and escape(context) in again
    watched.is_quiet()
