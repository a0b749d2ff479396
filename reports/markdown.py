"""A document as Markdown for a pull request, a step summary or a reader of plain text."""

from __future__ import annotations

from reports.document import Block, Command, Document, Paragraph, Picture, Section, Table
from reports.text import fenced, markdown


def render(document: Document) -> str:
    """The whole page. Every text of the document is escaped here and nowhere else."""
    parts = [
        f"# {markdown(document.title)}",
        f"## {document.icon} {markdown(document.headline)}",
        "\n".join(f"- {markdown(reason)}" for reason in document.reasons),
        *(part for section in document.sections for part in _section(section)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> list[str]:
    return [f"## {markdown(section.title)}", *(_block(block) for block in section.blocks)]


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
        *("| " + " | ".join(markdown(cell.text) for cell in row) + " |" for row in table.rows),
    ]
    grid = "\n".join(lines)
    if table.folded:
        return f"<details><summary>{markdown(table.caption)}</summary>\n\n{grid}\n\n</details>"
    return f"{markdown(table.caption)}\n\n{grid}"
