"""A GGUF file's keys as a transformers configuration; a key that is not understood is refused, not left out."""

from __future__ import annotations

import re
from typing import Any

from ...errors import UsageError
from . import positions
from .families import FAMILIES, Entries, Family
from .file import GgufFile

TOKEN_IDS = {
    "bos_token_id": "bos_token_id",
    "eos_token_id": "eos_token_id",
    "pad_token_id": "padding_token_id",
    "unk_token_id": "unknown_token_id",
}
"""Ids of a configuration, by the keys of the file's tokenizer."""
NEEDED = ("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count")
"""Keys without which no model is described."""
ENDS = ("eos", "eot", "eom")
"""Tokens at which an answer ends: of the text, of a turn, of a message."""
REMARKS = ("general.", "quantize.imatrix.", "tokenizer.")
"""Beginnings of keys that tell of the file and its tokens, and not of the computation."""


def family(file: GgufFile) -> Family:
    """The family of a file.

    Raises `UsageError` for an architecture that is not converted, with those that are.
    """
    if file.architecture not in FAMILIES:
        raise UsageError(
            f"{file.path.name} holds a model of architecture {file.architecture!r}, whose keys and tensors are not "
            f"known here; converted are: {', '.join(sorted(FAMILIES))}. Use the model's own safetensors instead"
        )
    return FAMILIES[file.architecture]


def config(file: GgufFile) -> Any:
    """The configuration of the model in a file.

    Raises `UsageError` for what the file says and the configuration cannot say, naming the key or the tensor.
    """
    from transformers import CONFIG_MAPPING

    kind = family(file)
    _closed_lists(file, kind)
    return CONFIG_MAPPING[kind.model_type](**entries(file, kind))


def entries(file: GgufFile, kind: Family) -> Entries:
    """What a file says, in the words of its family's configuration."""
    for key in (*NEEDED, *kind.needs):
        file.need(key)
    stated: Entries = {}
    for key, rule in kind.keys.items():
        if (value := file.get(key)) is not None:
            stated |= rule(file, value)
    head = _head(file, kind, stated)
    found: Entries = {
        "vocab_size": _rows(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        **{ours: file.value(f"tokenizer.ggml.{theirs}") for ours, theirs in TOKEN_IDS.items()},
    }
    if kind.grouped:
        found["num_key_value_heads"] = stated["num_attention_heads"]
    if kind.sized_heads:
        found["head_dim"] = head
    if kind.rotates:
        found["rope_parameters"] = positions.rope_parameters(file, head, kind.scalings)
    # What a key says goes before what the architecture implies where it says nothing.
    return {**found, **kind.implied(file, {**found, **stated}), **stated}


def _rows(file: GgufFile) -> int:
    """Size of the vocabulary."""
    if "token_embd.weight" not in file.tensors:
        raise file.refuse("token_embd.weight", "the file lacks this tensor")
    rows = file.shape("token_embd.weight")[0]
    if file.get("vocab_size", rows) != rows:
        raise file.refuse(f"{file.architecture}.vocab_size", f"token_embd.weight has {rows} rows")
    return rows


def _head(file: GgufFile, kind: Family, stated: Entries) -> int:
    """Size of a head: what the weights have, which is what the file says where it says it."""
    heads, width = stated["num_attention_heads"], stated["hidden_size"]
    queries = file.shape("blk.0.attn_q.weight")[0] if "blk.0.attn_q.weight" in file.tensors else width
    head = queries // heads
    if head * heads != queries or file.get("attention.key_length", head) != head:
        raise file.refuse(f"{file.architecture}.attention.key_length", f"{heads} heads have {queries} queries together")
    if file.get("attention.value_length", head) != head:
        raise file.refuse(f"{file.architecture}.attention.value_length", f"values of another size than keys ({head})")
    if not kind.sized_heads and head * heads != width:
        raise file.refuse(f"{file.architecture}.attention.key_length", f"heads of another size than {width} / {heads}")
    if kind.rotates and not kind.partial and file.get("rope.dimension_count", head) != head:
        raise file.refuse(f"{file.architecture}.rope.dimension_count", f"a part of each head of {head} goes unrotated")
    return head


def _closed_lists(file: GgufFile, kind: Family) -> None:
    """Refuse the first key and the first tensor that are not understood."""
    own = f"{file.architecture}."
    for key in file.fields:
        if key.startswith(own):
            if key.removeprefix(own) not in kind.keys:
                raise file.refuse(key, f"this key is not known for {file.architecture} and may change what is computed")
        elif key.startswith("split."):
            if int(file.value("split.count", 0)) > 1:
                raise file.refuse("split.count", "this is one part of several; join them with llama.cpp's gguf-split")
        elif not key.startswith(REMARKS):
            raise file.refuse(key, "this key is not known and may change what is computed")
    if file.value("general.type", "model") != "model":
        raise file.refuse("general.type", "the file holds no language model")
    for tensor in file.tensors:
        block = re.fullmatch(r"blk\.\d+\.(.+)", tensor)
        if (block[1] not in kind.blocks) if block else (tensor not in kind.whole):
            raise file.refuse(
                tensor, f"this tensor is not known for {file.architecture} and may change what is computed"
            )
