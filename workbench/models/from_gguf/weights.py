"""The weights of a GGUF file, dequantised, in transformers' model; every number must have found its place."""

from __future__ import annotations

from typing import Any

from ...errors import WorkbenchError
from . import positions
from .config import ENDS
from .file import GgufFile, by_itself


def load(file: GgufFile, config: Any) -> Any:
    """The model with this configuration and the file's weights, in float32.

    Raises `WorkbenchError` where transformers does not read every tensor of the file.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model: Any
    loading: dict[str, Any]
    with by_itself(file.path) as alone:
        model, loading = AutoModelForCausalLM.from_pretrained(
            alone.parent, gguf_file=alone.name, config=config, dtype=torch.float32, output_loading_info=True
        )  # type: ignore[misc]
    wrong = [*loading.get("missing_keys", ()), *(str(key[0]) for key in loading.get("mismatched_keys", ()))]
    if wrong:
        raise WorkbenchError(f"{file.path.name} does not fill {sorted(wrong)[0]} ({len(wrong)} weights in all)")
    held = sum(tensor.n_elements for name, tensor in file.tensors.items() if name not in positions.TENSORS)
    taken = sum(parameter.numel() for parameter in model.parameters())
    if held != taken:
        raise WorkbenchError(
            f"{file.path.name} holds {held} numbers and the model took {taken}: transformers reads it in another way"
        )
    _forget_quantiser(model)
    ends = dict.fromkeys(file.value(f"tokenizer.ggml.{end}_token_id") for end in ENDS)
    if len(ids := [one for one in ends if one is not None]) > 1:
        model.generation_config.eos_token_id = ids
    return model


def _forget_quantiser(model: Any) -> None:
    """The weights are plain floats by now, but transformers refuses to save what it once dequantised."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for name in ("is_quantized", "hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            setattr(model, name, None)
    model.is_quantized = False
