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
_ELEMENTS = {"svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "circle", "image", "pattern"}
_ATTRIBUTES = {
    "id", "d", "style", "transform", "x", "y", "width", "height", "viewBox", "version", "clip-path", "href", "fill",
    "stroke", "stroke-width", "r", "cx", "cy", "patternUnits", "patternTransform", "clipPathUnits",
    "preserveAspectRatio", "space",
}  # fmt: skip
"""What a drawing is made of; a file in the folder of a run may have come from anywhere, and hold anything."""
_PAGE_COLOURS = {
    style.INK["light"]: "var(--ink)",
    style.QUIET["light"]: "var(--quiet)",
    style.GRID["light"]: "var(--grid)",
}


def inline_svg(figure: Figure, key: str, saved: str | None = None) -> str | None:
    """SVG to be put into a page: its inks are the page's, its ids begin with `key`; None if it is too large.

    It is what the run `saved`, without its title and paper, or drawn if nothing was saved that these can be taken
    from. It is parsed and written again, so that nothing but shapes, texts and embedded pixels remains.
    """
    if saved is not None and len(saved) > MOST_BYTES:
        return None
    root = _untitled(saved, paper=False) if saved is not None else None
    if root is None:
        written = matplotlib.svg(figure, title=False, transparent=True)
        if len(written) > MOST_BYTES:
            return None
        root = ET.fromstring(written)
    _clean(root)
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
    return _text(root)


def svg_file(figure: Figure, saved: str | None = None) -> str:
    """SVG for a file of its own, on paper and without a title: what the run `saved`, or drawn."""
    root = _untitled(saved, paper=True) if saved is not None else None
    if root is None:
        return matplotlib.svg(figure, title=False)
    _clean(root)
    return _text(root) + "\n"


def _untitled(saved: str, paper: bool) -> ET.Element | None:
    """A saved drawing without its title; None if it does not say where its title ends, or is none."""
    if "<!ENTITY" in saved:
        return None
    try:
        root = ET.fromstring(saved)
        left, top, width, height = (float(end) for end in root.attrib["viewBox"].split())
    except (ET.ParseError, KeyError, ValueError):
        return None
    above = None
    for parent in list(root.iter()):
        for child in list(parent):
            name = child.get("id", "")
            if name.startswith(matplotlib.ABOVE) and re.fullmatch(r"\d+\.\d", name.removeprefix(matplotlib.ABOVE)):
                above = float(name.removeprefix(matplotlib.ABOVE))
                parent.remove(child)
            elif name == matplotlib.PAPER and not paper:
                parent.remove(child)
    if above is None or not 0 <= above < height:
        return None
    root.set("viewBox", f"{left:g} {top + above:g} {width:g} {height - above:g}")
    root.set("height", f"{height - above:g}pt")
    return root


def _clean(root: ET.Element) -> None:
    """Leave only what shapes, texts and pixels are made of."""
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")  # what matplotlib says in a style sheet
    for parent in list(root.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] not in _ELEMENTS:
                parent.remove(child)
        for name, value in list(parent.attrib.items()):
            local = name.rpartition("}")[2]
            asks = local == "href" and not value.startswith(("#", "data:image/png;base64,"))
            if local not in _ATTRIBUTES or asks or re.search(r"url\((?!#)", value):
                del parent.attrib[name]


def _text(root: ET.Element) -> str:
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
