"""The pictures of layer contrast."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Bars, Figure, Heatmap, Line, Panel, ReferenceLine, Scatter
from workbench.figures.text import escape_whitespace
from workbench.formatting import percent
from workbench.probe.statistics import bootstrap_share, wilson

if TYPE_CHECKING:
    import xarray as xr

METRICS = ("mc1", "mc2", "mc3")


def draw(data: xr.DataTree) -> list[Figure]:
    """All pictures, the most telling first."""
    found = [_choices(data), _scoring(data), _context(data), _early_exit(data), divergences(data, 0), _damage(data)]
    adaptive = _alpha(data)
    return found if adaptive is None else [*found, adaptive]


def _choices(data: xr.DataTree) -> Figure:
    scored = data["choices"].to_dataset()
    names = [str(name) for name in scored["condition"].values]
    x = list(range(len(names)))
    panels = []
    for metric in METRICS:
        values = scored["mc"].sel(scoring="softmax", metric=metric)
        intervals = [bootstrap_share(values.sel(condition=name).values, np.random.default_rng(0)) for name in names]
        mean, low, high = (list(each) for each in zip(*intervals, strict=True))
        panels.append(
            Panel(
                [Scatter(x, mean, metric.upper(), low, high, names=names), ReferenceLine(mean[0], "y", "the model")],
                Axis("method", x, names),
                Axis(metric.upper(), limits=(-0.02, 1.02)),
            )
        )
    return Figure(
        name="choices",
        title="Multiple choice under each contrast, scores normalised",
        panels=panels,
        caption=(
            f"Means over {scored.sizes['example']} test questions with 95 % intervals; parameters were chosen on other "
            "questions. The line is the model without any contrast."
        ),
        alt="Points with intervals of MC1, MC2 and MC3 for every method, with a line at the model's own value.",
    )


def _scoring(data: xr.DataTree) -> Figure:
    scored = data["choices"].to_dataset()
    names = [str(name) for name in scored["condition"].values]
    x = list(range(len(names)))
    mc2 = scored["mc"].sel(metric="mc2").mean("example")
    halved = scored["mc2_halved"].mean("example")
    marks = [
        Scatter(x, mc2.sel(scoring="softmax").values.tolist(), "normalised", names=names),
        Scatter(x, mc2.sel(scoring="unnormalised").values.tolist(), "as they are", names=names),
        Scatter(
            x, halved.sel(scoring="unnormalised").values.tolist(), "as they are, halved", names=names, secondary=True
        ),
    ]
    return Figure(
        name="scoring",
        title="How much of MC2 is the scoring rule",
        panels=[Panel(marks, Axis("method", x, names), Axis("MC2", limits=(-0.02, 1.02)))],
        caption=(
            "MC2 of the same answers with log-softmax over each method's scores, with the scores as they are, and with "
            "the latter halved until their exponentials do not underflow, as in released code."
        ),
        alt="Three points a method: MC2 with normalised scores, with raw scores, and with raw scores halved.",
    )


def _context(data: xr.DataTree) -> Figure:
    answered = data["conflicts"].to_dataset()
    kind = answered["kind"].values
    names = [str(name) for name in answered["condition"].values]
    both = []
    for which in ("agreement", "conflict"):
        n = int((kind == which).sum())
        em = [answered["em"].sel(condition=name).values[kind == which] for name in names]
        both.append([wilson(float(each.mean()), n) if n else wilson(0.0, 1) for each in em])
    agree, conflict = both
    points = Scatter(
        [each.value for each in agree],
        [each.value for each in conflict],
        "methods",
        [each.low for each in conflict],
        [each.high for each in conflict],
        names=names,
    )
    cad = [place for place, method in enumerate(answered["method"].values) if method in ("base", "cad")]
    strength = np.nan_to_num(answered["strength"].values, nan=0.0)
    order = sorted(cad, key=lambda place: strength[place])
    curve = [
        Line(
            [float(strength[place]) for place in order], [float(each[place].value) for place in order], label,
            [float(each[place].low) for place in order], [float(each[place].high) for place in order],
        )
        for each, label in ((conflict, "conflict"), (agree, "agreement"))
    ]  # fmt: skip
    return Figure(
        name="context",
        title="Where contrast with the absent context helps, and where it harms",
        panels=[
            Panel(
                [points],
                Axis("exact match where the context agrees", limits=(-0.02, 1.02)),
                Axis("exact match where it conflicts", limits=(-0.02, 1.02)),
            ),
            Panel(
                [*curve, ReferenceLine(math.log(2), "x", "ln 2, above which AdaCAD cannot go")],
                Axis("α of context-aware decoding"),
                Axis("exact match with the context", limits=(-0.02, 1.02)),
            ),
        ],
        caption=(
            f"{int((kind == 'conflict').sum())} test questions whose context contradicts the model, and "
            f"{int((kind == 'agreement').sum())} whose context says what the model says without it. The context's "
            "answer is the right one in both. 95 % Wilson intervals."
        ),
        alt="Exact match with conflict against exact match without, one point a method, and both over α.",
        columns=2,
    )


def _early_exit(data: xr.DataTree) -> Figure:
    layers = data["layers"].to_dataset()
    lead = layers["lead"].values
    whole = np.isfinite(lead).all(1)
    lead = lead[whole]
    lost = (lead[:, :-1] > 0).any(1) & (lead[:, -1] <= 0) if len(lead) else np.zeros(0, bool)
    x = layers["layer"].values.tolist()
    marks: list[Line | ReferenceLine] = []
    for rows, label, secondary in ((~lost, "others", True), (lost, "overwritten", False)):
        if rows.any():
            marks.append(Line(x, lead[rows].mean(0).tolist(), f"{label}, {int(rows.sum())}", secondary=secondary))
    marks.append(ReferenceLine(0.0, "y", "no lead"))
    block = int(data.attrs["block"])
    if block >= 0:
        marks.append(ReferenceLine(block, "x", f"block {block}"))
    share = percent(float(lost.mean())) if len(lead) else "none"
    return Figure(
        name="early_exit",
        title=f"True answers that lead at a lower layer and are lost at the last: {share}",
        panels=[Panel(marks, Axis("layer", dim="layer"), Axis("lead of the true answer (nats)"))],
        caption=(
            "Log-probability of the best answer's first token minus that of the best false one, after every block "
            f"through the final norm; {len(lead)} test questions whose answers begin differently."
        ),
        alt="Lead of the true answer over layers, for questions in which it is lost and for the others.",
    )


def divergences(data: xr.DataTree, question: int) -> Figure:
    """Divergences of lower layers from the last one, at each token of one question's best answer."""
    layers = data["layers"].to_dataset()
    words = [str(word) for word in layers["word"].values[question] if word]
    several = layers["candidate"].values.tolist()
    panels = []
    for name, label in (("js", "Jensen–Shannon (nats)"), ("released", "as released (nats, over the vocabulary)")):
        values = layers[name].values[question][:, : len(words)]
        chosen = [(float(several[row]), float(column)) for column, row in enumerate(values.argmax(0))]
        x = list(range(len(words)))
        panels.append(
            Panel(
                [Heatmap(values, x, [float(index) for index in several], label, outlined=chosen)],
                Axis("token of the answer", x, [escape_whitespace(word) for word in words]),
                Axis("hidden state"),
                title=label,
            )
        )
    return Figure(
        name="divergence",
        title="How far lower layers are from the last one",
        panels=panels,
        caption=(
            "Before each token of the best answer of one test question; the layer that DoLa would take, among all even "
            "ones, is outlined."
        ),
        alt="Two grids of hidden states and tokens, coloured by divergence from the last layer.",
        columns=2,
    )


