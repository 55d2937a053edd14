"""What was read in a run, by site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import SiteError, UsageError
from .site_patterns import SiteLike, SitePattern, address
from .sites import MAP_KINDS, Site

if TYPE_CHECKING:
    from .tokens import TokenBatch


class Captured(Mapping[str, Tensor]):
    """What was read, by the names it was asked for; a `Site` or another name of the same site finds it too.

    lengths: tokens of each row, `[batch]`. positions: those that were asked for, None for all. logits: `[batch,
    position, vocabulary]` where they were asked for, otherwise None. Padding is zero everywhere.
    """

    def __init__(
        self,
        tensors: Mapping[Site, Tensor],
        names: Sequence[SiteLike],
        lengths: Tensor,
        positions: Sequence[int] | None = None,
        logits: Tensor | None = None,
    ) -> None:
        self._tensors = dict(tensors)
        self._names = list(dict.fromkeys(str(name) for name in names))
        self.lengths = lengths
        self.positions = None if positions is None else tuple(positions)
        self.logits = logits

    def __getitem__(self, name: SiteLike) -> Tensor:
        site = Site.parse(name)
        if site not in self._tensors:
            raise SiteError(f"'{site}' was not captured; captured are: {', '.join(self._names) or 'no sites'}")
        return self._tensors[site]

    def stacked(self, pattern: str | SitePattern) -> Tensor:
        """The sites that a pattern such as `resid_post.*` or `z.2-4.0` stands for, one after the other: `[site, …]`.

        They come in the order of layers, then heads. Raises `SiteError` where none of them was captured.
        """
        asked = address(pattern)
        if not isinstance(asked, SitePattern):
            return self[asked][None]
        found = sorted(site for site in self._tensors if asked.covers(site))
        if not found:
            raise SiteError(f"nothing of '{asked}' was captured; captured are: {', '.join(self._names) or 'no sites'}")
        return torch.stack([self._tensors[site] for site in found])

    def __contains__(self, name: object) -> bool:
        try:
            return Site.parse(name) in self._tensors  # type: ignore[arg-type]
        except UsageError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Captured({', '.join(f'{name} {list(tensor.shape)}' for name, tensor in self.items())})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        from .html_table import captured

        return captured(self)


def taken(
    whole: Tensor, site: Site, columns: Tensor | None, batch: TokenBatch, device: str, learning: bool = False
) -> Tensor:
    """A copy on `device` of what was asked for: the head or neuron, the positions, and zero at padding."""
    if site.kind in MAP_KINDS:
        part = whole if site.head is None else whole[:, site.head]
        if batch.padded:
            real = batch.real.to(whole.device)
            keep = real[:, None, :] if columns is not None else real[:, :, None] & real[:, None, :]
            part = part.where(keep if site.head is not None else keep[:, None], 0)
    else:
        part = whole if site.head is None else whole[:, :, site.head]
        part = part if site.neuron is None else part[:, :, site.neuron]
        if columns is not None:
            rows = torch.arange(batch.batch, device=whole.device)[:, None]
            part = part[rows, columns.to(whole.device)]
        elif batch.padded:
            part = part.where(batch.real.to(whole.device).reshape(*batch.ids.shape, *[1] * (part.ndim - 2)), 0)
    return (part if learning else part.detach()).to(device, copy=True).contiguous()
