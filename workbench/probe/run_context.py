"""What a running probe is handed beside the session."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..progress import Reporter
from ..records import results, store

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr


@dataclass
class StagedRunContext:
    """What a running probe is handed: its seed, its progress, and stages that survive an interruption."""

    seed: int
    progress: Reporter
    folder: Path
    key: str
    check_weights: Callable[[], None] = lambda: None
    """Raises if the model's weights are not those the run began with."""
    names: set[str] = field(default_factory=set)

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator seeded by the run's seed and by what it is for, so that adding one changes no other."""
        import numpy as np

        words = np.frombuffer(hashlib.sha256(purpose.encode()).digest(), np.uint32)
        return np.random.default_rng([self.seed, *words.tolist()])

    def stage(self, name: str, compute: Callable[[], xr.Dataset]) -> xr.Dataset:
        """Compute a part of the run, or read it back if an interrupted run had finished it.

        Raises `UsageError` if two stages of a run have one name.
        """
        if not name.replace("-", "").replace("_", "").isalnum():
            raise UsageError(f"{name!r} cannot name a stage: write letters, digits, hyphens and underscores")
        if name in self.names:
            raise UsageError(f"the stage {name!r} is computed twice in one run; give each its own name")
        self.names.add(name)
        self.progress.check()
        path = self.folder / store.STAGES / f"{name}.zarr"
        if path.exists():
            data = results.read_dataset(path)
            if data.attrs.pop("stage_key", None) == self.key:
                return data
        data = compute().load()
        results.check_stored(data)
        self.check_weights()
        marked = data.assign_attrs(stage_key=self.key)
        store.put(self.folder, f"{store.STAGES}/{name}.zarr", lambda made: results.write_dataset(marked, made))
        self.progress.check()
        return data
