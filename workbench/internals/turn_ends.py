"""The token ids that end a text or a turn, from every place that says so."""

from __future__ import annotations

from typing import Any

from .chat_text import chat_text

_SAID = "said"


def turn_ends(model: Any, tokenizer: Any = None) -> tuple[int, ...]:
    """The ids at which generation ends, in rising order.

    They are those of the model's generation configuration (of its configuration, where that names none), the
    tokenizer's end token, and the special token that the chat template writes after what a model says: a fine-tuned
    model often ships with only one of the three set to what it was trained to end with.
    """
    settings = (getattr(model, "generation_config", None), getattr(model, "config", None))
    named = next((ends for each in settings if (ends := _ids(getattr(each, "eos_token_id", None)))), set())
    if tokenizer is not None:
        named = named | _ids(getattr(tokenizer, "eos_token_id", None)) | _after_a_turn(tokenizer)
    return tuple(sorted(named))


def _ids(value: Any) -> set[int]:
    return set() if value is None else {value} if isinstance(value, int) else set(value)


def _after_a_turn(tokenizer: Any) -> set[int]:
    """The special token right behind what a model says in the chat template, if there is one."""
    if not getattr(tokenizer, "chat_template", None):
        return set()
    turns = [{"role": "user", "content": "asked"}, {"role": "assistant", "content": _SAID}]
    try:
        after = chat_text(tokenizer, turns).rpartition(_SAID)[2].lstrip()
    except Exception:  # templates raise what they like for turns that they do not have
        return set()
    # by their texts: a tokenizer at work in another thread is not to be called
    special = {str(token): index for index, token in tokenizer.added_tokens_decoder.items()}
    found = [text for text in special if text and after.startswith(text)]
    return {special[max(found, key=len)]} if found else set()
