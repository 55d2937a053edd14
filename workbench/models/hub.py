"""Hub models as folders of this machine, with clear words when the Hub cannot be reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UnknownName, UsageError, WorkbenchError
from .registered import names

WANTED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""Files that are downloaded: no pickles, and Python only where remote code is allowed."""
SECONDS = 10.0
"""How long the Hub may take to say whether a model exists."""


def hub_folder(name: str, revision: str | None, code: bool = False, wanted: Sequence[str] = WANTED) -> tuple[Path, str]:
    """The folder of a Hub model in Hugging Face's cache, downloaded where needed, and its commit.

    Without a network, or with HF_HUB_OFFLINE set, what the cache holds is taken. Raises `UsageError` for a name that
    cannot exist or does not, and `WorkbenchError` where access is refused or the Hub cannot be reached.
    """
    import httpx
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import validate_repo_id

    patterns = [*wanted, "*.py"] if code else list(wanted)
    skipped = ["original/*", "onnx/*"]
    try:
        validate_repo_id(name)
        if constants.HF_HUB_OFFLINE:
            raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
        # One question without retries first: without a network, a download would try for half a minute.
        commit = HfApi().model_info(name, revision=revision, timeout=SECONDS).sha
        folder = snapshot_download(name, revision=commit, allow_patterns=patterns, ignore_patterns=skipped)
    except HFValidationError:
        raise UnknownName("model", name, names(), "or give a folder or a Hub id such as 'owner/name'") from None
    except GatedRepoError:
        raise WorkbenchError(f"{name} is gated: accept its terms on its page, then `hf auth login`") from None
    except RevisionNotFoundError:
        raise UsageError(f"{name} has no revision {revision!r}: give a branch, a tag or a commit of it") from None
    except RepositoryNotFoundError:
        raise UnknownName(
            "model", name, names(), "it is not on the Hugging Face Hub either, or private: run `hf auth login` then"
        ) from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        try:
            folder = snapshot_download(name, revision=revision, local_files_only=True)
        except (LocalEntryNotFoundError, OSError, ValueError):
            offline = constants.HF_HUB_OFFLINE
            why = "HF_HUB_OFFLINE is set" if offline else f"the Hub cannot be reached ({_first(error)})"
            raise _unreachable(name, why) from None
    return Path(folder), Path(folder).name


def _unreachable(name: str, why: str) -> WorkbenchError:
    if "/" not in name:
        return UnknownName("registered model or folder", name, names(), f"and as a Hub id it could not be tried: {why}")
    return WorkbenchError(
        f"{name} is not a registered model, not a folder here and not in Hugging Face's cache, and {why}; "
        f"without a network there is: {', '.join(sorted(names()))}, or any model folder"
    )


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
