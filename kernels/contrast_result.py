"""What `contrast_scores` and `layer_divergences` return."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ContrastScores:
    """Scores of a contrast; a field that was not asked for is None. Natural logarithms.

    lse: the log of the normaliser of each term, `[term, row]`. norm: what was taken off to normalise, `[row]`, 0 where
    nothing was. kept: how many tokens are plausible, `[row]`. best: the token with the highest score, `[row]`. at: the
    scores of `targets`, `[row, target]`. scores: all of them, `[row, vocabulary]`.
    """

    lse: Tensor
    norm: Tensor
    kept: Tensor
    best: Tensor
    at: Tensor | None = None
    scores: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Divergences:
    """How far distributions are from a first one, nats, `[layer, row]`.

    js: the Jensen–Shannon divergence, at most ln 2. released: half of KL(m‖p) + KL(m‖q), over the size of the
    vocabulary, m the mean of both: what DoLa's code computes by that name. kl: KL of the first from each, KL(p‖q). lse:
    the log of the normaliser of each.
    """

    js: Tensor
    released: Tensor
    kl: Tensor
    lse: Tensor
