"""Models: those known by name, how one is fetched, checked and loaded, and the fingerprint of its weights."""

from .cache import cache_folder
from .fetch import fetch
from .fingerprint import config_fingerprint, tokenizer_fingerprint, weights_fingerprint
from .listed import Listed, listing
from .registered import DEFAULT, Licence, Registered, find, registered

__all__ = [
    "DEFAULT",
    "Licence",
    "Listed",
    "Registered",
    "cache_folder",
    "config_fingerprint",
    "fetch",
    "find",
    "listing",
    "registered",
    "tokenizer_fingerprint",
    "weights_fingerprint",
]
