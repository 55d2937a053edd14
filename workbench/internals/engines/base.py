"""What every engine does: run the model once, with taps at sites."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ...errors import SiteError
from ..sites import Site
from ..weights import check_neuron

if TYPE_CHECKING:
    from torch import Tensor, device, nn

    from ..architectures import Architecture
    from ..attention import Call


class Hook(NamedTuple):
    """Looks at a whole site (no head) while the model runs, and may replace what is there.

    `see` is given the site's tensor with the axes of `sites.KINDS` and returns a replacement, or None to leave it. For
    `scores` and `pattern` it is given only the rows of `queries`, columns `[batch, query]` of the run; they cannot be
    replaced. Taps at the same site are called in the order they were given. With `change`, it is given the call of
    attention itself before `scores` and `pattern` are read, may set what edits make of it, and sees nothing.
    """

    site: Site
    see: Callable[[Tensor], Tensor | None]
    queries: Tensor | None = None
    change: Callable[[Call], None] | None = None


class Inputs(NamedTuple):
    """What goes into one run of the model.

    ids: `[batch, position]`. mask: bool `[batch, position so far]`, False at padding; None when padding, if any, is on
    the right, where causal attention never looks. positions: `[batch, position]`, None for 0, 1, 2 …. cache: the keys
    and values so far, which the run extends; None to keep none.
    """

    ids: Tensor
    mask: Tensor | None = None
    positions: Tensor | None = None
    cache: Any = None

    def arguments(self, device: device, logits: bool | Tensor) -> dict[str, Any]:
        """The arguments of a Hugging Face model's forward, with logits as `Engine.run` is asked for them."""
        import torch

        found: dict[str, Any] = {
            "input_ids": self.ids.to(device),
            "use_cache": self.cache is not None,
            "past_key_values": self.cache,
        }
        if self.mask is not None:
            found["attention_mask"] = self.mask.to(device)
        if self.positions is not None:
            found["position_ids"] = self.positions.to(device)
            if self.mask is None and self.cache is None:
                # without a mask, transformers takes positions that jump for texts that lie one after the other
                found["attention_mask"] = torch.ones_like(found["input_ids"])
        if logits is not True:
            found["logits_to_keep"] = 1 if logits is False else logits.to(device)
        return found


class Engine(ABC):
    """One way to reach a model's internals; `HookedModel` builds everything else on it.

    An engine is not safe with threads: whoever holds it holds the session's lock.
    """

    name: ClassVar[str]
    architecture: Architecture
    model: nn.Module
    """The module whose parameters are the model's weights."""

    @abstractmethod
    def kinds(self) -> tuple[str, ...]:
        """The kinds of site that this engine can serve on this model."""

    @abstractmethod
    def run(self, inputs: Inputs, taps: Sequence[Hook] = (), *, logits: bool | Tensor = True) -> Tensor | None:
        """Run the model once under the taps, in the gradient mode of the caller, and leave no hook behind.

        `logits` True gives them for every column `[batch, position, vocabulary]`, an int64 tensor for those columns
        only, and False none: then the run ends as soon as every tap was called. Raises `SiteError` if a tap was never
        called.
        """

    def new_cache(self) -> Any:
        """An empty cache of keys and values for `Inputs.cache`."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)  # type: ignore[arg-type]

    @property
    def device(self) -> device:
        """Where token ids go in."""
        return next(self.model.parameters()).device

    def check(self, sites: Iterable[Site]) -> None:
        """Raise `SiteError` for a site that does not exist in the model or that this engine cannot serve."""
        kinds = self.kinds()
        for site in sites:
            self.architecture.check(site)
            if site.neuron is not None:
                check_neuron(self.architecture, self.model, site)
            if site.kind not in kinds:
                raise SiteError(
                    f"the engine {self.name!r} cannot serve {site.kind!r} on {self.architecture.name}; it serves: "
                    f"{', '.join(kinds)}; the model has: {', '.join(self.architecture.kinds)}"
                )

    def never_called(self, sites: Iterable[Site]) -> SiteError:
        """The error for taps that the run never reached."""
        listed = ", ".join(sorted({str(site) for site in sites}))
        return SiteError(
            f"the engine {self.name!r} ran {self.architecture.name} and never reached {listed}; "
            f"it serves: {', '.join(self.kinds())}"
        )
