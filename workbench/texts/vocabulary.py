"""A word-level tokenizer that covers the haystack and the needles, for small models trained on them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import word_lists

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FRAME = (
    "Question What Answer The the a A an is was in and it to near over on of There Nobody but so that with from "
    "there nobody question answer what"
)
SIGNS = (".", ",", "?", ":", "!")


def vocabulary() -> list[str]:
    """Every word and sign that the generators can write, in a fixed order."""
    found: dict[str, None] = {}
    for text in _texts():
        for word in re.findall(r"\w+|[^\w\s]", text):
            found[word] = None
    return list(found)


def word_tokenizer(context: int) -> PreTrainedTokenizerFast:
    """A tokenizer with one id a word or sign, `<pad>` and `<unk>` first; white space separates and is not kept."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate(["<pad>", "<unk>", *vocabulary()])}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def _texts() -> Iterable[str]:
    yield FRAME
    yield " ".join(SIGNS)
    for name, value in vars(word_lists).items():
        if name.isupper():
            yield " ".join(value)
