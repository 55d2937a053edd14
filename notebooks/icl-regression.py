# %% [markdown]
# # Which learning algorithm runs inside?
#
# **Question.** A prompt holds pairs (x, y) of a linear function that no weights of the model know. A small
# transformer continues it. Which learning algorithm has it learnt to run, and where are that algorithm's quantities?
#
# **Method.** The model's predictions are compared with those of known algorithms on the same prompts; probes look
# for $X^\top y$ and for the weights of least squares in the stream; what they read is exchanged between two prompts.

# %%
import os

import workbench as wb

PRESET = os.environ.get("WORKBENCH_PRESET", "quick")
session = wb.load("organism/icl-depth4")
run = wb.run("icl-regression", session, preset=PRESET, runs="../runs")
run.summary

# %% [markdown]
# ## The error, beside the algorithms that come nearest
#
# With fewer pairs than dimensions many weights fit, and algorithms differ in which they take: that is where one can
# tell them apart. The line is where there are as many pairs as dimensions.

# %%
run.figures["errors"]

# %%
run.figures["distances"]

# %% [markdown]
# ## The nearest algorithm, with its margin
#
# A name alone says little: the margin tells how much farther the second is, and the distance itself whether the
# nearest is near at all.

# %%
run.figures["nearest"]

# %%
run.data["phases"].to_dataset()[["nearest", "spd", "runner_up", "margin", "margin_low"]].to_dataframe().round(4)

# %% [markdown]
# ## Where the quantities can be read
#
# A probe that reads well from the raw inputs, or from a model that was trained without any need for them, says
# nothing of the learner. So each grid has its controls beside it.

# %%
run.figures["encodings"]

# %% [markdown]
# ## Whether they are used
#
# The stream at the pairs' tokens is given another prompt's part along the probe's subspace. If the prediction comes
# from there, it follows; random subspaces of the same rank and change are the control.

# %%
run.figures["exchange"]

# %%
run.headline

# %% [markdown]
# ## What was planted is found, and nothing in the null
#
# The weights of the first are written down, not trained: exactly three gradient steps. The second is the same with
# the path from the labels cut, and says 0 always.

# %%
for organism in ("icl-regression", "icl-regression-null"):
    found = wb.run("icl-regression", f"organism/{organism}", preset="smoke", runs="../runs")
    print(organism, "→", found.summary[0])

# %% [markdown]
# ## By hand
#
# A prompt is rows of numbers, and the reference predictors are functions of it.

# %%
import numpy as np

from workbench.figures import Axis, Figure, Line, Panel
from workbench.probes.icl_regression.predictors import gradient_descent, ols, ridge
from workbench.probes.icl_regression.prompts import sample, tokens

prompt = sample(1, 12, 4, np.random.default_rng(0))
said = session.logits(tokens(prompt.x, prompt.y))[0, 0::2, 0]
lines = [Line(list(range(12)), said.tolist(), "learner"), Line(list(range(12)), prompt.y[0].tolist(), "true labels")]
for predictor in (ols(), ridge(0.5), gradient_descent(0.02)):
    values = predictor.predict(prompt.x, prompt.y)[0]
    lines.append(Line(list(range(12)), values.tolist(), predictor.name, secondary=True))
Figure(
    "one_prompt",
    "One prompt: what each says of the next label",
    [Panel(lines, Axis("pairs before the query"), Axis("prediction"))],
    "One prompt of twelve pairs in four dimensions.",
    "Curves of predictions over the number of pairs.",
)
