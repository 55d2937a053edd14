"""Adapters in peft's format, put into a loaded model and left unmerged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import UsageError, WorkbenchError
from ..files import sha256
from ..records.record import AdapterInfo
from .fingerprint import files_fingerprint
from .hub import hub_folder
from .registered import ADAPTER, shipped_folders

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapters() -> dict[str, Path]:
    """The adapters that ship with the package, by id."""
    return {ADAPTER + name: folder for name, folder in shipped_folders("adapters", (CONFIG, WEIGHTS)).items()}


def adapter_folder(name: str | os.PathLike[str]) -> tuple[str, Path]:
    """The id and folder of a shipped adapter, a local folder, or a Hub id.

    Raises `UsageError` for what is no adapter.
    """
    text, shipped = os.fspath(name), adapters()
    for known in (text, ADAPTER + text):
        if known in shipped:
            return known, shipped[known]
    path, told = Path(text).expanduser(), text
    if path.is_dir():
        told = path.resolve().as_posix()
    elif not text or text.startswith((".", "~", "/", ADAPTER)) or text.count("/") != 1:
        raise UsageError(
            f"no adapter {text!r}: give a folder with {CONFIG} and {WEIGHTS}"
            + (f", or one of: {', '.join(sorted(shipped))}" if shipped else "")
        )
    else:
        path, _ = hub_folder(text, None, wanted=(CONFIG, WEIGHTS))
    for needed in (CONFIG, WEIGHTS):
        if not (path / needed).is_file():
            raise UsageError(f"{path} is not an adapter: there is no {needed} in it")
    return told, path


def attach_adapter(model: Any, name: str | os.PathLike[str]) -> AdapterInfo:
    """Put an adapter into a transformers model in place; its id and the sha256 of its two files.

    Raises `UsageError` for what is no adapter and `WorkbenchError` if it does not fit the model.
    """
    id, folder = adapter_folder(name)
    try:
        json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError:
        raise UsageError(f"{folder / CONFIG} is not readable as JSON") from None
    try:
        unfit = _inject(model, folder)
    except UsageError:
        raise
    except Exception as error:
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WorkbenchError(f"the adapter {id} does not fit {type(model).__name__}: {told}") from error
    if unfit:
        raise WorkbenchError(
            f"the adapter {id} does not fit {type(model).__name__}: {len(unfit)} weights do not match, {unfit[0]} first"
        )
    model.eval()
    hashes = ((needed, sha256(folder / needed)) for needed in (CONFIG, WEIGHTS))
    return AdapterInfo(id=id, sha256=files_fingerprint(hashes))


def _inject(model: Any, folder: Path) -> list[str]:
    """Put the adapter's layers into the model and return the names of weights that found no place or stayed unset."""
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning:
        raise UsageError(f"{folder} is a learned prompt ({config.peft_type}), not an adapter of the weights")
    config.inference_mode = True
    wrapper = get_peft_model(model, config)
    weights = load_file(folder / WEIGHTS)
    result: Any = set_peft_model_state_dict(wrapper, weights)
    return [*result.unexpected_keys, *(set(get_peft_model_state_dict(wrapper)) - set(weights))]
