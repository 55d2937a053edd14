"""Settings of the attention profile."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from workbench.probe.contract import Config
from workbench.texts.haystack import SYNTHETIC

Segments = Literal["equal", "paragraphs", "turns", "documents", "needle"]


class AttentionProfileConfig(Config):
    """Which texts, how long, and how finely attention is summed up."""

    data: str = Field(
        SYNTHETIC, description=f"{SYNTHETIC!r}, a text file, or a file of JSON lines with text, messages or documents"
    )
    n: int = Field(10, ge=1, description="texts; a long text file gives as many windows that do not overlap")
    length: int | None = Field(
        768, ge=8, description="tokens of each text; null takes the first text in its whole length"
    )
    segments: Segments = Field(
        "equal", description="what the text is cut into, for the attention that each part receives"
    )
    max_segments: int = Field(
        16, ge=1, le=256, description="neighbouring parts are joined until there are at most so many"
    )
    layers: tuple[int, ...] | None = Field(None, description="layers to look at; null takes all")
    bins: int = Field(32, ge=1, description="bins of queries")
    key_bins: int = Field(512, ge=1, description="bins of keys, for the attention that each receives in every head")
    sink: int = Field(4, ge=0, description="how many first tokens count as sinks")
    recent: int = Field(
        256, ge=1, description="how many last tokens before a query count as recent, unless they are sinks"
    )
    rows: tuple[int, ...] = Field((-1,), description="queries whose heaviest keys are kept, negative ones from the end")
    topk: int = Field(8, ge=1, description="how many keys of such a query")
    control: Literal["shuffled", "none"] = Field(
        "shuffled",
        description="what headlines are read against: the same tokens in shuffled order, or uniform attention only",
    )
    chunk: int | None = Field(None, ge=1, description="tokens that go in at once, against a cache; null takes all")

    @model_validator(mode="after")
    def _consistent(self) -> AttentionProfileConfig:
        if self.length is not None and any(not -self.length <= row < self.length for row in self.rows):
            raise ValueError(f"rows {list(self.rows)} are not all within a text of {self.length} tokens")
        if self.layers is not None and not self.layers:
            raise ValueError("layers is empty; give layers, or null for all")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"n": 3, "length": 96, "recent": 16, "bins": 8, "max_segments": 4, "topk": 3},
    "quick": {},
    "full": {"n": 32, "length": 4096, "bins": 64},
}
