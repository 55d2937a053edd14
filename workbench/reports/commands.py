"""The command that runs a run again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any


def rerun_command(record: Mapping[str, Any]) -> str:
    """The command line that asks for the same run: what was given, not what was resolved from it."""
    model, spec = record["model"], record["spec"]
    words = ["workbench", "run", record["probe"], "--model", model["id"]]
    if model.get("adapter"):
        words += ["--adapter", model["adapter"]["id"]]
    place = "device_map" if model.get("device_map") else "device"
    # Device and dtype always: what a model loads with by itself depends on the machine and on the checkpoint.
    for option, usual in (("revision", None), ("engine", "hf"), (place, None), ("dtype", None)):
        value = model.get(option)
        # A model spread over devices or of several types has no single word for it; its loading decides again.
        if value and value != usual and "," not in str(value):
            words += [f"--{option.replace('_', '-')}", str(value)]
    if model.get("trust_remote_code"):
        words.append("--trust-remote-code")
    words += ["--preset", record["preset"], "--seed", str(spec["seed"])]
    for name, value in spec["given"].items():
        words += ["--set", f"{name}={_setting(value)}"]
    return " ".join(shlex.quote(word) for word in words)


def _setting(value: Any) -> str:
    """A value as `--set` reads it: plain text where that is unmistakable, JSON elsewhere."""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    try:
        json.loads(value)
    except ValueError:
        return json.dumps(value) if value.lower() == "none" else value
    return json.dumps(value, ensure_ascii=False)
