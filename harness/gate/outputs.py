"""What other programs read of a gate: JUnit XML and the annotations of a forge."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from collections.abc import Iterable

from harness.gate.schema import GateResult, RowVerdict
from harness.words import plural

MOST_ANNOTATIONS = 10  # a forge shows no more of a step
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FAILURES, ERRORS = ("wrong", "slower"), ("missing", "broken")


def junit(result: GateResult) -> bytes:
    """One test for each verdict: failures for wrong and slower, errors for missing and broken, cannot tell skipped."""
    suite = xml.Element("testsuite", name="zeroulp gate", timestamp=result.started, time=f"{result.seconds:.3f}")
    rows = result.rows
    suite.set("tests", str(len(rows)))
    suite.set("failures", str(sum(row.verdict in FAILURES for row in rows)))
    suite.set("errors", str(sum(row.verdict in ERRORS for row in rows)))
    suite.set("skipped", str(sum(row.verdict == "cannot_tell" for row in rows)))
    for row in rows:
        suite.append(_case(row))
    root = xml.Element("testsuites")
    root.append(suite)
    xml.indent(root)
    return bytes(xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def forge_lines(result: GateResult) -> list[str]:
    """Workflow commands: an error for each row that fails the gate, the worst first, and one for what is left out.

    A gate that cannot tell is a warning.
    """
    bad = [row for verdict in (*ERRORS, *FAILURES) for row in result.rows if row.verdict == verdict]
    lines = [_command(f"{row.verdict}: {row.metric}", f"{row.label}: {told(row)}") for row in bad]
    if len(lines) > MOST_ANNOTATIONS:
        more = len(lines) - MOST_ANNOTATIONS + 1
        lines[MOST_ANNOTATIONS - 1 :] = [
            _command("zeroulp gate", f"{plural(more, 'more row fails', 'more rows fail')}; see summary.md")
        ]
    if result.exit_code != 0 and not lines:
        return [_command("zeroulp gate", result.headline, level="warning" if result.exit_code == 3 else "error")]
    return lines


def told(row: RowVerdict) -> str:
    """A verdict in words: the change with its interval, where it is a time, and the reason."""
    parts = []
    if row.ratio is not None:
        change = f"{_percent(row.ratio)} time"
        if row.low is not None and row.high is not None:
            change += f" ({_percent(row.low)} to {_percent(row.high)})"
        parts.append(f"{change}, {plural(row.pairs, 'pair')}")
    parts += [text for text in (row.confirmation, row.reason) if text]
    return "; ".join(parts) or row.verdict.replace("_", " ")


def _case(row: RowVerdict) -> xml.Element:
    case = xml.Element("testcase", classname=_clean(row.model), name=_clean(f"{row.label} [{row.metric}]"))
    properties = xml.SubElement(case, "properties")
    facts = {"key": row.key, "verdict": row.verdict, "ratio": row.ratio, "pairs": row.pairs, "rerun": row.rerun}
    for name, value in facts.items():
        if value not in (None, ""):
            xml.SubElement(properties, "property", name=name, value=_clean(str(value)))
    text = _clean(told(row))
    if row.verdict in FAILURES:
        xml.SubElement(case, "failure", type=row.verdict, message=text)
    elif row.verdict in ERRORS:
        xml.SubElement(case, "error", type=row.verdict, message=text)
    elif row.verdict == "cannot_tell":
        xml.SubElement(case, "skipped", message=text)
    return case


def _command(title: str, message: str, *, level: str = "error") -> str:
    """A name or reason of foreign origin cannot end the line or begin another command."""
    return f"::{level} title={_escape(title, ':,')}::{_escape(message, '')}"


def _escape(text: str, more: Iterable[str]) -> str:
    for character in ("%", "\r", "\n", *more):
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _clean(text: str) -> str:
    """Without the characters that no XML may hold."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"
