"""From the name of a model to the folder that holds it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import UnknownName, UsageError, WorkbenchError
from ..progress import Reporter
from .fetch import fetch, stage_printer
from .hub import hub_folder
from .model_files import is_complete
from .registered import ORGANISM, Registered, names


@dataclass(frozen=True)
class Resolved:
    """A model's folder, the id it goes by, and what to do if files are missing in it."""

    id: str
    folder: Path
    mend: str
    revision: str | None = None
    known: Registered | None = None


def resolve(
    name: str | os.PathLike[str],
    revision: str | None = None,
    code: bool = False,
    progress: Reporter | None = None,
) -> Resolved:
    """Find a registered id or alias, a local folder, or a Hub id, in this order; fetch what is not here yet.

    Raises `UsageError` for what names no model and for terms that were not accepted, and `WorkbenchError` where a model
    cannot be had.
    """
    text = os.fspath(name)
    known = names().get(text)
    if known is not None:
        if revision is not None:
            raise UsageError(f"{known.id} has no revisions; leave revision out")
        # A folder that is there and damaged is not replaced behind the user's back: loading says what is wrong.
        if known.source is not None and not known.folder.is_dir():
            fetch(known.id, progress or stage_printer(known))
        mend = f"fetch it again with `workbench models fetch {known.id}`" if known.source else "install workbench again"
        if known.source is not None and not is_complete(known.folder):
            raise WorkbenchError(f"{known.folder} is incomplete: {mend}")
        return Resolved(known.id, known.folder, mend, known=known)
    if text.startswith(ORGANISM):
        raise UnknownName("organism", text, (name for name in names() if name.startswith(ORGANISM)))
    path = Path(text).expanduser()
    if path.is_file() or path.suffix == ".gguf":
        raise UsageError(_about_file(path))
    if text and path.is_dir():
        _check_folder(path)
        return Resolved(path.resolve().as_posix(), path, "copy it again from where it came")
    if not text or path.is_absolute() or text.startswith((".", "~")) or "\\" in text or text.count("/") > 1:
        raise UsageError(f"no model folder at {text!r}; registered models: {', '.join(sorted(names()))}")
    folder, commit = hub_folder(text, revision, code)
    _check_folder(folder)
    return Resolved(text, folder, "its copy in Hugging Face's cache is damaged, delete it and load it again", commit)


def _check_folder(path: Path) -> None:
    if (path / "config.json").is_file():
        weights = any(path.glob("*.safetensors")) or (path / "model.safetensors.index.json").is_file()
        if not weights and any([*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")]):
            raise UsageError(
                f"{path} holds its weights as pickle, which can run code and is not read: convert them to safetensors"
            )
        for name in ("config.json", "generation_config.json"):
            _check_json(path / name)
        return
    if (path / "adapter_config.json").is_file():
        raise UsageError(f"{path} is an adapter: load its base model and give the folder as adapter")
    if ggufs := sorted(path.glob("*.gguf")):
        raise UsageError(_about_file(ggufs[0]))
    raise UsageError(f"{path} is not a model folder: there is no config.json in it")


def _check_json(path: Path) -> None:
    """transformers passes over some files that it cannot read; a model without its settings is another model."""
    try:
        if path.is_file():
            json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise WorkbenchError(f"{path} is not readable as JSON: copy it again from where it came") from None


def _about_file(path: Path) -> str:
    if path.suffix == ".gguf":
        return (
            f"{path} is a GGUF file, which is not loaded directly: convert it once with "
            f"`python -m workbench.models.convert {path} FOLDER` and load FOLDER"
        )
    return f"{path} is a file; give the folder that holds config.json and the safetensors files"
