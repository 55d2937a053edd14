"""What a model is made of, layer by layer: its sizes, and at which module each kind of site is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ..errors import SiteError
from ..models.kinds import CONTINUOUS
from .sites import ENDS, KEY_KINDS, KINDS, QUERY_KINDS, Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .fused_projections import Columns

Side = Literal["input", "output", "stream", "attention", "weights"]
LayerKind = Literal[
    "full", "window", "chunk", "indexed", "other", "linear", "convolution", "state space", "parallel mixture", "none"
]
"""How a layer mixes tokens: softmax attention over all earlier keys, those within a window or in the same chunk, chosen
ones, or others; or what stands in its place. A parallel mixture is attention beside something recurrent."""


@dataclass(frozen=True)
class ModuleSite:
    """Where a kind is found: a module inside the block, what passes there, and which columns of it are the site.

    The side `attention` is the attention seam of that module, `weights` the softmax inside it; `stream` is its input,
    shared with the skip connection. Without `columns` the site is all that passes.
    """

    module: str
    side: Side
    columns: Columns | None = None
    flat: bool = False
    """Whether the columns are one row of numbers and no heads."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model; `d_head` is that of queries and keys, `context` the most positions it was made for.

    Where heads or their sizes differ by layer these are the largest; `Architecture.layers` has each layer's own. A
    model of numbers has the vocabulary 0, and takes `d_in` and gives `d_out` numbers a position; None for others.
    """

    layers: int
    heads: int
    kv_heads: int
    d_model: int
    d_head: int
    vocabulary: int
    context: int | None
    d_value: int = 0
    """The size of a head's values and output."""
    d_in: int | None = None
    d_out: int | None = None

    @property
    def outputs(self) -> int:
        """How many numbers come out at each position: the vocabulary, or `d_out`."""
        return self.vocabulary if self.d_out is None else self.d_out


