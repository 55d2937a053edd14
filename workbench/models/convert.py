"""Turns a GGUF file into a folder of float32 safetensors; run as `python -m workbench.models.convert GGUF FOLDER`.

Prints `step K of N` lines as it goes and the fingerprint of the weights, as they load from the folder, at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

STEPS = 4
DONE = "fingerprint "


def convert(gguf: Path, folder: Path) -> str:
    """Write the model and tokenizer of a GGUF file to a folder and return the weights' fingerprint."""
    import torch
    from transformers import AutoModelForCausalLM

    from .fingerprint import weights_fingerprint

    _step(0)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    _step(1)
    _forget_quantiser(model)
    model.save_pretrained(folder, max_shard_size="100GB")
    del model
    _step(2)
    _tokenizer(gguf).save_pretrained(folder)
    _step(3)
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    fingerprint = weights_fingerprint(again)
    _step(4)
    return fingerprint


def _forget_quantiser(model: Any) -> None:
    """The weights are plain floats by now, but transformers refuses to save what it once dequantised."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for name in ("is_quantized", "hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            setattr(model, name, None)
    model.is_quantized = False


def _tokenizer(gguf: Path) -> Any:
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    field = GGUFReader(str(gguf)).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        # transformers does not read how the file says that text is split; SmolLM splits off every digit first, which
        # decides the tokens of white space before a number.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return tokenizer


def _step(done: int) -> None:
    print(f"step {done} of {STEPS}", flush=True)


if __name__ == "__main__":
    print(DONE + convert(Path(sys.argv[1]), Path(sys.argv[2])), flush=True)
