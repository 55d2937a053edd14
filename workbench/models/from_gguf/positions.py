"""What a GGUF file says about positions, as transformers' `rope_parameters`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .file import GgufFile

KEYS = (
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.finetuned",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
)
"""Keys about positions that are understood, of any architecture with rotation."""
TENSORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
THETA = 10_000.0
"""Base of the wavelengths where a file gives none, in the programs that read GGUF."""
AGREE = 1e-5
"""Largest relative difference between frequencies of the file and of what is written for it."""


def rope_parameters(file: GgufFile, head_dim: int, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Base, rotated share and scaling of the rotation; `kinds` are the scalings that the architecture can have.

    Raises `UsageError` for a scaling that cannot be kept, naming its key.
    """
    rotated = int(file.get("rope.dimension_count", head_dim))
    found: dict[str, Any] = {"rope_theta": float(file.get("rope.freq_base", THETA))}
    if rotated != head_dim:
        found["partial_rotary_factor"] = rotated / head_dim
    scaling = _scaling(file, rotated, found["rope_theta"])
    if scaling["rope_type"] not in ("default", *kinds):
        raise file.refuse(_blame(file), f"transformers' model has no {scaling['rope_type']} scaling of positions")
    return {**found, **scaling}


def _blame(file: GgufFile) -> str:
    """What in the file asks for a scaling."""
    for tensor in TENSORS:
        if tensor in file.tensors:
            return tensor
    named = next((key for key in ("type", "factor") if file.get(f"rope.scaling.{key}") is not None), None)
    return f"{file.architecture}.rope." + (f"scaling.{named}" if named else "scale_linear")


def _scaling(file: GgufFile, rotated: int, theta: float) -> dict[str, Any]:
    factor = float(file.get("rope.scaling.factor", file.get("rope.scale_linear", 0.0)) or 1.0)
    kind = str(file.get("rope.scaling.type", "none" if factor == 1.0 else "linear"))
    tensors = [name for name in TENSORS if name in file.tensors]
    prefix = f"{file.architecture}.rope.scaling"
    if kind == "none" and tensors and tensors != ["rope_freqs.weight"]:
        kind = "longrope"
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise file.refuse(f"{prefix}.type", "this scaling of positions is not known")
    if kind in ("linear", "yarn") and tensors:
        raise file.refuse(tensors[0], f"factors come beside {prefix}.type = {kind}, and the two are not combined")
    if kind == "none":
        if factor != 1.0 and file.get("rope.scaling.type") is not None:
            raise file.refuse(f"{prefix}.factor", f"there is a factor, and {prefix}.type says that there is no scaling")
        _only(file, "attn_factor", 1.0)
        return _by_factors(file, rotated, theta) if tensors else {"rope_type": "default"}
    if kind == "linear":
        _only(file, "attn_factor", 1.0)
        return {"rope_type": "linear", "factor": factor} if factor != 1.0 else {"rope_type": "default"}
    return _yarn(file, factor) if kind == "yarn" else _longrope(file, rotated)


def _only(file: GgufFile, name: str, *allowed: float) -> None:
    value = file.get(f"rope.scaling.{name}")
    if value is not None and value not in allowed:
        raise file.refuse(f"{file.architecture}.rope.scaling.{name}", "transformers' model has nothing for it here")


def _yarn(file: GgufFile, factor: float) -> dict[str, Any]:
    # -1 stands for the usual share of extrapolation, which is 1.
    _only(file, "yarn_ext_factor", -1.0, 1.0)
    _only(file, "yarn_attn_factor", 1.0)
    found: dict[str, Any] = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": int(
            file.get("rope.scaling.original_context_length", file.need("context_length"))
        ),
    }
    for ours, theirs in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
        if (value := file.get(f"rope.scaling.{theirs}")) is not None:
            found[ours] = float(value)
    # The files give what comes on top of the usual growth of scores, transformers takes the product.
    more = float(file.get("rope.scaling.attn_factor", 1.0))
    if more != 1.0:
        found["attention_factor"] = more * (0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0)
    return found