@dataclass(frozen=True)
class Layer:
    """What one layer can do, read from the model's configuration and modules and verified on a run of it.

    Sizes are 0 and options None in a layer without softmax attention. `scale` is the factor on q·k, `rotary_share` how
    much of a head is rotated, `kv_source` the layer whose keys and values are used.
    """

    index: int
    kind: LayerKind
    told: str = ""
    """What stands in the place of attention, in words."""
    places: dict[str, ModuleSite] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Why a kind does not exist here, or cannot be told."""
    attention: str | None = None
    """The module that calls attention, inside the block."""
    heads: int = 0
    kv_heads: int = 0
    d_head: int = 0
    d_value: int = 0
    reach: int | None = None
    """The size of the window or chunk, or how many keys an index chooses."""
    scale: float | None = None
    softcap: float | None = None
    learned_sinks: bool = False
    output_gate: bool = False
    qk_norm: Literal["head", "flat"] | None = None
    rotary_share: float | None = None
    kv_source: int | None = None
    streams: int = 1
    multiplier: float = 1.0
    """The factor on what attention and MLP give before it is added to the stream."""

    @property
    def attends(self) -> bool:
        """Whether this layer has softmax attention over earlier tokens."""
        return self.kind in ("full", "window", "chunk", "indexed", "other", "parallel mixture")

    def without(self, refused: dict[str, str]) -> Layer:
        """The same, with some kinds refused and why."""
        places = {kind: place for kind, place in self.places.items() if kind not in refused}
        return replace(self, places=places, absent={**self.absent, **refused})


@dataclass(frozen=True)
class Architecture:
    """What a model is made of: sizes, its layers, and where the kinds of site at its ends are."""

    name: str
    shape: Shape
    blocks: str
    norm: str | None
    layers: tuple[Layer, ...]
    absent: dict[str, str]
    """Why a kind exists in no layer."""
    length_dependent: int | None = None
    """The length beyond which what is said of a token depends on the length of the text, None where it never does."""
    keeps_positions: bool = True
    """Whether every block sees all tokens when logits of some are asked for: some models drop the others on the way."""
    length_reason: str = ""
    """What depends on it."""

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that exist in some layer, in the order of `sites.KINDS`."""
        found = {kind for layer in self.layers for kind in layer.places} | {"logits"}
        if self.norm is not None:
            found.add("final_norm")
        return tuple(kind for kind in KINDS if kind in found and kind not in self.absent)

    @property
    def places(self) -> dict[str, ModuleSite]:
        """Each kind's place in the first layer that has it."""
        found: dict[str, ModuleSite] = {}
        for layer in self.layers:
            found = {**layer.places, **found}
        return {kind: place for kind, place in found.items() if kind not in self.absent}

    def layers_with(self, kind: str) -> list[int]:
        """The layers in which a kind exists."""
        if kind in self.absent:
            return []
        return [layer.index for layer in self.layers if kind in layer.places]

    def place(self, site: Site) -> ModuleSite:
        """Where a site is found in its layer; raises `SiteError` with what exists where there is none."""
        self.check(site)
        if site.kind == "final_norm":
            return ModuleSite("", "output")
        if site.kind == "logits":
            raise SiteError("logits are what a run gives and pass no module: ask the run for them")
        return self.layers[site.layer or 0].places[site.kind]

    def check(self, site: Site) -> Site:
        """The site itself, if it exists here; raises `SiteError` with what exists otherwise."""
        shape = self.shape
        if site.layer is not None and site.layer >= shape.layers:
            raise SiteError(
                f"there is no layer {site.layer} for '{site}': {self.name} has layers 0 to {shape.layers - 1}"
            )
        if site.kind not in self.kinds:
            raise SiteError(
                f"{site.kind!r} does not exist in {self.name}: {self.reason(site)}; there is: {', '.join(self.kinds)}"
            )
        if site.kind in ("final_norm", "logits"):
            return site
        layer = self.layers[site.layer or 0]
        if site.kind not in layer.places:
            having = ", ".join(map(str, self.layers_with(site.kind)))
            raise SiteError(
                f"'{site}' does not exist in {self.name}: {self.reason(site)}; layers that have it: {having}"
            )
        if site.head is not None and site.head >= (heads := self.heads(site.kind, layer.index)):
            word = "key-value heads" if site.kind in KEY_KINDS else "heads"
            raise SiteError(f"there is no head {site.head} for '{site}': {self.name} has {word} 0 to {heads - 1}")
        return site

    def reason(self, site: Site) -> str:
        """Why a site does not exist."""
        if site.kind in self.absent:
            return self.absent[site.kind]
        layer = self.layers[site.layer or 0]
        return layer.absent.get(site.kind, "no module was found at which it would be")

    def heads(self, kind: str, layer: int | None = None) -> int:
        """How many heads a kind has, in a layer (None: the most of any layer)."""
        of = self.shape if layer is None else self.layers[layer]
        return of.kv_heads if kind in KEY_KINDS else of.heads

    def path(self, site: Site) -> str:
        """The path of the module at which a site is found."""
        inside = self.place(site).module
        if site.kind == "final_norm":
            assert self.norm is not None
            return self.norm
        return f"{self.blocks}.{site.layer or 0}" + (f".{inside}" if inside else "")

    def module(self, model: nn.Module, site: Site) -> nn.Module:
        """The module at which a site is found."""
        return model.get_submodule(self.path(site))

    def without(self, refused: dict[str, str]) -> Architecture:
        """The same, with some kinds refused in every layer and why."""
        return replace(self, absent={**self.absent, **refused})

    def attending(self, layers: Iterable[int] | None = None) -> Iterator[Layer]:
        """The layers, of all or of those named, that have softmax attention."""
        chosen = range(self.shape.layers) if layers is None else layers
        return (self.layers[index] for index in chosen if self.layers[index].attends)


def view(passing: Tensor, place: ModuleSite) -> Tensor:
    """The site's canonical axes in what passes at its place: a view of it where its columns lie evenly."""
    if place.columns is None:
        return passing
    return place.columns.read(passing).flatten(-2) if place.flat else place.columns.read(passing)


def put(passing: Tensor, place: ModuleSite, new: Tensor) -> None:
    """Put a site's replacement in the place of what passes."""
    if place.columns is None:
        passing.copy_(new)
    else:
        place.columns.write(passing, new.unflatten(-1, (1, -1)) if place.flat else new)


def bare(model: nn.Module) -> nn.Module:
    """The causal model itself, inside an adapter's wrapper and a model of numbers where there are such."""
    inner: Any = unwrapped(model)
    return inner.causal if inner.config.model_type == CONTINUOUS else inner


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside an adapter's wrapper where there is one."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model  # type: ignore[operator]


def read_in_of(model: nn.Module) -> nn.Module | None:
    """What makes the residual stream of a model of numbers; None in a language model."""
    return getattr(unwrapped(model), "read_in", None) if unwrapped(model) is not bare(model) else None


assert set(ENDS) <= set(KINDS) and not set(QUERY_KINDS) & set(KEY_KINDS)
