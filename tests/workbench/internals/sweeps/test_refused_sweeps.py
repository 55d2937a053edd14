"""What a sweep refuses, told before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

import workbench as wb
from tests.conftest import tiny
from workbench.errors import SiteError, UsageError
from workbench.internals import edits

if TYPE_CHECKING:
    from workbench.internals.session import Session

CLEAN, CORRUPTED = [5, 17, 3, 44, 9, 58, 23], [5, 17, 30, 44, 9, 57, 23]
PAIRS = [CLEAN, [6, 7, 8, 9, 10, 11, 12]], [CORRUPTED, [6, 7, 18, 9, 10, 11, 13]]
DIFFERENCE = wb.metrics.logit_difference(7, 9)


@pytest.fixture(scope="module")
def session() -> Session:
    return wb.load(tiny("llama", torch.float64))


REFUSED: dict[str, tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = {
    "no second run": (UsageError, "give corrupted", (CLEAN, None, wb.grids.patch(), DIFFERENCE), {}),
    "no pairs": (UsageError, "2 clean prompts and 1 corrupted", (PAIRS[0], CLEAN, wb.grids.patch(), DIFFERENCE), {}),
    "other lengths": (
        UsageError, "7, 8 tokens, so their positions cannot be aligned",
        (CLEAN, [1, *CLEAN], wb.grids.patch(), DIFFERENCE), {},
    ),
    "other lengths at once": (
        UsageError, "cannot be aligned", (CLEAN, [1, *CLEAN], wb.grids.patch("z", each=False), DIFFERENCE), {},
    ),
    "a layer": (
        UsageError, "layers 3: .* has layers 0 to 2", (CLEAN, CORRUPTED, wb.grids.patch("z", [3]), DIFFERENCE), {},
    ),
    "a head": (
        UsageError, "heads 4: .* has heads 0 to 3",
        (CLEAN, CORRUPTED, wb.grids.patch("z", heads=[4]), DIFFERENCE), {},
    ),
    "a head to ablate": (UsageError, "heads 9", (CLEAN, None, wb.grids.ablate(heads=[9]), DIFFERENCE), {}),
    "a set": (SiteError, "no head 7", (CLEAN, None, wb.grids.ablate(sets=[[(0, 7)]]), DIFFERENCE), {}),
    "a position": (
        UsageError, "position 9 is outside prompt 0, which has 7 tokens",
        (CLEAN, CORRUPTED, wb.grids.patch(positions=[9]), DIFFERENCE), {},
    ),
    "a place": (
        UsageError, "'subject' has 3 positions, and there are 1 prompts",
        (CLEAN, CORRUPTED, wb.grids.patch(positions={"subject": [1, 2, 3]}), DIFFERENCE), {},
    ),
    "by row": (
        UsageError, "names of places", (CLEAN, CORRUPTED, wb.grids.patch(positions=[[1], [2]]), DIFFERENCE), {},
    ),
    "no grid": (UsageError, "a grid is made by", (CLEAN, CORRUPTED, "resid_pre", DIFFERENCE), {}),
    "no metric": (UsageError, "a metric is", (CLEAN, CORRUPTED, wb.grids.patch(), "logit"), {}),
    "a metric's shape": (
        UsageError, r"returned \(\)", (CLEAN, CORRUPTED, wb.grids.patch(), lambda logits: logits.sum()), {},
    ),
    "one token": (
        UsageError, "the same token", (CLEAN, CORRUPTED, wb.grids.patch(), wb.metrics.logit_difference(4, 4)), {},
    ),
    "answers": (
        UsageError, "2 answers for 1 prompts",
        (CLEAN, CORRUPTED, wb.grids.patch(), wb.metrics.logit_difference([4, 5], 6)), {},
    ),
    "a direction": (UsageError, "into is", (CLEAN, CORRUPTED, wb.grids.patch(), DIFFERENCE), {"into": "both"}),
    "a method": (UsageError, "method is", (CLEAN, CORRUPTED, wb.grids.patch(), DIFFERENCE), {"method": "fast"}),
    "a size": (UsageError, "memory: ", (CLEAN, CORRUPTED, wb.grids.patch(), DIFFERENCE), {"memory": "much"}),
    "an estimate of a mask": (
        UsageError, "a gradient tells",
        (CLEAN, None, wb.grids.edits({"a": edits.knock_out([-1], [1])}), DIFFERENCE), {"method": "gradient"},
    ),
    "a mask's positions": (
        UsageError, "count from the prompt's end",
        (CLEAN, None, wb.grids.edits({"a": edits.knock_out([-1], [1])}), wb.metrics.log_probability([1, 2])), {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_words(session: Session, case: str) -> None:
    kind, said, given, options = REFUSED[case]
    with pytest.raises(kind, match=said):
        session.sweep(*given, **options)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: wb.grids.patch("pattern"), "not 'pattern'"),
        (lambda: wb.grids.patch(["z", "z"]), "once"),
        (lambda: wb.grids.patch("resid_pre", heads="all"), "has heads"),
        (lambda: wb.grids.patch("z", neurons="all"), "has neurons"),
        (lambda: wb.grids.patch("z", heads="all", neurons="all"), "leave one"),
        (lambda: wb.grids.ablate([1], sets=[[(0, 1)]]), "leave layers and heads out"),
        (lambda: wb.grids.ablate(value="median"), "not 'median'"),
        (lambda: wb.grids.ablate(sets=[[]]), "at least one"),
        (lambda: wb.grids.edits({}), "by name"),
        (lambda: wb.grids.edits({"a": edits.add("resid_pre.0", torch.zeros(24, requires_grad=True))}), "gradient"),
    ],
)
def test_grids_that_cannot_be(make: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()
