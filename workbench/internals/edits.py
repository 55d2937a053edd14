"""Edits: what is to be changed at a site while the model runs.

`edits.set("z.5.3", 0.0)` writes a value, `edits.add("resid_post.5", vector, positions=[-1])` adds one,
`edits.project("resid_post.5", direction)` removes what lies along a direction or sets it, and
`edits.patch("z.5", seen["z.5"])` writes what was captured in another run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never, get_args

from ..errors import SiteError, UsageError
from .sites import MAP_KINDS, Site
from .tokens import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

Op = Literal["set", "add", "project", "patch"]
During = Literal["all", "prompt", "generation"]
Value = "float | Tensor"


@dataclass(frozen=True, eq=False)
class Edit:
    """A change at a site, made by `set`, `add`, `project` or `patch`.

    `positions` count tokens of the prompt, negative from each row's end; None is every position. A site with a head
    changes that head only. `during` matters in generation: the prompt, the generated tokens, or all.
    """

    site: Site
    op: Op
    value: float | Tensor | None
    direction: Tensor | None = None
    positions: Sequence[int] | None = None
    during: During = "all"

    def __post_init__(self) -> None:
        if self.site.kind in (*MAP_KINDS, "logits"):
            raise SiteError(
                f"'{self.site}' is read-only: it is computed from other sites; edit q, k, q_rot, k_rot or z for "
                "attention, final_norm for logits"
            )
        if self.op not in get_args(Op):
            raise UsageError(f"an edit is {', '.join(map(repr, get_args(Op)))}, not {self.op!r}")
        if self.during not in ("all", "prompt", "generation"):
            raise UsageError(f"during is 'all', 'prompt' or 'generation', not {self.during!r}")
        if self.during == "generation" and self.positions is not None:
            raise UsageError("positions count tokens of the prompt, so they cannot be edited during generation only")


def set(
    site: str | Site, value: float | Tensor, positions: Sequence[int] | None = None, during: During = "all"
) -> Edit:
    """Write a value: a number, or a tensor that broadcasts to `[batch, position, …]` at the edited positions.

    >>> prompt = "marathon dolphin shop carpenter marathon dolphin"
    >>> heads = [wb.edits.set("z.2.1", 0.0), wb.edits.set("z.2.3", 0.0)]
    >>> session.text(session.generate(prompt, 2, edits=heads).rows()[0])
    'dolphin dolphin'
    """
    return Edit(Site.parse(site), "set", value, positions=positions, during=during)


def add(
    site: str | Site, value: float | Tensor, positions: Sequence[int] | None = None, during: During = "all"
) -> Edit:
    """Add a value: a number, or a tensor that broadcasts to `[batch, position, …]` at the edited positions.

    >>> before = session.capture("marathon dolphin", "resid_post.1")["resid_post.1"]
    >>> raised = wb.edits.add("resid_post.1", 1.0, positions=[-1])
    >>> after = session.capture("marathon dolphin", "resid_post.1", edits=[raised])["resid_post.1"]
    >>> (after - before).mean(-1).round()                 # [batch, position]
    tensor([[0., 1.]])
    """
    return Edit(Site.parse(site), "add", value, positions=positions, during=during)


def project(
    site: str | Site,
    direction: Tensor,
    value: float | Tensor | None = None,
    positions: Sequence[int] | None = None,
    during: During = "all",
) -> Edit:
    """Set the component along a direction to `value`, 0 if None: x − (x·u)u + value·u with u of length one.

    The direction has the site's last axis. `value` is a number, or broadcasts to the site's axes without the last one.

    >>> import torch
    >>> direction = torch.ones(96)
    >>> without = wb.edits.project("resid_post.1", direction)
    >>> after = session.capture("marathon dolphin", "resid_post.1", edits=[without])["resid_post.1"]
    >>> bool((after @ direction).abs().max() < 1e-4)
    True
    """
    import torch

    direction = torch.as_tensor(direction, dtype=None if hasattr(direction, "dtype") else torch.float32)
    if not bool(direction.norm(dim=-1).gt(0).all()) or not bool(direction.isfinite().all()):
        raise UsageError("a direction needs a length: this one is zero or not finite")
    return Edit(Site.parse(site), "project", value, direction, positions, during)


def patch(site: str | Site, value: Tensor, positions: Sequence[int] | None = None, during: During = "prompt") -> Edit:
    """Write a tensor that was captured in another run: position by position, at the edited positions.

    `[batch, position, …]` with one entry for each edited position, or with one for each position of the prompt.

    >>> other = session.capture("carpenter dolphin", "resid_post.0")
    >>> patched = wb.edits.patch("resid_post.0", other["resid_post.0"])
    >>> logits = session.logits("marathon dolphin", edits=[patched])
    >>> bool((logits - session.logits("carpenter dolphin")).abs().max() < 1e-4)
    True
    """
    return Edit(Site.parse(site), "patch", value, positions=positions, during=during)


@dataclass
class Frame:
    """Which tokens are passing through the model: the prompt, padded on the left or right, or one new token each."""

    tokens: TokenBatch
    left: bool = False
    """Whether the padding of the prompt is on the left."""
    generating: bool = False

    def columns(self, positions: Sequence[int] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Row, column and index among the asked positions, `[token]` each, of every token to be edited."""
        import torch

        rows = torch.arange(self.tokens.batch)[:, None]
        if self.generating:
            zero = torch.zeros(self.tokens.batch, dtype=torch.int64)
            return rows[:, 0], zero, zero
        if positions is None:
            columns = torch.arange(self.tokens.width).expand(self.tokens.batch, -1)
            keep = self.tokens.attention_mask.cpu()
        else:
            columns = self.tokens.columns(positions)
            keep = torch.ones_like(columns, dtype=torch.bool)
        index = torch.arange(columns.shape[1]).expand_as(columns)
        if self.left:
            columns = columns + (self.tokens.width - self.tokens.lengths.cpu())[:, None]
        return rows.expand_as(columns)[keep], columns[keep], index[keep]


