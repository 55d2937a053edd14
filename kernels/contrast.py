"""Contrasts of next-token distributions: scores of several streams with a plausibility mask, divergences of layers."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from .backends import Backend, choose_backend
from .contrast_result import ContrastScores, Divergences

Order = Literal["mask last", "mask first"]
"""Whether scores are normalised over the whole vocabulary and masked then, or over the plausible tokens only."""
FLOOR = -1000.0
"""The score of a token that is not plausible."""
ROWS = 64
"""Rows of logits that are held at once."""
MOST_TERMS = 4


def contrast_scores(
    terms: Sequence[Tensor],
    weights: Sequence[float] | Tensor,
    *,
    plus: Tensor | None = None,
    plausibility: float = 0.0,
    floor: float = FLOOR,
    normalise: bool = False,
    order: Order = "mask last",
    targets: Tensor | None = None,
    whole: bool = False,
    backend: Backend = "auto",
) -> ContrastScores:
    """F = Σ weight · log-softmax of each term + `plus`, for the tokens that the first term finds plausible.

    Args:
        terms: logits `[row, vocabulary]` of each stream or layer, one to four; a number added to a row is no change.
        weights: one number a term, or `[term, row]`; a term of weight 0 is left out.
        plus: what is added to F as it is, `[row, vocabulary]`: the sum of further terms.
        plausibility: α: a token counts if the first term gives it at least α times what it gives its likeliest one; 0
            for every token.
        floor: the score of the others; −inf in generation.
        normalise: whether log-softmax is applied to F: over the vocabulary before the mask, or over what is plausible
            where `order` is "mask first".
        targets: token ids `[row]` or `[row, target]` whose scores are wanted.
        whole: whether all scores are wanted.
        backend: "auto" takes Triton on CUDA and the CPU's way on the CPU; "reference" computes in float64.

    Returns:
        ContrastScores: float32, or float64 of the reference.

    Raises:
        ValueError: arguments that do not fit together, with what is allowed.

    Source: Li et al. 2023 (arXiv 2210.15097) for the mask, in both of its orders.

    Example:
        >>> import torch
        >>> from workbench.kernels.contrast import contrast_scores
        >>> expert, amateur = torch.tensor([[2.0, 1.0, -9.0]]), torch.tensor([[2.0, 0.0, -12.0]])
        >>> contrast_scores([expert, amateur], [1.0, -1.0], plausibility=0.1, whole=True).best
        tensor([1])
    """
    first = _checked(terms)
    if plus is not None:
        _checked([first, plus])
    rows, vocabulary = first.shape
    chosen = choose_backend(backend, *terms)
    kind = torch.float64 if chosen == "reference" else torch.float32
    scale = torch.as_tensor(weights, dtype=kind, device=first.device)
    if scale.ndim == 1:
        scale = scale[:, None].expand(-1, rows)
    if scale.shape != (len(terms), rows) or not bool(scale.isfinite().all()):
        raise ValueError(f"weights are finite, one a term ({len(terms)}) or [term, row]; these are {list(scale.shape)}")
    if not 0 <= plausibility <= 1:
        raise ValueError(f"plausibility is from 0 to 1, not {plausibility}")
    if order not in ("mask last", "mask first"):
        raise ValueError(f"order is 'mask last' or 'mask first', not {order!r}")
    ids = None
    if targets is not None:
        ids = (targets[:, None] if targets.ndim == 1 else targets).to(first.device)
        if ids.shape[0] != rows or ids.dtype != torch.int64 or bool(((ids < 0) | (ids >= vocabulary)).any()):
            raise ValueError(f"targets are int64 ids below {vocabulary}, one row for each of {rows}")
    cut = math.log(plausibility) if plausibility > 0 else -math.inf
    run = _implementation(chosen).scores
    with torch.no_grad(), torch.cuda.device_of(first):
        return run(list(terms), scale.contiguous(), plus, cut, floor, normalise, order == "mask first", ids, whole)


def divergences(first: Tensor, others: Sequence[Tensor], *, backend: Backend = "auto") -> Divergences:
    """How far each of `others`, logits `[row, vocabulary]`, is from `first` at every row; see `layer_divergences`."""
    stacked = list(others)
    return _over(first, len(stacked), lambda layer, rows: stacked[layer][rows], backend, *stacked)


def layer_divergences(
    first: Tensor, states: Tensor, unembed: Callable[[int, Tensor], Tensor], *, backend: Backend = "auto"
) -> Divergences:
    """How far what layers say is from `first`, logits `[row, vocabulary]`, without all their logits at once.

    Args:
        first: the logits that all are held against, those of the last layer.
        states: what is unembedded, `[layer, row, d]`.
        unembed: from a layer's place in `states` and rows `[row, d]` of it, at most `ROWS`, to logits
            `[row, vocabulary]`.
        backend: as in `contrast_scores`.

    Raises:
        ValueError: tensors that do not fit together.

    Source: Chuang et al. 2024 (arXiv 2309.03883); `released` as in the code that came with it.
    """
    if states.ndim != 3 or first.ndim != 2 or states.shape[1] != first.shape[0]:
        raise ValueError(f"states are [layer, row, d] and first [row, vocabulary], not {_shapes(states, first)}")
    return _over(first, len(states), lambda layer, rows: unembed(layer, states[layer, rows]), backend)


def _over(
    first: Tensor, layers: int, logits: Callable[[int, slice], Tensor], backend: Backend, *others: Tensor
) -> Divergences:
    _checked([first, *others], most=None)
    chosen = choose_backend(backend, first, *others)
    implementation = _implementation(chosen)
    kind = torch.float64 if chosen == "reference" else torch.float32
    found = torch.empty(4, layers, len(first), dtype=kind, device=first.device)
    with torch.no_grad(), torch.cuda.device_of(first):
        for start in range(0, len(first), ROWS):
            rows = slice(start, min(start + ROWS, len(first)))
            held = implementation.hold(first[rows])
            for layer in range(layers):
                said = logits(layer, rows)
                if said.shape != first[rows].shape:
                    raise ValueError(f"logits of layer {layer} are {list(said.shape)}, not {list(first[rows].shape)}")
                found[:, layer, rows] = implementation.distances(held, said)
    return Divergences(js=found[0].clamp(min=0), released=found[1].clamp(min=0), kl=found[2].clamp(min=0), lse=found[3])


def _implementation(chosen: str):  # type: ignore[no-untyped-def]
    if chosen == "reference":
        from . import contrast_reference as implementation
    elif chosen == "cpu":
        from . import contrast_cpu as implementation  # type: ignore[no-redef]
    else:
        from . import contrast_triton as implementation  # type: ignore[no-redef]
    return implementation


def _checked(terms: Sequence[Tensor], most: int | None = MOST_TERMS) -> Tensor:
    if not terms or (most is not None and len(terms) > most):
        raise ValueError(f"a contrast has one to {most} terms, not {len(terms)}")
    if terms[0].ndim != 2 or any(term.shape != terms[0].shape or not term.is_floating_point() for term in terms):
        raise ValueError(f"logits are floats [row, vocabulary], the same for all; these are {_shapes(*terms)}")
    return terms[0]


def _shapes(*tensors: Tensor) -> str:
    return ", ".join(str(list(tensor.shape)) for tensor in tensors)
