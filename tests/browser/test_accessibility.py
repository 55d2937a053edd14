"""What axe-core finds on the pages: nothing serious beside what the libraries under them bring."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.chromium import shared_port
from workbench.dashboards import serve

pytestmark = pytest.mark.browser
BASELINE = json.loads((Path(__file__).parent / "axe_baseline.json").read_text())
"""Rules that are broken by a library and not by these pages, each with what breaks it."""
LOOKS = 4
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}


def violations(page: Any) -> dict[str, list[str]]:
    """The serious violations that last: colours that are still changing from one theme to the other do not count."""
    found: dict[str, list[str]] = {}
    for _ in range(LOOKS):
        found = {
            one["id"]: [node["html"][:200] for node in one["nodes"][:3]]
            for one in Axe().run(page, options=RULES).response["violations"]
            if one["impact"] in ("serious", "critical") and one["id"] not in BASELINE
        }
        if not found:
            break
        page.wait_for_timeout(2_000)
    return found


def test_pages_have_no_serious_violation(viewed: dict[str, Any], open_page: Callable[..., Any]) -> None:
    port = shared_port()
    server = serve(viewed["folder"], port=port, threaded=True)
    found: dict[str, list[str]] = {}
    try:
        here = f"http://127.0.0.1:{port}"
        both = f"{viewed['roles'].id},{viewed['profile'].id}"
        for path in ("/", "/probe/attention-profile", f"/run/{viewed['profile'].id}", f"/compare?runs={both}"):
            page = open_page(here + path).page
            page.locator("h1").first.wait_for(timeout=90_000)
            if path.startswith("/run"):
                page.locator(".tokens i").first.wait_for(timeout=90_000)
            if "run" in path:
                page.locator(".plot").first.scroll_into_view_if_needed(timeout=90_000)
                page.locator(".plot .main-svg").first.wait_for(timeout=90_000)
            for scheme in ("light", "dark"):
                if scheme == "dark":
                    page.get_by_label("Toggle theme").click()
                    page.wait_for_timeout(1_000)
                found |= {f"{rule} on {path} {scheme}": nodes for rule, nodes in violations(page).items()}
            page.close()
    finally:
        server.stop()
    assert found == {}
