"""Attention functions of the user's own: recognised, named, and never replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .borrowing import Implementations, implementations
from .module_state import comes_from, in_words

if TYPE_CHECKING:
    from torch import nn


def functions(implementations: Implementations) -> list[Any]:
    """The functions registered for these attention implementations, and those that make their masks."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    names = dict.fromkeys(name for _, name in implementations if name)
    tables = (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS)
    return [table[name] for name in names for table in tables if name in table]


def own_attention(model: nn.Module) -> str | None:
    """What is the user's own in a model's attention, in words; None where all of it is transformers'."""
    own = [
        function
        for function in functions(implementations(model))
        if not comes_from(function, ("transformers", "workbench"))
    ]
    if not own:
        return None
    names = " and ".join(dict.fromkeys(str(name) for _, name in implementations(model) if name))
    return f"an attention function of its user's own ({names}: {', '.join(map(in_words, own))})"
