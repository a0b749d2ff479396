"""The report of a gate for a pull request: one comment within a byte budget, and the same as a page."""

from __future__ import annotations

from harness.errors import BadCall
from harness.gate.schema import GateResult
from harness.words import plural
from reports import budget, html, selftest
from reports.document import Document
from reports.gate_verdict import advice, contradiction, counted, exit_code, headline, parity_failed
from reports.markdown import render_comment
from reports.sections import gate_environment, gate_parity, gate_rows
from reports.text import one_line
from reports.verdict import EXIT_CODES

MARKER = "<!-- zeroulp:pr -->"  # first line of the comment: by it the comment is found again and edited
LIMIT = 60_000  # bytes; a comment of the forge takes 65,536
LEAST = 4_000  # below it not even the verdict is sure to fit
MOST_NOTES = 12


def markdown(result: GateResult, limit: int = LIMIT) -> str:
    """The comment, at most `limit` bytes of UTF-8. Raises BadCall below LEAST.

    Where space is short, rows that passed go first, then what is folded, and those that moved or failed last; how many
    lines went is said on top and in each table.
    """
    if limit < LEAST:
        raise BadCall(f"a report in {limit} bytes: expected at least {LEAST}")

    def render(page: Document) -> str:
        return render_comment(page, marker=MARKER)

    text = render(budget.fit(document(result), limit, render, whole="pr.html"))
    return text if len(text.encode()) <= limit else render(_verdict_alone(result))


def page(result: GateResult) -> str:
    """The same content, all of it, as one HTML file that loads nothing."""
    return html.render(document(result), {})


def document(result: GateResult) -> Document:
    """Verdict, then what moved (parity before it where that failed), then what did not, the environment last."""
    code = exit_code(result)
    icon, _, tone = EXIT_CODES[code]
    rows, parity = gate_rows.moved(result), gate_parity.section(result)
    first = (parity, rows) if parity_failed(result) else (rows, parity)
    return Document(
        title=f"zeroulp gate: {gate_environment.arm(result.base)} → {gate_environment.arm(result.head)}",
        icon=icon,
        headline=headline(result),
        tone=tone,
        reasons=_reasons(result),
        sections=(*first, gate_rows.others(result), gate_environment.section(result)),
    )


def _reasons(result: GateResult) -> tuple[str, ...]:
    """What stands under the headline, one line each."""
    notes = [f"note: {one_line(note)}" for note in result.notes[:MOST_NOTES]]
    if len(result.notes) > MOST_NOTES:
        notes.append(f"and {plural(len(result.notes) - MOST_NOTES, 'note')} more in gate.json")
    moved = [one_line(canary.name) for canary in result.canaries if canary.moved]
    lines = [
        advice(result),
        contradiction(result),
        f"the controls moved ({', '.join(moved)}): the machine changed, no time can be trusted" if moved else "",
        f"verdicts, one for each row and metric: {counted(result)}" if result.rows else "",
        _where(result),
        selftest.in_words(result.selftest),
        *notes,
    ]
    return tuple(line for line in lines if line)


def _where(result: GateResult) -> str:
    if result.gpu is not None:
        place = f"{one_line(result.gpu.name)} {one_line(result.gpu.uuid, longest=44)}"
    else:
        place = "host device, which has no speed" if result.device == "host" else one_line(result.device)
    pairs = f", {plural(result.pairs_spent, 'pair')} of processes" if result.pairs_spent else ""
    return f"{place}{pairs}, {_duration(result.seconds)}, started {one_line(result.started)}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if not seconds >= 120 else f"{seconds / 60:.0f} min"


def _verdict_alone(result: GateResult) -> Document:
    """What is left where even an empty frame is too long: texts of foreign origin fill it."""
    whole = document(result)
    note = f"everything else is left out for space ({plural(len(result.rows), 'row')}); pr.html has it"
    return Document(
        title="zeroulp gate",
        icon=whole.icon,
        headline=one_line(whole.headline, longest=120),
        tone=whole.tone,
        reasons=(advice(result), f"verdicts: {counted(result)}", note),
    )
