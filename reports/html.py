"""A document as one HTML file with its pictures inside: no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports.document import Document, Picture


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture as PNG bytes, for light and for dark paper."""

    light: bytes
    dark: bytes


def render(document: Document, pictures: Mapping[str, Drawn]) -> str:
    """The whole page; `pictures` holds those that the document names, by file name."""

    def source(picture: Picture, tone: str) -> str:
        drawn = pictures[picture.file]
        data = base64.b64encode(drawn.light if tone == "light" else drawn.dark).decode("ascii")
        return f"data:image/png;base64,{data}"

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["kind"] = lambda block, name: type(block).__name__ == name
    return environment.get_template("page.html").render(document=document, source=source)
