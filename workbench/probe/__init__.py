"""What a probe is made of: the contract it keeps and the registries it is found in."""

from .contract import Config, Outcome, Paper, Probe, Recipe, RunContext, Work
from .registry import PROBES, RECIPES

__all__ = ["Config", "Outcome", "Paper", "PROBES", "Probe", "RECIPES", "Recipe", "RunContext", "Work"]
