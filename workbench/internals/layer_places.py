"""Where the kinds of site are in one block, told by the values that passed in an observed run of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from . import fused_projections
from .architectures import ModuleSite
from .fused_projections import Columns
from .observed_run import Attended, BlockRun

EPS = torch.finfo(torch.float32).eps


def same(found: Tensor, expected: Tensor, size: Tensor, stream: Tensor | float = 0.0, share: float = 1e-4) -> bool:
    """Whether every token's difference is at most `share` of `size`, or rounding of a stream of norm `stream`."""
    bound = share * size.double() + 16 * EPS * stream
    return found.shape == expected.shape and bool(((found - expected).double().norm(dim=-1) <= bound + 1e-30).all())


def norm(value: Tensor) -> Tensor:
    """Each token's norm."""
    return value.double().norm(dim=-1)


@dataclass
class Addends:
    """The two modules whose outputs, times a factor, are what a block adds to the stream."""

    attention: str
    mlp: str
    factor: float


def addends(run: BlockRun, attention: str | None) -> Addends | None:
    """Which two modules add to the stream in this block; `attention` is the module that attends."""
    pre, post = run.given, run.gave
    assert pre is not None and post is not None
    delta, stream = post - pre, norm(pre) + norm(post)
    inside = [p for p in run.order if p and p in run.outputs and run.outputs[p].shape == pre.shape]
    inside.sort(key=lambda path: path.count("."))
    mix = torch.randn(pre.shape[-1], generator=torch.Generator().manual_seed(1)).to(pre)
    sketch = {path: (run.outputs[path] @ mix).double().flatten() for path in inside}
    wanted = (delta @ mix).double().flatten()
    size = wanted.norm()
    for left, right in combinations(inside, 2):
        if left.startswith(right + ".") or right.startswith(left + "."):
            continue
        summed = sketch[left] + sketch[right]
        square = float(summed @ summed)
        if not square > 0:
            continue
        factor = float(summed @ wanted) / square
        if float((factor * summed - wanted).norm()) > 1e-3 * float(size) + 1e-5 * float(stream.norm()):
            continue
        factor = 1.0 if abs(factor - 1) < 1e-4 else factor
        if same(pre + factor * (run.outputs[left] + run.outputs[right]), post, norm(delta), stream):
            first, second = (left, right) if run.order.index(left) < run.order.index(right) else (right, left)
            if attention is not None and _belongs(second, attention) and not _belongs(first, attention):
                first, second = second, first
            return Addends(first, second, factor)
    return None


def _belongs(path: str, attention: str) -> bool:
    """Whether a module is the attending one, inside it or around it."""
    return path == attention or path.startswith(attention + ".") or attention.startswith(path + ".")


def middle(run: BlockRun, found: Addends) -> ModuleSite | None:
    """The module that is given the stream after attention, before the MLP adds to it."""
    assert run.given is not None
    mid = run.given + run.outputs[found.attention]
    for path in sorted(run.inputs, key=lambda path: path.count(".")):
        value = run.inputs[path]
        if path and value.shape == mid.shape and same(value, mid, norm(run.outputs[found.attention]), norm(mid)):
            return ModuleSite(path, "stream")
    return None


def linears(block: nn.Module, run: BlockRun, inside: str | None, outside: str | None = None) -> list[str]:
    """Modules with a weight matrix that ran once, in their order: inside one module, or outside of another."""
    found = []
    for path in run.order:
        if (
            path not in run.outputs
            or path not in run.inputs
            or run.outputs[path].ndim != 3
            or run.inputs[path].ndim != 3
        ):
            continue
        if inside is not None and inside and not path.startswith(inside + "."):
            continue
        if outside is not None and (path == outside or path.startswith(outside + ".")):
            continue
        weight = getattr(block.get_submodule(path), "weight", None)
        if (
            path
            and isinstance(weight, Tensor)
            and weight.ndim == 2
            and not isinstance(block.get_submodule(path), nn.Embedding)
        ) or (path and hasattr(block.get_submodule(path), "base_layer")):
            found.append(path)
    return [path for path in found if not any(path.startswith(other + ".") for other in found if other != path)]


def output_of_heads(run: BlockRun, paths: list[str], output: Tensor) -> ModuleSite | None:
    """The projection that is given attention's output `[batch, position, head, d]`, heads one after the other."""
    flat = output.flatten(2)
    for path in paths:
        if run.inputs[path].shape == flat.shape and same(run.inputs[path], flat, norm(flat), share=1e-5):
            return ModuleSite(path, "input", Columns.of_heads(output.shape[2], flat.shape[2]))
    return None


def projected(run: BlockRun, paths: list[str], heads: Tensor, factor: bool = False) -> ModuleSite | None:
    """The projection whose output holds these heads `[batch, head, position, d]`, and in which columns."""
    for path in paths:
        passing = run.outputs[path]
        if passing.shape[1] == heads.shape[2] and passing.shape[2] >= heads.shape[1] * heads.shape[3]:
            columns = fused_projections.find(heads[0], passing[0], factor)
            if columns is not None:
                return ModuleSite(path, "output", columns)
    return None


