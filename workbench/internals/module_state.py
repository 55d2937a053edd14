"""What decides a model's output beside its weights and its configuration: the tree of modules as it stands now.

Modules can be replaced, adapters switched, hooks added, numbers and functions on a module set anew. None of it is in a
state dict, a copy of the tree does not follow it, and a record has to name it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..models.fingerprint import config_fingerprint
from .architectures import unwrapped

if TYPE_CHECKING:
    from torch import Tensor, nn

_DECIDING = frozenset(("_active_adapter", "_disable_adapters", "_compiled_call_impl"))
"""Names with an underscore that decide what is computed; the others are the libraries' notes to themselves."""
_ASIDE = frozenset(
    ("training", "name_or_path", "gradient_checkpointing", "loss_type", "warnings_issued", "hf_device_map")
)
"""Attributes that say where a model came from or how it is trained, not what it computes."""
_LIBRARIES = ("torch", "transformers", "accelerate", "peft", "workbench", "transformer_lens", "nnsight")
"""Packages whose own hooks and forwards belong to the model as it is loaded."""
_CACHED = ("max_seq_len_cached", "long_inv_freq", "_inv_freq")
"""Ends of the names of what rotations keep from the last text."""
_SIMPLE = frozenset((int, float, bool, str, type(None)))
_NESTED = frozenset((list, tuple, dict, set, frozenset))
_HOOKS = {
    "forward": "_forward_hooks",
    "forward pre": "_forward_pre_hooks",
    "backward": "_backward_hooks",
    "backward pre": "_backward_pre_hooks",
}
_COARSE = 8
"""Bits of a float32 left out of a buffer's hash: machines round the same sine and power differently."""


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Every module of a model once; several times faster than torch's own walk, as it is made at every call."""
    found: dict[int, nn.Module] = {}
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if id(module) not in found:
            found[id(module)] = module
            waiting.extend(child for child in reversed(vars(module)["_modules"].values()) if child is not None)
    return list(found.values())


