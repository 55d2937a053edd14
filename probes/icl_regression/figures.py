"""The pictures of in-context regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.figures import Axis, Bars, Figure, Line, Panel, ReferenceLine, Scatter

from . import encoding_figures
from .comparison import LEARNER, NONE
from .curve_marks import PREFIX, band, dimensions_line, kind_of

if TYPE_CHECKING:
    import xarray as xr

FLOOR = 1e-6
"""Squared differences below it are drawn at it, on logarithmic axes."""
SHOWN = 5
"""Predictors drawn beside the learner, those that come nearest: with it there is a colour for each."""


def draw(data: xr.DataTree) -> list[Figure]:
    """All pictures, the most telling first."""
    return [
        _errors(data),
        _distances(data),
        _phases(data),
        _depths(data),
        _sweep(data),
        _implied(data),
        encoding_figures.encodings(data),
        encoding_figures.attention(data),
        encoding_figures.exchange(data),
        _labels(data),
        _shifts(data),
    ]


def _near(data: xr.DataTree) -> list[str]:
    """The predictors whose mean distance from the learner is least, nearest first, with `ols` always."""
    apart = data["curves"].to_dataset()["spd"].isel(prefix=slice(1, None)).mean("prefix")
    order = [str(apart["predictor"].values[place]) for place in np.argsort(apart.values) if place]
    return list(dict.fromkeys([*order[: SHOWN - 1], "ols"]))


def _errors(data: xr.DataTree) -> Figure:
    curves = data["curves"].to_dataset()
    x = curves["prefix"].values
    marks = [band(curves.sel(predictor=LEARNER), "error", LEARNER, x)]
    marks += [band(curves.sel(predictor=name), "error", name, x, secondary=name == "zero") for name in _near(data)]
    return Figure(
        name="errors",
        title="Error of the learner and of the algorithms nearest to it",
        panels=[Panel([*marks, dimensions_line(data)], Axis(PREFIX), Axis("squared error / d"))],
        caption="Mean over test prompts with 95 % bands; the line is where there are as many pairs as dimensions.",
        alt="Curves of squared error over the number of pairs, of the learner and of known algorithms.",
    )


def _distances(data: xr.DataTree) -> Figure:
    curves, implied = data["curves"].to_dataset(), data["implied"].to_dataset()
    near = _near(data)
    spd = [
        band(
            curves.sel(predictor=name).isel(prefix=slice(1, None)),
            "spd",
            name,
            curves["prefix"].values[1:],
            floor=FLOOR,
        )
        for name in near
    ]
    ilwd = [
        band(implied.sel(predictor=name), "ilwd", name, implied["prefix"].values, floor=FLOOR)
        for name in near
        if name in implied["predictor"].values
    ]
    line = dimensions_line(data)
    return Figure(
        name="distances",
        title="How far the learner is from each algorithm",
        panels=[
            Panel([*spd, line], Axis(PREFIX), Axis("SPD / d", log=True), "predictions"),
            Panel([*ilwd, line], Axis(PREFIX), Axis("ILWD / d", log=True), "implied weights"),
        ],
        caption=f"Means with 95 % bands; differences below {FLOOR:g} are drawn there.",
        alt="Curves of squared differences in predictions and in implied weights, on logarithmic axes.",
        columns=2,
    )


def _phases(data: xr.DataTree) -> Figure:
    nearest = data["nearest"].to_dataset()
    x = nearest["prefix"].values
    marks: list[Scatter | ReferenceLine] = []
    for name in sorted({str(each) for each in nearest["nearest"].values}):
        here = nearest["nearest"].values == name
        one = nearest.isel(prefix=np.flatnonzero(here))
        margin, low, high = (one[f"margin{end}"].values.tolist() for end in ("", "_low", "_high"))
        second = [f"second: {each}" for each in one["runner_up"].values]
        label = "nothing nearer than 0" if name == NONE else name
        marks.append(Scatter(x[here].tolist(), margin, label, low, high, names=second))
    marks.append(ReferenceLine(0.0, "y"))
    return Figure(
        name="nearest",
        title="The nearest algorithm after each prefix, and its margin",
        panels=[Panel([*marks, dimensions_line(data)], Axis(PREFIX), Axis("SPD / d of the second minus the first"))],
        caption="Chosen on validation prompts, measured on test prompts; where an interval holds 0, the two are not "
        "told apart.",
        alt="Points of the margin of the nearest algorithm for each number of pairs, coloured by algorithm.",
    )


def _depths(data: xr.DataTree) -> Figure:
    found = data["others"].to_dataset()
    learners = [str(each) for each in found["learner"].values]
    marks: list[Scatter | ReferenceLine] = []
    kinds = np.vectorize(kind_of)(found["nearest"].values)
    for label in sorted(set(kinds.ravel().tolist())):
        rows, columns = np.nonzero(kinds == label)
        told = [
            f"{found['nearest'].values[row, column]}, SPD / d {found['spd'].values[row, column]:.2g}, "
            f"margin {found['margin'].values[row, column]:.2g}"
            for row, column in zip(rows, columns, strict=True)
        ]
        marks.append(Scatter(found["prefix"].values[columns].tolist(), rows.tolist(), label, names=told))
    places = list(range(len(learners)))
    rows_axis = Axis("", places, learners, limits=(-0.5, len(learners) - 0.5))
    return Figure(
        name="phases",
        title="The kind of algorithm that is nearest to each learner",
        panels=[
            Panel(
                [*marks, dimensions_line(data)],
                Axis(PREFIX),
                rows_axis,
            )
        ],
        caption="One point a learner and prefix; each holds the algorithm's name, its distance and its margin. Other "
        "learners of the task ship.",
        alt="A strip for each learner: the algorithm nearest to it after each number of pairs.",
    )


def _sweep(data: xr.DataTree) -> Figure:
    sweep = data["sweep"].to_dataset()
    ridge = band(sweep, "ridge_spd", "ridge", sweep["penalty"].values, floor=FLOOR)
    step = band(sweep, "gd_spd", "one step", sweep["rate"].values, floor=FLOOR)
    marks: list[Line | ReferenceLine] = [ridge, ReferenceLine(float(sweep["fitted_penalty"]), "x", "nearest")]
    if (bayes := float(sweep["bayes_penalty"])) > 0:
        marks.append(ReferenceLine(bayes, "x", "Bayes"))
    return Figure(
        name="sweep",
        title="Which λ, and which step size, comes nearest",
        panels=[
            Panel(marks, Axis("λ", log=True), Axis("SPD / d", log=True), "ridge"),
            Panel(
                [step, ReferenceLine(float(sweep["fitted_rate"]), "x", "nearest")],
                Axis("α", log=True),
                Axis("SPD / d", log=True),
                "one gradient step",
            ),
        ],
        caption="Mean over test prompts and over all prefixes from one pair on, with 95 % bands."
        + ("" if bayes > 0 else " Without noise the Bayes λ is 0: least squares."),
        alt="Curves of the learner's distance from ridges over λ, and from gradient steps over their size.",
        columns=2,
    )


def _implied(data: xr.DataTree) -> Figure:
    implied = data["implied"].to_dataset()
    x = implied["prefix"].values
    panels = [
        Panel(
            [band(implied, "linearity", "linear share", x), dimensions_line(data)],
            Axis(PREFIX),
            Axis("share"),
            "how linear",
        )
    ]
    if implied.sizes["feature"] > 1:
        marks: list[Line | ReferenceLine] = []
        for name, label in (("path_ols_weights", "least squares"), ("path_weights", LEARNER)):
            path = np.concatenate([np.zeros((1, 2)), implied[name].values[:, :2]])
            marks.append(Line(path[:, 0].tolist(), path[:, 1].tolist(), label, secondary=name != "path_weights"))
        true = implied["path_true"].values
        marks += [ReferenceLine(float(true[0]), "x", "true"), ReferenceLine(float(true[1]), "y")]
        panels.append(Panel(marks, Axis("first weight"), Axis("second weight"), "the path of one prompt's weights"))
    return Figure(
        name="implied",
        title="The learner's implied weights",
        panels=panels,
        caption="Left: share of its answers to fresh queries that linear weights explain. Right: the first two implied "
        "weights of one prompt as pairs are added, from 0; the lines cross at the true ones.",
        alt="Linearity over the number of pairs, and the path of two implied weights beside that of least squares.",
        columns=2,
    )


def _labels(data: xr.DataTree) -> Figure:
    found = data["labels"].to_dataset()
    x = found["pair"].values
    names = [str(each) for each in found["predictor"].values]
    marks = [
        Line(
            x.tolist(),
            found["one_prompt"].sel(predictor=name).values.tolist(),
            name,
            secondary=name not in (LEARNER, "ols"),
        )
        for name in names
    ]
    known = found["known"].values
    cosine, low, high = (found[f"cosine{end}"].values.tolist() for end in ("", "_low", "_high"))
    places = list(range(len(known)))
    return Figure(
        name="labels",
        title="How the last prediction depends on each label",
        panels=[
            Panel(marks, Axis("pair"), Axis("∂ŷ/∂y"), "one prompt"),
            Panel(
                [Bars(places, cosine, "cosine", low, high, names=[str(each) for each in known])],
                Axis("", places, [str(each) for each in known]),
                Axis("cosine with the learner", limits=(-1.05, 1.05)),
                "all prompts",
            ),
        ],
        caption="Of least squares the sensitivities are a row of its hat matrix.",
        alt="Sensitivity of the last prediction to each label, of the learner and of known algorithms; their cosines.",
        columns=2,
    )


def _shifts(data: xr.DataTree) -> Figure:
    found = data["shifts"].to_dataset()
    x = found["prefix"].values
    panels = []
    for shift in found["shift"].values:
        here = found.sel(shift=shift)
        marks = [
            band(here.sel(predictor=name).isel(prefix=slice(1, None)), "spd", str(name), x[1:], floor=FLOOR)
            for name in found["predictor"].values
        ]
        panels.append(
            Panel(
                [*marks, dimensions_line(data)], Axis(PREFIX), Axis("SPD / d", log=True), str(shift).replace("_", " ")
            )
        )
    return Figure(
        name="shifts",
        title="The same distances where inputs are not those of training",
        panels=panels,
        caption="Means over test prompts with 95 % bands; an orthogonal query exists below d pairs only.",
        alt="Curves of the learner's distance from three algorithms under shifts of the inputs or queries.",
        columns=3,
    )
