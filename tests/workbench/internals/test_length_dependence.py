"""Models in which what is said of a token depends on the length of the text: right, or refused in words."""

from __future__ import annotations

import copy

import pytest
import torch

import workbench as wb
from tests.conftest import TINY, build
from workbench.errors import UsageError

BORDER = 16
IDS = torch.randint(3, 60, (24,), generator=torch.Generator().manual_seed(9)).tolist()
SIZES = {**TINY["llama"][1], "head_dim": 8}
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0, 4.0, 8.0, 16.0],
    "original_max_position_embeddings": BORDER,
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 3.0, "original_max_position_embeddings": BORDER}


def model(rope: dict) -> torch.nn.Module:
    made = {"rope_parameters": rope, "original_max_position_embeddings": BORDER, "max_position_embeddings": BORDER}
    if rope is LONGROPE:
        return build("Phi3", {**TINY["phi3"][1], "sliding_window": None, **made})
    return build("Llama", {**SIZES, "max_position_embeddings": BORDER, "rope_parameters": rope})


@pytest.fixture(params=[LONGROPE, DYNAMIC], ids=["longrope", "dynamic"])
def opened(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, wb.Session]:
    made = model(request.param)
    return copy.deepcopy(made), wb.load(made)


def greedy(plain: torch.nn.Module, ids: list[int], count: int) -> list[int]:
    text = list(ids)
    with torch.no_grad():
        for _ in range(count):
            text.append(int(copy.deepcopy(plain)(torch.tensor([text]), use_cache=False).logits[0, -1].argmax()))
    return text[len(ids) :]


def test_generation_across_the_border_is_that_of_whole_passes(opened: tuple) -> None:
    plain, session = opened
    for count in (10, 13, 20):
        assert session.generate(IDS[:count], 6, stop=()).rows()[0] == greedy(plain, IDS[:count], 6)


def test_a_text_gives_the_same_before_and_after_a_longer_one(opened: tuple) -> None:
    _, session = opened
    before = session.logits(IDS[:20])
    session.generate(IDS, 4, stop=())
    assert torch.equal(session.logits(IDS[:20]), before)


def test_rows_and_pieces_that_would_share_frequencies_are_refused(opened: tuple) -> None:
    plain, session = opened
    rows = [IDS, IDS[:13]]
    for call in (
        lambda: session.logits(rows),
        lambda: session.generate(rows, 3, stop=()),
        lambda: session.attention_statistics(IDS, chunk=7),
    ):
        with pytest.raises(UsageError, match="beyond 16 tokens the frequencies of its rotation depend"):
            call()
    with pytest.raises(UsageError, match="edits cannot be made while this model generates: beyond 16"):
        session.generate(IDS, 3, edits=[wb.edits.set("z.0", 0.0)], stop=())
    del plain


def test_what_stays_within_is_served(opened: tuple) -> None:
    plain, session = opened
    rows = [IDS[:9], IDS[3:8]]
    assert session.generate(rows, 3, stop=()).rows() == [greedy(plain, row, 3) for row in rows]
    whole, pieces = (session.attention_statistics(IDS[:15], chunk=chunk) for chunk in (None, 4))
    for layer, stats in whole.items():
        torch.testing.assert_close(pieces[layer].entropy, stats.entropy, rtol=1e-4, atol=1e-4)
