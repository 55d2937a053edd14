# %% [markdown]
# # How much of a published gain is the scoring rule?
#
# **Question.** Many decoding methods subtract one distribution from another: the model minus a lower layer, minus an
# amateur, minus itself without the context. What do they change in the answer, and how much of what they seem to
# gain comes from the way answers are scored?
#
# **Method.** All of them are one contrast here. Each is scored twice on the same logits: with log-softmax over its
# scores, so that answers are compared by probabilities, and without, as some released code does.

# %%
import os

import numpy as np

import workbench as wb
from workbench.probes.layer_contrast.metrics.choices import choice

PRESET = os.environ.get("WORKBENCH_PRESET", "quick")
session = wb.load("smollm2-135m-instruct")
run = wb.run("layer-contrast", session, preset=PRESET, runs="../runs")
run.summary

# %% [markdown]
# ## A gain out of nothing
#
# MC2 is the share of probability that true answers have among all that are given. An answer's score is a sum over
# its tokens. Add the same number to *every* token's score, for every word of the vocabulary: the distribution after
# a softmax is what it was, and no answer that a model could write has changed. Sums of raw scores do change, by that
# number times the answer's length, so that longer answers rise or fall together.

# %%
true, false = [-12.0, -13.5], [-9.0, -8.5]
tokens_true, tokens_false = [9, 10], [4, 4]
for shift in (0.0, 0.25, 0.5, 1.0):
    raised = choice(np.add(true, shift * np.array(tokens_true)), np.add(false, shift * np.array(tokens_false)))
    print(f"{shift:.2f} more a token: MC2 without softmax {raised.mc2:.3f}, with softmax {choice(true, false).mc2:.3f}")

# %% [markdown]
# A contrast of two distributions is such a sum of raw scores: log p − log p′ has no reason to sum to one.
#
# ## What is seen
#
# Each method with log-softmax over its scores and without. Where the two are apart, the difference is made by the
# rule, and not by the method.

# %%
run.figures["scoring"]

# %%
run.figures["choices"]

# %% [markdown]
# ## Against which control
#
# The same model and scoring without any contrast. Parameters were chosen on other questions.

# %%
run.headline

# %% [markdown]
# ## Does the context win?
#
# Context-aware decoding contrasts the model with itself without the context. It ought to raise exact match where
# context and model conflict, and to cost nothing where they agree.

# %%
run.figures["context"]

# %% [markdown]
# ## What is damaged
#
# How far each method takes the model from itself on text that has nothing to do with the questions.

# %%
run.figures["damage"]

# %% [markdown]
# ## How sure, and what it cannot say
#
# Intervals are over questions. A higher number is a preference among given answers, not a true sentence.

# %%
run.typed_record

# %% [markdown]
# ## Does the probe find what is there?
#
# In the *organism* block 3 writes a wrong answer over the right one on half of the questions. In its null it writes
# nothing.

# %%
for organism in ("layer-contrast", "layer-contrast-null"):
    found = wb.run("layer-contrast", f"organism/{organism}", preset=PRESET, runs="../runs")
    print(f"{organism}: {found.summary[0]}")
