"""Which answers agree with the context, with and without a conflict, under each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench.errors import UsageError
from workbench.records.results import variable

from .config import LayerContrastConfig
from .method import methods as made
from .method.methods import MASKED, Method
from .metrics.answers import exact_match, f1, first_line
from .metrics.copying import novel, repetition
from .sources import RANDOM, Sources
from .task.conflicts import Conflict, agreeing, conflicting
from .task.questions import Writer

if TYPE_CHECKING:
    import xarray as xr

Said = Callable[[Sequence[Conflict], Method, str], list[list[int]]]
KINDS = ("conflict", "agreement")


def dataset(
    picked: Mapping[str, Sequence[Conflict]],
    priors: Mapping[str, Sequence[str]],
    said: Said,
    own: Sources,
    writer: Writer,
    config: LayerContrastConfig,
) -> xr.Dataset:
    """Choose α on the validation split, and score every method on the test split.

    A question conflicts where the model answers otherwise without the context; it agrees once the context's answer is
    replaced by the model's own. Raises `UsageError` where no test question conflicts.
    """
    import xarray as xr

    sets: dict[tuple[str, str], list[Conflict]] = {}
    for split, items in picked.items():
        pairs = list(zip(items, priors[split], strict=True))
        sets[split, "conflict"] = [item for item, prior in pairs if conflicting(item, prior)]
        sets[split, "agreement"] = [found for item, prior in pairs if (found := agreeing(item, prior)) is not None]
    if not sets["test", "conflict"]:
        raise UsageError(
            "no question with a context conflicts with what the model says without it; give other conflicts"
        )
    tuned = sets["validation", "conflict"]
    curve = [_matched(said(tuned, made.cad(alpha), f"α {alpha:g}"), tuned, writer) for alpha in config.alphas if tuned]
    alpha = config.alphas[int(np.argmax([each.mean() for each in curve]))] if tuned else config.alphas[-1]
    methods = [made.plain(), made.cad(alpha), made.adacad(), made.ck_plug(None)]
    methods += [made.cad(other) for other in config.alphas if other != alpha]
    methods += [made.decore()] if MASKED in own.streams else []
    methods += [made.decore("decore_random", RANDOM)] if RANDOM in own.streams else []
    asked = [(kind, item) for kind in KINDS for item in sets["test", kind]]
    shape = (len(methods), len(asked))
    numbers = {name: np.full(shape, np.nan) for name in ("em", "f1", "novel", "repetition")}
    texts = np.empty(shape, dtype=object)
    for row, method in enumerate(methods):
        ids = said([item for _, item in asked], method, f"{method.name} {method.setting}".strip())
        for column, ((_, item), tokens) in enumerate(zip(asked, ids, strict=True)):
            text = writer.text(tokens)
            texts[row, column] = first_line(text)
            numbers["em"][row, column] = exact_match(text, [item.gold])
            numbers["f1"][row, column] = f1(text, [item.gold])
            numbers["novel"][row, column] = novel(text, item.told)
            numbers["repetition"][row, column] = repetition(tokens)
    meaning = {
        "em": "1 if the first line of the answer is the context's, after normalising",
        "f1": "F1 of the words of the first line and of the context's answer",
        "novel": "share of pairs of words that the prompt does not have",
        "repetition": "share of pairs of tokens that came before in the answer",
    }
    dims = ("condition", "example")
    return xr.Dataset(
        {
            **{name: variable(dims, numbers[name], "1", text) for name, text in meaning.items()},
            "said": variable(dims, texts.astype(str), "", "the first line of the answer"),
        },
        coords={
            "condition": ("condition", [_label(method, alpha) for method in methods], {"description": "the method"}),
            "method": ("condition", [method.name for method in methods], {"description": "its name"}),
            "strength": (
                "condition",
                [-method.terms[1].weight if method.name == "cad" else np.nan for method in methods],
                {"description": "α of context-aware decoding"},
            ),
            "example": np.arange(len(asked)),
            "kind": ("example", [kind for kind, _ in asked], {"description": "whether the context conflicts"}),
            "question": ("example", [item.name for _, item in asked], {"description": "the question"}),
            "gold": ("example", [item.gold for _, item in asked], {"description": "the context's answer"}),
        },
        attrs={
            "alpha": float(alpha),
            "validation": [float(each.mean()) for each in curve],
            "asked": len(picked["test"]),
            "same": len(picked["test"]) - len(sets["test", "conflict"]),
            "unchanged": len(picked["test"]) - len(sets["test", "agreement"]),
        },
    )


def _label(method: Method, alpha: float) -> str:
    return method.name if method.name != "cad" or -method.terms[1].weight == alpha else f"cad {method.setting}"


def _matched(ids: Sequence[Sequence[int]], items: Sequence[Conflict], writer: Writer) -> np.ndarray:
    return np.array([exact_match(writer.text(each), [item.gold]) for each, item in zip(ids, items, strict=True)])
