"""The runs of a model on the check's text: with its own attention, with the attention seam, and with changed inputs."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from . import attention
from .block_stack import Stack
from .forward_arguments import first_input
from .layer_places import linears, norm, same
from .observed_run import BlockRun, Change, run_blocks
from .own_attention import own_attention
from .softmax_seam import SoftmaxWatch

FEW = 4
"""Tokens that tell whether a model drops some."""


class CheckedRuns:
    """The runs of one model, and what they tell."""

    def __init__(self, model: nn.Module, stack: Stack, given: dict[str, Tensor], lowered: dict[str, int]) -> None:
        self.model, self.stack, self.given, self.lowered = model, stack, given, lowered
        self.arguments: dict[str, Any] = {**self.rows(1), "use_cache": False}
        self.tokens = next(iter(given.values())).shape[1]
        self._softmaxes = True
        self.runs: list[BlockRun] = []
        """The runs that are looked at: with the seam or, where it cannot be, the model's own; or stirred."""
        self._stirred: dict[int, set[str]] = {}
        self._keeps_positions = False
        self.refused: str | None = None
        """Why the seam is not in the model."""

    def rows(self, count: int, tokens: int | None = None) -> dict[str, Tensor]:
        """The first row of the check's text, so many times, as the model's forward takes it."""
        return {name: value[:1, :tokens].repeat(count, *[1] * (value.ndim - 1)) for name, value in self.given.items()}

    def run(self, change: Any = None, seam: Any = None, **arguments: Any) -> list[BlockRun]:
        return run_blocks(self.model, self.stack.blocks, {**self.arguments, **arguments}, change, seam, self._softmaxes)

    def stir(self) -> None:
        """Look at a run with noise behind each projection where, without it, columns of one are the same at all tokens.

        Weights that are zero (layers put together by hand, pruned, or new) leave what passes there alike, so that it
        does not tell which module is which. What becomes of the noise does.
        """
        own = self._own = self.runs
        found = [set(linears(block, run, None)) for block, run in zip(self.stack.blocks, own, strict=True)]
        alike = (
            (run.outputs[path] == run.outputs[path][:, :1]).all(dim=1).any()
            for run, paths in zip(own, found, strict=True)
            for path in paths
        )
        if not any(alike):
            return
        self._stirred = dict(enumerate(found))
        self.runs = self.run(self._noisy)

    def _noisy(self, layer: int, path: str, side: str, value: Tensor) -> Tensor | None:
        """What a projection gives, and noise that is its own."""
        if side != "gave" or path not in self._stirred.get(layer, ()):
            return None
        own, stream = self._own[layer].outputs[path], self._own[layer].given
        size = own.float().square().mean().sqrt()
        if not size > 0 and stream is not None:
            size = 0.1 * stream.float().square().mean().sqrt()
        generator = torch.Generator().manual_seed(crc32(f"{layer}.{path}".encode()))
        return value + size.clamp(min=1e-3) * torch.randn(value.shape, generator=generator).to(value)

    def install(self) -> None:
        """Set the model's attention to the seam, unless some block then computes something else."""
        config: Any = self.model.config
        before = config._attn_implementation
        users = None if before == attention.NAME else own_attention(self.model)
        if before == attention.NAME or users is not None:
            self.runs = self.run()
            self.refused = users and f"the model computes with {users}, which is kept and is not looked into"
            return
        row = self._first_row()
        if row is not None and self._at_seam(row, before) is None:
            return
        self.runs = self.run()
        self.refused = self._at_seam(self.runs, before)
        if self.refused is not None and before != "eager" and not any(run.softmaxes for run in self.runs):
            self._eagerly(before)

    def _first_row(self) -> list[BlockRun] | None:
        """What blocks that compute in float32 were given and gave, for the first row, in the run that found them."""
        found = []
        for block, (given, gave) in zip(self.stack.blocks, self.stack.passed, strict=True):
            half = any(value.dtype in (torch.float16, torch.bfloat16) for value in (*block.parameters(), given, gave))
            if half or given.shape[:2] != (2, self.tokens) or gave.shape != given.shape:
                return None
            found.append(BlockRun(given[:1], gave[:1]))
        return found

    def _at_seam(self, own: list[BlockRun], before: str) -> str | None:
        """Look at runs with the seam, or put the attention back and tell why they are not what the model's own are."""
        try:
            self.model.set_attn_implementation(attention.NAME)  # type: ignore[operator]
            runs = run_blocks(self.model, self.stack.blocks, self.arguments, _given_in(own), softmaxes=False)
        except attention.Unsupported as error:
            why: str | None = str(error)
        except Exception as error:
            why = f"its attention is not made for another implementation ({type(error).__name__}: {error})"
        else:
            why = _differs(own, runs, before)
            if why is None and not any(run.calls for run in runs):
                why = "its attention does not go through transformers' attention interface"
            if why is None:
                self.runs, self._softmaxes = runs, False
                return None
        self.model.set_attn_implementation(before)  # type: ignore[operator]
        return why

    def _eagerly(self, before: str) -> None:
        """Set the attention to its eager form, whose weights can be read, unless that computes something else."""
        try:
            self.model.set_attn_implementation("eager")  # type: ignore[operator]
            # some classes cannot be switched, though their code asks the configuration at every call
            self.model.config._attn_implementation = "eager"  # type: ignore[union-attr]
            runs = self.run(_given_in(self.runs))
        except Exception as error:
            self.refused = f"{self.refused}, and it has no eager form ({type(error).__name__})"
        else:
            if not any(run.softmaxes for run in runs) or (why := _differs(self.runs, runs, before)) is None:
                self.runs = runs if any(run.softmaxes for run in runs) else self.runs
                if self.runs is runs:
                    return
            else:
                self.refused = f"{self.refused}, and {why.replace('this attention', 'its eager form')}"
        self.model.set_attn_implementation(before)  # type: ignore[operator]
        self.model.config._attn_implementation = before  # type: ignore[union-attr]

    def at_position_zero(self) -> list[BlockRun] | None:
        """The run with every position 0, None where the model takes no positions."""
        zeros = torch.zeros(1, self.tokens, dtype=torch.int64, device=next(iter(self.given.values())).device)
        # with a mask, so that equal positions are not taken for the beginnings of many texts
        at_zero = {"position_ids": zeros, "attention_mask": torch.ones_like(zeros)}
        try:
            runs = self.run(self._noisy, **at_zero, logits_to_keep=1)
            last, own = runs[-1].given, self._own[-1].given
            if last is not None and own is not None and last.shape == own.shape:
                self._keeps_positions = True
                return runs
        except Exception:
            pass  # what it does not take may be the number of logits
        try:
            return self.run(self._noisy, **at_zero)
        except Exception:
            return None  # positions of another form; what needs this run is then found in another way or refused

    def prefix_holds(self) -> bool:
        """Whether a shorter text gives what the same tokens give in a longer one."""
        for count in (self.tokens * 2 // 3, self.tokens - 3):
            shorter = self.run(**self.rows(1, count))
            for own, run in zip(self._own, shorter, strict=True):
                if own.gave is None or run.gave is None or own.gave.ndim != 3:
                    return False
                if not same(run.gave, own.gave[:, :count], norm(own.gave[:, :count])):
                    return False
        return True

    @cached_property
    def sinks_join(self) -> bool:
        """Whether learned sinks join the softmax in the model's own eager attention, and not after it."""
        if self.refused is not None:
            return False
        widths: list[int] = []
        self.model.set_attn_implementation("eager")  # type: ignore[operator]
        try:
            with torch.no_grad(), SoftmaxWatch(lambda _, gave: widths.append(gave.shape[-1])):
                self.model(**self.arguments)
        except Exception:
            return False
        finally:
            self.model.set_attn_implementation(attention.NAME)  # type: ignore[operator]
        return self.tokens + 1 in widths

    def keeps_positions(self) -> bool:
        """Whether the last block is given all tokens when the logits of one are asked for."""
        own, count = self._own[-1].given, FEW
        if own is None or self._keeps_positions:
            return self._keeps_positions
        if own.shape[:2] != (1, self.tokens) or own.ndim != 3:
            count = self.tokens
        wanted = own[:, :count].shape if count == FEW else own.shape
        given: list[torch.Size] = []

        def note(_: nn.Module, args: Any, kwargs: Any) -> None:
            value = first_input(args, kwargs)[0]
            given.append(torch.Size() if value is None else value.shape)

        handle = self.stack.blocks[-1].register_forward_pre_hook(note, with_kwargs=True)
        try:
            with torch.no_grad():
                self.model(**{**self.arguments, **self.rows(1, count)}, logits_to_keep=1)
        except Exception:
            return False
        finally:
            handle.remove()
        return given == [wanted]


def _given_in(own: list[BlockRun]) -> Change:
    """Each block is given what it was given in this run."""

    def as_before(layer: int, path: str, side: str, _: Tensor) -> Tensor | None:
        return own[layer].given if side == "given" and not path else None

    return as_before


def _differs(own: list[BlockRun], runs: list[BlockRun], before: str) -> str | None:
    for layer, (known, run) in enumerate(zip(own, runs, strict=True)):
        if known.given is None or known.gave is None or run.gave is None:
            continue
        added = norm(known.gave - known.given) if known.gave.shape == known.given.shape else norm(known.gave)
        if not same(run.gave, known.gave, added, norm(known.gave)):
            return f"in block {layer}, its own attention ({before}) computes something that this attention does not"
    return None
