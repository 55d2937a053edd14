"""Which columns of a projection's output belong to which head: read from the values, not from a model's name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Columns:
    """Heads inside what passes at a module: int64 `[head, d]`, the column of each number of each head.

    All columns differ. `whole` says that they are all of the last axis, head after head.
    """

    index: Tensor
    width: int
    """The size of the last axis in which they lie."""

    @classmethod
    def of_heads(cls, heads: int, width: int) -> Columns:
        """Heads one after the other that fill the last axis."""
        import torch

        return cls(torch.arange(width).reshape(heads, -1), width)

    @cached_property
    def even(self) -> tuple[int, int] | None:
        """First column of the first head and the step from head to head, if heads are runs and steps are equal."""
        import torch

        heads, size = self.index.shape
        starts = self.index[:, 0]
        if not torch.equal(self.index, starts[:, None] + torch.arange(size)):
            return None
        steps = starts.diff()
        if heads > 1 and (int(steps[0]) < size or not bool((steps == steps[0]).all())):
            return None
        return int(starts[0]), int(steps[0]) if heads > 1 else size

    def read(self, passing: Tensor) -> Tensor:
        """`[…, head, d]`, a view that can be written to where the heads lie evenly and a copy otherwise."""
        heads, size = self.index.shape
        if self.even is None:
            return passing[..., self.index.to(passing.device)]
        start, step = self.even
        if step == size:
            return passing[..., start : start + heads * size].unflatten(-1, (heads, size))
        return passing[..., start:].unfold(-1, size, step)[..., :heads, :]

    def write(self, passing: Tensor, new: Tensor) -> None:
        """Put `[…, head, d]` in the place of what passes."""
        if self.even is None:
            passing[..., self.index.to(passing.device)] = new.to(passing.dtype)
        else:
            self.read(passing).copy_(new)


def find(heads: Tensor, passing: Tensor, factor: bool = False) -> Columns | None:
    """The columns of `passing` `[token, column]` that hold `heads` `[head, token, d]`, or None if not all are there.

    With `factor`, heads may be the columns times one number (the scale on queries that some models apply), and the
    order within a head is the projection's own where a head is one run of columns. Columns are told apart by their
    values, so there should be many tokens, all different.
    """
    import torch

    tokens = passing.shape[0]
    mix = torch.randn(tokens, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(passing.device)
    found = (passing.double() * mix[:, None]).sum(0)
    if _one_after_the_other(heads, passing) and found.unique().numel() == found.numel():
        return Columns.of_heads(heads.shape[0], passing.shape[1])
    wanted = (heads.double() * mix[None, :, None]).sum(1)
    if factor:
        return _find_scaled(heads, passing, wanted, found)
    order = found.argsort()
    near = _nearest(wanted.reshape(-1), found[order])
    index = order[near].reshape(wanted.shape)
    return _checked(index, heads, passing, 1.0, False)


def _one_after_the_other(heads: Tensor, passing: Tensor) -> bool:
    """Whether the heads, as they are, fill what passes: the usual form, seen quickly."""
    import torch

    count, tokens, size = heads.shape
    whole = passing.shape == (tokens, count * size)
    return whole and torch.equal(passing.unflatten(1, (count, size)).transpose(0, 1), heads)


def _find_scaled(heads: Tensor, passing: Tensor, wanted: Tensor, found: Tensor) -> Columns | None:
    """The same for heads that are multiplied by one factor, which the sums of squares tell."""
    import torch

    size = passing.double().norm(dim=0)
    sizes = heads.double().norm(dim=1)
    if not bool((size > 0).all()) or not bool((sizes > 0).all()):
        return None
    order = (found / size).argsort()
    near = _nearest((wanted / sizes).reshape(-1), (found / size)[order])
    index = order[near].reshape(wanted.shape)
    factors = sizes / size[index]
    factor = float(factors.median())
    if not bool(torch.isfinite(factors).all()) or factor == 0:
        return None
    return _checked(index, heads, passing, factor, True)


def _nearest(wanted: Tensor, ordered: Tensor) -> Tensor:
    """The index of the nearest of ordered numbers to each wanted one."""
    import torch

    right = torch.searchsorted(ordered, wanted).clamp(1, max(len(ordered) - 1, 1))
    left = right - 1
    right = right.clamp(max=len(ordered) - 1)
    return torch.where((wanted - ordered[left]).abs() <= (ordered[right] - wanted).abs(), left, right)


def _checked(index: Tensor, heads: Tensor, passing: Tensor, factor: float, own_order: bool) -> Columns | None:
    taken = passing[:, index.reshape(-1)].T.reshape(*index.shape, -1).transpose(1, 2) * factor
    scale = heads.abs().amax().clamp(min=1e-30)
    if float((taken - heads).abs().amax() / scale) > 1e-5 or index.unique().numel() != index.numel():
        return None
    index = index.cpu()
    ordered = index.sort(dim=1).values
    if own_order and int((ordered[:, -1] - ordered[:, 0]).max()) == index.shape[1] - 1:
        index = ordered
    return Columns(index, passing.shape[1])
