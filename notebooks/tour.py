# %% [markdown]
# # A tour: where does the answer come from?
#
# A fact stands in the context. The model is asked for it and answers. Which part of the model fetched it, and how
# sure can one be? This notebook looks at one example, then lets a probe turn the impression into a number with an
# interval and a control. Everything runs on a small real model, SmolLM2-135M-Instruct with 4-bit weights, on a
# CPU.

# %%
import os

import workbench as wb

PRESET = os.environ.get("WORKBENCH_PRESET", "quick")  # smoke: seconds, quick: minutes, full: a paper's sizes
session = wb.load("smollm2-135m-instruct")
session

# %% [markdown]
# ## One question
#
# The key is mentioned once; other sentences lie between it and the question.

# %%
prompt = (
    "Maria keeps the spare key under the blue teapot. The garden was quiet, and the letters lay unread on the table "
    "for a week. Rain came and went; nobody called. Question: where does Maria keep the spare key? Answer: under the"
)


def answer(edits=()):
    return session.text(session.generate(prompt, 4, edits).rows()[0])


answer()

# %% [markdown]
# ## Where one head looks
#
# A *site* is an address in the model: `pattern.18.6` holds the attention weights of head 6 in layer 18. Only the
# last position is asked for, because the answer is written there.

# %%
seen = session.capture(prompt, ["pattern.18.6", "resid_post.18"], positions=[-1])
seen

# %%
from workbench.figures import Axis, Figure, Line, Panel, Tokens

words = session.text_tokens(session.tokens(prompt).ids[0])
weights = seen["pattern.18.6"][0, 0]

Figure(
    name="look",
    title=f"Head 18.6 gives {weights.max():.0%} of its attention to one token",
    panels=[Panel([Tokens(words, weights.tolist(), "attention", limits=(0, 1))], Axis("token"), Axis(""))],
    caption="Attention of head 18.6 at the last token of the prompt, over all tokens before it.",
    alt="The prompt as words, shaded by the attention of head 18.6; one word stands out: blue.",
)

# %% [markdown]
# It looks at *blue*, the word that comes next. Looking is not needing, so heads are taken out.
#
# ## Taking heads out
#
# Seven heads that copy (how they were found is the subject of the notebook `head-roles`) are set to zero. The
# control: as many other heads of the same layers.

# %%
copying = ["17.3", "17.4", "18.6", "18.7", "23.1", "23.2", "23.7"]
others = ["17.1", "17.8", "18.1", "18.3", "23.3", "23.5", "23.8"]


def without(heads):
    return [wb.edits.set(f"z.{head}", 0.0) for head in heads]


{
    "all heads": answer(),
    "without the copying heads": answer(without(copying)),
    "without others": answer(without(others)),
}

# %% [markdown]
# ## In which layer the answer appears
#
# The residual stream after each block is read as if it were the last (the *logit lens*): the final norm and the
# unembedding turn it into a probability of the word that the context asks for.

# %%
import torch

blue = session.tokens(" blue").ids[0, -1]
layers = range(session.shape.layers)


def lens(edits=()):
    streams = session.capture(prompt, [f"resid_post.{layer}" for layer in layers], [-1], edits=edits)
    with torch.no_grad():
        stacked = torch.stack([streams[f"resid_post.{layer}"][0, 0] for layer in layers])
        return session.model.lm_head(session.model.model.norm(stacked)).softmax(-1)[:, blue].tolist()


Figure(
    name="lens",
    title="Without the copying heads the right word never becomes likely",
    panels=[
        Panel(
            [
                Line(layers, lens(), "all heads"),
                Line(layers, lens(without(copying)), "without the copying heads"),
                Line(layers, lens(without(others)), "without others", secondary=True),
            ],
            Axis("layer"),
            Axis("probability of “blue”", log=True),
        )
    ],
    caption="Probability of the right word when the residual stream after a block is read as the last one.",
    alt="Curves over layers: the probability rises late, with all heads and without others, but not without these.",
)

# %% [markdown]
# ## From one example to a claim
#
# One prompt proves little: the heads were chosen because they work here. The probe `head-roles` ranks heads on
# one set of facts, takes them out on another, and compares with random heads of the same layers.

# %%
run = wb.run("head-roles", session, preset=PRESET, runs="../runs")
run.summary

# %% [markdown]
# Every number has an interval, its n and something that it is read against.

# %%
run.headline

# %%
run.figures["ablation"]

# %% [markdown]
# ## How far to trust it
#
# The record says what was checked during the run, and what the method cannot say.

# %%
for check in run.typed_record.checks:
    print("passed" if check.passed else "failed", "–", check.name)
print("", *run.typed_record.limits, sep="\n")

# %%
run.data["ablation"]["recall"].mean("example").to_series().round(2).head(8)

# %% [markdown]
# ## Handing it on
#
# A report is one file that opens offline, with the command that runs it again. `workbench serve` shows every run
# in a browser; `wb.open` brings one back.

# %%
run.report("../reports/tour.html").name

# %%
from workbench.reports.commands import rerun_command

print(rerun_command(run.record))

# %% [markdown]
# Further: the notebooks `head-roles` and `attention-profile` each take one probe apart; `workbench probes` lists
# what can be asked and every setting.
