# %% [markdown]
# # Which heads fetch a fact from far away?
#
# **Question.** Which attention heads retrieve from far away, and does the model need them to answer?
#
# **Method.** A sentence with an answer of four words (a *needle*) is hidden in a long text, and the model is led
# through the answer. A head's *retrieval score* is the share of answer tokens for which its strongest key is the
# needle's token that comes next (Wu et al. 2024, [2404.15574](https://arxiv.org/abs/2404.15574)). Heads are
# ranked on some needles and taken out on others.

# %%
import os

import workbench as wb

PRESET = os.environ.get("WORKBENCH_PRESET", "quick")
session = wb.load("smollm2-135m-instruct")
run = wb.run("head-roles", session, preset=PRESET, runs="../runs")
run.summary

# %% [markdown]
# ## What is seen
#
# Few heads copy, and they sit in the later layers. Outlined heads pass on both sets of needles.

# %%
run.figures["grid"]

# %%
run.figures["sorted"]

# %% [markdown]
# The highest scores, from the arrays of the run. `copy_chance` is what the same head reaches when the answer's
# tokens are in a wrong order.

# %%
heads = run.data["heads"].to_dataset()
columns = ["copy_score", "copy_low", "copy_high", "copy_chance", "named"]
heads[columns].to_dataframe().sort_values("copy_score", ascending=False)[columns].head(10).round(2)

# %% [markdown]
# ## Is it needed?
#
# A score says where a head looks. Whether the model needs it shows only when it is taken out: its output is
# replaced, at every position, by its mean over other texts. The control takes as many random heads from the same
# layers.

# %%
run.figures["ablation"]

# %%
run.headline["needle_recall_lost_to_top"]

# %% [markdown]
# ## Is it more than induction?
#
# A head that continues any repeated sequence would copy a needle too. The same heads are scored on repeated
# random tokens, near and far.

# %%
run.figures["induction"]

# %% [markdown]
# ## How sure
#
# Intervals are over needles. The preset `quick` uses few of them, so its intervals are wide; `full` has 120
# needles up to 4,096 tokens. What failed a check or could not be verified is said here.

# %%
run.typed_record

# %% [markdown]
# ## Does the probe find what is there?
#
# An *organism* is a small model with a planted mechanism: heads 2.1 and 3.2 copy from far away. In its null the
# path that they need is cut. The probe must name exactly these two, and none in the null.

# %%
for organism in ("head-roles", "head-roles-null"):
    found = wb.run("head-roles", f"organism/{organism}", preset=PRESET, runs="../runs")
    print(f"{organism}: {found.summary[0]}")
