"""What `workbench models` says: the models known by name, under which licence, and whether they are here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .accepted import is_accepted
from .model_files import is_complete
from .registered import registered


@dataclass(frozen=True)
class Listed:
    """One line of `workbench models`."""

    id: str
    aliases: tuple[str, ...]
    about: str
    quantisation: str | None
    licence: dict[str, Any]
    """`name`, `url`, `notice`, `must_accept`, and `accepted`: None where nothing has to be accepted."""
    bytes: int
    download: int
    """Bytes that a fetch downloads."""
    cached: bool
    path: str


def listing() -> list[Listed]:
    """The registered models with their licence, and whether each can be loaded without a network."""
    return [
        Listed(
            id=model.id,
            aliases=model.aliases,
            about=model.about,
            quantisation=model.quantisation,
            licence={
                "name": model.licence.name,
                "url": model.licence.url,
                "notice": model.licence.notice,
                "must_accept": model.licence.must_accept,
                "accepted": is_accepted(model) if model.licence.must_accept else None,
            },
            bytes=model.bytes,
            download=model.source.download if model.source else 0,
            cached=model.shipped is not None or is_complete(model.folder),
            path=str(model.folder),
        )
        for model in registered()
    ]
