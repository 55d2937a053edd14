"""Addresses inside a model: frozen, torch-free, and the same words for every engine."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import SiteError, UnknownName

RESIDUAL_KINDS = ("embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "final_norm")
QUERY_KINDS = ("q", "q_rot", "z")
KEY_KINDS = ("k", "v", "k_rot")
MAP_KINDS = ("scores", "pattern")
MLP_KINDS = ("mlp_pre", "mlp_post")
ENDS = ("embed", "final_norm", "logits")
"""Kinds without a layer."""

KINDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(RESIDUAL_KINDS, ("batch", "position", "d_model")),
    **dict.fromkeys(QUERY_KINDS, ("batch", "position", "head", "d_head")),
    **dict.fromkeys(KEY_KINDS, ("batch", "position", "kv_head", "d_head")),
    **dict.fromkeys(MAP_KINDS, ("batch", "head", "query", "key")),
    **dict.fromkeys(MLP_KINDS, ("batch", "position", "d_mlp")),
    "logits": ("batch", "position", "vocabulary"),
}
"""Every kind of site with the axes of what is read there."""

MEANING = {
    "embed": "the token embedding that enters the first block, with learned positions where the model adds them",
    "resid_pre": "the residual stream as it enters a block",
    "resid_mid": "the residual stream between attention and MLP",
    "resid_post": "the residual stream as it leaves a block",
    "attn_out": "what attention adds to the residual stream, after a post-norm where there is one",
    "mlp_out": "what the MLP adds to the residual stream, after a post-norm where there is one",
    "q": "queries right after their projection",
    "k": "keys right after their projection",
    "v": "values right after their projection",
    "q_rot": "queries as attention uses them, after q/k norm and positions",
    "k_rot": "keys as attention uses them, after q/k norm and positions",
    "z": "each head's weighted sum of values, before the output projection",
    "scores": "attention logits after scale and softcap, before the mask",
    "pattern": "attention weights",
    "mlp_pre": "the input of the MLP's activation (the gate's, where there is one)",
    "mlp_post": "the input of the MLP's output projection",
    "final_norm": "the residual stream after the last norm",
    "logits": "the model's output before the softmax",
}

assert MEANING.keys() == KINDS.keys(), "every kind of site needs its meaning"

_LAYER = r"(?P<layer>\d+)"
_BLOCK = rf"(?:model\.layers|transformer\.h|gpt_neox\.layers)(?:\.{_LAYER}|\[(?P<index>\d+)\])"
_ALIASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern + r"\Z"), kind)
    for pattern, kind in (
        # TransformerLens: HookedTransformer's names and the bridge's canonical ones
        (r"(?:hook_embed|embed\.hook_out)", "embed"),
        (rf"blocks\.{_LAYER}\.(?:hook_resid_pre|hook_in)", "resid_pre"),
        (rf"blocks\.{_LAYER}\.(?:hook_resid_mid|ln2\.hook_in)", "resid_mid"),
        (rf"blocks\.{_LAYER}\.(?:hook_resid_post|hook_out)", "resid_post"),
        (rf"blocks\.{_LAYER}\.hook_(?P<kind>attn_out|mlp_out)", ""),
        (rf"blocks\.{_LAYER}\.attn\.hook_(?P<kind>q|k|v|z|pattern)", ""),
        (rf"blocks\.{_LAYER}\.attn\.hook_attn_scores", "scores"),
        (rf"blocks\.{_LAYER}\.attn\.hook_rot_(?P<kind>q|k)", "_rot"),
        (rf"blocks\.{_LAYER}\.attn\.(?P<kind>q|k|v)\.hook_out", ""),
        (rf"blocks\.{_LAYER}\.attn\.o\.hook_in", "z"),
        (rf"blocks\.{_LAYER}\.mlp\.(?:hook_pre|gate\.hook_out)", "mlp_pre"),
        (rf"blocks\.{_LAYER}\.mlp\.(?:hook_post|out\.hook_in)", "mlp_post"),
        (r"ln_final\.hook_out", "final_norm"),
        (r"(?:hook_unembed|unembed\.hook_out)", "logits"),
        # Hugging Face and nnsight: module paths, with `.output` and `.input` as nnsight writes them
        (r"(?:model\.embed_tokens|transformer\.wte|gpt_neox\.embed_in)(?:\.output)?", "embed"),
        (rf"{_BLOCK}\.input", "resid_pre"),
        (rf"{_BLOCK}(?:\.output)?", "resid_post"),
        (rf"model\.layers(?:\.{_LAYER}|\[(?P<index>\d+)\])\.self_attn\.(?P<kind>q|k|v)_proj(?:\.output)?", ""),
        (rf"model\.layers(?:\.{_LAYER}|\[(?P<index>\d+)\])\.self_attn\.o_proj\.input", "z"),
        (rf"model\.layers(?:\.{_LAYER}|\[(?P<index>\d+)\])\.mlp\.gate_proj(?:\.output)?", "mlp_pre"),
        (rf"model\.layers(?:\.{_LAYER}|\[(?P<index>\d+)\])\.mlp\.down_proj\.input", "mlp_post"),
        (r"(?:model\.norm|transformer\.ln_f|gpt_neox\.final_layer_norm)(?:\.output)?", "final_norm"),
        (r"(?:lm_head|embed_out)(?:\.output)?", "logits"),
    )
)


@dataclass(frozen=True, order=True)
class Site:
    """One place in a model: a kind, with a layer and a head or MLP neuron where the kind has them.

    `str(site)` and `Site.parse` are inverse: `"resid_post.5"`, `"z.5.3"`, `"mlp_post.5.17"`, `"logits"`. For k, v
    and k_rot the head counts key-value heads, elsewhere query heads.

    Raises `UnknownName` for a kind that does not exist and `SiteError` for a layer or head that is missing or too many.

    >>> wb.Site.parse("z.5.3")
    Site(kind='z', layer=5, head=3, neuron=None)
    >>> str(wb.Site.parse("blocks.5.hook_resid_post"))    # TransformerLens' name of it
    'resid_post.5'
    """

    kind: str
    layer: int | None = None
    head: int | None = None
    neuron: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownName("kind of site", self.kind, KINDS)
        if self.kind in ENDS and self.layer is not None:
            raise SiteError(f"{self.kind!r} has no layer; write {self.kind!r}")
        if self.kind not in ENDS and self.layer is None:
            raise SiteError(f"{self.kind!r} needs a layer; write for example '{self.kind}.5'")
        if self.head is not None and not self.has_heads:
            raise SiteError(f"{self.kind!r} has no heads; write '{self.kind}.{self.layer}'")
        if self.neuron is not None and self.kind not in MLP_KINDS:
            raise SiteError(f"{self.kind!r} has no neurons; {' and '.join(MLP_KINDS)} have")
        for word, value in (("layer", self.layer), ("head", self.head), ("neuron", self.neuron)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise SiteError(f"{word} {value!r} of {self.kind!r} is not a number from 0 on")

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """Read a site from its text form, or from a TransformerLens, nnsight or Hugging Face name."""
        if isinstance(text, Site):
            return text
        if not isinstance(text, str):
            raise SiteError(f"a site is a text such as 'resid_post.5', not {type(text).__name__} {text!r}")
        match = re.fullmatch(r"([a-z_]+)(?:\.(\d+))?(?:\.(\d+))?", text)
        if match and match[1] in KINDS:
            layer_of, part = (None if number is None else int(number) for number in match.groups()[1:])
            return cls(match[1], layer_of, **{"neuron" if match[1] in MLP_KINDS else "head": part})
        for pattern, kind in _ALIASES:
            if found := pattern.match(text):
                groups = found.groupdict()
                layer = groups.get("layer") or groups.get("index")
                return cls((groups.get("kind") or "") + kind, None if layer is None else int(layer))
        raise UnknownName("site", text, KINDS, "write for example 'resid_post.5', or 'z.5.3' for a head")

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of what is read here; a site of one head has no head axis, one of a neuron no axis of neurons."""
        gone: tuple[str, ...] = () if self.head is None else ("head", "kv_head")
        gone += () if self.neuron is None else ("d_mlp",)
        return tuple(axis for axis in KINDS[self.kind] if axis not in gone)

    @property
    def whole(self) -> Site:
        """The site of all heads or neurons."""
        return Site(self.kind, self.layer)

    @property
    def has_heads(self) -> bool:
        """Whether its kind has an axis of heads, so that one of them can be named."""
        return self.kind in QUERY_KINDS + KEY_KINDS + MAP_KINDS

    def __str__(self) -> str:
        return ".".join(str(part) for part in (self.kind, self.layer, self.head, self.neuron) if part is not None)


SiteLike = str | Site
"""A site, or its text form."""
