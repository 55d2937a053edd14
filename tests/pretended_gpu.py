"""A GPU for a machine that has none: its tensors hold their numbers on the CPU, say that they are on `cuda:1`, and
refuse to meet tensors of the CPU as those of a GPU do."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("cuda", 1)
"""Not the current device, which is the first."""
GIB = 2**30
FREE, RESERVED, ALLOCATED, PEAK = 8 * GIB, 2 * GIB, GIB, 3 * GIB
"""What the memory of each GPU is said to be."""
LIBRARY = Path(torch.__file__).parent / "lib" / "libc10.so"
_CUDA, _META = 1, 14
"""Places of two types of device in PyTorch's registry."""
_aten = torch.ops.aten
_INDEXING = (_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_, _aten._unsafe_index)


class Meeting(RuntimeError):
    """Tensors of the GPU and of the CPU in one operation, or a tensor that would be on another GPU."""


class OnGpu(Tensor):
    """A tensor that says it is on the GPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        made: Any = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=GPU
        )
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.held!r})"

    def tolist(self) -> Any:
        return self.held.tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Pretending(TorchDispatchMode):
    """Reaches what has no tensor to start from."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled():  # operations come whole there
            with self:
                found = func.decompose(*args, **(kwargs or {}))
            if found is not NotImplemented:
                return found
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    on_gpu = any(isinstance(each, OnGpu) for each in given)
    if kwargs.get("device") is not None:
        asked = torch.device(kwargs["device"])
        if asked.type == "cuda" and asked.index != GPU.index:
            raise Meeting(f"{func} puts a tensor on {asked}, and the model is on {GPU}")
        to_gpu, kwargs = asked.type == "cuda", {**kwargs, "device": torch.device("cpu"), "pin_memory": None}
        if all(argument.name != "pin_memory" for argument in func._schema.arguments):
            del kwargs["pin_memory"]
    else:
        to_gpu = isinstance(args[0], OnGpu) if func is _aten.copy_.default else on_gpu
    if on_gpu and func not in (_aten._to_copy.default, _aten.copy_.default):
        _check(func, args, given)
    found = func(*tree_map(held, args), **tree_map(held, kwargs))
    if not to_gpu:
        return found
    known = {id(each.held): each for each in given if isinstance(each, OnGpu)}

    def there_again(value: Any) -> Any:
        return known[id(value)] if id(value) in known else OnGpu(value) if isinstance(value, Tensor) else value

    return tree_map(there_again, found)


def _check(func: Any, args: Any, given: list[Tensor]) -> None:
    """A number without axes, and an index into a tensor of the GPU, may be on the CPU."""
    if func.overloadpacket in _INDEXING and isinstance(args[0], OnGpu):
        given = [each for each in (args[0], *args[2:]) if isinstance(each, Tensor)]
    if wrong := [tuple(each.shape) for each in given if each.ndim and not isinstance(each, OnGpu)]:
        raise Meeting(f"{func} meets tensors on the GPU with tensors {wrong} on the CPU")


def held(value: Any) -> Any:
    """The numbers of a tensor; anything else as it is."""
    return value.held if isinstance(value, OnGpu) else value


def moved(model: Any) -> Any:
    """The model with its weights and buffers on the GPU."""
    known: dict[int, Tensor] = {}

    def there(tensor: Tensor) -> Tensor:
        new: Tensor = OnGpu(tensor.detach())
        return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new

    for module in model.modules():
        for group in (module._parameters, module._buffers):
            for name, tensor in group.items():
                if tensor is not None:
                    group[name] = known.setdefault(id(tensor), there(tensor))
    return model


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """A machine with two GPUs; the kernels run on the CPU, gradients are zero."""
    from workbench.kernels import triton_stats

    current = [0]

    def exchange(device: int) -> int:
        before, current[0] = current[0], device if device >= 0 else current[0]
        return before

    def compute(problem: Any) -> Any:
        from workbench.kernels import cpu

        values = {field.name: getattr(problem, field.name) for field in fields(problem)}
        _check_all(values, current[0])
        with torch.no_grad():
            found, lse = cpu.compute(replace(problem, **{name: held(value) for name, value in values.items()}))
        return {name: OnGpu(value) for name, value in found.items()}, OnGpu(lse)

    said: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "_exchange_device": exchange,
        "_maybe_exchange_device": exchange,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 2,
        "current_device": lambda: current[0],
        "synchronize": lambda device=None: None,
        "get_device_name": lambda device=None: "pretended",
        "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
        "mem_get_info": lambda device=None: (FREE, 80 * GIB),
        "memory_reserved": lambda device=None: RESERVED,
        "memory_allocated": lambda device=None: ALLOCATED,
        "max_memory_allocated": lambda device=None: PEAK,
        "reset_peak_memory_stats": lambda device=None: None,
    }
    with ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(torch.cuda, **said))
        stack.enter_context(mock.patch.object(triton_stats, "compute", compute))
        # PyTorch's engine of gradients asks for streams, which only a GPU has
        zeros = lambda value, inputs, **_: [torch.zeros_like(each) for each in inputs]  # noqa: E731
        stack.enter_context(mock.patch.object(torch.autograd, "grad", zeros))
        stack.enter_context(_guard())
        stack.enter_context(_Pretending())
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(…, device=…)` comes through the mode
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        yield


def _check_all(values: dict[str, Any], current: int) -> None:
    wrong = [name for name, value in values.items() if isinstance(value, Tensor) and not isinstance(value, OnGpu)]
    if wrong or current != GPU.index:
        raise Meeting(f"kernels are launched on cuda:{current} with {wrong or 'nothing'} on the CPU")


@contextmanager
def _guard() -> Iterator[None]:
    """PyTorch without CUDA has no guard for its devices; the one of `meta` does nothing."""
    registry = (ctypes.c_void_p * (_META + 1)).in_dll(
        ctypes.CDLL(str(LIBRARY)), "_ZN3c104impl26device_guard_impl_registryE"
    )
    before, registry[_CUDA] = registry[_CUDA], registry[_META]
    try:
        yield
    finally:
        registry[_CUDA] = before
