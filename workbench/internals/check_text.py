"""The text that a model is checked on at load: longer than its windows, chunks and indices, or those made shorter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .architectures import bare, read_in_of, unwrapped
from .values import example

SHORT, LONGEST = 24, 640
"""Tokens of the text where nothing is bounded, and at most."""
LOWERED = 7
AROUND = 6
"""Tokens on each side of the place where the two rows part that tell whether a token sees what follows it."""
REACHES = (
    "sliding_window", "sliding_window_size", "attention_chunk_size", "index_topk", "window_size", "local_attention",
    "keep_window_size", "attention_window_size", "indexer_budget", "index_topk_blocks",
)  # fmt: skip
"""Settings that bound how many keys a query sees."""


def reaches(model: nn.Module) -> dict[str, int]:
    """The bounds in a model's configuration."""
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    found = {name: getattr(config, name, None) for name in REACHES}
    blocks = getattr(config, "index_block_size", None)
    told = {name: value for name, value in found.items() if type(value) is int and value > 0}
    if blocks and "index_topk_blocks" in told:
        told["index_topk_blocks"] *= blocks
    return told


def length(model: nn.Module, most: int = LONGEST) -> int:
    """How many tokens the check takes: beyond every bound that is at most `most`."""
    known = [value for value in reaches(model).values() if value + 9 <= most]
    return max([SHORT, *(value + 9 for value in known)])


def rows(model: nn.Module, count: int) -> Tensor:
    """Two rows that agree in their first half: token ids `[2, position]`, or values of a model of numbers."""
    read_in = read_in_of(model)
    if read_in is not None:
        d_in = unwrapped(model).config.d_in  # type: ignore[union-attr]
        found = torch.stack(example(d_in, [2 * count])).unflatten(1, (2, count))[0]  # type: ignore[arg-type]
    else:
        config: Any = bare(model).config
        size = config.get_text_config().vocab_size
        special = set(_special(config)) | set(_special(config.get_text_config()))
        plain = [token for token in range(min(size, 4096)) if token not in special] or list(range(size))
        found = torch.tensor(plain)[torch.randint(len(plain), (2, count), generator=torch.Generator().manual_seed(11))]
    found[1, : count // 2] = found[0, : count // 2]
    return found


def parting(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tokens around the place where the two rows part: all of a short text."""
    count = next(iter(given.values())).shape[1]
    if count <= SHORT:
        return given
    start = max(0, count // 2 - AROUND)
    return {name: value[:, start : start + 2 * AROUND] for name, value in given.items()}


def entering(model: nn.Module, given: Tensor) -> dict[str, Tensor]:
    """Rows as the argument of the causal model's forward, where the model takes them in."""
    if (read_in := read_in_of(model)) is not None:
        with torch.no_grad():
            return {"inputs_embeds": read_in(given.to(next(read_in.parameters())))}
    place = bare(model).get_input_embeddings()  # type: ignore[operator]
    device = place.weight.device if hasattr(place, "weight") else next(model.parameters()).device
    return {"input_ids": given.to(device)}


def _special(config: Any) -> Iterator[int]:
    for name, value in vars(config).items():
        if name.endswith(("_token_id", "_token_index")):
            yield from [value] if type(value) is int else value if isinstance(value, list) else ()


@contextmanager
def lowered(model: nn.Module, count: int) -> Iterator[dict[str, int]]:
    """Bounds that a text of `count` tokens does not reach are lowered until the context ends, so that it does.

    Gives the bounds that were lowered, with their own values.
    """
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    far = {name: getattr(config, name) for name, value in reaches(model).items() if value >= count}
    changed: list[tuple[Any, str, int]] = []
    holders = list({id(held): held for held in (config, *model.modules(), *_configs(model))}.values())
    try:
        for name, own in far.items():
            for holder in holders:
                value = vars(holder).get(name)
                if type(value) is int and value == own:
                    setattr(holder, name, max(1, own * LOWERED // reaches_size(model, name, own)))
                    changed.append((holder, name, own))
        yield far
    finally:
        for holder, name, own in changed:
            setattr(holder, name, own)


def reaches_size(model: nn.Module, name: str, own: int) -> int:
    """How many keys a bound of this size is (blocks are several)."""
    block = getattr(model.config.get_text_config(), "index_block_size", 1) or 1  # type: ignore[operator, union-attr]
    return own * block if name == "index_topk_blocks" else own


def _configs(model: nn.Module) -> list[Any]:
    """Every configuration object that some module holds."""
    return list(
        {id(held): held for module in model.modules() if (held := vars(module).get("config")) is not None}.values()
    )
