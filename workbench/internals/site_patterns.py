"""Many sites in one address: `resid_post.*`, `z.10-20.*`, `z.*.3`, `q.1,3,5.0-2`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from ..errors import SiteError
from .sites import ENDS, KINDS, MLP_KINDS, Site, SiteLike

if TYPE_CHECKING:
    from .architectures import Architecture

_PART = r"\*|\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*"
_FORM = re.compile(rf"([a-z_]+)\.({_PART})(?:\.({_PART}))?")

_MOST = 100_000
"""As many numbers as a range may have: more than any model has layers, heads or neurons."""


@dataclass(frozen=True)
class SitePattern:
    """Sites of one kind in several layers, or of several heads: numbers, ranges with both ends, or `*` for all.

    `str(pattern)` is its text form. Raises `SiteError` for a kind without layers, or without heads where there are two
    parts.
    """

    kind: str
    layers: str
    heads: str | None = None

    def __post_init__(self) -> None:
        if self.kind in ENDS:
            raise SiteError(f"{self.kind!r} has no layer; write {self.kind!r}")
        if self.heads == "*" and self.kind in MLP_KINDS:
            raise SiteError(f"all neurons of a layer are one site; write '{self.kind}.{self.layers}'")
        if self.heads is not None and self.kind not in MLP_KINDS and not Site(self.kind, 0).has_heads:
            raise SiteError(f"{self.kind!r} has no heads; write '{self.kind}.{self.layers}'")

    def sites(self, architecture: Architecture) -> list[Site]:
        """The sites of a model, layer by layer; raises `SiteError` for a layer or head that it does not have."""
        found = []
        for layer in _numbers(self.layers, architecture.shape.layers):
            if self.heads is None:
                found.append(Site(self.kind, layer))
                continue
            inner = "neuron" if self.kind in MLP_KINDS else "head"
            parts = _numbers(self.heads, 0 if inner == "neuron" else architecture.heads(self.kind))
            found += [Site(self.kind, layer, **{inner: part}) for part in parts]
        for site in found:
            architecture.check(site)
        return found

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of what is read at each of its sites."""
        inner = "neuron" if self.kind in MLP_KINDS else "head"
        return Site(self.kind, 0, **({} if self.heads is None else {inner: 0})).axes

    def covers(self, site: Site) -> bool:
        """Whether a site is one of those that it stands for."""
        part = site.head if site.neuron is None else site.neuron
        if site.kind != self.kind or site.layer is None or (part is None) != (self.heads is None):
            return False
        asked = ((self.layers, site.layer), (self.heads, part))
        return all(text is None or text == "*" or number in _numbers(text, 0) for text, number in asked)

    def __str__(self) -> str:
        return ".".join(part for part in (self.kind, self.layers, self.heads) if part is not None)


Address = Union[Site, SitePattern]  # noqa: UP007


def address(text: str | Site | SitePattern) -> Address:
    """Read one site or a pattern of sites; raises `UsageError` for what is neither."""
    if isinstance(text, SitePattern):
        return text
    if isinstance(text, str) and set("*-,") & set(text) and (match := _FORM.fullmatch(text)) and match[1] in KINDS:
        return SitePattern(*match.groups())
    return Site.parse(text)


def expanded(names: SiteLike | Iterable[SiteLike], architecture: Architecture) -> list[tuple[SiteLike, Site]]:
    """Each asked name with its site; a pattern gives every site that it stands for, under the site's own name."""
    found: list[tuple[SiteLike, Site]] = []
    for name in [names] if isinstance(names, (str, Site, SitePattern)) else names:
        where = address(name)
        if isinstance(where, SitePattern):
            found += [(str(site), site) for site in where.sites(architecture)]
        else:
            found.append((name, where))
    return found


def _numbers(part: str, count: int) -> Sequence[int]:
    """The numbers that a part of a pattern stands for; `*` is all of `count`."""
    if part == "*":
        return range(count)
    found: list[int] = []
    for piece in part.split(","):
        first, _, last = piece.partition("-")
        if last and int(last) < int(first):
            raise SiteError(f"{piece!r} goes backwards; write the smaller number first")
        end = int(last or first)
        if end - int(first) > _MOST:
            raise SiteError(f"{piece!r} are more than {_MOST} numbers")
        found += range(int(first), end + 1)
    return found