def _longrope(file: GgufFile, rotated: int) -> dict[str, Any]:
    long, short = "rope_factors_long.weight", "rope_factors_short.weight"
    prefix = f"{file.architecture}.rope.scaling"
    if "rope_freqs.weight" in file.tensors:
        raise file.refuse("rope_freqs.weight", "these factors come beside those of longrope, and are not combined")
    for name in (long, short):
        if name not in file.tensors:
            raise file.refuse(name, "longrope needs these factors, and the file lacks them")
    for name in ("original_context_length", "attn_factor"):
        if file.get(f"rope.scaling.{name}") is None:
            raise file.refuse(f"{prefix}.{name}", "longrope needs this key, and the file lacks it")
    return {
        "rope_type": "longrope",
        "long_factor": _factors(file, long, rotated),
        "short_factor": _factors(file, short, rotated),
        "original_max_position_embeddings": int(file.get("rope.scaling.original_context_length")),
        "attention_factor": float(file.get("rope.scaling.attn_factor")),
    }


def _factors(file: GgufFile, tensor: str, rotated: int) -> list[float]:
    """By what each frequency is divided."""
    values = file.floats(tensor).astype(np.float64).ravel()
    if len(values) != rotated // 2:
        raise file.refuse(tensor, f"{len(values)} factors do not fit {rotated} rotated dimensions")
    return [float(value) for value in values]


def _by_factors(file: GgufFile, rotated: int, theta: float) -> dict[str, Any]:
    """`rope_freqs.weight`: the form in which the scaling of Llama 3.1 is written, or any other division."""
    factors = np.array(_factors(file, "rope_freqs.weight", rotated))
    if np.all(factors == 1.0):
        return {"rope_type": "default"}
    plain = theta ** (-np.arange(0, rotated, 2) / rotated)
    found = _llama3(factors, plain)
    if found is not None:
        return found
    # Longrope with one set of factors at every length divides by exactly these.
    every = [float(value) for value in factors]
    return {
        "rope_type": "longrope",
        "long_factor": every,
        "short_factor": every,
        "original_max_position_embeddings": int(file.need("context_length")),
        "attention_factor": 1.0,
    }


def llama3_divisors(parameters: Mapping[str, Any], plain: np.ndarray) -> np.ndarray:
    """By what Llama 3.1's rule divides each frequency (radians a token)."""
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    turns = parameters["original_max_position_embeddings"] * plain / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return 1 / (smooth + (1 - smooth) / parameters["factor"])


def _llama3(factors: np.ndarray, plain: np.ndarray) -> dict[str, Any] | None:
    """The parameters of Llama 3.1's rule that give these factors, or None where none do.

    The share of a frequency that is kept grows linearly with its turns within the original context, from 0 at
    `low_freq_factor` to 1 at `high_freq_factor`. The factors fix that line, and with it the parameters up to one common
    multiple, which changes nothing: `low_freq_factor` is taken as 1, and `high_freq_factor` as 4 where less is fixed.
    """
    factor = float(factors.max())
    if factor <= 1.0 or factors.min() < 1.0 - AGREE:
        return None
    kept = (1 / factors - 1 / factor) / (1 - 1 / factor)
    turns = plain / (2 * math.pi)
    between = (kept > 1e-4) & (kept < 1 - 1e-4)
    if between.sum() >= 2:
        slope, start = np.polyfit(turns[between], kept[between], 1)
        tries = [(-slope / start, 1 - 1 / start)] if start < 0 < slope else []
    elif between.any():
        tries = [((1 + 3 * float(kept[between][0])) / float(turns[between][0]), 4.0)]
    else:
        return None
    for original, high in [(round(one), round(two, 3)) for one, two in tries] + tries:
        found = {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": float(high),
            "original_max_position_embeddings": original,
        }
        if original > 0 and high > 1 and np.abs(llama3_divisors(found, plain) / factors - 1).max() < AGREE:
            return found
    return None
