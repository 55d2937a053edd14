"""Heads are found in a projection's output by their values, wherever they lie, and nothing else is taken for them."""

from __future__ import annotations

import pytest
import torch

from workbench.internals.fused_projections import Columns, find

TOKENS, HEADS, SIZE, WIDTH = 19, 3, 4, 50


def passing(seed: int = 0) -> torch.Tensor:
    return torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", ["runs", "steps", "anywhere"])
@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_heads_are_found_where_they_lie(layout: str, factor: float) -> None:
    starts = {"runs": [5, 9, 13], "steps": [2, 14, 26]}.get(layout)
    if starts is None:
        index = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(3))[: HEADS * SIZE].reshape(HEADS, SIZE)
    else:
        index = torch.tensor(starts)[:, None] + torch.arange(SIZE)
    whole = passing()
    found = find(factor * whole[:, index].permute(1, 0, 2), whole, factor=factor != 1)
    assert found is not None and torch.equal(found.index, index)
    assert (found.even is None) is (layout == "anywhere")
    batch = whole.expand(2, -1, -1).clone()
    read = found.read(batch)
    assert torch.equal(read, batch[..., index])
    found.write(batch, torch.zeros_like(read))
    assert not batch[..., index].any() and int((batch == 0).sum()) == 2 * TOKENS * HEADS * SIZE


def test_what_is_not_there_is_not_found() -> None:
    whole = passing()
    heads = passing(1)[:, : HEADS * SIZE].reshape(TOKENS, HEADS, SIZE).transpose(0, 1)
    assert find(heads, whole) is None and find(heads, whole, factor=True) is None
    repeated = whole[:, :SIZE].expand(HEADS, -1, -1)
    assert find(repeated, whole) is None  # heads that share columns could not be edited one by one


def test_one_column_off_is_not_a_head() -> None:
    whole = passing()
    heads = whole[:, torch.arange(HEADS * SIZE).reshape(HEADS, SIZE)].permute(1, 0, 2).clone()
    heads[1, 7, 2] += 0.01
    assert find(heads, whole) is None


def test_heads_that_fill_the_axis() -> None:
    columns = Columns.of_heads(2, 6)
    assert columns.even == (0, 3) and columns.read(torch.arange(6.0)).tolist() == [[0, 1, 2], [3, 4, 5]]
