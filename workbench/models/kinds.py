"""Names of kinds of model that are this project's own."""

from __future__ import annotations

CONTINUOUS = "workbench-continuous"
"""The `model_type` of a model of numbers, `continuous.ContinuousModel`."""
LINEAR_ATTENTION = "workbench-linear-attention"
"""The `model_type` of blocks of attention without a softmax, `linear_attention.LinearAttentionForCausalLM`."""
