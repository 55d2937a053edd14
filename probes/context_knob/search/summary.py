"""The layer search in words and as a table: what was patched, what came of it, and what "nothing" means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..config import ARMS

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

TITLES = {
    "prior": "prior's answer",
    "context": "context's answer",
    "to_context": "intent to context",
    "to_prior": "intent to prior",
}
"""What a patch is to bring in, by setting: the answer of another item, or the other intent for the same one."""


def spans(blocks: np.ndarray) -> str:
    """Blocks as ranges, such as `3–5, 8`, from a mask `[layer]`; `none` where there are none."""
    at = np.flatnonzero(blocks)
    if not len(at):
        return "none"
    parts = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)


def counted(blocks: np.ndarray) -> str:
    """The same with the word before it: `block 8`, `blocks 3–5`."""
    return f"{'blocks' if blocks.sum() > 1 else 'block'} {spans(blocks)}"


def trace(searched: dict[str, xr.Dataset]) -> pd.DataFrame:
    """Every evaluation of the searches, one a row."""
    import pandas as pd

    rows = []
    for arm, found in searched.items():
        for place in range(found.sizes["look"]):
            look = found.isel(look=place)
            source, target = look["source"].values, look["target"].values
            rows.append(
                {
                    "arm": arm,
                    "setting": str(look["looked_for"].item()),
                    "step": str(look["step"].item()),
                    "patched": spans(look["patched"].values),
                    "highest_source": float(source.max()),
                    "at_block": int(source.argmax()),
                    "source_at_output": float(source[-1]),
                    "target_at_output": float(target[-1]),
                    "decision": str(look["decision"].item()),
                }
            )
    return pd.DataFrame(rows)


def sentences(searched: dict[str, xr.Dataset]) -> list[str]:
    """What the searches found about the intent, one sentence an arm."""
    said = []
    for arm, found in searched.items():
        parts = [f"from {_way(name)} {_ending(found.sel(setting=name))}" for name in ("to_context", "to_prior")]
        said.append(f"{ARMS[arm].capitalize()}, patching attention outputs at the last token: {'; '.join(parts)}.")
    return said


def limits(searched: dict[str, xr.Dataset]) -> list[str]:
    """What a wanted search cannot tell."""
    if not searched:
        return ["attention outputs cannot be read in this model, so no layers were searched"]
    counts = " and ".join(f"{found.attrs['looked_at']} ({arm})" for arm, found in searched.items())
    return [
        "the layer search patches the last token only; an answer that another token has taken up is not seen",
        f"its thresholds and blocks come from few validation items: {counts}",
    ]


def _way(setting: str) -> str:
    return "prior to context" if setting == "to_context" else "context to prior"


def _ending(found: xr.Dataset) -> str:
    verdict = str(found["verdict"].item())
    last = found.isel(layer=-1).sel(answer="source")

    def chance(condition: str) -> str:
        at = last.sel(condition=condition)
        return f"{float(at['mean']):.2f} ({float(at['low']):.2f} to {float(at['high']):.2f})"

    if verdict == "out of reach":
        return f"no set of blocks suffices (every block: {chance('every')})"
    if verdict == "there already":
        return f"the answer is there without a patch ({chance('none')})"
    s = "" if found["found"].values.sum() > 1 else "s"
    came = f"suffice{s}" if verdict == "found" else f"bring{s} the answer in, but not to the output"
    named = counted(found["found"].values)
    return f"{named} {came}: probability {chance('found')} on held-out items, {chance('none')} without a patch"
