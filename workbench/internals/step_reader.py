"""Reading sites while a model generates: at the token after which each new one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import SiteError
from .activation_cache import ActivationCache
from .engines.base import Engine, Hook
from .site_patterns import expanded
from .sites import MAP_KINDS, Site, SiteLike

if TYPE_CHECKING:
    from .edit_frame import Frame


class StepReader:
    """Keeps, for every pass, what is at its last token; padding of the prompt is on the left."""

    def __init__(self, engine: Engine, sites: SiteLike | Sequence[SiteLike], frame: Frame) -> None:
        found = expanded(sites, engine.architecture)
        engine.check(site for _, site in found)
        if Site("logits") in (site for _, site in found):
            raise SiteError("logits are not read during generation: take session.logits over what was generated")
        self._names = [name for name, _ in found]
        self._frame = frame
        self._steps: dict[Site, list[Tensor]] = {site: [] for _, site in found}

    def hooks(self, last: int) -> list[Hook]:
        """A hook for each site in a pass whose last column is `last`."""
        return [self._hook(site, last) for site in self._steps]

    def _hook(self, site: Site, last: int) -> Hook:
        def see(whole: Tensor) -> None:
            row = whole[..., -1, :] if site.kind in MAP_KINDS else whole[:, -1]
            part = site.head if site.neuron is None else site.neuron
            row = row if part is None else row[:, part]
            if site.kind in MAP_KINDS:
                row = self._by_position(row)
            self._steps[site].append(row.detach().to("cpu", copy=True))

        asked = torch.full((self._frame.tokens.batch, 1), last) if site.kind in MAP_KINDS else None
        return Hook(site.whole, see, asked)

    def _by_position(self, row: Tensor) -> Tensor:
        """Keys `[batch, …, key]` in the columns of a pass, by position in each row; 0 where there is none."""
        total = self._frame.before + (1 if self._frame.generating else self._frame.tokens.width)
        whole = torch.nn.functional.pad(row, (total - row.shape[-1], 0))
        pads = self._frame.pads.tolist()
        rows = [torch.nn.functional.pad(one[..., pad:], (0, pad)) for one, pad in zip(whole, pads, strict=True)]
        return torch.stack(rows)

    def captured(self, lengths: Tensor) -> ActivationCache | None:
        """What was read, `[batch, step, …]`, zero after a row's end; None where nothing was asked for."""
        if not self._steps:
            return None
        return ActivationCache(
            {site: _joined(site, parts, lengths) for site, parts in self._steps.items()}, self._names, lengths
        )


def _joined(site: Site, parts: list[Tensor], lengths: Tensor) -> Tensor:
    steps = len(parts)
    if site.kind in MAP_KINDS:
        most = parts[-1].shape[-1]
        parts = [torch.nn.functional.pad(part, (0, most - part.shape[-1])) for part in parts]
    axis = 2 if site.kind in MAP_KINDS and site.head is None else 1
    found = torch.stack(parts, dim=axis)
    alive = torch.arange(steps) < lengths[:, None]
    shape = [1] * found.ndim
    shape[0], shape[axis] = len(lengths), steps
    return found.where(alive.reshape(shape), 0)
