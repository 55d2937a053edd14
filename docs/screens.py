"""Pictures of every page in a real Chromium, light and dark, at two widths, to look at after a change.

`python docs/screens.py RUNS FOLDER` takes the runs of a folder, such as `reports/runs` after `make report`; of each
probe the newest run that went well is shown. `--only WORD` takes the pages with that word in their name, and `--ask`
also starts a small run on each probe's page and waits for what it finds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.chromium import CHROMIUM, FLAGS, choose, free_port  # noqa: E402

HIGHEST = 16_000
"""Pixels; a longer page is cut."""
SIZES, SCHEMES = ((1280, 900), (800, 900)), ("light", "dark")
PATIENCE = 120_000
"""Milliseconds that a page may take."""
HEIGHT = """() => {
  const inside = (one) => [one, ...(one.shadowRoot ? all(one.shadowRoot) : [])];
  const all = (root) => [...root.querySelectorAll("*")].flatMap(inside);
  const scrolls = (one) => ["auto", "scroll"].includes(getComputedStyle(one).overflowY);
  const hidden = all(document).filter(scrolls).map((one) => one.scrollHeight - one.clientHeight);
  const page = document.documentElement;
  return innerHeight + Math.max(page.scrollHeight - page.clientHeight, ...hidden);
}"""
"""Pixels of a whole page, which scrolls inside its frame."""


def addresses(runs: Path) -> Iterator[tuple[str, str]]:
    """Every page with a name for its pictures."""
    from workbench.dashboards.pages.live import probes_with_live_view
    from workbench.probe.registry import PROBES
    from workbench.records import store

    done = [record for record in store.listing(runs).records if record.status == "success"]
    yield "home", "/"
    for probe in PROBES.names():
        yield f"probe-{probe}", f"/probe/{probe}"
        of_it = [record.id for record in done if record.probe == probe]
        if of_it:
            yield f"run-{probe}", f"/run/{of_it[0]}"
        if len(of_it) > 1:
            yield f"compare-{probe}", f"/compare?runs={of_it[1]},{of_it[0]}"
    for name in probes_with_live_view():
        yield f"live-{name}", f"/live/{name}"
    if done:
        yield "compare-one", f"/compare?runs={done[0].id}"
    yield "unknown", "/run/not-there"


def asked(page: Any, probe: str) -> None:
    """Start a small run on an organism and wait for what it finds."""
    choose(page, "Model", f"organism/{probe}")
    choose(page, "Preset", "smoke")
    page.locator("button:enabled", has_text="Start").click()
    page.get_by_role("link", name="The whole run").wait_for(timeout=PATIENCE)


def pictures(runs: Path, folder: Path, only: str, ask: bool) -> None:
    """Take them all."""
    from playwright.sync_api import sync_playwright

    from workbench.dashboards import serve

    server = serve(runs, port=(port := free_port()), threaded=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for (width, height), scheme in ((size, scheme) for size in SIZES for scheme in SCHEMES):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            for name, path in addresses(runs):
                if only not in name:
                    continue
                page = context.new_page()
                page.goto(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE)
                page.locator("h1").first.wait_for(timeout=PATIENCE)
                if ask and name.startswith("probe-"):
                    asked(page, name.removeprefix("probe-"))
                page.wait_for_timeout(3_000)
                for _ in range(2):  # a figure is drawn, and takes its height, when it comes into view
                    page.set_viewport_size({"width": width, "height": min(page.evaluate(HEIGHT), HIGHEST)})
                    page.wait_for_timeout(4_000)
                picture = folder / f"{name}-{width}-{scheme}.png"
                page.screenshot(path=picture)
                print(picture, flush=True)
                page.close()
            context.close()
        browser.close()
    server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--ask", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    pictures(arguments.runs, arguments.folder, arguments.only, arguments.ask)


if __name__ == "__main__":
    main()
