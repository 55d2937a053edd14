"""Probes: one folder each, with the same words in each; they load when they are first asked for."""

from workbench.probe.registry import PROBES, RECIPES

PROBES.promise("head-roles", "workbench.probes.head_roles.probe:HeadRoles")
RECIPES.promise("head-roles-organism", "workbench.probes.head_roles.organism:RECIPE")
PROBES.promise("context-knob", "workbench.probes.context_knob.probe:ContextKnob")
PROBES.promise("attention-profile", "workbench.probes.attention_profile.probe:AttentionProfile")
RECIPES.promise("attention-profile-organism", "workbench.probes.attention_profile.organism:RECIPE")
RECIPES.promise("context-knob-organism", "workbench.probes.context_knob.organism:RECIPE")
RECIPES.promise("context-knob-adapter", "workbench.probes.context_knob.learning.adapter:RECIPE")
RECIPES.promise("context-knob-direction", "workbench.probes.context_knob.learning.direction:RECIPE")
