"""A report as PDF, laid out without a browser."""

from __future__ import annotations

import hashlib

from ..errors import MissingExtra
from . import html
from .blocks import Report


def render(report: Report) -> bytes:
    """The report on A4, static figures as vectors; the same bytes for the same report.

    Raises `MissingExtra` if WeasyPrint, or the Pango library that it draws text with, is not here.
    """
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        raise MissingExtra("a report as PDF", "pdf") from error
    page = html.render(report, static=True)
    # What the page itself holds may be read, and nothing else.
    fetcher = weasyprint.URLFetcher(allowed_protocols=["data"], fail_on_errors=True)
    document = weasyprint.HTML(string=page, url_fetcher=fetcher)
    written = document.write_pdf(pdf_identifier=hashlib.sha256(page.encode()).digest()[:16])
    return bytes(written)
