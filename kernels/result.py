"""What `attention_stats` returns."""

from dataclasses import dataclass, fields

from torch import Tensor

ROW_STATS = (
    "lse",
    "entropy",
    "max_weight",
    "argmax",
    "distance",
    "sink_mass",
    "recent_mass",
    "far_mass",
    "segment_mass",
)
# the order in which the compiled kernels write them
SCALARS = ("lse", "entropy", "max_weight", "distance", "sink_mass", "recent_mass", "far_mass")


OF_A_RUN = ("learned_sink_mass", "visible_keys")
"""Fields that the run of a model fills in: a call of attention by itself does not tell them."""


@dataclass(frozen=True, kw_only=True)
class AttentionStats:
    """Exact statistics of softmax attention; a field that was not asked for is None.

    Logarithms are natural, masses are shares of one, distances count tokens, key indices are absolute positions.
    A row that sees no key has lse -inf, argmax -1 and zeros elsewhere.
    """

    out: Tensor | None = None  # [batch, head, query, d_value], in v's dtype
    lse: Tensor | None = None  # [batch, head, query], like the seven below; a learned sink counts in it
    entropy: Tensor | None = None  # a learned sink counts as one more outcome
    max_weight: Tensor | None = None
    argmax: Tensor | None = None  # int64; the first of equals
    distance: Tensor | None = None  # mean of |query - key|
    sink_mass: Tensor | None = None
    recent_mass: Tensor | None = None
    far_mass: Tensor | None = None
    segment_mass: Tensor | None = None  # [batch, head, query, segment]
    learned_sink_mass: Tensor | None = None  # [batch, head, query], where the model has such a sink
    visible_keys: Tensor | None = None  # int64 [batch or 1, 1, query], where the run of a model tells it
    received: Tensor | None = None  # [batch, head, key] for "sum", [batch, head, set, key] for weights
    weights_at: Tensor | None = None  # [batch, head, set, query]
    topk_weight: Tensor | None = None  # [batch, head, row, k], falling
    topk_index: Tensor | None = None  # int64; -1 where a row sees fewer than k keys

    @property
    def columns(self) -> Tensor | None:
        """The earlier word for `received`."""
        return self.received

    @property
    def points(self) -> Tensor | None:
        """The earlier word for `weights_at`."""
        return self.weights_at

    def present(self) -> dict[str, Tensor]:
        """The fields that were computed, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}
