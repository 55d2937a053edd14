"""One run of a model with everything that passes in its blocks written down, for the checks at load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from . import attention
from .float32_run import in_float32
from .forward_arguments import first, first_input, with_input
from .softmax_seam import SoftmaxWatch


class _Enough(Exception):
    """The last block has ended."""


@dataclass
class Attended:
    """A call of attention, as it came to the seam: a copy of q, k, v, and its output."""

    path: str
    call: attention.Call
    output: Tensor | None


@dataclass
class BlockRun:
    """What passed in one block; modules by their path inside it."""

    given: Tensor | None = None
    gave: Tensor | None = None
    times: int = 0
    order: list[str] = field(default_factory=list)
    """Modules in the order in which they ended."""
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    often: set[str] = field(default_factory=set)
    """Modules that ran more than once: they are not in inputs and outputs."""
    calls: list[Attended] = field(default_factory=list)
    softmaxes: list[tuple[str, Tensor, Tensor]] = field(default_factory=list)
    """Modules in which a softmax over `[batch, head, query, key]` ran, with what it was given and gave."""


Change = Callable[[int, str, str, Tensor], "Tensor | None"]
"""Given layer, module path, "given" or "gave", and the tensor; what is to pass instead, or None."""


@contextmanager
def observed(
    blocks: list[nn.Module], change: Change | None = None, seam: Change | None = None, softmaxes: bool = True
) -> Iterator[list[BlockRun]]:
    """Write down every run of these blocks until the context ends; `change` may replace what passes at a module,

    and `seam` the queries ("q"), keys ("k") and output ("z") of an attention call."""
    runs = [BlockRun() for _ in blocks]
    names = [
        {id(module): path for path, module in reversed(list(block.named_modules(remove_duplicate=False)))}
        for block in blocks
    ]
    where = {id(block): layer for layer, block in enumerate(blocks)}
    active: list[int] = []
    inside: list[str] = []

    def softmax(given: Tensor, gave: Tensor) -> None:
        if active and given.shape[2] > 1 and given.shape[2:] == gave.shape[2:]:
            runs[active[-1]].softmaxes.append((inside[-1], given.detach().clone(), gave.detach().clone()))

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(module) in where:
            active.append(where[id(module)])
            runs[active[-1]].times += 1
        if not active or id(module) not in names[active[-1]]:
            return None
        layer = active[-1]
        path, run = names[layer][id(module)], runs[layer]
        inside.append(path)
        value, key = first_input(args, kwargs)
        if value is None:
            return None
        new = change(layer, path, "given", value) if change else None
        if new is not None:
            value = new
            args, kwargs = with_input(args, kwargs, key, new)
        if path in run.inputs:
            run.often.add(path)
        run.inputs[path] = value.detach().clone()
        return None if new is None else (args, kwargs)

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        if not active:
            return None
        layer = active[-1]
        if id(module) in where and where[id(module)] == layer:
            active.pop()
        path = names[layer].get(id(module))
        if path is None:
            return None
        inside.pop()
        run, value = runs[layer], first(output)
        if value is None:
            return None
        new = change(layer, path, "gave", value) if change else None
        value = value if new is None else new
        if path in run.outputs:
            run.often.add(path)
        else:
            run.order.append(path)
        run.outputs[path] = value.detach().clone()
        if new is None:
            return None
        return new if isinstance(output, Tensor) else type(output)([new, *output[1:]])

    def at_seam(call: attention.Call) -> Tensor | None:
        if not active or id(call.module) not in names[active[-1]]:
            return None
        layer = active[-1]
        path = names[layer][id(call.module)]
        for letter in "qk":
            new = seam(layer, path, letter, getattr(call, letter)) if seam else None
            if new is not None:
                setattr(call, letter, new)
        output = attention.attend(call)
        new = seam(layer, path, "z", output) if seam else None
        output = output if new is None else new
        runs[layer].calls.append(Attended(path, _copied(call), output.detach().clone()))
        return output

    modules = {id(module): module for block in blocks for module in block.modules()}
    with ExitStack() as stack:
        for module in modules.values():
            stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(after).remove)
        stack.enter_context(attention.watching({None: at_seam}))
        if softmaxes:
            stack.enter_context(SoftmaxWatch(softmax))
        yield runs
    for run in runs:
        run.given, run.gave = run.inputs.get(""), run.outputs.get("")
        for path in run.often:
            run.inputs.pop(path, None), run.outputs.pop(path, None)


def _copied(call: attention.Call) -> attention.Call:
    from dataclasses import replace

    return replace(call, q=call.q.detach().clone(), k=call.k.detach().clone(), v=call.v.detach().clone())


def run_blocks(
    model: nn.Module,
    blocks: list[nn.Module],
    arguments: dict[str, Any],
    change: Change | None = None,
    seam: Change | None = None,
    softmaxes: bool = True,
) -> list[BlockRun]:
    """Run a model up to the end of its last block, in float32, and write down what passes in the blocks.

    Every operation is looked at for `softmaxes`, which takes time.
    """

    def enough(*_: Any) -> None:
        raise _Enough

    with torch.no_grad(), in_float32(blocks), observed(blocks, change, seam, softmaxes) as runs:
        handle = blocks[-1].register_forward_hook(enough)
        try:
            model(**arguments)
        except _Enough:
            pass
        finally:
            handle.remove()
    return runs
