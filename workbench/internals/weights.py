"""Weights by address, in the field's letters and shapes, whatever the architecture keeps them as.

Of a head: `W_Q.5.3`, `W_K.5.1`, `W_V.5.1` `[d_model, d_head]`, where K and V count key-value heads, and `W_O.5.3`
`[d_head, d_model]`; without a head, all of a layer with `[head, …]` in front. `W_OV.5.3` and `W_QK.5.3` are W_V W_O and
W_Q W_Kᵀ of a query head `[d_model, d_model]`, with the keys and values that it shares.

Of an MLP: `W_in.5`, `W_gate.5` `[d_model, d_mlp]` and `W_out.5` `[d_mlp, d_model]`; `W_out.5.17` is one neuron's.
Ends: `W_E` `[vocabulary, d_model]`, `W_pos` `[position, d_model]`, `W_U` `[d_model, vocabulary]`. Biases: `b_Q.5.3`,
`b_K.5`, `b_V.5`, `b_O.5`, `b_in.5`, `b_gate.5`, `b_out.5`. Norms are not folded in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import SiteError, UnknownName, UsageError
from .sites import Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .architectures import Architecture

_PARTS = {"Q": "q", "K": "k", "V": "v", "O": "z"}
_MLP = ("in", "gate", "out")
_ENDS = ("W_E", "W_pos", "W_U")
_PAIRS = ("W_OV", "W_QK")
NAMES = (
    *(f"{letter}_{part}" for letter in "Wb" for part in _PARTS),
    *_PAIRS,
    *(f"{letter}_{part}" for letter in "Wb" for part in _MLP),
    *_ENDS,
)


def weight(model: nn.Module, architecture: Architecture, address: str, adapters: bool = True) -> Tensor:
    """A weight by address, detached; with `adapters`, what active LoRA adapters add to it is in it.

    It may share memory with the model's. Raises `UnknownName` for an address that is none, `SiteError` for what the
    model does not have.
    """
    match = re.fullmatch(r"([Wb]_[A-Za-z]+)(?:\.(\d+))?(?:\.(\d+))?", address) if isinstance(address, str) else None
    if match is None or match[1] not in NAMES:
        raise UnknownName("weight", str(address), NAMES, "write for example 'W_Q.5.3', 'W_OV.5.3', 'W_in.5' or 'W_U'")
    name, layer, part = match[1], *(None if number is None else int(number) for number in match.groups()[1:])
    reader = _Reader(model, architecture, adapters)
    if name in _ENDS:
        if layer is not None:
            raise SiteError(f"{name!r} has no layer; write {name!r}")
        return reader.end(name).detach()
    if layer is None:
        raise SiteError(f"{name!r} needs a layer; write for example '{name}.5'")
    if name in _PAIRS:
        return reader.pair(name, layer, part).detach()
    letter, _, which = name.partition("_")
    found = reader.attention(letter, which, layer, part) if which in _PARTS else reader.mlp(letter, which, layer, part)
    return found.detach()


def check_neuron(architecture: Architecture, model: nn.Module, site: Site) -> None:
    """Raise `SiteError` for a neuron that a layer's MLP does not have."""
    count = neurons(architecture, model, site)
    if site.neuron is not None and site.neuron >= count:
        raise SiteError(
            f"there is no neuron {site.neuron} for '{site}': {architecture.name} has neurons 0 to {count - 1} there"
        )


def neurons(architecture: Architecture, model: nn.Module, site: Site) -> int:
    """How many neurons the MLP of a site's layer has."""
    from .architectures import bare

    if site.layer not in architecture.layers_with("mlp_post"):
        raise SiteError(f"how many neurons the MLP of '{site}' has is not known in {architecture.name}")
    module = architecture.module(bare(model), Site("mlp_post", site.layer))
    out = _of_linear(_base(module), "weight")
    return out.shape[1]


