"""Arithmetic items: an expression, and a context that gives a part of it another value (2411.07404, set d2ub9).

Expressions have one or two operations from +, −, *, / and ** on digits, the first in parentheses where there are two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from workbench.texts.facts import Fact

OPERATIONS = ("+", "-", "*", "/", "**")
BOUND = 9
"""Results are whole numbers from 0 to this."""
_PART = re.compile(r"\*\*|[-+*/()]|\d+")


def value(expression: str) -> Fraction | None:
    """The exact value of an expression, None where it has none: a division by zero, or a power that is no small number.

    Read from left to right with the usual precedence; `**` binds first and to the right.
    """
    return _Reader(_PART.findall(expression)).whole()


def arithmetic_facts(count: int, rng: np.random.Generator) -> list[Fact]:
    """Up to `count` expressions whose value is 0 to 9, each with one changed part, without repeats."""
    found: dict[str, Fact] = {}
    for expression in _shuffled(rng):
        if len(found) >= count:
            break
        if (made := _changed(expression, rng)) is not None:
            found.setdefault(expression, made)
    return list(found.values())


def _shuffled(rng: np.random.Generator) -> Iterator[str]:
    singles = [f"{a} {op} {b}" for a in range(10) for op in OPERATIONS for b in range(10)]
    doubles = [f"({single}) {op} {c}" for single in singles for op in OPERATIONS for c in range(10)]
    small = [each for each in singles if _answer(each) is not None]
    large = [each for each in doubles if _answer(each) is not None]
    # as many of one operation as of two while there are any, as a model may know only the short ones
    one, two = ([str(each) for each in rng.permutation(group)] for group in (small, large))
    for place, expression in enumerate(two):
        if place < len(one):
            yield one[place]
        yield expression


def _answer(expression: str) -> str | None:
    found = value(expression)
    if found is None or found.denominator != 1 or not 0 <= found <= BOUND:
        return None
    return str(found.numerator)


def _changed(expression: str, rng: np.random.Generator) -> Fact | None:
    """The expression with a part of it given another value, such that its own value is another one."""
    answer = _answer(expression)
    parts = [expression, *re.findall(r"\(.*\)", expression), *re.findall(r"\d", expression)]
    part = parts[int(rng.integers(len(parts)))]
    for given in rng.permutation(10):
        if value(part) == int(given):
            continue
        other = _answer(expression.replace(part, str(given)))
        if answer is not None and other is not None and other != answer:
            query, stated = f"{expression} =", f"{part} = {given}"
            return Fact("arithmetic", expression, query, answer, (other,), stated=stated, task="arithmetic")
    return None


class _Reader:
    """Reads an expression by recursive descent."""

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = list(parts)

    def whole(self) -> Fraction | None:
        try:
            return self._sum()
        except (ZeroDivisionError, OverflowError):
            return None

    def _next(self) -> str:
        return self._parts[0] if self._parts else ""

    def _sum(self) -> Fraction:
        total = self._product()
        while self._next() in ("+", "-"):
            sign = 1 if self._parts.pop(0) == "+" else -1
            total += sign * self._product()
        return total

    def _product(self) -> Fraction:
        total = self._power()
        while self._next() in ("*", "/"):
            times = self._parts.pop(0) == "*"
            right = self._power()
            total = total * right if times else total / right
        return total

    def _power(self) -> Fraction:
        base = self._single()
        if self._next() != "**":
            return base
        self._parts.pop(0)
        exponent = self._power()
        if exponent.denominator != 1 or abs(exponent) > 99:
            raise OverflowError
        return base ** int(exponent)

    def _single(self) -> Fraction:
        part = self._parts.pop(0)
        if part != "(":
            return Fraction(int(part))
        inner = self._sum()
        self._parts.pop(0)
        return inner
