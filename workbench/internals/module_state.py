"""What decides a model's output beside its weights and its configuration: the tree of modules as it stands now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def compiled(model: nn.Module) -> list[str]:
    """The places at which `torch.compile` stands in the tree."""
    return [
        path or type(module).__name__
        for path, module in model.named_modules()
        if vars(module).get("_compiled_call_impl") is not None
        or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
    ]
