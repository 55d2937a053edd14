"""What every engine does: run the model once, with hooks at sites."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ...errors import SiteError, WorkbenchError
from ..architectures import bare
from ..borrowing import borrowed
from ..module_state import users_own
from ..sites import Site
from ..weights import check_neuron
from .current import Current

if TYPE_CHECKING:
    from torch import Tensor, device, nn

    from ..architectures import Architecture
    from ..attention import Call
    from ..forward_arguments import Arguments


class Hook(NamedTuple):
    """Looks at a whole site (no head) while the model runs, and may replace what is there.

    `see` is given the site's tensor with the axes of `sites.KINDS` and returns a replacement, or None to leave it. For
    `scores` and `pattern` it is given only the rows of `queries`, columns `[batch, query]` of the run; they cannot be
    replaced. Hooks at the same site are called in the order they were given. With `change`, it is given the call of
    attention itself before `scores` and `pattern` are read, may set what edits make of it, and sees nothing.
    """

    site: Site
    see: Callable[[Tensor], Tensor | None]
    queries: Tensor | None = None
    change: Callable[[Call], None] | None = None


class Inputs(NamedTuple):
    """What goes into one run of the model.

    ids: token ids `[batch, position]`, or values `[batch, position, d_in]` of a model without a vocabulary. mask: bool
    `[batch, position so far]`, False at padding; None when padding, if any, is on the right, where causal attention
    never looks. positions: `[batch, position]`, None for 0, 1, 2 …. cache: the keys and values so far, which the run
    extends; None to keep none.
    """

    ids: Tensor
    mask: Tensor | None = None
    positions: Tensor | None = None
    cache: Any = None


class Engine(Current):
    """One way to reach a model's internals; `HookedModel` builds everything else on it.

    It shows the model as it is at each run, and gives it back as it was. An engine is not safe with threads: whoever
    holds it holds the session's lock.
    """

    name: ClassVar[str]
    architecture: Architecture
    model: nn.Module
    """The module whose parameters are the model's weights."""
    refused: dict[str, str]
    """Why a kind that the model has is not served."""
    read_in: nn.Module | None = None
    """What makes the residual stream of values, in a model without a vocabulary."""

    @property
    def trusted(self) -> bool:
        """Whether its hook points are known to be the model's own; where not, they must be seen to agree."""
        return True

    @abstractmethod
    def kinds(self) -> tuple[str, ...]:
        """The kinds of site that this engine can serve on this model."""

    def run(self, inputs: Inputs, hooks: Sequence[Hook] = (), *, logits: bool | Tensor = True) -> Tensor | None:
        """Run the model once under the hooks, in the gradient mode of the caller, and leave no hook behind.

        `logits` True gives them for every column `[batch, position, vocabulary]`, an int64 tensor for those columns
        only, and False none: then the run ends as soon as every hook was called. Raises `SiteError` for a hook at a
        site that is not served here, or that was never called.
        """
        if inputs.cache is None:
            self.refresh()
        if not hooks and logits is False:
            return None
        self._check(hook.site for hook in hooks)
        with borrowed(self.model, self.implementations):
            return self._run(inputs, hooks, logits)

    @abstractmethod
    def _run(self, inputs: Inputs, hooks: Sequence[Hook], logits: bool | Tensor) -> Tensor | None:
        """The run of this engine, on a model that is ready for it."""

    @property
    def implementation(self) -> str | None:
        """The attention implementation under which the model runs."""
        config = bare(self.model).config
        set_here = {id(each): name for each, name in self.implementations}
        return set_here.get(id(config), getattr(config, "_attn_implementation", None))

    def entering(self, ids: Tensor) -> dict[str, Any]:
        """Token ids or values as the argument by which the model's forward takes them."""
        if self.read_in is None:
            return {"input_ids": ids.to(self.device)}
        weight = next(self.read_in.parameters())
        return {"inputs_embeds": self.read_in(ids.to(weight))}

    def arguments(self, inputs: Inputs, logits: bool | Tensor) -> dict[str, Any]:
        """The arguments of the model's forward for one run, with logits as `run` is asked for them."""
        takes, device = self._takes, self.device
        if self.architecture.length_dependent is not None:
            from ..forward_arguments import fresh_frequencies

            fresh_frequencies(self.model)
        found: dict[str, Any] = {**self.entering(inputs.ids), "use_cache": inputs.cache is not None}
        if inputs.cache is not None:
            if takes.cache is None:
                raise WorkbenchError(f"{type(self.model).__name__} takes no cache of what came before")
            found[takes.cache] = inputs.cache
        # past padding is told at a single token to attention only: what is recurrent has left it behind
        if inputs.mask is not None and (inputs.ids.shape[1] > 1 or any(self.architecture.attending())):
            found["attention_mask"] = inputs.mask.to(device)
        if inputs.positions is not None and takes.positions:
            found["position_ids"] = inputs.positions.to(device)
            if inputs.mask is None and inputs.cache is None:
                # without a mask, transformers takes positions that jump for texts that lie one after the other
                found["attention_mask"] = inputs.positions.new_ones(inputs.ids.shape[:2]).to(device)
        if logits is not True and self._chooses:
            found["logits_to_keep"] = 1 if logits is False else logits.to(device)
        return found

    def chosen(self, found: Tensor, logits: bool | Tensor) -> Tensor | None:
        """The asked logits out of what the model gave: a model that cannot choose gives them for all columns."""
        if isinstance(logits, bool):
            return found if logits else None
        return found if self._chooses else found[:, logits.to(found.device)]

    @property
    def _chooses(self) -> bool:
        """Whether the model may be asked for the logits of some columns."""
        return self._takes.logits_to_keep and self.architecture.keeps_positions

    @cached_property
    def _takes(self) -> Arguments:
        from ..forward_arguments import Arguments

        return Arguments.of(self.model)

    def new_cache(self) -> Any:
        """An empty cache of what came before, for `Inputs.cache`."""
        from transformers import DynamicCache

        self.refresh()
        return DynamicCache(config=bare(self.model).config)  # type: ignore[arg-type]

    @property
    def device(self) -> device:
        """Where token ids go in."""
        return next(self.model.parameters()).device

    def check(self, sites: Iterable[Site]) -> None:
        """Raise `SiteError` for a site that does not exist in the model or that this engine cannot serve."""
        self.refresh()
        self._check(sites)

    def _check(self, sites: Iterable[Site]) -> None:
        kinds = self.kinds()
        for site in sites:
            try:
                self.architecture.check(site)
                if site.neuron is not None:
                    check_neuron(self.architecture, self.model, site)
            except SiteError as error:
                raise SiteError(str(error) + self._users_own()) from None
            if site.kind not in kinds:
                raise SiteError(
                    f"the engine {self.name!r} cannot serve {site.kind!r} on {self.architecture.name}; it serves: "
                    f"{', '.join(kinds)}; the model has: {', '.join(self.architecture.kinds)}" + self._users_own()
                )

    def _users_own(self) -> str:
        """What a reader of an error should know of the model: code of the user's own takes part in it."""
        found = users_own(self.source)
        return f"; the model runs with {', '.join(found[:3])}, which may be why" if found else ""

    def never_called(self, sites: Iterable[Site]) -> SiteError:
        """The error for hooks that the run never reached."""
        listed = ", ".join(sorted({str(site) for site in sites}))
        return SiteError(
            f"the engine {self.name!r} ran {self.architecture.name} and never reached {listed}; "
            f"it serves: {', '.join(self.kinds())}"
        )
