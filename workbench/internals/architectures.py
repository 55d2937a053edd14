"""The site × architecture table: which kinds of site exist in a model, and at which module each is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..errors import SiteError, WorkbenchError
from ..models.kinds import CONTINUOUS
from .sites import KEY_KINDS, KINDS, MAP_KINDS, QUERY_KINDS, Site

if TYPE_CHECKING:
    from torch import Tensor, nn

Layout = Literal["whole", "heads", "gpt2", "neox", "phi3", "gate"]
"""How a site lies in what passes: all of it, its heads one after the other, or its part of a fused projection."""


@dataclass(frozen=True)
class ModuleSite:
    """Where a kind is found: a module inside the block, what passes there, and how the site lies in it.

    The side `attention` is the attention seam of that module; `stream` is its input, shared with the skip connection.
    """

    module: str
    side: Literal["input", "output", "stream", "attention"]
    layout: Layout = "whole"


@dataclass(frozen=True)
class Shape:
    """The sizes of a model; `d_head` is that of queries and keys, `context` the most positions it was made for.

    A model of numbers has the vocabulary 0, and takes `d_in` and gives `d_out` numbers a position; None for others.
    """

    layers: int
    heads: int
    kv_heads: int
    d_model: int
    d_head: int
    vocabulary: int
    context: int | None
    d_in: int | None = None
    d_out: int | None = None

    @property
    def outputs(self) -> int:
        """How many numbers come out at each position: the vocabulary, or `d_out`."""
        return self.vocabulary if self.d_out is None else self.d_out


_BLOCK = {
    "embed": ModuleSite("", "input"),
    "resid_pre": ModuleSite("", "input"),
    "resid_post": ModuleSite("", "output"),
}


def _attention(path: str, out: str) -> dict[str, ModuleSite]:
    """The kinds that are reached in and beside the attention module at `path`."""
    seam = ModuleSite(path, "attention")
    return {
        "attn_out": ModuleSite(path, "output"),
        "z": ModuleSite(f"{path}.{out}", "input", "heads"),
        **dict.fromkeys(("q_rot", "k_rot", *MAP_KINDS), seam),
    }


def _fused(path: str, layout: Layout) -> dict[str, ModuleSite]:
    return dict.fromkeys("qkv", ModuleSite(path, "output", layout))


_LLAMA = {
    **_BLOCK,
    **_attention("self_attn", "o_proj"),
    "q": ModuleSite("self_attn.q_proj", "output", "heads"),
    "k": ModuleSite("self_attn.k_proj", "output", "heads"),
    "v": ModuleSite("self_attn.v_proj", "output", "heads"),
    "resid_mid": ModuleSite("post_attention_layernorm", "stream"),
    "mlp_out": ModuleSite("mlp", "output"),
    "mlp_pre": ModuleSite("mlp.gate_proj", "output"),
    "mlp_post": ModuleSite("mlp.down_proj", "input"),
}
_GEMMA2 = {
    **_LLAMA,
    "attn_out": ModuleSite("post_attention_layernorm", "output"),
    "resid_mid": ModuleSite("pre_feedforward_layernorm", "stream"),
    "mlp_out": ModuleSite("post_feedforward_layernorm", "output"),
}
_PHI3 = {
    **_LLAMA,
    **_fused("self_attn.qkv_proj", "phi3"),
    "mlp_pre": ModuleSite("mlp.gate_up_proj", "output", "gate"),
}
_GPT2 = {
    **_BLOCK,
    **_attention("attn", "c_proj"),
    **_fused("attn.c_attn", "gpt2"),
    "resid_mid": ModuleSite("ln_2", "stream"),
    "mlp_out": ModuleSite("mlp", "output"),
    "mlp_pre": ModuleSite("mlp.c_fc", "output"),
    "mlp_post": ModuleSite("mlp.c_proj", "input"),
}
_NEOX = {
    **_BLOCK,
    **_attention("attention", "dense"),
    **_fused("attention.query_key_value", "neox"),
    "resid_mid": ModuleSite("post_attention_layernorm", "stream"),
    "mlp_out": ModuleSite("mlp", "output"),
    "mlp_pre": ModuleSite("mlp.dense_h_to_4h", "output"),
    "mlp_post": ModuleSite("mlp.dense_4h_to_h", "input"),
}
TABLE: dict[str, dict[str, ModuleSite]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _GEMMA2,
    "phi3": _PHI3,
    "gpt2": _GPT2,
    "gpt_neox": _NEOX,
}
"""Where each kind is found, by the `model_type` of the configuration; `final_norm` and `logits` are in every model."""

_NO_ROTATION = "it has no rotation: what attention uses are q and k themselves"
_NO_MID = "attention and MLP read the same residual stream (parallel residual)"
_STACKS = (
    ("model.layers", "model.norm"),
    ("transformer.h", "transformer.ln_f"),
    ("gpt_neox.layers", "gpt_neox.final_layer_norm"),
)


@dataclass(frozen=True)
class Architecture:
    """What a model is made of: sizes, the modules of its blocks, and where its kinds of site are."""

    name: str
    shape: Shape
    blocks: str
    norm: str
    places: dict[str, ModuleSite]
    absent: dict[str, str]
    """Why a kind does not exist here, or cannot be told."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that exist here, in the order of `sites.KINDS`."""
        return tuple(kind for kind in KINDS if kind in self.places or kind in ("final_norm", "logits"))

    def check(self, site: Site) -> Site:
        """The site itself, if it exists here; raises `SiteError` with what exists otherwise."""
        shape = self.shape
        if site.kind not in self.kinds:
            why = self.absent.get(site.kind, "not every block has the module it would be at")
            raise SiteError(f"{site.kind!r} does not exist in {self.name}: {why}; there is: {', '.join(self.kinds)}")
        if site.layer is not None and site.layer >= shape.layers:
            raise SiteError(
                f"there is no layer {site.layer} for '{site}': {self.name} has layers 0 to {shape.layers - 1}"
            )
        if site.head is not None and site.head >= (heads := self.heads(site.kind)):
            word = "key-value heads" if site.kind in KEY_KINDS else "heads"
            raise SiteError(f"there is no head {site.head} for '{site}': {self.name} has {word} 0 to {heads - 1}")
        return site

    def heads(self, kind: str) -> int:
        """How many heads a kind has."""
        return self.shape.kv_heads if kind in KEY_KINDS else self.shape.heads

    def path(self, site: Site) -> str:
        """The path of the module at which a site is found."""
        if site.kind == "final_norm":
            return self.norm
        inside = self.places[site.kind].module
        return f"{self.blocks}.{site.layer or 0}" + (f".{inside}" if inside else "")

    def module(self, model: nn.Module, site: Site) -> nn.Module:
        """The module at which a site is found."""
        return model.get_submodule(self.path(site))

    def view(self, passing: Tensor, place: ModuleSite, kind: str) -> Tensor:
        """The site's canonical axes as a view into what passes at its module; writing to it writes there."""
        heads, kv_heads, d_head = self.shape.heads, self.shape.kv_heads, self.shape.d_head
        match place.layout:
            case "heads":
                return passing.unflatten(-1, (self.heads(kind), -1))
            case "gpt2":
                return passing.unflatten(-1, (3, heads, -1)).select(-3, "qkv".index(kind))
            case "neox":
                return passing.unflatten(-1, (heads, 3, -1)).select(-2, "qkv".index(kind))
            case "phi3":
                start = {"q": 0, "k": heads, "v": heads + kv_heads}[kind] * d_head
                return passing[..., start : start + self.heads(kind) * d_head].unflatten(-1, (self.heads(kind), d_head))
            case "gate":
                return passing[..., : passing.shape[-1] // 2]
        return passing

    def without(self, refused: dict[str, str]) -> Architecture:
        """The same, with some kinds refused and why."""
        places = {kind: place for kind, place in self.places.items() if kind not in refused}
        return replace(self, places=places, absent={**self.absent, **refused})


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


def describe(model: nn.Module) -> Architecture:
    """Read a model's architecture from its configuration and the names of its modules.

    An architecture that is not in `TABLE` gets the kinds whose modules have the names that Llama's or Gemma-2's have;
    an engine verifies them before it serves them. Raises `WorkbenchError` when no stack of blocks is found.
    """
    outer: Any = unwrapped(model).config
    numbers = (outer.d_in, outer.d_out) if outer.model_type == CONTINUOUS else (None, None)
    model = bare(model)
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    name = config.model_type
    blocks, norm = _stack(model, config.num_hidden_layers)
    heads = getattr(config, "num_attention_heads", None) or 0
    shape = Shape(
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        d_model=config.hidden_size,
        d_head=getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1),
        vocabulary=config.vocab_size if numbers[0] is None else 0,
        context=getattr(config, "max_position_embeddings", None),
        d_in=numbers[0],
        d_out=numbers[1],
    )
    stack = [model.get_submodule(f"{blocks}.{layer}") for layer in range(shape.layers)]
    names = set.intersection(*({path for path, _ in block.named_modules()} for block in stack))
    guess = _GEMMA2 if {"pre_feedforward_layernorm", "post_feedforward_layernorm"} <= names else _LLAMA
    places = {kind: place for kind, place in TABLE.get(name, guess).items() if place.module in names}
    absent: dict[str, str] = {}
    if name == "gpt2":
        absent = dict.fromkeys(("q_rot", "k_rot"), _NO_ROTATION)
    elif name == "gpt_neox" and config.use_parallel_residual:
        absent = {"resid_mid": _NO_MID}
    return Architecture(name, shape, blocks, norm, places, {}).without(absent)


def _stack(model: nn.Module, layers: int) -> tuple[str, str]:
    """The path of the list of blocks and of the norm after it."""
    modules = dict(model.named_modules())
    for blocks, norm in (*_STACKS, *_guesses(modules, layers)):
        if blocks in modules and norm in modules:
            return blocks, norm
    raise WorkbenchError(f"no stack of {layers} blocks with a norm after it was found in {type(model).__name__}")


def _guesses(modules: dict[str, nn.Module], layers: int) -> Iterator[tuple[str, str]]:
    from torch.nn import ModuleList

    for path, module in modules.items():
        if isinstance(module, ModuleList) and len(module) == layers:
            root = path.rpartition(".")[0]
            for norm in ("norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f"):
                yield path, f"{root}.{norm}" if root else norm


assert set(QUERY_KINDS + KEY_KINDS) <= set(_LLAMA)
