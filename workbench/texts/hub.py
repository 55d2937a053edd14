"""A file of facts from a data set on the Hugging Face Hub, by way of its cache."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError, WorkbenchError

PREFIX = "hub:"
SECONDS = 10.0
"""How long the Hub may take to say what a file's newest version is."""


def hub_file(source: str) -> Path:
    """The file that `hub:owner/name/file.json` names, downloaded where the cache lacks it.

    Raises `UsageError` for what names no file of a data set, and `WorkbenchError` where it cannot be had.
    """
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    owner, name, file = [*source.removeprefix(PREFIX).split("/", 2), "", "", ""][:3]
    if not (owner and name and file.endswith(".json")):
        raise UsageError(f"data {source!r} names no file on the Hub; the form is {PREFIX}owner/name/file.json")
    try:
        return Path(hf_hub_download(f"{owner}/{name}", file, repo_type="dataset", etag_timeout=SECONDS))
    except HFValidationError as error:
        raise UsageError(f"data {source!r}: {str(error).splitlines()[0]}") from None
    except GatedRepoError:
        raise WorkbenchError(f"{owner}/{name} is gated: accept its terms on its page, then `hf auth login`") from None
    except RepositoryNotFoundError:
        raise UsageError(
            f"the Hub has no data set {owner}/{name}, or it is private: run `hf auth login` then"
        ) from None
    except LocalEntryNotFoundError:
        raise WorkbenchError(
            f"{file} of {owner}/{name} is not in Hugging Face's cache, and the Hub cannot be reached; give a JSON file "
            "of this machine instead"
        ) from None
    except EntryNotFoundError:
        raise UsageError(f"the data set {owner}/{name} has no file {file!r}") from None
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise WorkbenchError(f"{file} of {owner}/{name} cannot be downloaded: {said[:160]}") from None
