"""One interface to a model's internals, whatever the engine: read sites, edit them, generate, take gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ..errors import SiteError, UsageError
from ..progress import Reporter
from .activation_cache import ActivationCache
from .architectures import Architecture, Shape
from .attention import LONG
from .borrowing import differentiable, plain_torch
from .edits import EditLike, Frame, learns, listed
from .engines.base import Engine, Hook, Inputs
from .generation import Generated, generate
from .hooks import known, prepare
from .site_patterns import expanded
from .sites import MAP_KINDS, Site, SiteLike
from .tokens import TokenBatch, TokensLike

Asked = ParamSpec("Asked")
Found = TypeVar("Found")


def _held(call: Callable[Concatenate[HookedModel, Asked], Found]) -> Callable[Concatenate[HookedModel, Asked], Found]:
    """Look once, when the call begins, whether the model is still the one that the engine was built from."""

    @wraps(call)
    def held(self: HookedModel, /, *args: Asked.args, **kwargs: Asked.kwargs) -> Found:
        with self.engine.held():
            return call(self, *args, **kwargs)

    return held


class HookedModel:
    """A model whose sites can be read and edited through one engine; prompts are token ids here.

    Not safe with threads by itself: the session holds a lock around every call.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def architecture(self) -> Architecture:
        """Which kinds of site the model has and where each is."""
        return self.engine.architecture

    @property
    def shape(self) -> Shape:
        """The sizes of the model."""
        return self.architecture.shape

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of site that can be read here."""
        return self.engine.kinds()

    @_held
    def capture(
        self,
        tokens: TokensLike,
        sites: SiteLike | Sequence[SiteLike],
        positions: Sequence[int] | None = None,
        logits: bool = False,
        edits: EditLike = (),
        device: str = "cpu",
        progress: Reporter | None = None,
    ) -> ActivationCache:
        """Read sites in one run of the model, which ends after the last of them unless logits are asked for.

        Each site has the axes of `sites.KINDS`, with the asked `positions` only (for scores and pattern: of the
        queries), copied to `device`. Where a site is edited, the edited value is what is read; where a value of an edit
        carries a gradient, so does what is read. Raises `SiteError` for a site that is not here, `UsageError` for a
        position outside a row or for all attention above 4096 tokens.
        """
        batch, wanted, names = self._asked(tokens, sites)
        self._check_maps(wanted, positions, batch)
        columns = None if positions is None else batch.columns(positions)
        kept: dict[Site, Tensor] = {}
        learning = learns(edits)

        def keep(site: Site) -> Hook:
            def see(whole: Tensor) -> None:
                kept[site] = _taken(whole, site, columns, batch, device, learning)

            return Hook(site.whole, see, columns if site.kind in MAP_KINDS else None)

        inner = [site for site in wanted if site.kind != "logits"]
        ready = prepare(self.engine, edits, Frame(batch))
        hooks = [*ready.hooks, *map(keep, inner)]
        end = logits or len(inner) < len(wanted)
        with _learning(self.engine.model) if learning else torch.no_grad():
            out = self._run(batch, hooks, end, columns, progress, ready.positions(batch.width))
        seen = None if out is None else batch.at_columns(out, columns).to(device)
        if seen is not None and Site("logits") in wanted:
            kept[Site("logits")] = seen
        return ActivationCache(kept, names, batch.lengths, positions, seen if logits else None)

    def logits(
        self,
        tokens: TokensLike,
        positions: Sequence[int] | None = None,
        edits: EditLike = (),
        device: str = "cpu",
        progress: Reporter | None = None,
    ) -> Tensor:
        """The model's output before the softmax, `[batch, position, vocabulary]`, at the asked positions only.

        Where a value of an edit carries a gradient, so do the logits: a steering vector can be learnt through them.
        """
        seen = self.capture(tokens, (), positions, True, edits, device, progress).logits
        assert seen is not None
        return seen

    @_held
    def gradients(
        self,
        tokens: TokensLike,
        sites: SiteLike | Sequence[SiteLike],
        objective: Callable[[Tensor], Tensor],
        edits: EditLike = (),
        logits_at: Sequence[int] | None = None,
        device: str = "cpu",
        progress: Reporter | None = None,
    ) -> ActivationCache:
        """The gradient at each site of a scalar objective of the logits `[batch, position, vocabulary]`.

        `logits_at` are the positions whose logits the objective sees (None: all, zero at padding); gradients are given
        at every position, and where a site is edited, at the edited value. The model's weights are frozen meanwhile
        and get no gradient. Raises `UsageError` if the objective is no differentiable scalar, or the weights are
        inference tensors, and `SiteError` for scores and pattern, which are not on the path to the logits.
        """
        batch, wanted, names = self._asked(tokens, sites)
        for site in wanted:
            if site.kind in MAP_KINDS:
                raise SiteError(f"no gradient at '{site}': it is computed beside the model; ask for q_rot, k_rot or z")
        columns = None if logits_at is None else batch.columns(logits_at)
        held: dict[Site, Tensor] = {}

        def hold(site: Site) -> Hook:
            def see(whole: Tensor) -> Tensor:
                held[site] = whole.clone() if whole.requires_grad else whole.detach().clone().requires_grad_()
                return held[site]

            return Hook(site, see)

        whole = dict.fromkeys(site.whole for site in wanted if site.kind != "logits")
        ready = prepare(self.engine, differentiable(self.engine.model, listed(edits)), Frame(batch))
        hooks = [*ready.hooks, *map(hold, whole)]
        with plain_torch(self.engine.device.type), _learning(self.engine.model):
            out = self._run(batch, hooks, True, columns, progress, ready.positions(batch.width))
            assert out is not None
            held[Site("logits")] = out if out.requires_grad else out.requires_grad_()
            value = objective(batch.at_columns(out, columns))
            if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
                raise UsageError("the objective must return one number that depends on the logits it is given")
            asked = list(dict.fromkeys(site.whole for site in wanted))
            found = torch.autograd.grad(value.reshape(()), [held[site] for site in asked], allow_unused=True)
        pairs = zip(asked, found, strict=True)
        by_site = {site: torch.zeros_like(held[site]) if gradient is None else gradient for site, gradient in pairs}
        tensors = {}
        for site in wanted:
            gradient = by_site[site.whole]
            if site.kind == "logits":
                tensors[site] = batch.at_columns(gradient, columns).to(device)
            else:
                tensors[site] = _taken(gradient, site, None, batch, device)
        return ActivationCache(tensors, names, batch.lengths)

    @_held
    def generate(
        self,
        tokens: TokensLike,
        max_new_tokens: int,
        edits: EditLike = (),
        stop: Sequence[int] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        progress: Reporter | None = None,
        sites: SiteLike | Sequence[SiteLike] = (),
    ) -> Generated:
        """Generate token by token with a cache of keys and values; see `generation.generate`."""
        batch = known(self.engine, tokens)
        return generate(self.engine, batch, max_new_tokens, edits, stop, temperature, seed, progress, sites)

    def _asked(
        self, tokens: TokensLike, sites: SiteLike | Sequence[SiteLike]
    ) -> tuple[TokenBatch, list[Site], list[SiteLike]]:
        found = expanded(sites, self.architecture)
        wanted = list(dict.fromkeys(site for _, site in found))
        self.engine.check(wanted)
        return known(self.engine, tokens), wanted, [name for name, _ in found]

    def _check_maps(self, wanted: Sequence[Site], positions: Sequence[int] | None, batch: TokenBatch) -> None:
        maps = [site for site in wanted if site.kind in MAP_KINDS]
        if maps and positions is None and batch.width > LONG:
            raise UsageError(
                f"'{maps[0]}' of all {batch.width} queries would be a matrix of {batch.width} × {batch.width} for each "
                f"head; above {LONG} tokens give the `positions` of the queries you want"
            )

    def _run(
        self,
        batch: TokenBatch,
        hooks: Sequence[Hook],
        logits: bool,
        columns: Tensor | None,
        progress: Reporter | None,
        positions: Tensor | None = None,
    ) -> Tensor | None:
        """One run over a whole prompt; with `columns`, logits come at their sorted union only."""
        if progress is not None:
            hooks = [*hooks, *self._progress_hooks(hooks, logits, progress)]
        wanted: bool | Tensor = columns.unique() if logits and columns is not None else logits
        return self.engine.run(Inputs(batch.ids, positions=positions), hooks, logits=wanted)

    def _progress_hooks(self, hooks: Sequence[Hook], logits: bool, progress: Reporter) -> list[Hook]:
        """Tell after each block, as far as the run will go."""
        ends = any(hook.site.kind == "final_norm" for hook in hooks)
        last = self.shape.layers if logits or ends else max((hook.site.layer or 0 for hook in hooks), default=0)

        def hook(layer: int) -> Hook:
            return Hook(Site("resid_post", layer), lambda _: progress.send(layer + 1, last, "blocks"))

        return [hook(layer) for layer in self.architecture.layers_with("resid_post") if layer < last]


@contextmanager
def _learning(model: nn.Module) -> Iterator[None]:
    """Gradients go through the model and not into its parameters."""
    with frozen(model), torch.enable_grad():
        yield


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter wants a gradient until the block ends."""
    wanting = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)


def _taken(
    whole: Tensor, site: Site, columns: Tensor | None, batch: TokenBatch, device: str, learning: bool = False
) -> Tensor:
    """A copy on `device` of what was asked for: the head or neuron, the positions, and zero at padding."""
    if site.kind in MAP_KINDS:
        part = whole if site.head is None else whole[:, site.head]
        if batch.padded:
            real = batch.attention_mask.to(whole.device)
            keep = real[:, None, :] if columns is not None else real[:, :, None] & real[:, None, :]
            part = part.where(keep if site.head is not None else keep[:, None], 0)
    else:
        part = whole if site.head is None else whole[:, :, site.head]
        part = part if site.neuron is None else part[:, :, site.neuron]
        if columns is not None:
            rows = torch.arange(batch.batch, device=whole.device)[:, None]
            part = part[rows, columns.to(whole.device)]
        elif batch.padded:
            part = part.where(
                batch.attention_mask.to(whole.device).reshape(batch.batch, batch.width, *[1] * (part.ndim - 2)), 0
            )
    return (part if learning else part.detach()).to(device, copy=True).contiguous()
