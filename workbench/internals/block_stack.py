"""Where a model's stack of blocks is, found by running it; and what cannot be opened here, in words."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError, WorkbenchError
from .float32_run import in_float32
from .forward_arguments import first, first_input

REPEATS = 4
"""Runs that a model which draws random numbers must give the same logits in."""


@dataclass(frozen=True)
class Stack:
    """The path of the list of blocks, the blocks, and the path of the norm whose output is unembedded."""

    path: str
    blocks: list[nn.Module]
    norm: str | None
    passed: list[tuple[Tensor, Tensor]]
    """What each block was given and gave in the run that found them."""


def check_causal_class(model: nn.Module) -> None:
    """Raise `UsageError` for what is no causal language model by its configuration and its head."""
    name = type(model).__name__
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(
            f"{name} is an encoder with a decoder; give a causal language model, whose decoder stands alone"
        )
    unembedding: Any = getattr(model, "get_output_embeddings", None)
    if unembedding is None or unembedding() is None:
        raise UsageError(
            f"{name} has no unembedding (it gives no logits over a vocabulary): give the causal language model itself, "
            "such as the class whose name ends in ForCausalLM"
        )


def find_stack(model: nn.Module, entering: dict[str, Tensor]) -> Stack:
    """Find the stack by running the model on two rows that agree in their first half.

    Raises `UsageError` for a model that is not causal or draws at random, and `WorkbenchError`
    where no list of blocks passes on one stream.
    """
    lists = {
        path: list(module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) > 0
    }
    given: dict[int, int] = {}
    entered: dict[int, Tensor] = {}
    passed: dict[int, tuple[Tensor | None, Tensor | None]] = {}
    outside: list[tuple[str, Tensor]] = []
    head = model.get_output_embeddings()  # type: ignore[operator]
    unembedded: list[Tensor] = []
    members = {id(member) for modules in lists.values() for member in modules}
    within = {id(inner) for modules in lists.values() for member in modules for inner in member.modules()}

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        value, _ = first_input(args, kwargs)
        if value is not None:
            entered[id(module)] = value.clone()  # some blocks add to the tensor that they are given

    def member(module: nn.Module, args: Any, output: Any) -> None:
        given[id(module)] = given.get(id(module), 0) + 1
        value = first(output)
        passed[id(module)] = (entered.pop(id(module), None), None if value is None else value.clone())

    with ExitStack() as stack, torch.no_grad():
        for path, module in model.named_modules():
            if id(module) in members:
                stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(member).remove)
            elif id(module) not in within and path and not isinstance(module, nn.ModuleList):

                def note(_: Any, __: Any, output: Any, path: str = path) -> None:
                    if (value := first(output)) is not None and value.ndim == 3:
                        outside.append((path, value))

                stack.callback(module.register_forward_hook(note).remove)

        def at_head(_: Any, args: Any, kwargs: Any) -> None:
            value = first(args) if args else kwargs.get("input")
            if value is not None:
                unembedded.append(value)

        stack.callback(head.register_forward_pre_hook(at_head, with_kwargs=True).remove)
        before = _random_states(model)
        logits = _logits(model, entering)
    if not all(torch.equal(a, b) for a, b in zip(before, _random_states(model), strict=True)):
        _check_repeats(model, entering, logits)
    _check_causal(model, entering, logits)
    ran = {path: modules for path, modules in lists.items() if all(id(module) in given for module in modules)}
    outer = {p: m for p, m in ran.items() if not any(p.startswith(other + ".") for other in ran if other != p)}
    if not outer:
        found = (
            ", ".join(f"{path} ({len(modules)})" for path, modules in lists.items() if "." not in path[-2:]) or "none"
        )
        raise WorkbenchError(
            f"{type(model).__name__} has no list of blocks that all run for a text; lists of modules in it: "
            f"{found[:300]}; "
            "what is opened here is a stack of blocks, one after the other"
        )
    path = max(outer, key=lambda each: len(outer[each]))
    blocks = outer[path]
    often = max(given[id(block)] for block in blocks)
    if len({id(block) for block in blocks}) < len(blocks) or often > 1:
        raise WorkbenchError(
            f"the blocks {path} of {type(model).__name__} run {often} times for one text: a layer is not one place "
            "there, and a site would not say which of the runs it is"
        )
    through = [(a, b) for a, b in (passed[id(block)] for block in blocks) if a is not None and b is not None]
    if len(through) < len(blocks):
        raise WorkbenchError(f"the blocks {path} of {type(model).__name__} pass on no tensor that could be the stream")
    beside = [other for other in outer if other != path and len(outer[other]) == len(blocks)]
    if beside and not any(_passes_on(passed[id(a)][1], passed[id(b)][0]) for a, b in pairwise(blocks)):
        raise WorkbenchError(
            f"{type(model).__name__} has the parts of its layers in lists side by side ({', '.join([path, *beside])}), "
            "so no module of it is a layer that is given the stream and gives it; a stack of such layers is opened here"
        )
    norm = None
    if unembedded:
        same = [
            p
            for p, value in outside
            if value.shape == unembedded[-1].shape and torch.equal(value.to(unembedded[-1].dtype), unembedded[-1])
        ]
        same = same or [p for p, value in outside if _multiple(value, unembedded[-1])]
        known = [p for p in same if not isinstance(model.get_submodule(p), nn.Embedding)]
        inside = [p for p in known if not any(other.startswith(p + ".") for other in known if other != p)]
        stream = passed[id(blocks[-1])][1]
        wide = stream is not None and stream.shape[-1] == unembedded[-1].shape[-1]
        norm = inside[0] if inside and wide else None  # what makes the stream narrower is no norm of it
    return Stack(path, blocks, norm, through)


def _passes_on(gave: Tensor | None, given: Tensor | None) -> bool:
    """Whether what one block gives is what the next is given."""
    return gave is not None and given is not None and gave.shape == given.shape and torch.equal(gave, given)


def _multiple(value: Tensor, wanted: Tensor) -> bool:
    """Whether one tensor is another times one number: some models scale what they unembed."""
    if value.shape != wanted.shape:
        return False
    value, wanted = value.double(), wanted.double()
    factor = float((value * wanted).sum() / value.square().sum().clamp(min=1e-30))
    return factor != 0 and float((value * factor - wanted).norm()) <= 1e-2 * torch.finfo(torch.bfloat16).eps * float(
        wanted.norm()
    )


def _logits(model: nn.Module, entering: dict[str, Tensor]) -> Tensor:
    name = type(model).__name__
    try:
        found = model(**entering, use_cache=False)
    except Exception as error:
        raise WorkbenchError(
            f"{name} does not run on a text alone ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
            "what is opened here is a causal language model that takes token ids"
        ) from error
    logits = getattr(found, "logits", None)
    if (
        not isinstance(logits, Tensor)
        or logits.ndim != 3
        or logits.shape[:2] != next(iter(entering.values())).shape[:2]
    ):
        raise UsageError(f"{name} gives no logits for every token of a text; give a causal language model")
    return logits


def _random_states(model: nn.Module) -> list[Tensor]:
    """What random numbers follow on the CPU and on each device of the model."""
    devices = dict.fromkeys(parameter.device for parameter in model.parameters())
    elsewhere = [device for device in devices if device.type not in ("cpu", "meta")]
    return [torch.get_rng_state(), *(torch.get_device_module(device).get_rng_state(device) for device in elsewhere)]


def _check_repeats(model: nn.Module, entering: dict[str, Tensor], logits: Tensor) -> None:
    """Refuse a model that drew random numbers and says something else of the same text when it draws others."""
    for _ in range(REPEATS):
        with torch.no_grad():
            again = _logits(model, entering)
        if not torch.equal(logits, again):
            apart = float((logits.double() - again.double()).norm() / logits.double().norm().clamp(min=1e-30))
            raise UsageError(
                f"{type(model).__name__} draws random numbers in evaluation mode, and its logits for one text differ "
                f"from run to run by {apart:.1e} of their size: no number read from it would be the same twice; give "
                "it a fixed seed, or give another model"
            )


def _check_causal(model: nn.Module, entering: dict[str, Tensor], logits: Tensor) -> None:
    """The rows of the check's text begin alike: where they do, their logits are equal unless later tokens are seen."""
    if _sees_later(logits) and logits.dtype in (torch.float16, torch.bfloat16):
        with torch.no_grad(), in_float32(_parts(model)):  # a coarse type rounds by more than a late token may change
            logits = _logits(model, entering)
    if _sees_later(logits):
        raise UsageError(
            f"{type(model).__name__} is not causal: what it says of a token changes with the tokens after it "
            "(an encoder, or a setting such as is_decoder=False or use_bidirectional_attention); give a causal model"
        )


def _sees_later(logits: Tensor) -> bool:
    half = logits.shape[1] // 2
    first, second = logits[:, :half].double()
    return bool(((first - second).norm(dim=-1) > 1e-3 * first.norm(dim=-1)).any())


def _parts(model: nn.Module) -> list[nn.Module]:
    """Modules that hold the model's weights between them: members of its lists, and what lies outside of these."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    within = {id(inner) for each in lists for member in each for inner in member.modules()}
    members = [member for each in lists if id(each) not in within for member in each]
    outside = [
        m for m in model.modules() if id(m) not in within and next(m.parameters(recurse=False), None) is not None
    ]
    return [*members, *outside]
