"""What a person waits for on the pages, in a real Chromium.

`python bench/pages.py` prints a table in Markdown, and `--json PATH` writes every number. One server serves three pages
in turn: that of a saved run, an empty page of the workbench, and an empty page as Panel makes it. The picture that is
timed is the first figure of the run, scrolled to as soon as it has its place, since figures are drawn when they
come near to view; an empty page is there when its heading is. The difference is taken in rounds, of which the first is
not counted: it fills the browser's cache. A choice is timed from the key to the redrawn figure, a start from the
click to the first progress; everything by the browser's own clock, up to the frame after. The run is one of the
attention profile on the default model with preset `quick`, unless `--run` names another.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.chromium import CHROMIUM, FLAGS, choose, free_port  # noqa: E402

PROBE = "attention-profile"
ORGANISM = f"organism/{PROBE}"
RUN, EMPTY, BARE = "run's page, first picture", "empty page of the workbench", "empty Panel page"
TARGETS = {
    f"{RUN}, less {BARE}": 1000,
    "choosing another layer": 150,
    "first start, model to be loaded": 1000,
    "later starts": 1000,
}
"""Milliseconds."""
PATIENCE = 120_000
"""Milliseconds after which a page counts as broken."""

CLOCK = """
window.deep = (selector, root = document) => {
  const found = [...root.querySelectorAll(selector)];
  for (const each of root.querySelectorAll("*")) if (each.shadowRoot) found.push(...deep(selector, each.shadowRoot));
  return found;
};
window.until = (there) => new Promise((done) => {
  const drawn = () => requestAnimationFrame(() => setTimeout(() => done(performance.now())));
  const look = () => there() ? drawn() : setTimeout(look, 10);
  look();
});
for (const kind of ["keydown", "click"]) addEventListener(kind, () => { window.begun = performance.now(); }, true);
"""
PICTURE = """until(() => {
  const [plot] = deep(".plot");
  if (plot && !window.shown) { window.shown = true; plot.scrollIntoView({ block: "center" }); }
  return plot && plot.querySelector(".main-svg .plot, .main-svg .xy");
})"""
HEADING = "until(() => deep('h2').some((each) => each.textContent.includes('Nothing')))"
WATCH = """() => {
  const before = new Map(deep(".plot.js-plotly-plot").map((plot) => [plot, plot.getAttribute("aria-label")]));
  window.redrawn = new Promise((done) => before.forEach((words, plot) => plot.on("plotly_afterplot", () => {
    if (plot.getAttribute("aria-label") !== words) {
      requestAnimationFrame(() => setTimeout(() => done(performance.now() - window.begun)));
    }
  })));
}"""


@contextmanager
def server(runs: Path) -> Iterator[str]:
    """The pages of these runs and two empty ones, from a process of their own; its address."""
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(runs), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == b"served\n"
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait()


def _serve(runs: str, port: str) -> None:
    import panel as pn

    from workbench.dashboards import pages, serve
    from workbench.dashboards.components.layout import page
    from workbench.dashboards.components.templates import html_pane

    pages.SAVED["empty"] = lambda folder: page("Workbench", html_pane("heading.html", title="Nothing"))
    pages.SAVED["bare"] = lambda folder: pn.pane.HTML("<h2>Nothing</h2>")
    serve(runs, int(port), models=(ORGANISM,), started=lambda url: print("served", flush=True))


def opened(context: Any, address: str, there: str) -> float:
    """Milliseconds from the navigation until something is there."""
    page = context.new_page()
    page.goto(address, wait_until="commit")
    taken = float(page.evaluate(there))
    page.close()
    return taken


def openings(context: Any, address: str, run: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds until a run's page and the empty pages are there, opened in turn."""
    ways = {RUN: (f"/run/{run}", PICTURE), EMPTY: ("/empty", HEADING), BARE: ("/bare", HEADING)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):
        for name, (path, there) in ways.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            taken = opened(context, address + path, there)
            if number >= 0:
                found[name].append(taken)
    for name in (EMPTY, BARE):
        found[f"{RUN}, less {name}"] = [mine - its for mine, its in zip(found[RUN], found[name], strict=True)]
    return found


def choices(context: Any, address: str, run: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from a key to the figure of another layer."""
    page = context.new_page()
    page.goto(f"{address}/run/{run}")
    page.evaluate(PICTURE)
    control = page.get_by_role("textbox", name="Layer")
    control.scroll_into_view_if_needed()
    page.wait_for_timeout(3_000)
    taken = []
    for number in range(-2, rounds):
        control.focus()
        page.evaluate(WATCH)
        page.keyboard.press(("ArrowDown", "ArrowUp")[number % 2])
        taken.append(float(page.evaluate("redrawn")))
        page.wait_for_timeout(300)
    page.close()
    return {"choosing another layer": taken[2:]}


def starts(context: Any, address: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from the click on Start to the first progress of a small run."""
    page = context.new_page()
    page.goto(f"{address}/probe/{PROBE}")
    for label, option in (("Model", ORGANISM), ("Preset", "smoke")):
        choose(page, label, option)
    taken = []
    for number in range(rounds + 1):
        print(f"start {number + 1} of {rounds + 1}", file=sys.stderr)
        page.locator("button:enabled", has_text="Start").click()
        taken.append(float(page.evaluate("until(() => deep('progress').length)")) - page.evaluate("begun"))
        page.get_by_role("heading", name="Done").wait_for()
        page.wait_for_timeout(1_000)
    page.close()
    return {"first start, model to be loaded": taken[:1], "later starts": taken[1:]}


def quick_run(folder: Path, model: str) -> Path:
    """A run as anyone would make it."""
    import workbench as wb

    return wb.run(PROBE, model, runs=folder).folder


def row(name: str, taken: list[float]) -> str:
    """One line of the table."""
    low, middle, high = statistics.quantiles(taken, n=4) if len(taken) > 1 else taken * 3
    target = f"{TARGETS[name]}" if name in TARGETS else ""
    return f"| {name} | {len(taken)} | {middle:.0f} | {low:.0f}–{high:.0f} | {target} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--run", type=Path, help="the folder of a finished run")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="five rounds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=2, metavar=("RUNS", "PORT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        _serve(*arguments.serve)
        return
    from playwright.sync_api import sync_playwright

    rounds = 5 if arguments.quick else arguments.rounds
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = arguments.run or quick_run(Path(folder), arguments.model)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(PATIENCE)
        context.add_init_script(CLOCK)
        with server(run.resolve().parent) as address:
            found = openings(context, address, run.name, rounds)
            found |= choices(context, address, run.name, rounds)
            found |= starts(context, address, max(3, rounds // 3))
        browser.close()
    print(f"{run.name}, {os.cpu_count()} processors\n")
    print("| what | n | median, ms | quartiles | at most |\n|---|---|---|---|---|")
    for name, taken in found.items():
        print(row(name, taken))
    if arguments.json:
        arguments.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
