"""Affine maps that carry the residual stream of a middle layer to the last one, as a trained lens uses them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SiteError, UsageError, WorkbenchError
from .sites import RESIDUAL_KINDS, Site

if TYPE_CHECKING:
    from torch import Tensor

KIND = "workbench affine maps"
"""What a file of maps says it is, in its metadata."""


@dataclass(frozen=True, eq=False)
class AffineMaps:
    """For sites of the residual stream: h → weight · h + bias, an estimate of what the last block leaves.

    maps: by site, a weight `[d_model, d_model]` and a bias `[d_model]`. about: what else a file of them says, such as
    the fingerprint of the model they were trained on.

        maps = AffineMaps.of({"resid_post.5": (weight, bias)})
        maps.save("maps.safetensors")
        session.lens(prompt, ["resid_post.5"], through=AffineMaps.load("maps.safetensors"))

    A lens after Belrose et al. 2023 (arXiv 2303.08112), whose translator adds to the residual stream, has
    1 + its own weight here.
    """

    maps: Mapping[Site, tuple[Tensor, Tensor]]
    about: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.maps:
            raise UsageError("affine maps are given for at least one site")
        width = self.width
        for site, (weight, bias) in self.maps.items():
            if site.kind not in RESIDUAL_KINDS or site.kind == "final_norm":
                raise SiteError(
                    f"'{site}' has no map: maps lead from the residual stream to the input of the final norm"
                )
            if tuple(weight.shape) != (width, width) or tuple(bias.shape) != (width,):
                raise UsageError(
                    f"the map of '{site}' has a weight {tuple(weight.shape)} and a bias {tuple(bias.shape)}; needed "
                    f"are ({width}, {width}) and ({width},)"
                )
            if not (weight.is_floating_point() and bool(weight.isfinite().all()) and bool(bias.isfinite().all())):
                raise UsageError(f"the map of '{site}' is not made of finite numbers")

    @classmethod
    def of(cls, maps: Mapping[str | Site, tuple[Tensor, Tensor]], about: Mapping[str, str] | None = None) -> AffineMaps:
        """Maps by site, or by any name of a site."""
        return cls({Site.parse(name): pair for name, pair in maps.items()}, dict(about or {}))

    @property
    def width(self) -> int:
        """Numbers of a residual stream that the maps take: d_model."""
        return next(iter(self.maps.values()))[1].shape[0]

    def check(self, site: Site, width: int) -> None:
        """Raise `UsageError` if there is no map of this site, or none for a residual stream of this width."""
        if site not in self.maps:
            raise UsageError(f"there is no map for '{site}'; there is one for: {', '.join(map(str, self.maps))}")
        if width != self.width:
            raise UsageError(f"these maps take a residual stream of {self.width} numbers, and this model's has {width}")

    def __call__(self, site: Site, residual: Tensor) -> Tensor:
        """What a residual stream `[…, d_model]` at a site is mapped to, in its own type."""
        weight, bias = (part.to(residual) for part in self.maps[site])
        return residual @ weight.T + bias

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the maps as safetensors."""
        from safetensors.torch import save_file

        tensors = {}
        for site, (weight, bias) in self.maps.items():
            tensors[f"{site}.weight"], tensors[f"{site}.bias"] = weight.contiguous(), bias.contiguous()
        path = Path(path)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        save_file(tensors, part, {**self.about, "kind": KIND})
        part.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AffineMaps:
        """Read maps that were saved.

        Raises `UsageError` for a file that holds none, and `WorkbenchError` for one that is broken.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise UsageError(f"there is no file {os.fspath(path)}")
        try:
            with safe_open(os.fspath(path), "pt") as file:
                about = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, OSError) as error:
            raise WorkbenchError(f"{os.fspath(path)} is not readable as safetensors ({error})") from None
        if about.pop("kind", None) != KIND:
            raise UsageError(f"{os.fspath(path)} holds no affine maps: save them with AffineMaps.save")
        names = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
        try:
            maps = {Site.parse(name): (tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names}
        except KeyError as error:
            raise WorkbenchError(f"{os.fspath(path)} is incomplete: it lacks {error}") from None
        return cls(maps, about)