def _damage(data: xr.DataTree) -> Figure:
    hurt = data["damage"].to_dataset()
    names = [str(name) for name in hurt["condition"].values if name != "base"]
    x = list(range(len(names)))
    mean = [float(hurt["kl"].sel(condition=name).mean()) for name in names]
    return Figure(
        name="damage",
        title="What each contrast does to unrelated text",
        panels=[Panel([Bars(x, mean, "KL", names=names)], Axis("method", x, names), Axis("KL from the model (nats)"))],
        caption=f"Mean over the tokens of {hurt.sizes['example']} texts; SLED leaves most tokens one low logit.",
        alt="Bars of the KL divergence of the model from each method on unrelated text.",
    )


def _alpha(data: xr.DataTree) -> Figure | None:
    scored = data["choices"].to_dataset()
    histograms = json.loads(scored.attrs["alpha"])
    names = [str(name) for name in scored["condition"].values]
    panels = []
    for name, (counts, edges) in zip(names, histograms, strict=True):
        if name.startswith("decore") and len(counts):
            middle = [(low + high) / 2 for low, high in pairwise(edges)]
            bound = ReferenceLine(math.log(2), "x", "ln 2, AdaCAD's bound")
            panels.append(Panel([Bars(middle, counts, name), bound], Axis("α (nats)"), Axis("tokens"), title=name))
    if not panels:
        return None
    return Figure(
        name="alpha",
        title="DeCoRe's α is the entropy, without a bound",
        panels=panels,
        caption="α at every token of the test questions' answers.",
        alt="Histograms of α over tokens, with a line at the natural logarithm of 2.",
        columns=2,
    )
