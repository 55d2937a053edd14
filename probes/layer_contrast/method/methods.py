"""Every method as a configuration of one contrast: which terms, with which weights, and what is done to their sum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from workbench.kernels.contrast import FLOOR, Order

from .sled import Evolution

Divergence = Literal["true", "as_released"]
Adaptive = Literal["divergence", "entropy", "confidence"]

MODEL, AMATEUR, TOLD, WITHOUT, MASKED = "model", "amateur", "told", "without", "masked"
"""The streams: the model itself, an amateur, the model told to be truthful, the model without the context, and the
model with the attention of some heads made uniform."""


@dataclass(frozen=True)
class Term:
    """The log-probabilities of a stream, at its last layer or at the lower one that the method takes, by a weight."""

    stream: str
    weight: float = 1.0
    lower: bool = False


@dataclass(frozen=True)
class Lower:
    """Which hidden states are lower layers, and how one is taken: the farthest from the last, or the mean of all."""

    candidates: tuple[int, ...]
    choose: Literal["divergence", "mean"] = "divergence"
    divergence: Divergence = "as_released"


@dataclass(frozen=True)
class Method:
    """One contrast. The first term decides what is plausible.

    adaptive: what the weights of the first two terms are taken from, token by token; they then stand in place of the
    terms' own. strength: a number that `adaptive` takes: the least α, or the share of the prior. evolution: the last
    logits are evolved toward the lower layers instead of a sum.
    """

    name: str
    terms: tuple[Term, ...]
    lower: Lower | None = None
    adaptive: Adaptive | None = None
    strength: float | None = None
    evolution: Evolution | None = None
    plausibility: float = 0.0
    normalise: bool = False
    order: Order = "mask last"
    floor: float = FLOOR
    setting: str = ""
    """What of it was chosen, in a few words."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that it needs, the model first."""
        return tuple(dict.fromkeys(term.stream for term in self.terms))

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """The hidden states that it needs of each stream."""
        if self.lower is None:
            return {}
        needing = {term.stream for term in self.terms if term.lower} | ({MODEL} if self._looks else set())
        return dict.fromkeys(needing, self.lower.candidates)

    @property
    def _looks(self) -> bool:
        return self.evolution is not None or (self.lower is not None and self.lower.choose == "divergence")

    def in_generation(self) -> Method:
        """As it chooses tokens: what is not plausible is impossible, and a softmax over the rest comes last."""
        return replace(self, floor=float("-inf"), normalise=False, order="mask first")


def plain() -> Method:
    """The model as it is."""
    return Method("base", (Term(MODEL),))


def dola(candidates: tuple[int, ...], divergence: Divergence = "as_released", name: str = "dola") -> Method:
    """DoLa: minus the lower layer that is farthest from the last; one candidate makes it static. arXiv 2309.03883."""
    terms = (Term(MODEL), Term(MODEL, -1.0, lower=True))
    return Method(name, terms, Lower(candidates, "divergence", divergence), setting=_states(candidates))


def sled(candidates: tuple[int, ...], evolution: Evolution) -> Method:
    """SLED: the last logits evolve toward what the lower layers point at. arXiv 2411.02433."""
    return Method("sled", (Term(MODEL),), Lower(candidates), evolution=evolution, setting=f"rate {evolution.rate:g}")


def icd(weight: float = 1.0, plausibility: float = 0.0) -> Method:
    """ICD: minus an amateur of whom hallucinations were induced. arXiv 2312.15710."""
    terms = (Term(MODEL), Term(AMATEUR, -weight))
    return Method("icd", terms, plausibility=plausibility, setting=f"weight {weight:g}, α {plausibility:g}")


def cd(plausibility: float = 0.1) -> Method:
    """Contrastive decoding: minus a smaller model. arXiv 2210.15097."""
    return replace(icd(1.0, plausibility), name="cd")


def lol(omega: float, gamma: float, candidates: tuple[int, ...], plausibility: float = 0.0) -> Method:
    """LOL-style fusion, reconstructed from its abstract (arXiv 2408.08769), not a reproduction.

    ICD, ω times the same at lower layers, and γ times what an instruction to be truthful changes. Without ω and γ it is
    ICD.
    """
    terms = [Term(MODEL, 1.0 - gamma), Term(AMATEUR, -1.0)]
    if omega:
        terms += [Term(MODEL, omega, lower=True), Term(AMATEUR, -omega, lower=True)]
    if gamma:
        terms.append(Term(TOLD, gamma))
    lower = Lower(candidates, "mean") if omega else None
    told = f"ω {omega:g}, γ {gamma:g}" + (f", {_states(candidates)}" if omega else "")
    return Method("lol", tuple(terms), lower, plausibility=plausibility, setting=told)


def cad(alpha: float) -> Method:
    """Context-aware decoding: (1 + α) with the context, −α without it. arXiv 2305.14739."""
    terms = (Term(MODEL, 1.0 + alpha), Term(WITHOUT, -alpha))
    return Method("cad", terms, normalise=True, setting=f"α {alpha:g}")


def adacad(least: float = 0.0) -> Method:
    """AdaCAD: α is the divergence of the two, so at most ln 2. arXiv 2409.07394."""
    terms = (Term(MODEL), Term(WITHOUT))
    return Method("adacad", terms, adaptive="divergence", strength=least, normalise=True, setting=f"floor {least:g}")


def ck_plug(alpha: float | None) -> Method:
    """CK-PLUG: where the context lowers confidence, the prior mixed with what the context adds. arXiv 2503.15888."""
    told = "α by the entropies" if alpha is None else f"α {alpha:g}"
    terms = (Term(MODEL), Term(WITHOUT))
    return Method("ck_plug", terms, adaptive="confidence", strength=alpha, normalise=True, setting=told)


def decore(name: str = "decore", stream: str = MASKED) -> Method:
    """DeCoRe: (1 + α) of the model, −α of it without its retrieval heads, α the entropy. arXiv 2410.18860."""
    return Method(name, (Term(MODEL), Term(stream)), adaptive="entropy", normalise=True)


def _states(candidates: tuple[int, ...]) -> str:
    if len(candidates) == 1:
        return f"hidden state {candidates[0]}"
    return f"hidden states {candidates[0]} to {candidates[-1]}"