class Snapshot:
    """The tree of a model's modules at one moment, to be compared with a later one."""

    def __init__(self, model: nn.Module) -> None:
        self.held: list[Any] = []
        """Keeps alive what is told apart by its address, so that no address is used twice."""
        key: list[Any] = []
        same, seen = self.held.append, set()
        for module in modules_of(model):
            own, kind = vars(module), type(module)
            seen.add(kind)
            same(module)
            for tensor in own["_parameters"].values():
                if tensor is not None:
                    same(tensor)
                    key.append(tensor.dtype)
            if own["_buffers"]:
                for _, tensor in _lasting(module):
                    same(tensor)
            for name, value in own.items():
                if name in _ASIDE or (name[0] == "_" and name not in _DECIDING) or name.endswith(_CACHED):
                    continue
                if type(value) in _SIMPLE:
                    key.append(value)
                elif type(value) in _NESTED and (told := _plain(value)) is not None:
                    key.append((name, told))
                else:
                    same(value)
            for name in _HOOKS.values():
                if own[name]:
                    self.held.extend(hook for _, hook in _hooks(module))
                    break
        self.held.extend(kind.forward for kind in sorted(seen, key=id))
        self.held.extend(hook for _, hook in _global_hooks())
        config = config_fingerprint(unwrapped(model).config.to_dict())  # type: ignore[operator, union-attr]
        self.key = (config, tuple(map(id, self.held)), tuple(key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and self.key == other.key

    __hash__ = None  # type: ignore[assignment]


def digest(model: nn.Module, unlike_any: bool = False) -> str:
    """sha256 over what decides a model's output beside its weights and its configuration.

    Covered are the types of the modules, numbers and words on them, functions by name, and buffers that are not
    stored with the weights, to 16 bits of their fractions. Where there is code of the user's own, which no record can
    hold, or with `unlike_any`, the digest is another one at every call. Other versions of the libraries
    may give another one.
    """
    sums = hashlib.sha256()
    for path, module in unwrapped(model).named_modules():
        kind = type(module)
        sums.update(f"\n{path}\0{kind.__module__}.{kind.__qualname__}".encode())
        for name, value in sorted(_attributes(vars(module))):
            told = in_words(value) if callable(value) else _plain(value)
            if told is not None:
                sums.update(f"\0{name}={told}".encode())
        for name, tensor in _unstored(module):
            sums.update(f"\0{name}:{tuple(tensor.shape)}:{tensor.dtype}\0".encode())
            sums.update(_coarse(tensor))
    if unlike_any or users_own(model):
        sums.update(secrets.token_bytes(16))
    return sums.hexdigest()


def users_own(model: nn.Module) -> list[str]:
    """Code of the user's own that takes part in the model's forward, each as a phrase that names it and its place."""
    found = [f"a hook on every module ({in_words(hook)})" for _, hook in _global_hooks() if not _of_library(hook)]
    replaced: dict[type, str] = {}
    for path, module in model.named_modules():
        place = path or type(module).__name__
        for kind, hook in _hooks(module):
            if not _of_library(hook):
                found.append(f"a {kind} hook on {place} ({in_words(hook)})")
        if (own := vars(module).get("forward")) is not None and not _of_library(own):
            found.append(f"a forward of its own on {place} ({in_words(own)})")
        forward = type(module).forward
        homes = {each.__module__ for each in type(module).__mro__}
        if _unwrapped(forward).__module__ not in homes and not _of_library(forward):
            replaced[type(module)] = in_words(forward)
    found += [f"another forward in the class {kind.__name__} ({name})" for kind, name in replaced.items()]
    return found


def compiled(model: nn.Module) -> list[str]:
    """The places at which `torch.compile` stands in the tree."""
    if not any(map(_compiled, modules_of(model))):
        return []
    return [path or type(module).__name__ for path, module in model.named_modules() if _compiled(module)]


def _compiled(module: nn.Module) -> bool:
    own = vars(module)
    return own.get("_compiled_call_impl") is not None or hasattr(own.get("forward"), "_torchdynamo_orig_callable")


def _attributes(own: dict[str, Any]) -> list[tuple[str, Any]]:
    """What was set on a module by name, given its `vars`: no tensors and modules that torch keeps by itself."""
    return [
        item
        for item in list(own.items())
        if (item[0][0] != "_" or item[0] in _DECIDING) and item[0] not in _ASIDE and not item[0].endswith(_CACHED)
    ]


def _hooks(module: nn.Module) -> Iterator[tuple[str, Callable[..., Any]]]:
    """What hangs on a module's forward and backward pass, without what hangs there while the workbench reads."""
    for kind, name in _HOOKS.items():
        hooks = vars(module).get(name)
        if hooks:
            yield from ((kind, hook) for hook in list(hooks.values()) if not _home(hook).startswith("workbench."))


def _global_hooks() -> Iterator[tuple[str, Callable[..., Any]]]:
    from torch.nn.modules import module as every

    for hooks in (every._global_forward_hooks, every._global_forward_pre_hooks):
        yield from (("every", hook) for hook in list(hooks.values()))


def _lasting(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """A module's buffers, and tensors set on it, but for rotary frequencies that follow the length of each text."""
    import torch

    own = vars(module)
    told = own.get("rope_type")
    rotations = told.values() if isinstance(told, dict) else [told]
    following = any("dynamic" in str(each) or each == "longrope" for each in rotations)
    for name, value in (*own["_buffers"].items(), *own.items()):
        kept = following and name.endswith(("inv_freq", "max_seq_len_cached")) and "original" not in name
        if isinstance(value, torch.Tensor) and not kept:
            yield name, value


def _unstored(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module that its state dict does not hold."""
    stored = vars(module)["_buffers"].keys() - module._non_persistent_buffers_set
    return ((name, tensor) for name, tensor in _lasting(module) if name not in stored)


def _coarse(tensor: Tensor) -> bytes:
    """The bytes of a tensor in which two machines agree."""
    import torch

    value = tensor.detach()
    if value.is_meta:
        return b"meta"
    value = value.cpu().contiguous()
    if value.is_floating_point():
        value = (value.float().view(torch.int32) + (1 << (_COARSE - 1))) >> _COARSE
    return value.reshape(-1).view(torch.uint8).numpy().tobytes()


def _plain(value: Any) -> str | None:
    """Numbers, words and what is made of them as text; None for anything else."""
    import torch

    if value is None or isinstance(value, (bool, int, float, str, torch.dtype)):
        return repr(value)
    if isinstance(value, Mapping):
        parts = [(str(key), _plain(each)) for key, each in value.items()]
        return None if any(told is None for _, told in parts) else repr(sorted(parts))
    if isinstance(value, (list, tuple, set, frozenset)):
        told = [_plain(each) for each in value]
        if any(each is None for each in told):
            return None
        return repr(sorted(told) if isinstance(value, (set, frozenset)) else told)  # type: ignore[type-var]
    return None


def _unwrapped(function: Any) -> Any:
    """The function behind a bound method or a partial."""
    while (inner := getattr(function, "func", None) or getattr(function, "__func__", None)) is not None:
        function = inner
    return function


def _home(function: Any) -> str:
    """The module in which a function was written, with a dot at its end."""
    function = _unwrapped(function)
    told = getattr(function, "__module__", None) or type(function).__module__
    return f"{told}."


def in_words(function: Any) -> str:
    """A function by its name and the module it was written in."""
    inner = _unwrapped(function)
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{name} of {_home(function)[:-1]}"


def comes_from(function: Any, packages: Iterable[str]) -> bool:
    """Whether a function, or the object whose method it is, was written in one of these packages.

    A wrapper may call itself what it wraps, so the file of its code is looked at too.
    """
    inner = _unwrapped(function)
    if _home(inner).partition(".")[0] not in packages:
        return False
    code = getattr(inner, "__code__", None)
    return code is None or code.co_filename.startswith(tuple(_folders({*packages, "torch"})))


def _folders(packages: Iterable[str]) -> Iterator[str]:
    """Where the code of packages lies, with a separator at the end."""
    for package in packages:
        for folder in getattr(sys.modules.get(package), "__path__", ()):
            yield folder + os.sep


def _of_library(function: Any) -> bool:
    return comes_from(function, _LIBRARIES)
