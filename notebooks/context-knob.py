# %% [markdown]
# # From the context or from memory: can one number decide?
#
# **Question.** The context says "The capital of France is Oslo." Does the model answer from it, or from what it
# learnt, and does a single direction in the residual stream decide?
#
# **Method.** A direction after one block was learnt on other subjects (*Controllable Context Sensitivity*,
# [2411.07404](https://arxiv.org/abs/2411.07404)). The knob sets the component along it at the last token, and at
# every generated one, to a value for *prior* or for *context*. The prompt says nothing about which is wanted.

# %%
import os

import numpy as np

import workbench as wb
from workbench.probes.context_knob.knob.knob import load

PRESET = os.environ.get("WORKBENCH_PRESET", "quick")
session = wb.load("smollm2-135m-instruct")
knob = load("context-knob")
knob

# %% [markdown]
# ## One prompt
#
# In JupyterLab this is a slider with the answer beside it; the buttons set the values for prior and context.

# %%
from workbench.probes.context_knob.knob.slider import show
from workbench.probes.context_knob.task.prompting import Prompter
from workbench.texts.facts import make_item, read_facts, split_of

prompter = Prompter(session)
rng = np.random.default_rng(0)
facts = [fact for fact in read_facts("facts").facts if split_of(fact.subject) == "test"]
france = next(fact for fact in read_facts("facts").facts if fact.query == "The capital of France is")
item = make_item(france, "sentence", rng)
show(knob, session, prompter.ask(item, True, intent="none"), max_new_tokens=4)

# %% [markdown]
# ## Many prompts
#
# One prompt proves little. The probe draws facts whose subjects played no part in learning the direction, keeps those
# that the model knows without a context, and asks each twice. A pair is right if the answer is the prior's at one
# value *and* the context's at the other. Two arms: the model with the adapter that learnt to follow an instruction,
# and the model as it came, which is steered with the same direction.

# %%
run = wb.run("context-knob", session, preset=PRESET, runs="../runs")
run.summary

# %% [markdown]
# Each number stands beside its control: the same prompts without the adapter, or random directions after the same
# block, moved as far.

# %%
run.headline

# %%
run.figures["conditions"]

# %%
run.figures["curves"]

# %%
run.figures["values"]

# %% [markdown]
# What was said, item by item.

# %%
run.figures["answers"]

# %% [markdown]
# ## How sure, and what it cannot say
#
# A direction that steers is enough to change the answer; that the model itself decides along it is not shown by
# steering alone. The preset `full` takes more facts, learns the direction anew, searches the blocks and compares
# sixteen ways to ask.

# %%
print(*run.typed_record.limits, sep="\n")
