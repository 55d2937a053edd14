"""Where the streams of a run come from: the model, an amateur, a prompt that is told something, heads made uniform."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import UsageError
from workbench.internals import edits
from workbench.internals.adapter_switch import with_adapter
from workbench.models.adapters import adapter_folder, adapters

from .method.methods import AMATEUR, MASKED, MODEL, TOLD
from .task.questions import TRUTHFUL, UNTRUTHFUL

if TYPE_CHECKING:
    from workbench.internals.edits import EditLike
    from workbench.internals.session import Session

RANDOM = "random"
"""The model with random heads' attention made uniform."""
SHIPPED = "layer-contrast"
"""The adapter that ships as an amateur of the default model."""
DEFAULT = "smollm2-135m-instruct-q4_1"
OTHER = "model:"
Head = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Source:
    """A stream: `enter` gives the session while it is read, `before` goes before each prompt."""

    enter: Callable[[], AbstractContextManager[Session]]
    before: str = ""
    edits: EditLike = ()


@dataclass(frozen=True, eq=False)
class Sources:
    """The streams of a run by name, and what the amateur is, in words."""

    streams: Mapping[str, Source]
    amateur: str
    other_model: bool
    """Whether the amateur is another model, as in contrastive decoding."""

    def with_heads(self, heads: Sequence[Head], random: Sequence[Head]) -> Sources:
        """The same with the heads of DeCoRe and random ones beside them."""
        enter = self.streams[MODEL].enter
        masked = {
            name: Source(enter, edits=edits.fix_weights("uniform", heads=list(chosen)))
            for name, chosen in ((MASKED, heads), (RANDOM, random))
            if chosen
        }
        return Sources({**self.streams, **masked}, self.amateur, self.other_model)


@contextmanager
def sources(session: Session, amateur: str) -> Iterator[Sources]:
    """The streams on a session; the model is left as it was.

    `amateur` is "auto" (what ships for the model, otherwise the prompt), "prompt", an adapter, or "model:" and a model
    of the same vocabulary. Raises `UsageError` for one that does not go with the model.
    """
    name = amateur
    if amateur == "auto":
        ships = session.info.id == DEFAULT and f"adapter/{SHIPPED}" in adapters() and session.info.adapter is None
        name = f"adapter/{SHIPPED}" if ships else "prompt"
    plain = Source(lambda: nullcontext(session))
    streams = {MODEL: plain, TOLD: Source(plain.enter, before=TRUTHFUL)}
    if name == "prompt":
        told = Source(plain.enter, before=UNTRUTHFUL)
        yield Sources({**streams, AMATEUR: told}, "the model told to give false answers", False)
    elif name.startswith(OTHER):
        other = _other(session, name.removeprefix(OTHER))
        with other:
            there = Source(lambda: nullcontext(other))
            yield Sources({**streams, AMATEUR: there}, f"the model {other.info.id}", True)
    else:
        adapter_folder(name)
        with with_adapter(session, name) as arms:
            model = Source(arms.without)
            streams = {MODEL: model, TOLD: Source(arms.without, before=TRUTHFUL)}
            tuned = Source(lambda: nullcontext(arms.session))
            assert arms.adapter is not None
            yield Sources({**streams, AMATEUR: tuned}, f"the adapter {arms.adapter.id}", False)


def _other(session: Session, name: str) -> Session:
    """Another model; raises `UsageError` if its vocabulary is not the session's."""
    from workbench.internals.session import load

    other = load(name)
    same = other.tokenizer is not None and other.tokenizer.get_vocab() == session.tokenizer.get_vocab()
    if not same or other.shape.vocabulary != session.shape.vocabulary:
        other.close()
        raise UsageError(f"amateur {name!r} has another vocabulary than the model; give one of the same family")
    return other
