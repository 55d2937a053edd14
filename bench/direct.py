"""The same readings with TransformerLens and nnsight used directly, as their own documentation shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Run = Callable[[], object]


def transformerlens(folder: str, ids: torch.Tensor, kind: str, layers: Sequence[int]) -> Run:
    """`run_with_cache` of a bridge made by `boot_transformers`, which runs its own eager attention."""
    from transformer_lens.model_bridge import TransformerBridge

    model, tokenizer = loaded(folder, "eager")
    # without these two it would look for the tokenizer on the Hub
    tokenizer.init_kwargs.update(name_or_path=folder, add_bos_token=True)
    bridge = TransformerBridge.boot_transformers(folder, hf_model=model, tokenizer=tokenizer)
    points = {"resid_post": "hook_resid_post", "z": "attn.hook_z", "q_rot": "attn.hook_rot_q"}
    point = points.get(kind, "attn.hook_pattern")
    names = [f"blocks.{layer}.{point}" for layer in layers]
    last = {"pos_slice": -1} if kind == "pattern" else {}

    def run() -> object:
        with torch.no_grad():
            return bridge.run_with_cache(ids, names_filter=names, device="cpu", return_type="logits", **last)

    return run


def nnsight(folder: str, ids: torch.Tensor, kind: str, layers: Sequence[int]) -> Run:
    """A trace of `TransformersModel`; attention weights exist with eager attention only."""
    import nnsight as library

    model, tokenizer = loaded(folder, "eager" if kind == "pattern" else "sdpa")
    traced = library.TransformersModel(model, task="text-generation", tokenizer=tokenizer)

    def read(layer: int) -> Any:
        block = traced.model.layers[layer]
        match kind:
            case "resid_post":
                return block.output
            case "z":
                return block.self_attn.o_proj.input
            case "q_rot":
                return block.self_attn.source.attention_interface_1.inputs[0][1]
        return block.self_attn.source.attention_interface_1.output[1][:, :, -1]

    def run() -> object:
        kept = logits = None
        with torch.no_grad(), traced.trace(ids, use_cache=False):
            kept = library.save([read(layer).detach().clone() for layer in layers])
            logits = library.save(traced.output.logits)
        return kept, logits

    return run


def resident(model: torch.nn.Module) -> None:
    """Bring the weights, which are mapped from a file, into memory before anything is counted."""
    for parameter in model.parameters():
        parameter.detach().sum()


def loaded(folder: str, attention: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention).eval()
    resident(model)
    return model, AutoTokenizer.from_pretrained(folder)


LIBRARIES = {"TransformerLens itself": transformerlens, "nnsight itself": nnsight}
"""How each is made for a folder of weights, ids, a kind of site and layers."""
