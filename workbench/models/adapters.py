"""Adapters in peft's format, put into a loaded model and left unmerged."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, WorkbenchError
from ..files import sha256
from ..records.record import AdapterInfo
from .adapter_state import adapters_in, base_weights, check_adapters, rewrites
from .fingerprint import files_fingerprint, weights_fingerprint
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


def rewrites_weights(name: str | os.PathLike[str]) -> bool:
    """Whether putting an adapter in takes what it holds out of the model's own weights, as PiSSA and OLoRA do.

    Raises `UsageError` for what is no adapter.
    """
    from peft import PeftConfig

    return rewrites(PeftConfig.from_pretrained(str(adapter_folder(name)[1])))


@dataclass(frozen=True)
class PutIn:
    """An adapter that was put into a model: its id, and the sha256 of its two files and of its tensors in memory.

    own: the fingerprint of the model's own weights before, and after, where the adapter's initialisation took what it
    holds out of them (PiSSA, OLoRA and their kind); otherwise None.
    """

    info: AdapterInfo
    in_memory: str
    own: tuple[str, str] | None = None


def attach_adapter(model: Any, name: str | os.PathLike[str]) -> PutIn:
    """Put an adapter into a transformers model in place.

    Raises `UsageError` for what is no adapter and `WorkbenchError` if it does not fit the model.
    """
    id, folder = adapter_folder(name)
    try:
        json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError:
        raise UsageError(f"{folder / CONFIG} is not readable as JSON") from None
    try:
        unfit, own = _inject(model, folder)
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
    now = adapters_in(model)
    assert now is not None
    return PutIn(AdapterInfo(id=id, sha256=files_fingerprint(hashes)), now.sha256, own)


def _inject(model: Any, folder: Path) -> tuple[list[str], tuple[str, str] | None]:
    """Put the adapter's layers in; the names of weights that found no place or stayed unset, and `PutIn.own`."""
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = PeftConfig.from_pretrained(str(folder))
    check_adapters({folder.as_posix(): config})
    config.inference_mode = True
    before = weights_fingerprint(base_weights(model)) if rewrites(config) else None
    wrapper = get_peft_model(model, config)
    weights = load_file(folder / WEIGHTS)
    result: Any = set_peft_model_state_dict(wrapper, weights)
    own = None if before is None else (before, weights_fingerprint(base_weights(model)))
    return [*result.unexpected_keys, *(set(get_peft_model_state_dict(wrapper)) - set(weights))], own