def expanded(block: nn.Module, run: BlockRun, inside: str, heads: Tensor) -> bool:
    """Whether a projection of what the cache keeps, `[batch, 1, position, column]`, gives these values."""
    for path, passing in run.outputs.items():
        fits = path.startswith(inside + ".") and passing.ndim == 4 and passing.shape[1:3] == (1, heads.shape[2])
        linear = fits and isinstance(getattr(block.get_submodule(path), "weight", None), Tensor)
        if linear and fused_projections.find(heads[0], passing[0, 0]) is not None:
            return True
    return False


def guessed(run: BlockRun, paths: list[str], part: str, call: Attended, value: ModuleSite | None) -> list[ModuleSite]:
    """Where queries ("q") or keys ("k") may be that are normed before they are used; to be verified by an edit."""
    heads, size = (call.call.q if part == "q" else call.call.k).shape[1::2]
    found = []
    for path in sorted(paths, key=lambda path: not path.rsplit(".", 1)[-1].lstrip("w_").startswith(part)):
        width = run.outputs[path].shape[2]
        if value is not None and path == value.module:
            found += _beside(part, call, value)
        elif width == heads * size:
            found.append(ModuleSite(path, "output", Columns.of_heads(heads, width)))
        elif part == "q" and width == 2 * heads * size:  # each head's query, then its gate
            found.append(ModuleSite(path, "output", Columns(torch.arange(width).reshape(heads, -1)[:, :size], width)))
    return found


def _beside(part: str, call: Attended, value: ModuleSite) -> list[ModuleSite]:
    """The part of one fused projection in which values lie evenly: head by head, or one part after the other."""
    columns = value.columns
    heads, kv_heads, size = call.call.q.shape[1], call.call.k.shape[1], call.call.q.shape[3]
    if columns is None or columns.even is None or columns.index.shape[1] != size:
        return []
    count, (start, step) = heads if part == "q" else kv_heads, columns.even
    if step == 3 * size and start == 2 * size and heads == kv_heads:
        first, step = (0, step) if part == "q" else (size, step)
    elif step == size and start == (heads + kv_heads) * size:
        first, step = (0, size) if part == "q" else (heads * size, size)
    else:
        return []
    index = first + step * torch.arange(count)[:, None] + torch.arange(size)
    return [ModuleSite(value.module, "output", Columns(index, columns.width))]


def activations(block: nn.Module, run: BlockRun, outside: str | None) -> list[str]:
    """Activation functions that ran on every token, outside of attention."""
    found = []
    for path in run.order:
        if not path or path not in run.inputs or (outside and path.startswith(outside + ".")):
            continue
        made = type(block.get_submodule(path)).__module__
        if made.startswith("transformers.activations") or made == "torch.nn.modules.activation":
            found.append(path)
    return found


def mlp_places(block: nn.Module, run: BlockRun, attention: str | None) -> tuple[dict[str, ModuleSite], dict[str, str]]:
    """What the MLP's one activation is given, and what its last projection is given; or why they cannot be told."""
    acts = activations(block, run, attention)
    if any(path in run.often for path, _ in block.named_modules() if "act" in path.rsplit(".", 1)[-1]):
        acts = []
    maps = linears(block, run, None, attention)
    tokens = run.given.shape[:2] if run.given is not None else None
    if len(acts) != 1 or not maps or len(maps) > 3 or run.inputs[acts[0]].shape[:2] != tokens:
        why = "it has no MLP with one activation that is a module and sees every token (experts, or another form)"
        return {}, dict.fromkeys(("mlp_pre", "mlp_post"), why)
    given, last = run.inputs[acts[0]], maps[-1]
    places, absent = {}, {}
    own = type(block.get_submodule(last)).__module__.startswith("transformers.models.")
    if own:
        absent["mlp_post"] = (
            f"its last projection is of a class of the model's own, {type(block.get_submodule(last)).__name__}"
        )
    elif run.inputs[last].shape == given.shape and run.order.index(last) > run.order.index(acts[0]):
        places["mlp_post"] = ModuleSite(last, "input")
    else:
        absent["mlp_post"] = "no projection is given what comes from its activation"
    for path in maps:
        passing = run.outputs[path]
        if passing.shape == given.shape and torch.equal(passing, given):
            places["mlp_pre"] = ModuleSite(path, "output")
        elif passing.shape[-1] == 2 * given.shape[-1]:
            half = given.shape[-1]
            for start in (0, half):
                if torch.equal(passing[..., start : start + half], given):
                    index = torch.arange(start, start + half)[None]
                    places["mlp_pre"] = ModuleSite(path, "output", Columns(index, 2 * half), flat=True)
    if "mlp_pre" not in places:
        absent["mlp_pre"] = "what its activation is given is no projection's output"
    return places, absent
