"""Answers to questions with and without their context, generated under a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.internals import streams
from workbench.internals.streams import Stream

from .config import LayerContrastConfig
from .method.methods import MODEL, WITHOUT, Method, plain
from .method.mixing import Repetition, mixing
from .sources import Sources
from .task.conflicts import Conflict
from .task.questions import Writer

if TYPE_CHECKING:
    from workbench.progress import Reporter

ROWS = 24
"""Questions that are answered at once."""


def generate(
    sources: Sources,
    items: Sequence[Conflict],
    method: Method,
    writer: Writer,
    config: LayerContrastConfig,
    progress: Reporter,
    stage: str,
) -> list[list[int]]:
    """The ids of an answer to each question with its context, greedily; each stream has a cache of its own."""
    repetition = None
    if config.repetition_penalty != 1:
        repetition = Repetition(config.repetition_penalty, config.penalised)
    found: list[list[int]] = []
    for start in progress.steps(range(0, len(items), ROWS), stage):
        part = items[start : start + ROWS]
        told = [writer.ids(item.told) for item in part]
        bare = [writer.ids(item.bare) for item in part]
        with sources.streams[MODEL].enter() as session:
            given = []
            for name in method.streams:
                prompts = bare if name == WITHOUT else told
                edits = () if name == WITHOUT else sources.streams[name].edits
                given.append(Stream(session, prompts, edits=edits))
            mix = mixing(method, prompts=told, repetition=repetition)
            made = streams.generate(given, mix, config.tokens)
        found += made.rows()
        progress.check()
    return found


def without_context(
    sources: Sources, items: Sequence[Conflict], writer: Writer, config: LayerContrastConfig, progress: Reporter
) -> list[list[int]]:
    """The ids of the model's own answer to each question without its context."""
    bare = [Conflict(item.name, item.bare, item.bare, item.gold) for item in items]
    return generate(sources, bare, plain(), writer, config, progress, "answers without context")