def apply(edit: Edit, whole: Tensor, frame: Frame) -> Tensor | None:
    """The whole site's tensor with the edit made, or None where the edit has nothing to do."""
    import torch

    if frame.generating and (edit.during == "prompt" or edit.positions is not None):
        return None
    if not frame.generating and edit.during == "generation":
        return None
    rows, columns, index = (part.to(whole.device) for part in frame.columns(edit.positions))
    heads = () if edit.site.head is None else (torch.full_like(rows, edit.site.head),)
    now = whole[(rows, columns, *heads)]
    count = 1 if frame.generating else len(edit.positions) if edit.positions is not None else frame.tokens.width
    shape = (frame.tokens.batch, count, *now.shape[1:])

    def pick(value: float | Tensor, shape: tuple[int, ...]) -> float | Tensor:
        if not isinstance(value, torch.Tensor):
            return value
        return _broadcast(edit, value.to(whole), shape)[rows, index]

    match edit.op:
        case "project":
            assert edit.direction is not None
            unit = edit.direction.to(whole)
            unit = _broadcast(edit, unit / unit.norm(dim=-1, keepdim=True), shape)[rows, index]
            along = (now * unit).sum(-1)
            target = 0.0 if edit.value is None else pick(edit.value, shape[:-1])
            new: float | Tensor = now + (target - along)[..., None] * unit
        case "add":
            new = now + pick(edit.value, shape)  # type: ignore[arg-type]
        case "set":
            new = pick(edit.value, shape)  # type: ignore[arg-type]
        case "patch":
            new = pick(_matched(edit, shape, frame), shape)
        case _:
            assert_never(edit.op)
    written = whole.clone()
    written[(rows, columns, *heads)] = new
    return written


def _broadcast(edit: Edit, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return value.expand(shape)
    except RuntimeError:
        raise UsageError(
            f"the edit {edit.op!r} at '{edit.site}' was given a tensor of shape {tuple(value.shape)}, which does not "
            f"broadcast to {shape} (batch, edited positions, then the axes of the site)"
        ) from None


def _matched(edit: Edit, shape: tuple[int, ...], frame: Frame) -> Tensor:
    """The captured tensor's entries at the edited positions; clear about a shape that does not fit."""
    import torch

    value = edit.value
    if not isinstance(value, torch.Tensor):
        raise UsageError(f"a patch at '{edit.site}' needs a tensor that was captured in another run")
    fits = value.ndim == len(shape) and value.shape[0] in (1, shape[0]) and tuple(value.shape[2:]) == shape[2:]
    if fits and value.shape[1] == shape[1]:
        return value
    if fits and edit.positions is not None and value.shape[1] == frame.tokens.width:
        columns = frame.tokens.columns(edit.positions).to(value.device)
        rows = torch.arange(shape[0], device=value.device)[:, None]
        return value.expand(shape[0], *value.shape[1:])[rows, columns]
    raise UsageError(
        f"the patch at '{edit.site}' has shape {tuple(value.shape)}; needed is {shape} (batch, edited positions, then "
        f"the axes of the site), or {frame.tokens.width} positions for the whole prompt"
    )
