"""attention_stats on the CPU against the float64 reference."""

import torch
from hypothesis import given, settings

from tests.kernels.attention_cases import ROWS, Case, assert_agree, cases


@given(cases())
@settings(max_examples=80, deadline=None)
def test_cpu_agrees_with_reference(case: Case) -> None:
    assert_agree(case.run("cpu"), case.run("reference"), case)


@given(cases(max_length=200, dtypes=(torch.float16, torch.bfloat16)))
@settings(max_examples=40, deadline=None)
def test_cpu_half_precision(case: Case) -> None:
    assert_agree(case.run("cpu"), case.run("reference"), case)


@given(cases())
@settings(max_examples=40, deadline=None)
def test_given_lse_gives_the_same_statistics(case: Case) -> None:
    case.options["stats"] = ROWS
    whole = case.run("reference")
    wanted = case.run("reference", stats=ROWS[1:])
    found = case.run("cpu", lse=whole.lse)
    assert found.lse is None
    assert_agree(found, wanted, case)
