"""From the residual stream to logits as a model does it: final norm, unembedding, then its own scale and softcap.

Scale and softcap are not in the weights of the unembedding (Granite divides its logits, HyperCLOVA-X multiplies by a
setting of the same name, Cohere, Falcon-H1 and Gemma-2 have their own): each model's are found in its configuration by
what they do to its logits, and what does not explain the logits is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageError
from .architectures import bare
from .engines.base import Hook, Inputs
from .sites import Site
from .values import example

if TYPE_CHECKING:
    from .engines.base import Engine

_FACTORS = (1, 1, 1, 1, 1, 4, 16, 64)
"""What the final norm's output is multiplied with, token by token, in the check: a softcap shows at large logits."""
_PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)
_SCALES = re.compile(r"(?=.*(logit|head|output))(?=.*(scal|multipl))")
_CAPS = re.compile(r"(?=.*(logit|final|output|\Asoft))(?=.*cap)")


class After(NamedTuple):
    """What a model does to the output of its unembedding: times `multiplier`, then held within ± `softcap`."""

    multiplier: float = 1.0
    softcap: float | None = None

    def __call__(self, raw: Tensor) -> Tensor:
        logits = raw if self.multiplier == 1 else raw * self.multiplier
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


@dataclass(frozen=True, eq=False)
class Unembedding:
    """A model's way from its residual stream to its logits, on the weights as they are when it is used."""

    norm: nn.Module
    head: nn.Module
    after: After
    size: int
    """How many logits there are: the vocabulary."""

    @classmethod
    def of(cls, engine: Engine) -> Unembedding:
        """The unembedding of a model; the first time it is held against the model's own logits on eight tokens.

        Raises `UsageError` if final norm, unembedding, a scale and a softcap do not give the model's logits.
        """
        norm, head = _modules(engine)
        if engine not in _known:
            _known[engine] = _checked(engine, norm, head)
        after, size = _known[engine]
        return cls(norm, head, after, size)

    @property
    def device(self) -> torch.device:
        """Where the unembedding is, and its logits."""
        return next(self.head.parameters()).device

    def logits(self, residual: Tensor, ids: Tensor | None = None, *, norm: bool = True) -> Tensor:
        """Logits `[…, vocabulary]`, or of the tokens `ids` only `[…, id]`, of a residual stream `[…, d_model]`."""
        normed = self._normed(residual) if norm else residual.to(self.device)
        if ids is None:
            return self.after(self.head(normed))
        if not _plain(self.head):  # an adapter or a quantised layer has no rows to take
            return self.after(self.head(normed)[..., ids])
        head: Any = self.head
        weight, bias = head.weight, head.bias
        return self.after(functional.linear(normed, weight[ids], None if bias is None else bias[ids]))

    def _normed(self, residual: Tensor) -> Tensor:
        weight = next(self.norm.parameters(), None)
        return self.norm(residual if weight is None else residual.to(weight.device)).to(self.device)

    def check(self, ids: Sequence[int]) -> Tensor:
        """Vocabulary ids as a tensor; raises `UsageError` for what is none."""
        wrong = [i for i in ids if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < self.size]
        if wrong or not len(ids):
            told = f"not {wrong[0]!r}" if wrong else "and there is at least one"
            raise UsageError(f"ids are entries of the vocabulary, 0 to {self.size - 1}, {told}")
        return torch.tensor(list(ids), device=self.device)


_known: WeakKeyDictionary[Engine, tuple[After, int]] = WeakKeyDictionary()


def _modules(engine: Engine) -> tuple[nn.Module, nn.Module]:
    """The final norm and the unembedding, without what TransformerLens' bridge puts in their place."""
    model: Any = bare(engine.model)
    head = model.get_output_embeddings()
    if head is None:
        raise UsageError(f"{engine.architecture.name} has no unembedding of its own, so no lens")
    if engine.architecture.norm is None:
        raise UsageError(f"{engine.architecture.name} has no norm whose output is unembedded, so no lens")
    norm = model.get_submodule(engine.architecture.norm)
    return tuple(getattr(module, "original_component", None) or module for module in (norm, head))


def _plain(head: nn.Module) -> bool:
    """Whether the layer is its weight and bias and nothing else."""
    return (
        type(head) is nn.Linear and not head.weight.is_meta and not head._forward_hooks and not head._forward_pre_hooks
    )


def _checked(engine: Engine, norm: nn.Module, head: nn.Module) -> tuple[After, int]:
    """What comes after the unembedding, so that the model's logits are explained to rounding."""
    shape = engine.architecture.shape
    if shape.d_in is not None:
        ids = example(shape.d_in, [len(_PROMPT)])[0][None]
    else:
        ids = torch.tensor([[token % shape.vocabulary for token in _PROMPT]])
    last, seen = Site("resid_post", engine.architecture.shape.layers - 1), {}

    def scaled(normed: Tensor) -> Tensor:
        seen["normed"] = normed.clone()
        return normed * torch.tensor(_FACTORS, dtype=normed.dtype, device=normed.device)[:, None]

    with torch.no_grad():
        hooks = [Hook(last, lambda whole: seen.__setitem__("last", whole.clone())), Hook(Site("final_norm"), scaled)]
        logits = engine.run(Inputs(ids), hooks)
        assert logits is not None
        fits = seen["last"].shape == seen["normed"].shape and _same(norm(seen["last"]), seen["normed"])
        raw = head(scaled(seen["normed"])) if fits else None
        found = None if raw is None or raw.shape != logits.shape else _after(raw, logits, bare(engine.model).config)
    if found is None:
        raise UsageError(
            f"there is no lens on {engine.architecture.name}: its logits are not its final norm and its unembedding, "
            "with a scale and a softcap, applied to what the last block leaves"
        )
    return found, logits.shape[-1]


def _after(raw: Tensor, logits: Tensor, config: Any) -> After | None:
    """The scale and softcap that make the model's logits out of the unembedding's output; None if none does."""
    told = {k: float(v) for k, v in _numbers(config) if v > 0}
    scales = [1.0, *(s for k, v in told.items() if _SCALES.search(k) for s in (v, 1 / v))]
    caps = [None, *(v for k, v in told.items() if _CAPS.search(k))]
    exact = raw.double()
    found: list[Any] = []
    for cap in caps:
        inner = logits.double() if cap is None else cap * torch.atanh((logits.double() / cap).clamp(-0.99, 0.99))
        weight = torch.ones_like(exact) if cap is None else (logits.double().abs() < 0.9 * cap).double()
        measured = float((weight * inner * exact).sum() / (weight * exact * exact).sum())
        # a setting of the configuration is exact; what was measured stands where none of them fits
        for scale in (min(scales, key=lambda s: abs(s - measured)), measured):
            after = After(scale, cap)
            if _same(after(raw), logits):
                found.append((float((after(raw).double() - logits.double()).norm()), len(found), after))
    return min(found)[2] if found else None


def _numbers(config: Any) -> list[tuple[str, float]]:
    told = config.get_text_config().to_dict()
    return [(k, v) for k, v in told.items() if isinstance(v, (int, float)) and not isinstance(v, bool)]


def _same(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors differ by rounding only, token by token; False where there is nothing but zeros."""
    expected, apart = expected.double(), (found.double() - expected.double()).norm(dim=-1)
    bound = 8 * torch.finfo(found.dtype).eps * expected.norm(dim=-1)
    return bool((apart <= bound).all()) and bool(expected.any())
