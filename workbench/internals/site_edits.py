"""Edits of what passes at a site: set, add, project, patch, scale, clamp, or a function of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import SiteError, UsageError
from .edit_frame import During, during_of
from .edit_values import EditValue, is_tensor
from .site_patterns import Address, SitePattern, address
from .sites import MAP_KINDS, Site
from .token_positions import Positions, positions_of

if TYPE_CHECKING:
    from torch import Tensor

    from .architectures import Architecture

Op = Literal["set", "add", "project", "project_out", "patch", "scale", "clamp", "apply"]
OPS = get_args(Op)
PositionsLike = Any
"""Whole numbers, negative from each row's end; a list of them for each row; None for every position."""


@dataclass(frozen=True, eq=False, repr=False)
class Edit(EditValue):
    """A change at a site, made by `set`, `add`, `project`, `patch`, `scale`, `clamp` or `apply`.

    `positions` count tokens of the prompt, negative from each row's end, the same in all rows or for each row its own;
    None is every position. A site with a head or neuron changes that one only, a pattern of sites changes each of them.
    `during` matters in generation: the prompt, the generated tokens, one step or a range of steps, or all.
    """

    site: Address
    op: Op
    value: float | Tensor | tuple[float | None, float | None] | Callable[[Tensor], Tensor | None] | None
    direction: Tensor | None = None
    positions: Positions = None
    during: During = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", address(self.site))
        object.__setattr__(self, "positions", positions_of(self.positions))
        object.__setattr__(self, "during", during_of(self.during))
        if self.op not in OPS:
            raise UsageError(f"there is no edit {self.op!r}; there is: {', '.join(OPS)}")
        if self.site.kind in (*MAP_KINDS, "logits"):
            raise SiteError(
                f"'{self.site}' is read-only: it is computed from other sites; for attention take knock_out, "
                "scale_scores, fix_weights and their kind, or edit q, k, q_rot, k_rot or z; for logits edit final_norm"
            )
        if self.during not in ("all", "prompt") and self.positions is not None:
            raise UsageError("positions count tokens of the prompt, so they cannot be edited during generation only")
        self._check_value()

    def _check_value(self) -> None:
        if self.op in ("set", "add", "scale") and not (_number(self.value) or is_tensor(self.value)):
            raise UsageError(
                f"{self.op!r} at '{self.site}' takes a number or a tensor, not {type(self.value).__name__}; "
                "for a function of what is there take edits.apply"
            )
        if self.op == "patch" and not is_tensor(self.value):
            raise UsageError(f"a patch at '{self.site}' needs a tensor that was captured in another run")
        if self.op == "apply" and not callable(self.value):
            raise UsageError(f"apply at '{self.site}' takes a function of a tensor, not {type(self.value).__name__}")

    @property
    def learns(self) -> bool:
        """Whether a value of it carries a gradient."""
        return any(is_tensor(value) and value.requires_grad for value in (self.value, self.direction))  # type: ignore[union-attr]

    def at_sites(self, architecture: Architecture) -> list[Edit]:
        """The edit of every site that its address stands for, checked to exist."""
        if isinstance(self.site, SitePattern):
            return [replace(self, site=site) for site in self.site.sites(architecture)]
        architecture.check(self.site)
        return [self]


def set(site: str | Site, value: float | Tensor, positions: PositionsLike = None, during: During = "all") -> Edit:
    """Write a value: a number, or a tensor that broadcasts to `[batch, position, …]` at the edited positions.

    >>> prompt = "marathon dolphin shop carpenter marathon dolphin"
    >>> heads = [wb.edits.set("z.2.1", 0.0), wb.edits.set("z.2.3", 0.0)]
    >>> session.text(session.generate(prompt, 2, edits=heads).rows()[0])
    'dolphin dolphin'
    """
    return Edit(address(site), "set", value, positions=positions, during=during)


