"""Static figures as they stand in a page: drawn once, in the page's own colours."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET

from ..figures import Figure, matplotlib, style

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
MOST_BYTES = 250_000
"""A static figure larger than this as SVG is embedded as PNG."""
_DROPPED = {"metadata", "style", "title", "desc"}
_PAGE_COLOURS = {
    style.INK["light"]: "var(--ink)",
    style.QUIET["light"]: "var(--quiet)",
    style.GRID["light"]: "var(--grid)",
}


def inline_svg(figure: Figure, key: str) -> str | None:
    """SVG to be put into a page: its inks are the page's, its ids begin with `key`; None if it is too large.

    It is parsed and written again, so that nothing but shapes, texts and embedded pixels remains.
    """
    written = matplotlib.svg(figure, title=False, transparent=True)
    if len(written) > MOST_BYTES:
        return None
    # matplotlib declares a document type, which is of no use inside a page.
    root = ET.fromstring(written)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in _DROPPED:
                parent.remove(child)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            local = name.rpartition("}")[2]
            if local == "id":
                element.set(name, f"{key}-{value}")
            elif local == "href" and value.startswith("#"):
                element.set(name, f"#{key}-{value[1:]}")
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{key}-"))
            elif local == "style":
                element.set(name, re.sub("#[0-9a-f]{6}", lambda match: _PAGE_COLOURS.get(match[0], match[0]), value))
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    return ET.tostring(root, encoding="unicode")


def data_uri(content: bytes, kind: str) -> str:
    """Content as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def image(figure: Figure, outlines: bool = False) -> str:
    """The figure on white as the address of an image; `outlines` turns its text into shapes."""
    svg = matplotlib.svg(figure, title=False, text="path" if outlines else "none")
    if len(svg) <= MOST_BYTES * 2:
        return data_uri(svg.encode(), "image/svg+xml")
    return data_uri(matplotlib.png(figure, title=False), "image/png")
