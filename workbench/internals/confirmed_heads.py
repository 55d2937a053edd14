"""Where heads are in attention of a model's own making: found from its weights, and verified by them.

The pattern times the values must be what the output projection is given, and queries times keys the logits, but for
what is added to all queries alike (ALiBi).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .architectures import ModuleSite, view
from .fused_projections import Columns
from .layer_places import linears, norm, same
from .observed_run import BlockRun


def layouts(width: int, heads: int, size: int) -> Iterator[dict[str, Columns]]:
    """Ways in which queries, keys and values of `heads` heads of `size` can lie in one projection of this width."""

    def columns(starts: Tensor) -> Columns:
        return Columns(starts.reshape(-1, 1) + torch.arange(size), width)

    every = torch.arange(heads) * size
    for kv_heads in (
        count for count in range(1, heads + 1) if heads % count == 0 and width == (heads + 2 * count) * size
    ):
        few = torch.arange(kv_heads) * size
        yield {"q": columns(every), "k": columns(heads * size + few), "v": columns((heads + kv_heads) * size + few)}
        group = heads // kv_heads
        first = torch.arange(kv_heads) * (group + 2) * size
        query = first[:, None] + torch.arange(group) * size
        yield {"q": columns(query), "k": columns(first + group * size), "v": columns(first + (group + 1) * size)}
    if width == 3 * heads * size and heads % 4 == 0:  # four shards, each of queries, values and keys
        shard = heads * size // 4
        first = (torch.arange(4) * 3 * shard)[:, None] + torch.arange(heads // 4) * size
        yield {"q": columns(first), "v": columns(first + shard), "k": columns(first + 2 * shard)}


def places(block: nn.Module, run: BlockRun, zero: BlockRun | None, attention: str) -> dict[str, ModuleSite]:
    """The places of q, k, v and z that the weights of this block's attention confirm."""
    _, _, weights = run.softmaxes[0]
    paths = linears(block, run, attention)
    heads = weights.shape[1]
    for out in reversed(paths):
        given = run.inputs[out]
        if given.shape[2] % heads:
            continue
        size = given.shape[2] // heads
        output = given.unflatten(-1, (heads, size))
        for path, parts in _candidates(run, [path for path in paths if path != out], heads, size):
            place = ModuleSite(path, "output", parts["v"])
            values = view(run.outputs[path], place).transpose(1, 2)
            mixed = weights.to(values) @ values.repeat_interleave(heads // values.shape[1], dim=1)
            if not same(mixed.transpose(1, 2), output, norm(output)):
                continue
            found = {"v": place, "z": ModuleSite(out, "input", Columns.of_heads(heads, given.shape[2]))}
            pair = _queries_and_keys(run if zero is None else zero, paths, out, path, parts, heads, size)
            return found | pair
    return {}


def _candidates(run: BlockRun, paths: list[str], heads: int, size: int) -> Iterator[tuple[str, dict[str, Columns]]]:
    for path in paths:
        width = run.outputs[path].shape[2]
        if width == heads * size:
            yield path, {"v": Columns.of_heads(heads, width)}
        for parts in layouts(width, heads, size):
            yield path, parts


def _queries_and_keys(
    run: BlockRun, paths: list[str], out: str, fused: str, parts: dict[str, Columns], heads: int, size: int
) -> dict[str, ModuleSite]:
    """q and k whose products are the logits of this run, in which rotation does nothing."""
    if not run.softmaxes:
        return {}
    _, logits, weights = run.softmaxes[0]
    options: list[tuple[ModuleSite, ModuleSite]] = []
    if "q" in parts:
        options.append((ModuleSite(fused, "output", parts["q"]), ModuleSite(fused, "output", parts["k"])))
    else:
        single = [p for p in paths if p not in (out, fused) and run.outputs[p].shape[2] == heads * size]
        whole = Columns.of_heads(heads, heads * size)
        options += [
            (ModuleSite(a, "output", whole), ModuleSite(b, "output", whole)) for a in single for b in single if a != b
        ]
    for query, key in options:
        q = view(run.outputs[query.module], query).transpose(1, 2)
        k = view(run.outputs[key.module], key).transpose(1, 2)
        products = q @ k.repeat_interleave(heads // k.shape[1], dim=1).transpose(2, 3)
        if _alike(products, logits, weights > 0):
            return {"q": query, "k": key}
    return {}


def _alike(products: Tensor, logits: Tensor, seen: Tensor) -> bool:
    """Whether logits are a multiple of the products, but for what is the same in a row, or for a key in all rows."""
    found, wanted = _bare(products.double()), _bare(logits.double())
    seen = seen & seen[:, :, -1:] & seen[..., :1]
    found, wanted = found[seen], wanted[seen]
    if found.numel() < 8 or not float(found.norm()) > 0:
        return False
    factor = (found * wanted).sum() / found.square().sum()
    return float((found * factor - wanted).norm()) <= 1e-4 * float(wanted.norm())


def _bare(value: Tensor) -> Tensor:
    value = value - value[..., :1]
    return value - value[:, :, -1:]
