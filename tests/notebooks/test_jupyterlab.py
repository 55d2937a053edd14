"""A real JupyterLab in Chromium: a notebook is opened and run; its figure, its form and a run's page are there."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import TimeoutError

from tests.sample_runs import write_run

OWN = re.compile(r"/run/|workbench", re.IGNORECASE)
CELLS = [
    "import workbench as wb\nrun = wb.open({run!r})\nrun",
    "run.figures['grid']",
    "from tests.conftest import tiny\nfrom tests.dashboards.slow_probe import Slow\n"
    "session = wb.load(tiny('llama'), tokenizer=None)\n"
    "form = wb.explore(Slow(), session, runs={made!r})\nform.set(preset='smoke', length=8)\nform",
    "run.show(height=600)",
]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a JupyterLab with one notebook, and its token."""
    import nbformat

    runs = tmp_path / "runs"
    run = str(runs / write_run(runs))
    folder = tmp_path / "notebooks"
    folder.mkdir()
    cells = [nbformat.v4.new_code_cell(cell.format(run=run, made=str(tmp_path / "made"))) for cell in CELLS]
    kernel = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "small.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    settings = {"apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    overrides = tmp_path / "settings" / "@jupyterlab" / "apputils-extension"
    overrides.mkdir(parents=True)
    (overrides / "notification.jupyterlab-settings").write_text(json.dumps(settings["apputils-extension:notification"]))
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": root,
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_TOKEN": token,
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0"]
    said = (tmp_path / "lab.log").open("w")
    server = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT, cwd=folder)
    try:
        _until(f"http://127.0.0.1:{port}/api?token={token}", server, tmp_path / "lab.log")
        yield f"http://127.0.0.1:{port}", token
    finally:
        server.terminate()
        server.wait(30)
        said.close()


def _until(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not answer: {log.read_text()[-2000:]}")


def _run_all(page: Any) -> None:
    """As a person does: again, if no cell says that it waits or ran; the lab drops what is asked too early."""
    begun = page.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]")).first
    for patience in (20_000, 20_000, 60_000):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        try:
            begun.wait_for(timeout=patience)
            return
        except TimeoutError:
            page.keyboard.press("Escape")
    pytest.fail("no cell began to run")


@pytest.mark.browser
def test_a_notebook_runs_in_jupyterlab(lab: tuple[str, str], open_page: Callable[..., Any]) -> None:
    address, token = lab
    watched = open_page(
        f"{address}/lab/tree/small.ipynb?token={token}",
        allowed=("http://127.0.0.1:", "ws://127.0.0.1:", "blob:"),
        viewport={"width": 1280, "height": 2400},
    )
    page = watched.page
    try:
        page.locator(".jp-Notebook .jp-CodeCell").nth(3).wait_for(timeout=60_000)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
        _run_all(page)

        outputs = page.locator(".jp-OutputArea-output")
        outputs.get_by_text("Three of 270 heads copy the needle from far away.").first.wait_for(timeout=180_000)
        page.locator(".jp-OutputArea .js-plotly-plot .main-svg").first.wait_for(timeout=60_000)

        button = page.get_by_role("button", name="Run", exact=True).and_(page.locator(".jupyter-button"))
        button.wait_for(timeout=180_000)
        button.click()
        page.get_by_text("finished", exact=True).wait_for(timeout=180_000)
        page.get_by_text("slow on", exact=False).first.wait_for(timeout=30_000)

        frame = page.frame_locator("iframe[src*='/run/']")
        frame.get_by_text("Three of 270 heads copy the needle from far away.").first.wait_for(timeout=180_000)
        frame.locator(".plot").first.scroll_into_view_if_needed()
        frame.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=60_000)
    finally:
        if shots := os.environ.get("WORKBENCH_SHOTS"):
            page.screenshot(path=f"{shots}/jupyterlab.png")
    assert watched.requests == []
    assert not [said for said in watched.complaints if OWN.search(said)], watched.complaints
