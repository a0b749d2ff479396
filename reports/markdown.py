"""A document as Markdown for a pull request, a step summary or a reader of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from reports.document import Block, Cell, Command, Document, Paragraph, Picture, Section, Table
from reports.text import fenced, markdown


def render(document: Document) -> str:
    """The whole page. Every text of the document is escaped here and nowhere else."""
    parts = [
        f"# {markdown(document.title)}",
        f"## {document.icon} {markdown(document.headline)}",
        "\n".join(f"- {markdown(reason)}" for reason in document.reasons),
        *(part for section in document.sections for part in _section(section, level=2)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_comment(document: Document, *, marker: str) -> str:
    """The page as a comment: a hidden marker to find it by, and the verdict before everything else."""
    parts = [
        marker,
        f"## {document.icon} {markdown(document.headline)}",
        markdown(document.title),
        "\n".join(f"- {markdown(reason)}" for reason in document.reasons),
        *(part for section in document.sections for part in _section(section, level=3)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_blocks(blocks: Sequence[Block]) -> str:
    """Blocks without a page around them."""
    return "\n\n".join(_block(block) for block in blocks)


def table_row(row: Sequence[Cell]) -> str:
    return "| " + " | ".join(markdown(cell.text) for cell in row) + " |"


def _section(section: Section, *, level: int) -> list[str]:
    return [f"{'#' * level} {markdown(section.title)}", *(_block(block) for block in section.blocks)]


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return markdown(block.text)
    if isinstance(block, Command):
        return fenced(block.text)
    if isinstance(block, Picture):
        return f"![{markdown(block.alt)}]({block.file})"
    return _table(block)


def _table(table: Table) -> str:
    lines = [
        "| " + " | ".join(markdown(column.name) for column in table.columns) + " |",
        "|" + "|".join(" --: " if column.number else " --- " for column in table.columns) + "|",
        *(table_row(row) for row in table.rows),
    ]
    grid = "\n".join(lines)
    if table.folded:
        return f"<details><summary>{markdown(table.caption)}</summary>\n\n{grid}\n\n</details>"
    return f"{markdown(table.caption)}\n\n{grid}"
