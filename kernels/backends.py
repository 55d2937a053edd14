"""Which implementation serves a call."""

from typing import Literal

import torch
from torch import Tensor

Backend = Literal["auto", "reference", "cpu", "triton"]


def choose_backend(backend: Backend, *tensors: Tensor | None) -> Literal["reference", "cpu", "triton"]:
    """The backend for these tensors, or an error that says why it cannot serve them."""
    given = [tensor for tensor in tensors if tensor is not None]
    device, dtype = given[0].device, given[0].dtype
    if backend == "auto":
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f'no kernels for {device}; move the tensors to cpu or cuda, or take backend="reference"')
        backend = "triton" if device.type == "cuda" else "cpu"
    if backend == "reference":
        return backend
    if backend not in ("cpu", "triton"):
        raise ValueError(f'backend is "{backend}"; allowed are auto, reference, cpu, triton')
    if backend == "cpu" and device.type != "cpu":
        raise ValueError(f'backend "cpu" needs tensors on the CPU, these are on {device}; take "auto"')
    if dtype == torch.float64:
        raise ValueError(f'backend "{backend}" computes in float32; cast the float64 tensors, or take "reference"')
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given):
        raise RuntimeError(f'backend "{backend}" has no gradient; call it under torch.no_grad(), or take "reference"')
    return backend
