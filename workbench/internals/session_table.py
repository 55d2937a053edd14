"""What a notebook shows of a session."""

from __future__ import annotations

from ..html_table import Bundle, bundle
from ..models.load import Loaded
from .architectures import Shape


def session_table(loaded: Loaded, shape: Shape, engine: str) -> Bundle:
    """The model and its sizes, without reading the weights."""
    first = next(iter(loaded.model.parameters()))
    shared = f", {shape.kv_heads} key-value heads" if shape.kv_heads != shape.heads else ""
    facts = [
        ("layers × heads", f"{shape.layers} × {shape.heads}{shared}"),
        ("residual stream", f"{shape.d_model} numbers a token; {shape.d_head} a head"),
        ("made for", f"{shape.context:,} tokens" if shape.context else ""),
        ("vocabulary", f"{shape.vocabulary:,} tokens" if shape.vocabulary else "none"),
        ("takes and gives", f"{shape.d_in} and {shape.d_out} numbers a position" if shape.d_in else ""),
        ("weights", ", ".join(filter(None, [str(first.dtype).removeprefix("torch."), loaded.quantisation]))),
        ("adapter", loaded.adapter.info.id if loaded.adapter else ""),
        ("device", str(first.device)),
        ("engine", engine),
        ("tokenizer", "" if loaded.tokenizer is not None or shape.d_in else "none: give token ids"),
    ]
    return bundle(f"Session with {loaded.id}", facts=facts)
