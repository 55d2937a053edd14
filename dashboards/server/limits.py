"""How much the visitors of the pages may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import WorkbenchError


class TooLong(WorkbenchError):
    """A prompt has more tokens than this server takes."""


@dataclass(frozen=True)
class Limits:
    """What one server takes on; whatever goes beyond is refused in words."""

    visitors: int = 64
    """Browser tabs at once."""
    absence: float = 15.0
    """Seconds after which the jobs of a closed tab are cancelled; a page that is loaded again keeps them."""
    queue: int = 16
    """Jobs that wait or run, of all visitors together."""
    own: int = 4
    """Jobs of one browser tab that wait or run."""
    models: int = 2
    """Loaded models; the one that was not used for the longest time makes room."""
    prompt_tokens: int = 32_768
    """Tokens of the longest prompt of a run."""
    live_tokens: int = 2_048
    """Tokens of a prompt of a live view, which is asked again at every value."""
    upload_bytes: int = 5_000_000
    """Bytes of one text that a visitor brings."""
    kept_bytes: int = 500_000_000
    """Bytes of all texts that visitors brought, kept beside the runs that used them."""
    memory: int | None = None
    """Bytes that a run may take, weights included; by default most of what is free."""
