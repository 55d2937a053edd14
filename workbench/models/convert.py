"""Turns a GGUF file into a folder of float32 safetensors; run as `python -m workbench.models.convert GGUF FOLDER`.

Prints `step K of N` lines as it goes and the fingerprint of the weights, as they load from the folder, at the end. What
the file says of the computation is kept, or the conversion is refused with the key in question.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError, WorkbenchError
from ..formatting import one_line

STEPS = 4
DONE = "fingerprint "


def convert(gguf: Path, folder: Path) -> str:
    """Write the model and tokenizer of a GGUF file to a new folder and return the weights' fingerprint.

    Raises `UsageError` for a file that is not understood whole, naming the key or the tensor, and for a folder that is
    there already; `WorkbenchError` where the weights do not come out as they are in the file.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from .fingerprint import weights_fingerprint
    from .from_gguf.config import config
    from .from_gguf.file import read
    from .from_gguf.tokenizer import check, tokenizer
    from .from_gguf.weights import load

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: give a folder that does not exist yet")
    _step(0)
    file = read(gguf)
    made = config(file)
    check(file)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        model = load(file, made)
        _step(1)
        model.save_pretrained(part, max_shard_size="100GB")
        del model
        _step(2)
        tokenizer(file).save_pretrained(part)
        _step(3)
        again = AutoModelForCausalLM.from_pretrained(part, dtype=torch.float32)
        fingerprint = weights_fingerprint(again)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _step(4)
    return fingerprint


def main(arguments: Sequence[str]) -> int:
    """Convert one file and return the exit status: 0 done, 1 failed, 2 wrong use."""
    try:
        if len(arguments) != 2:
            raise UsageError("give a GGUF file and a new folder: `python -m workbench.models.convert FILE.gguf FOLDER`")
        print(DONE + convert(Path(arguments[0]), Path(arguments[1])), flush=True)
    except WorkbenchError as error:
        print(f"workbench: {one_line(str(error))}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"workbench: {one_line(f'{arguments[1]} could not be written: {error}')}", file=sys.stderr)
        return 1
    return 0


def _step(done: int) -> None:
    print(f"step {done} of {STEPS}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
