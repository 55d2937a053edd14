"""Grids: which edits a sweep makes, one by one, and how its table is laid out.

`patch` writes what another run has, by kind, layer, position, head or neuron; `ablate` takes heads or sets of them
away; `edits` makes any edits, by name; `paths` writes only what goes from senders to receivers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import UsageError
from ..edits import EditLike, listed, refuse_learning
from ..sites import KINDS, MAP_KINDS, MLP_KINDS, Site
from .ablation_grid import Ablation
from .grid import Grid
from .named_edits_grid import AnyEdits
from .patch_grid import Patching
from .path_grid import paths as _paths


def patch(
    kinds: str | Sequence[str] = "resid_pre",
    layers: Any = None,
    positions: Any = None,
    *,
    heads: Any = None,
    neurons: Any = None,
    each: bool = True,
) -> Grid:
    """Write what the other run has at a site, cell by cell: kinds × layers × heads or neurons × positions.

    `layers`, `heads` and `neurons` are numbers, "all" of them for the latter two; None for all layers and for no such
    axis. `positions` are numbers or names of places (see `grid_axes`), None for all; `each` by itself, or all at once.

    >>> grid = wb.grids.patch("z", heads="all", each=False)          # layer × head
    >>> clean, corrupted = "marathon dolphin shop marathon", "marathon shop dolphin marathon"
    >>> found = session.sweep(clean, corrupted, grid, wb.metrics.log_probability(" dolphin"))
    >>> dict(found.effect.sizes)
    {'layer': 4, 'head': 4}
    """
    named = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    for kind in named:
        if kind not in KINDS or kind in (*MAP_KINDS, "embed", "final_norm", "logits"):
            there = [each for each in KINDS if each not in (*MAP_KINDS, "embed", "final_norm", "logits")]
            raise UsageError(f"a grid patches kinds of site inside of layers, not {kind!r}: {', '.join(there)}")
    if not named or len(set(named)) < len(named):
        raise UsageError("a grid needs at least one kind of site, each given once")
    if heads is not None and neurons is not None:
        raise UsageError("a grid has an axis of heads or one of neurons: leave one of them out")
    part = None if heads is None and neurons is None else "head" if heads is not None else "neuron"
    having = [kind for kind in named if (kind in MLP_KINDS if part == "neuron" else Site(kind, 0).has_heads)]
    if part is not None and len(having) < len(named):
        raise UsageError(f"not every one of {', '.join(named)} has {part}s: leave {part}s out or the others")
    parts = neurons if heads is None else heads
    return Patching(named, layers, positions, part, None if isinstance(parts, str) and parts == "all" else parts, each)


def ablate(
    layers: Any = None,
    heads: Any = None,
    *,
    sets: Mapping[str, Sequence[tuple[int, int]]] | Sequence[Sequence[tuple[int, int]]] | None = None,
    value: float | str = 0.0,
    positions: Any = None,
) -> Grid:
    """Take heads away, one by one (layers × heads) or in sets of (layer, head): their output becomes `value`.

    A number; "mean", the mean over all tokens of all prompts of the run; or "other", what the other run has at the same
    position. `positions` as in `patch`, all at once.

    >>> said = wb.metrics.log_probability(" dolphin")
    >>> found = session.sweep("marathon dolphin shop marathon", None, wb.grids.ablate(), said)
    >>> dict(found.effect.sizes)
    {'layer': 4, 'head': 4}
    """
    if isinstance(value, str) and value not in ("mean", "other"):
        raise UsageError(f"heads are set to a number, to their 'mean' or to what the 'other' run has, not {value!r}")
    if sets is None:
        return Ablation(layers, heads, None, value, positions)
    if layers is not None or heads is not None:
        raise UsageError("sets name their layers and heads: leave layers and heads out")
    named = sets if isinstance(sets, Mapping) else {str(index): one for index, one in enumerate(sets)}
    plain = {str(name): tuple((int(layer), int(head)) for layer, head in pairs) for name, pairs in named.items()}
    if not plain or not all(plain.values()):
        raise UsageError("a set of heads has at least one (layer, head), and there is at least one set")
    return Ablation(None, None, plain, value, positions)


def edits(cells: Mapping[str, EditLike]) -> Grid:
    """Any edits, by name: each name is a cell, with one edit or several."""
    if not isinstance(cells, Mapping) or not cells:
        raise UsageError("edits of a grid are given by name: {'without head 3': wb.edits.set('z.5.3', 0.0), …}")
    found = {str(name): tuple(listed(one)) for name, one in cells.items()}
    refuse_learning([edit for one in found.values() for edit in one], "a sweep")
    return AnyEdits(found)


def paths(
    senders: Any = "heads", receivers: Any = "logits", *, through: str | Sequence[str] = ("mlp",), positions: Any = None
) -> Grid:
    """Path patching: write what comes from a sender of the other run to a receiver, and nothing else of it.

    `senders` are all "heads" or all "mlps" before the receivers, or sites (z, attn_out, mlp_out, resid_pre,
    resid_post); `receivers` are sites, such as "q.20.3" or "mlp_out.4", or the "logits". Attention and MLPs between the
    two are held as they are in the run that is edited, unless the path may go `through` "attention", "mlp" or both; ()
    is the direct path. `positions` of the sender as in `patch`, all at once.

    >>> grid = wb.grids.paths("heads", "k.3.0", through=())
    >>> said = wb.metrics.log_probability(" dolphin")
    >>> found = session.sweep("marathon dolphin shop marathon", "marathon shop dolphin marathon", grid, said)
    >>> dict(found.effect.sizes), found.attrs["into"]
    ({'layer': 4, 'head': 4}, 'clean')
    """
    return _paths(senders, receivers, through=through, positions=positions)


__all__ = ["patch", "ablate", "edits", "paths", "Grid"]
