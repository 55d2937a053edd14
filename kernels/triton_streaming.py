"""Streaming attention on a GPU."""

import torch
from torch import Tensor

from .problem import Problem
from .triton_launch import FAR_AWAY, check_can_run
from .triton_stats import attend


def stream(problem: Problem, sink: Tensor, recent: Tensor) -> Tensor:
    """The output `[batch, head, query, d]`; sink and recent are `[kv_head]`."""
    check_can_run(problem)
    sink_end = (problem.sink_start[:, None] + sink - problem.key_start).clamp(-FAR_AWAY, FAR_AWAY)
    window = recent.clamp(max=FAR_AWAY)
    return attend(problem, sink_end.to(torch.int32).contiguous(), window.to(torch.int32).contiguous(), True)[0]
