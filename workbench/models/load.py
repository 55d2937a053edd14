"""Loads a model once: from its folder into memory, or as it is from someone who has loaded it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, WorkbenchError
from ..progress import Reporter
from .model_files import check_weights
from .resolve import Resolved, resolve

if TYPE_CHECKING:
    import torch

    from .adapters import PutIn

ALIASES = {"fp32": "float32", "fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp64": "float64"}
DTYPES = ("float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in memory with its tokenizer and what is known about where it came from."""

    model: Any
    tokenizer: Any
    id: str
    source: Resolved | None = None
    quantisation: str | None = None
    adapter: PutIn | None = None
    """What was put in from a folder."""
    device_map: str | None = None
    trust_remote_code: bool = False


def load_model(
    name: str | os.PathLike[str],
    adapter: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    progress: Reporter | None = None,
) -> Loaded:
    """Load a registered model, a local folder or a Hub model; in the dtype of its checkpoint unless told otherwise.

    The device is cuda where there is one and the CPU otherwise. Only safetensors are read. Raises `UsageError` for a
    name, device or dtype that cannot be, and `WorkbenchError` for files that are missing, cut off or do not fit.
    """
    kind = as_dtype(dtype)
    if device is not None and device_map is not None:
        raise UsageError("give either device or device_map; device_map places the parts of the model itself")
    place = None if device_map is not None else as_device(device)
    source = resolve(name, revision, trust_remote_code, progress)
    check_weights(source.folder, source.mend)
    model = _model(source, kind, place, device_map, trust_remote_code)
    tokenizer = _tokenizer(source, trust_remote_code)
    added = None
    if adapter is not None:
        from .adapters import attach_adapter

        added = attach_adapter(model, adapter)
        if place is not None:
            model.to(place)
    told = source.known.quantisation if source.known else _quantisation(model)
    spread = device_map if isinstance(device_map, str) else None
    return Loaded(model, tokenizer, source.id, source, told, added, spread, trust_remote_code)


def wrap_model(model: Any, tokenizer: Any = None) -> Loaded:
    """Take a model or `(model, tokenizer)` that is in memory already, as it is.

    Of a model that `torch.compile` has wrapped, the model inside is taken. Raises `UsageError` for what is no causal
    language model of transformers, and for adapters that do not work through the model's weights.
    """
    import torch

    from .adapter_state import check_adapters

    if isinstance(model, tuple):
        if len(model) != 2 or tokenizer is not None:
            raise UsageError("a model in memory is given as (model, tokenizer), or as model with tokenizer=")
        model, tokenizer = model
    if type(model).__name__ == "OptimizedModule":
        model = model._orig_mod
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "config") or not hasattr(model, "forward"):
        raise UsageError(
            f"{type(model).__name__} is not a model: give a name, a folder, a Hugging Face id, or (model, tokenizer) "
            "with a causal language model of transformers"
        )
    if tokenizer is not None and not hasattr(tokenizer, "decode"):
        raise UsageError(f"{type(tokenizer).__name__} is not a tokenizer; give transformers' tokenizer, or None")
    check_adapters(vars(model).get("peft_config") or getattr(model, "peft_config", None) or {})
    name = getattr(model.config, "_name_or_path", "") or type(model).__name__
    return Loaded(model, tokenizer, f"in-memory/{name}", quantisation=_quantisation(model))


def as_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """A floating dtype from its name or itself; None stays None, for the checkpoint's.

    Raises `UsageError` listing what there is.
    """
    import torch

    if dtype is None or dtype == "auto":
        return None
    name = str(dtype).removeprefix("torch.")
    name = ALIASES.get(name, name)
    if name not in DTYPES:
        raise UsageError(f"dtype {str(dtype)!r} is not one of {', '.join(DTYPES)}, or auto for the checkpoint's own")
    return getattr(torch, name)


def as_device(device: str | torch.device | None) -> torch.device:
    """A device that this machine has; None is cuda where there is one and the CPU otherwise.

    Raises `UsageError` naming the devices there are.
    """
    import torch

    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if device is None:
        return torch.device("cuda" if cuda else "cpu")
    there = ["cpu", *(f"cuda:{n}" for n in range(cuda)), *(["mps"] if mps else [])]
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    known = {"cpu": True, "cuda": (found.index or 0) < cuda, "mps": mps} if found is not None else {}
    if found is None or not known.get(found.type, False):
        raise UsageError(f"no device {str(device)!r} on this machine; there is: {', '.join(there)}")
    return found


def _model(source: Resolved, dtype: Any, place: Any, device_map: Any, code: bool) -> Any:
    from transformers import AutoModelForCausalLM

    from . import continuous, linear_attention  # noqa: F401 - makes our own kinds of model known to transformers

    # Straight to the GPU: a model on its way there need not fit into the machine's memory too.
    where = device_map if device_map is not None else ({"": place} if place.type != "cpu" else None)
    with _quiet(), _one_line(source):
        model: Any
        loading: dict[str, Any]
        model, loading = AutoModelForCausalLM.from_pretrained(
            source.folder,
            dtype=dtype or "auto",
            device_map=where,
            trust_remote_code=code,
            use_safetensors=True,
            local_files_only=not code,
            output_loading_info=True,
        )  # type: ignore[misc]
    absent = [*loading.get("missing_keys", ()), *(str(key[0]) for key in loading.get("mismatched_keys", ()))]
    if absent:
        told = f"{len(absent)} weights of {type(model).__name__}, {sorted(absent)[0]} first"
        raise WorkbenchError(f"{source.folder} lacks {told}: {source.mend}")
    return model.eval()


def _tokenizer(source: Resolved, code: bool) -> Any:
    """The folder's tokenizer, or None where there is none: the model then takes token ids only."""
    from transformers import AutoTokenizer

    files = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
    if not any((source.folder / name).is_file() for name in files):
        return None
    with _quiet(), _one_line(source, " (its tokenizer)"):
        return AutoTokenizer.from_pretrained(source.folder, trust_remote_code=code, local_files_only=not code)


def _quantisation(model: Any) -> str | None:
    """How the weights are quantised in memory, in words, according to the model's configuration."""
    config = getattr(model.config, "quantization_config", None)
    if config is None:
        return None
    told = config if isinstance(config, dict) else config.to_dict()
    method = str(getattr(told.get("quant_method"), "value", told.get("quant_method") or "unknown method"))
    bits = told.get("bits") or (4 if told.get("load_in_4bit") else 8 if told.get("load_in_8bit") else None)
    return method + (f" ({bits}-bit)" if bits else "")


@contextmanager
def _one_line(source: Resolved, part: str = "") -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # transformers raises many types here, with texts of several paragraphs; the first line says what is wrong.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = (lines or [type(error).__name__])[0][:240]
        hint = "; give trust_remote_code=True if you trust its code" if "trust_remote_code" in str(error) else ""
        raise WorkbenchError(f"{source.folder}{part} could not be loaded: {told}{hint}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar of transformers for something that takes a second or two."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
