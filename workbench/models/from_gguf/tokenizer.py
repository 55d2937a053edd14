"""The tokenizer of a GGUF file; how text is split is kept, or the file is refused."""

from __future__ import annotations

import json
import re
from typing import Any

from .file import GgufFile, by_itself

DIGITS_FIRST = ("smollm", "starcoder", "refact", "command-r", "codeshell")
"""Ways to split text that take off every digit and then go by GPT-2's rule, which transformers does not read."""
SPLITS = ("gpt-2", "llama-bpe", "llama3", "llama-v3", "qwen2", "deepseek-r1-qwen", "tekken", *DIGITS_FIRST)
"""Ways to split text before pairs are merged (`tokenizer.ggml.pre`) that come out as in the programs that read GGUF."""
BEGINS = ("llama-bpe", "llama3", "llama-v3", "tekken")
"""Of these, those of models whose text begins with a token of its own where the file does not say so."""
SPACE = "▁"
"""How sentencepiece writes a space."""
KEYS = re.compile(
    r"tokenizer\.(ggml\.(model|pre|tokens|scores|token_type|merges|add_(bos|eos|sep)_token|add_space_prefix"
    r"|[a-z_]+_token_id(s)?|token_type_count)|chat_template(\..+|s)?|huggingface\.json)"
)
"""Keys about tokens that are read, or that name tokens and change none."""


def tokenizer(file: GgufFile) -> Any:
    """The tokenizer of the model in a file.

    Raises `UsageError` for what the file says about tokens and the tokenizer cannot keep, naming the key.
    """
    from transformers import AutoTokenizer

    check(file)
    with by_itself(file.path) as alone:
        made: Any = AutoTokenizer.from_pretrained(alone.parent, gguf_file=alone.name)
    split = file.value("tokenizer.ggml.pre")
    if file.value("tokenizer.ggml.model") == "llama":
        if not file.architecture.startswith("gemma"):
            _spaces(made, file.value("tokenizer.ggml.add_space_prefix", True))
    else:
        if split in DIGITS_FIRST:
            _split_digits(made)
        if split in BEGINS and file.value("tokenizer.ggml.add_bos_token") is None:
            made.add_bos_token = True
    rows = len(file.value("tokenizer.ggml.tokens"))
    _without_added(made, rows)
    if added := sorted(word for word, place in made.get_vocab().items() if place >= rows):
        raise file.refuse(
            "tokenizer.ggml.tokens", f"transformers adds {', '.join(added[:3])}, for which there is no row"
        )
    return made


def _without_added(made: Any, rows: int) -> None:
    """Take out the special tokens that transformers adds to every vocabulary, where they have no part in this one."""
    from tokenizers import Tokenizer

    backend = json.loads(made.backend_tokenizer.to_str())
    parts = {*made.special_tokens_map.values(), backend["model"].get("unk_token")}
    kept = [token for token in backend["added_tokens"] if token["id"] < rows or token["content"] in parts]
    if len(kept) < len(backend["added_tokens"]):
        made._tokenizer = Tokenizer.from_str(json.dumps({**backend, "added_tokens": kept}))


def check(file: GgufFile) -> None:
    """Check that what the file says about tokens is understood.

    Raises `UsageError` naming the first key that is not.
    """
    for key in file.fields:
        if key.startswith("tokenizer.") and not KEYS.fullmatch(key):
            raise file.refuse(key, "this key is not known and may change how text becomes tokens")
    kind, split = file.value("tokenizer.ggml.model"), file.value("tokenizer.ggml.pre")
    if kind not in ("gpt2", "llama"):
        raise file.refuse("tokenizer.ggml.model", "this kind of tokenizer is not known")
    if kind == "gpt2" and split not in SPLITS:
        told = "how text is split is not known" if split else "the file lacks this key, and with it how text is split"
        raise file.refuse("tokenizer.ggml.pre", told)
    if file.value("tokenizer.ggml.add_eos_token", False):
        raise file.refuse("tokenizer.ggml.add_eos_token", "a text would end with a token that is not in it")
    prefix = file.value("tokenizer.ggml.add_space_prefix")
    if prefix and (kind == "gpt2" or file.architecture.startswith("gemma")):
        raise file.refuse("tokenizer.ggml.add_space_prefix", "a text would begin with a space that is not in it")
    if prefix is None and kind == "llama" and file.architecture.startswith("gemma"):
        raise file.refuse("tokenizer.ggml.add_space_prefix", "the file lacks this key, and with it how a text begins")


def _spaces(made: Any, prefix: bool) -> None:
    """Spaces as sentencepiece has them; transformers leaves the prefix out before a space and has it in every file."""
    from tokenizers import decoders, normalizers

    spaces = normalizers.Replace(" ", SPACE)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend = made.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if prefix else spaces
    backend.pre_tokenizer = None
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)


def _split_digits(made: Any) -> None:
    from tokenizers import pre_tokenizers

    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
