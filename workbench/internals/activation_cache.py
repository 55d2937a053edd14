"""What was read in one run of the model, by site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..errors import SiteError, UsageError
from ..html_table import bundle
from .sites import KINDS, Site, SiteLike


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
            site = Site.parse(name)
            return ", ".join(axis for axis in KINDS[site.kind] if site.head is None or axis not in ("head", "kv_head"))

        rows = [
            [name, axes(name), " × ".join(map(str, tensor.shape)), str(tensor.dtype).removeprefix("torch.")]
            for name, tensor in self.items()
        ]
        where = "all positions" if self.positions is None else f"positions {', '.join(map(str, self.positions))}"
        return bundle(f"Captured at {where}", table=[("site", "axes", "shape", "type"), *rows])
