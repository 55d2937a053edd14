"""What was read in one run of the model, by site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..errors import SiteError, UsageError
from ..html_table import bundle
from .site_patterns import SitePattern, address
from .sites import Site, SiteLike


class ActivationCache(Mapping[str, Tensor]):
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
        import torch

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
        return f"ActivationCache({', '.join(f'{name} {list(tensor.shape)}' for name, tensor in self.items())})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """What was read: axes, shape and type of each site, no values."""

        def axes(name: str) -> str:
            return ", ".join(Site.parse(name).axes)

        rows = [
            [name, axes(name), " × ".join(map(str, tensor.shape)), str(tensor.dtype).removeprefix("torch.")]
            for name, tensor in self.items()
        ]
        where = "all positions" if self.positions is None else f"positions {', '.join(map(str, self.positions))}"
        return bundle(f"Captured at {where}", table=[("site", "axes", "shape", "type"), *rows])
