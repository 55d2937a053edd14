"""Probes: one folder each, with the same words in each; they load when they are first asked for."""

from workbench.probe.registry import PROBES, RECIPES

PROBES.register_lazy("head-roles", "workbench.probes.head_roles.probe:HeadRoles")
RECIPES.register_lazy("head-roles-organism", "workbench.probes.head_roles.organism:RECIPE")
PROBES.register_lazy("context-knob", "workbench.probes.context_knob.probe:ContextKnob")
PROBES.register_lazy("attention-profile", "workbench.probes.attention_profile.probe:AttentionProfile")
RECIPES.register_lazy("attention-profile-organism", "workbench.probes.attention_profile.organism:RECIPE")
PROBES.register_lazy("layer-contrast", "workbench.probes.layer_contrast.probe:LayerContrast")
RECIPES.register_lazy("layer-contrast-organism", "workbench.probes.layer_contrast.organism:RECIPE")
RECIPES.register_lazy("context-knob-organism", "workbench.probes.context_knob.organism:RECIPE")
RECIPES.register_lazy("context-knob-adapter", "workbench.probes.context_knob.learning.adapter:RECIPE")
RECIPES.register_lazy("context-knob-direction", "workbench.probes.context_knob.learning.direction:RECIPE")
RECIPES.register_lazy("icl-regression-organism", "workbench.probes.icl_regression.organism:RECIPE")
RECIPES.register_lazy("icl-learner", "workbench.probes.icl_regression.learner:RECIPE")
PROBES.register_lazy("icl-regression", "workbench.probes.icl_regression.probe:IclRegression")
