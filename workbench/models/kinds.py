"""Names of kinds of model that are this project's own."""

from __future__ import annotations

CONTINUOUS = "workbench-continuous"
"""The `model_type` of a model of numbers, `continuous.ContinuousModel`."""
