"""A loaded model: its weights once, a queue for the threads that use it, and every engine on the same weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, WorkbenchError
from ..html_table import bundle
from ..models.load import Loaded, load_model, wrap_model
from ..progress import Reporter
from . import engines
from .architectures import Shape
from .borrowing import plain_torch
from .engine_checks import refuse_disagreeing
from .fifo_lock import FifoRLock
from .hooked_model import HookedModel
from .prompts import Ids, Prompt, Prompts
from .session_calls import SessionCalls
from .session_identity import HeldModel, Identity
from .session_table import session_table
from .tokens import TokenBatch
from .values import ValuePrompts
from .weights import weight

if TYPE_CHECKING:
    import torch


def load(
    model: Any,
    engine: str = "hf",
    adapter: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    *,
    tokenizer: Any = None,
    progress: Reporter | None = None,
) -> Session:
    """Load a model and return its session.

    `model` is a registered id, a folder, a Hugging Face id, or a transformers model in memory: `(model, tokenizer)`, or
    the model with `tokenizer=`. A registered model that is not here yet is fetched first. The device is cuda where
    there is one, the dtype the checkpoint's. Raises `UsageError` for what cannot be loaded as asked, and
    `WorkbenchError` where files or a network are missing.
    """
    engines.check(engine)
    asked = {"adapter": adapter, "device": device, "dtype": dtype, "device_map": device_map, "revision": revision}
    if not isinstance(model, (str, os.PathLike)):
        if given := [name for name, value in asked.items() if value is not None]:
            raise UsageError(f"a model in memory is taken as it is; leave out {', '.join(given)}")
        return Session(wrap_model(model, tokenizer), engine)
    if tokenizer is not None:
        raise UsageError("a model given by name comes with its own tokenizer; leave tokenizer out")
    return Session(load_model(model, trust_remote_code=trust_remote_code, progress=progress, **asked), engine)


class Session(SessionCalls, HeldModel):
    """A loaded model. Calls of several threads are served one after the other, in the order they came.

    `lock` can be held over several calls, so that nothing of another thread comes between them. Between two calls the
    model is as its user left it.
    """

    def __init__(self, loaded: Loaded, engine: str = "hf") -> None:
        self._loaded: Loaded | None = loaded
        self._hooked: dict[str, HookedModel] = {}
        self.lock = FifoRLock()
        self.engine_name = engine
        self._shape = self.engine(engine).shape
        self.identity = Identity(loaded, engine, lambda: self.hooked.engine)
        d_in = self._shape.d_in
        text = Prompts(loaded.tokenizer, lambda: self.shape.vocabulary)
        self._prompts = text if d_in is None else ValuePrompts(d_in)

    @property
    def model(self) -> Any:
        """The transformers model."""
        return self._open.model

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, None where it has none."""
        return self._open.tokenizer

    @property
    def shape(self) -> Shape:
        """The sizes of the model."""
        if self.engine_name in self._hooked:
            self._shape = self._hooked[self.engine_name].shape
        return self._shape

    @property
    def waiting(self) -> int:
        """How many threads wait for their turn."""
        return self.lock.waiting

    @property
    def hooked(self) -> HookedModel:
        """The model through the session's own engine; hold `lock` around its calls where there are several threads."""
        return self.engine(self.engine_name)

    def engine(self, name: str) -> HookedModel:
        """The model through an engine by name, on the same weights; hold `lock` around its calls.

        Raises `UnknownName` listing the engines there are.
        """
        loaded = self._open
        if name in self._hooked:
            return self._hooked[name]
        engines.check(name)
        with self.lock:
            if name not in self._hooked:
                # plain hooks come first: they verify what the model has, for all engines
                plain = None if name == "hf" else self.engine("hf").engine
                made = HookedModel(engines.build(name, loaded.model, loaded.tokenizer, plain))
                if not made.engine.trusted:
                    made.engine.check_with(lambda: refuse_disagreeing(made, self.engine("hf")))
                self._hooked[name] = made
            return self._hooked[name]

    @property
    def engines(self) -> tuple[str, ...]:
        """The names of the engines in use."""
        return tuple(self._hooked)

    @property
    def bridge(self) -> Any:
        """TransformerLens' bridge on the same weights, with its own hook names; hold `lock` around its calls.

        It stands for the model's modules as they are: once they change, it says so, and is to be taken anew.
        """
        return self.engine("transformerlens").engine.now().wrapped  # type: ignore[attr-defined]

    @property
    def nnsight(self) -> Any:
        """nnsight's model on the same weights; hold `lock` around its traces. It is taken anew as `bridge` is."""
        return self.engine("nnsight").engine.now().wrapped  # type: ignore[attr-defined]

    def tokens(self, prompt: Prompt, chat: bool = False) -> TokenBatch:
        """Token ids of a text, texts or ids, as the tokenizer makes them by itself; with `chat` in its chat template.

        Raises `UsageError` for an empty prompt, for ids outside the vocabulary, and for what is no prompt.
        """
        return self._prompts.tokens(prompt, chat)

    def text(self, ids: Ids) -> str:
        """The text of one row of ids, special tokens included."""
        return self._prompts.text(ids)

    def text_tokens(self, ids: Ids) -> list[str]:
        """The text of each token by itself, for display; the id where there is no tokenizer."""
        return self._prompts.text_tokens(ids)

    def beyond_context(self, tokens: TokenBatch) -> str | None:
        """A warning if a row is longer than what the model was made for, otherwise None."""
        context, longest = self.shape.context, int(tokens.lengths.max())
        if context is None or longest <= context:
            return None
        return f"{longest} tokens are more than the {context} that this model was made for: it was not trained there"

    def weight(self, address: str, adapters: bool = True) -> torch.Tensor:
        """A weight by address, such as `W_Q.5.3`, `W_OV.5.3` or `W_U`, with active adapters or not; see `weights`."""
        return weight(self._open.model, self.engine("hf").architecture, address, adapters)

    def close(self) -> None:
        """Let go of the weights, once the thread at work is done; later calls raise `WorkbenchError`."""
        with self.lock:
            self._loaded = None
            self._hooked.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Session({self._loaded.id!r}, engine={self.engine_name!r})" if self._loaded else "Session(closed)"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return bundle(repr(self)) if self._loaded is None else session_table(self._loaded, self.shape, self.engine_name)

    @property
    def _open(self) -> Loaded:
        if self._loaded is None:
            raise WorkbenchError("this session is closed: load the model again")
        return self._loaded

    @contextmanager
    def _turn(
        self, prompt: Prompt, chat: bool, engine: str | None, progress: Reporter | None
    ) -> Iterator[tuple[HookedModel, TokenBatch]]:
        """Tokens first, outside of the queue; then this thread's turn with the engine."""
        with plain_torch():
            tokens = self.tokens(prompt, chat)
            self.lock.acquire(progress)
            try:
                yield self.engine(engine or self.engine_name), tokens
            finally:
                self.lock.release()