class _Reader:
    """Reads the weights of one model."""

    def __init__(self, model: nn.Module, architecture: Architecture, adapters: bool) -> None:
        from .architectures import bare

        self.model = bare(model)
        self.architecture = architecture
        self.adapters = adapters

    def attention(self, letter: str, which: str, layer: int, head: int | None) -> Tensor:
        """`W_Q`, `W_K`, `W_V` `[head, d_model, d_head]`, `W_O` `[head, d_head, d_model]`, and their biases."""
        kind = _PARTS[which]
        if which == "O" and letter == "b":
            if head is not None:
                raise SiteError(f"b_O is one for all heads; write 'b_O.{layer}'")
            return self._linear(Site("z", layer), "bias")
        from .architectures import view

        site = self.architecture.check(Site(kind, layer, head))
        place = self.architecture.place(site)
        rows = self._linear(site, "weight" if letter == "W" else "bias")  # [out, in] or [out]
        if which == "O":
            found = rows.T.unflatten(0, (self.architecture.heads("z", layer), -1))
        else:
            found = view(rows.T if letter == "W" else rows, place).movedim(-2, 0)
            if letter == "W" and found.shape[1] != self.architecture.shape.d_model:
                raise SiteError(
                    f"'{site}' of {self.architecture.name} is projected from {found.shape[1]} numbers that another "
                    "projection gives, not from the residual stream: there is no one matrix of it"
                )
        return found if head is None else found[head]

    def pair(self, name: str, layer: int, head: int | None) -> Tensor:
        """`W_OV` or `W_QK` of a query head."""
        if head is None:
            raise SiteError(f"{name!r} is a matrix of one head; write '{name}.{layer}.0'")
        self.architecture.check(Site("z", layer, head))
        shared = head // (self.architecture.heads("z", layer) // self.architecture.heads("k", layer))
        if name == "W_OV":
            return self.attention("W", "V", layer, shared) @ self.attention("W", "O", layer, head)
        return self.attention("W", "Q", layer, head) @ self.attention("W", "K", layer, shared).T

    def mlp(self, letter: str, which: str, layer: int, neuron: int | None) -> Tensor:
        """`W_in`, `W_gate` `[d_model, d_mlp]`, `W_out` `[d_mlp, d_model]`, and their biases."""
        site = self.architecture.check(Site("mlp_post", layer))
        if neuron is not None:
            check_neuron(self.architecture, self.model, Site("mlp_post", layer, neuron=neuron))
        if which == "out":
            found = self._linear(site, "weight").T if letter == "W" else self._linear(site, "bias")
            if neuron is None:
                return found
            if letter == "b":
                raise SiteError(f"b_out is one for all neurons; write 'b_out.{layer}'")
            return found[neuron]
        found = self._into_mlp(layer, which, "weight" if letter == "W" else "bias")
        found = found.T if letter == "W" else found
        return found if neuron is None else found[..., neuron]

    def _into_mlp(self, layer: int, which: str, name: str) -> Tensor:
        """The rows `[d_mlp, d_model]` into the MLP or its gate: one projection, two, or two in one."""
        site = self.architecture.check(Site("mlp_pre", layer))
        path = self.architecture.path(site)
        parent, _, own = path.rpartition(".")
        size = neurons(self.architecture, self.model, site)
        rows = self._linear(site, name)
        other = dict(self.model.get_submodule(parent).named_children()).get("up_proj")
        if len(rows) == 2 * size:  # the gate first, as architectures.py reads it
            return rows[:size] if which == "gate" else rows[size:]
        if other is not None and own != "up_proj":
            return rows if which == "gate" else self._of_module(other, f"{parent}.up_proj", name)
        if which == "gate":
            raise SiteError(f"the MLPs of {self.architecture.name} have no gate; there is W_in and W_out")
        return rows

    def end(self, name: str) -> Tensor:
        """`W_E`, `W_pos` or `W_U`."""
        if name == "W_E":
            return self._of_module(self.model.get_input_embeddings(), name, "weight", embedding=True)  # type: ignore[operator]
        if name == "W_U":
            return self._of_module(self.model.get_output_embeddings(), name, "weight").T  # type: ignore[operator]
        for path, module in self.model.named_modules():
            if path.rpartition(".")[2] in ("wpe", "embed_positions") and hasattr(module, "weight"):
                return module.weight
        raise SiteError(f"{self.architecture.name} has no learned positions")

    def _linear(self, site: Site, name: str) -> Tensor:
        """A weight `[out, in]`, or a bias, of the projection at a site."""
        site = self.architecture.check(site)
        return self._of_module(self.architecture.module(self.model, site), self.architecture.path(site), name)

    def _of_module(self, module: Any, path: str, name: str, embedding: bool = False) -> Tensor:
        base = _base(module)
        found = getattr(base, name, None)
        if found is None:
            raise SiteError(f"there is no {name} at {path} of {self.architecture.name}")
        found = found if embedding else _of_linear(base, name)
        if name == "bias" or base is module:
            return found
        if not self.adapters and getattr(module, "merged", False):
            raise UsageError(f"an adapter was merged into {path}: what the weight was without it is not kept apart")
        return found + _added(module, path, found) if self.adapters else found


def _base(module: Any) -> Any:
    """The module itself, inside a LoRA layer where there is one."""
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module


def _of_linear(module: Any, name: str) -> Tensor:
    """A weight as `[out, in]`: GPT-2 keeps it the other way round."""
    found: Tensor = getattr(module, name)
    if name == "bias" or type(module).__name__ != "Conv1D":
        return found
    return found.T


def _added(module: Any, path: str, like: Tensor) -> Tensor:
    """What the active adapters of a LoRA layer add to its weight."""
    import torch

    total = torch.zeros_like(like)
    if getattr(module, "disable_adapters", False) or getattr(module, "merged", False):
        return total
    for name in module.active_adapters:
        if name not in getattr(module, "lora_A", {}):
            if name in getattr(module, "lora_embedding_A", {}):
                total = total + module.get_delta_weight(name).to(like).reshape(like.shape)
            continue
        if getattr(module, "use_dora", {}).get(name):
            raise UsageError(
                f"the adapter {name!r} at {path} is a DoRA, whose weight is not a sum; take adapters=False"
            )
        change = module.get_delta_weight(name).to(like)
        total = total + (change.T if type(_base(module)).__name__ == "Conv1D" else change)
    return total
