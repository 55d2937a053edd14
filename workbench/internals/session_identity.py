"""Which model a session holds, as it is now: looked at for changes at a question, read whole where a record begins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import WorkbenchError
from ..models.describe import describe
from ..models.weights_watch import WeightsWatch
from .architectures import unwrapped
from .borrowing import borrowed
from .engines import attention_of
from .engines.current import State
from .module_state import compiled, digest, users_own
from .own_attention import own_attention
from .turn_ends import turn_ends

if TYPE_CHECKING:
    from ..models.load import Loaded
    from ..records.record import ModelInfo
    from .engines import Engine
    from .fifo_lock import FifoRLock
    from .hooked_model import HookedModel


class Moment:
    """A model and its tokenizer at one moment, to see later whether they are still the same."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.weights = WeightsWatch(loaded.model)
        self.state = State(loaded.model)
        self.tokenizer = _settings(loaded.tokenizer)
        self.ends = turn_ends(loaded.model, loaded.tokenizer)

    def changed(self) -> str | None:
        """What is no longer the same, in words."""
        now = Moment(self._loaded)
        if now.weights != self.weights:
            return "its weights changed"
        if now.state != self.state:
            return "its modules, adapters, hooks, configuration or attention function changed"
        if now.tokenizer != self.tokenizer:
            return "its tokenizer changed"
        return "the tokens that end a turn changed" if now.ends != self.ends else None

    def check_weights(self) -> None:
        """Raise `WorkbenchError` if the weights there were are not what they were; others may have come to them."""
        if self.weights.written():
            raise WorkbenchError(
                "the model's weights changed while the run lasted, so it is not of one model; start anew"
            )

    def check(self) -> None:
        """Raise `WorkbenchError` if anything is not as it was."""
        if (what := self.changed()) is not None:
            raise WorkbenchError(f"the model is not what it was when the run began: {what}; start it anew")


class Identity:
    """What a record says of the model of a session; safe with threads."""

    def __init__(self, loaded: Loaded, engine: str, reached: Callable[[], Engine]) -> None:
        self._loaded, self.engine, self._reached = loaded, engine, reached
        self._lock = threading.Lock()  # not the session's queue: a page may ask while a long run has its turn
        self._known: tuple[Moment, ModelInfo] | None = None

    def info(self, exact: bool = False) -> ModelInfo:
        """The model as it is now; with `exact` every weight is read again, and not only looked at for changes."""
        with self._lock:
            if self._known is None or exact or self._known[0].changed() is not None:
                # the moment comes first: what changes while the weights are read is then seen at the next question
                moment = Moment(self._loaded)
                self._known = moment, self._described()
            return self._known[1].model_copy(deep=True)

    def _described(self) -> ModelInfo:
        loaded, engine = self._loaded, self._reached()
        told = users_own(loaded.model)
        if (attention := own_attention(loaded.model)) is not None:
            told.append(attention)
        if places := compiled(loaded.model):
            told.append(f"torch.compile on {places[0]}, which is passed over here")
        return describe(
            loaded,
            unwrapped(loaded.model),
            self.engine,
            attention_of(engine),
            turn_ends(loaded.model, loaded.tokenizer),
            (digest(loaded.model, unlike_any=attention is not None), told),
        )


class HeldModel:
    """What a session says of its model, and how it lends it."""

    identity: Identity
    lock: FifoRLock
    engine: Callable[[str], HookedModel]

    @property
    def _open(self) -> Loaded:
        """What was loaded; raises `WorkbenchError` once the session is closed."""
        raise NotImplementedError

    @property
    def info(self) -> ModelInfo:
        """The model as a run's record tells it, as it is now.

        All weights are read when this is first asked for and whenever a change is noticed: every tensor's count of
        writes and a sample of its entries are looked at. A run reads all weights when it begins.
        """
        self._open  # noqa: B018 - raises once the session is closed
        return self.identity.info()

    def identified(self) -> ModelInfo:
        """The same, with every weight read again: what a record depends on. About half a second a GB."""
        with self.lock:
            self.engine(self.identity.engine).engine.refresh()
            return self.identity.info(exact=True)

    def moment(self) -> Moment:
        """The model as it is now, to see later whether it has stayed so."""
        return Moment(self._open)

    @property
    def ends(self) -> tuple[int, ...]:
        """The token ids that end a text or a turn, by the model, its tokenizer and its chat template."""
        return turn_ends(self._open.model, self._open.tokenizer)

    @contextmanager
    def borrowed(self) -> Iterator[Any]:
        """The transformers model as the workbench runs it, in its mode and with its attention, until the block ends."""
        model = self._open.model
        with self.lock, borrowed(model, self.engine("hf").engine.implementations):
            yield model


def _settings(tokenizer: Any) -> tuple[Any, ...] | None:
    """What of a tokenizer is looked at for changes: its template, its special tokens and how many tokens it has."""
    if tokenizer is None:
        return None
    special = sorted((key, str(value)) for key, value in tokenizer.special_tokens_map.items())
    return id(tokenizer), str(getattr(tokenizer, "chat_template", None)), tuple(special), len(tokenizer)