def add(site: str | Site, value: float | Tensor, positions: PositionsLike = None, during: During = "all") -> Edit:
    """Add a value: a number, or a tensor that broadcasts to `[batch, position, …]` at the edited positions.

    >>> before = session.capture("marathon dolphin", "resid_post.1")["resid_post.1"]
    >>> raised = wb.edits.add("resid_post.1", 1.0, positions=[-1])
    >>> after = session.capture("marathon dolphin", "resid_post.1", edits=[raised])["resid_post.1"]
    >>> (after - before).mean(-1).round()                 # [batch, position]
    tensor([[0., 1.]])
    """
    return Edit(address(site), "add", value, positions=positions, during=during)


def scale(site: str | Site, factor: float | Tensor, positions: PositionsLike = None, during: During = "all") -> Edit:
    """Multiply by a number, or by a tensor that broadcasts to `[batch, position, …]` at the edited positions."""
    return Edit(address(site), "scale", factor, positions=positions, during=during)


def clamp(
    site: str | Site,
    low: float | None = None,
    high: float | None = None,
    positions: PositionsLike = None,
    during: During = "all",
) -> Edit:
    """Keep every entry between two numbers; None is no bound. Raises `UsageError` for bounds that leave nothing."""
    if not any(map(_number, (low, high))) or not all(one is None or _number(one) for one in (low, high)):
        raise UsageError(f"clamp takes numbers as bounds, at least one; not {low!r} and {high!r}")
    if low is not None and high is not None and low > high:
        raise UsageError(f"nothing is between {low} and {high}: the lower bound is the larger one")
    return Edit(address(site), "clamp", (low, high), positions=positions, during=during)


def project(
    site: str | Site,
    direction: Tensor,
    value: float | Tensor | None = None,
    positions: PositionsLike = None,
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
    return Edit(address(site), "project", value, _directions(direction), positions, during)


def project_out(
    site: str | Site, directions: Sequence[Tensor] | Tensor, positions: PositionsLike = None, during: During = "all"
) -> Edit:
    """Remove all that lies in the span of one or several directions `[direction, …]`; they need not be orthogonal.

    Raises `UsageError` for directions that do not span as many dimensions as they are.
    """
    import torch

    stacked = _directions(torch.stack(list(directions)) if isinstance(directions, (list, tuple)) else directions)
    stacked = stacked[None] if stacked.ndim == 1 else stacked
    basis, factor = torch.linalg.qr(stacked.double().T)
    sizes = factor.diagonal().abs()
    if stacked.shape[0] > stacked.shape[1] or bool((sizes < 1e-10 * sizes.max()).any()):
        raise UsageError(f"the {len(stacked)} directions depend on one another: leave out those that others make up")
    return Edit(address(site), "project_out", None, basis.T.to(stacked.dtype), positions, during)


def patch(site: str | Site, value: Tensor, positions: PositionsLike = None, during: During = "prompt") -> Edit:
    """Write a tensor that was captured in another run, position by position, at the edited positions.

    It broadcasts to `[batch, position, …]` with one entry for each edited position, or has one for each position of
    the prompt, of which the edited ones are taken.

    >>> other = session.capture("carpenter dolphin", "resid_post.0")
    >>> patched = wb.edits.patch("resid_post.0", other["resid_post.0"])
    >>> logits = session.logits("marathon dolphin", edits=[patched])
    >>> bool((logits - session.logits("carpenter dolphin")).abs().max() < 1e-4)
    True
    """
    return Edit(address(site), "patch", value, positions=positions, during=during)


def apply(
    site: str | Site,
    function: Callable[[Tensor], Tensor | None],
    positions: PositionsLike = None,
    during: During = "all",
) -> Edit:
    """Write what a function makes of what is there: `[batch, position, …]` at the edited positions, and the same back.

    None leaves it as it is. Entries of shorter rows are filled up, and what the function makes of those is dropped.

        session.logits(prompt, edits=edits.apply("mlp_post.5", torch.relu))
    """
    return Edit(address(site), "apply", function, positions=positions, during=during)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _directions(direction: Any) -> Tensor:
    import torch

    direction = torch.as_tensor(direction, dtype=None if hasattr(direction, "dtype") else torch.float32)
    if not direction.is_floating_point():
        direction = direction.float()
    if not bool(direction.norm(dim=-1).gt(0).all()) or not bool(direction.isfinite().all()):
        raise UsageError("a direction needs a length: this one is zero or not finite")
    return direction
