# %% [markdown]
# # Where does every head look?
#
# **Question.** At any length: where does every head look? How much of its attention goes to the first tokens
# (*sinks*), to the last ones (*recent*), and to everything between (*far*)?
#
# **Method.** The attention of each query is summed up exactly while the model runs; the query × key matrix is
# never built, so the same code profiles a novel. Each headline is the mean over queries, layers and heads, with
# an interval over texts.

# %%
import os

import workbench as wb

PRESET = os.environ.get("WORKBENCH_PRESET", "quick")
session = wb.load("smollm2-135m-instruct")
run = wb.run("attention-profile", session, preset=PRESET, runs="../runs")
run.summary

# %% [markdown]
# ## What is seen

# %%
run.figures["grids"]

# %% [markdown]
# The mean hides specialists. These are the heads that look far away the most.

# %%
shares = run.data["heads"].to_dataset().sel(condition="text").mean("example")
columns = ["sink_mass", "recent_mass", "far_mass", "normalised_entropy"]
shares[columns].to_dataframe()[columns].sort_values("far_mass", ascending=False).head(8).round(2)

# %% [markdown]
# ## Against which control
#
# The same tokens in shuffled order keep the words and lose the text. Where the intervals are apart, it is the
# text that makes the difference.

# %%
run.headline

# %% [markdown]
# ## Along the text
#
# With a longer text there is more to look at, so shares shift with the position of the query. Grey is a head that
# attends evenly to all keys, whose shares are known in closed form.

# %%
run.figures["curves"]

# %% [markdown]
# ## A text of one's own
#
# Any text can be profiled without a run: the statistics of a layer are handed over while the model runs, and
# forgotten.

# %%
from workbench.figures import Axis, Figure, Line, Panel

text = "The letters lay unread on the table. Rain came and went; nobody called. " * 8
far = {}


def see(part):
    far[part.layer] = part.stats.far_mass.mean().item()


session.attention_statistics(text, see, recent=32)

Figure(
    name="own",
    title="Attention far away, by layer",
    panels=[Panel([Line(list(far), list(far.values()))], Axis("layer"), Axis("share of attention", limits=(0, 1)))],
    caption="Mean over heads and queries; far is all but the first 4 tokens and the last 32.",
    alt="A curve over layers: the share of attention that goes far away.",
)

# %% [markdown]
# ## How sure, and what it cannot say
#
# Intervals are over texts. Attention says where a head looks, not what it takes from there.

# %%
run.typed_record

# %% [markdown]
# ## Does the probe find what is there?
#
# The *organism* is a small model whose heads look where it was planted: evenly, at the sink, a fixed distance
# back. In its null all heads attend evenly, so that its entropy is the largest possible.

# %%
for organism in ("attention-profile", "attention-profile-null"):
    found = wb.run("attention-profile", f"organism/{organism}", preset=PRESET, runs="../runs", length=96, recent=16)
    print(f"{organism}: {found.summary[0]}")
