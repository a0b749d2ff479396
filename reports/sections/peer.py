"""Another program's speed beside ours: both figures, the ratio, and what the program says of itself."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.schema import Peer
from harness.store import StoredRun
from harness.words import plural
from reports.document import Block, Cell, Paragraph, Section, Table, table
from reports.frames import describe, naming
from reports.peers import Beside, beside
from reports.reproduce import typed
from reports.text import one_line
from reports.units import spread

MOST_COMMANDS = 4


def section(run: StoredRun, rows: pd.DataFrame) -> Section:
    """Only for runs with peers."""
    pairs = beside(run)
    blocks: list[Block] = []
    if pairs:
        blocks += [_speeds(pairs, rows), *_notes(pairs)]
    else:
        blocks.append(Paragraph(text="No figure of a peer stands beside a timed row.", tone="unsure"))
    ok = [peer for peer in run.peers if peer.status == "ok"]
    if ok:
        blocks.append(_programs(ok))
        commands = list(dict.fromkeys(peer.command for peer in ok if peer.command))
        if commands:
            text = "The peer was called as follows, directly after the first of our rows of the same model and shape:"
            blocks += [Paragraph(text=text), *(typed(command) for command in commands[:MOST_COMMANDS])]
            if len(commands) > MOST_COMMANDS:
                rest = plural(len(commands) - MOST_COMMANDS, "more call")
                blocks.append(Paragraph(text=f"{rest} differ in model and shape alone; peers.jsonl has them."))
    lacking = [peer for peer in run.peers if peer.status != "ok"]
    if lacking:
        blocks.append(_lacking(lacking))
    return Section(title="Peer", blocks=tuple(blocks))


def _speeds(pairs: Sequence[Beside], rows: pd.DataFrame) -> Table:
    ids = {pair.row.id for pair in pairs}
    timed = rows[rows["id"].isin(ids)]
    columns, lines = naming(timed), {line["id"]: line for _, line in timed.iterrows()}
    found = []
    for pair in pairs:
        line, shape = lines[pair.row.id], pair.row.shape
        test = f"{pair.phase} {shape.prompt if pair.phase == 'prefill' else shape.generated}"
        ratio = Cell(text=pair.why_not, tone="unsure") if pair.ratio is None else f"{pair.ratio:.2f}"
        figures = (f"{pair.our_position:,}", f"{pair.peer.position:,}", spread(pair.ours), spread(pair.theirs), ratio)
        found.append((describe(line, columns), line["outcome"], test, *figures))
    names = ("configuration", "parity", "test", "from", "peer from", "tokens/s", "peer, tokens/s", "ratio")
    caption = "Median (least to most over the repeats), ours and the peer's; the ratio is ours over the peer's"
    return table(caption, names, found, numbers=names[3:], folded=len(found) > 40)


def _notes(pairs: Sequence[Beside]) -> list[Block]:
    notes: list[Block] = []
    if any(pair.why_not == "another GPU" for pair in pairs):
        text = "A peer that ran on another GPU than this run's has no ratio: the GPUs would be compared."
        notes.append(Paragraph(text=text, tone="unsure"))
    if any(pair.our_position != pair.peer.position for pair in pairs):
        text = (
            "Where the two columns “from” differ, the peer decoded behind fewer tokens than we did, which is the"
            " lighter work: the ratio is then less than it would be from the same position."
        )
        notes.append(Paragraph(text=text, tone="unsure"))
    if any(not pair.peer.command for pair in pairs):
        text = (
            "Figures that were read from a file were measured at another time than our rows, not alternating with them."
        )
        notes.append(Paragraph(text=text, tone="unsure"))
    return notes


def _programs(peers: Sequence[Peer]) -> Table:
    """What the programs say of themselves, each combination once."""
    lines = dict.fromkeys(
        (
            *(one_line(peer.program), one_line(peer.build), one_line(peer.label), one_line(peer.gpu)),
            ", ".join(f"{one_line(name)} {one_line(value)}" for name, value in peer.flags.items()),
            one_line(peer.source),
        )
        for peer in peers
    )
    names = ("peer", "build", "model as it names it", "GPU", "settings", "from")
    return table("What the peer says of itself", names, lines)


def _lacking(peers: Sequence[Peer]) -> Table:
    lines = []
    for peer in peers:
        failed = peer.status == "failed"
        state = Cell(text="✗ failed" if failed else "— belongs to no row", tone="bad" if failed else "")
        lines.append((state, _what(peer), one_line(peer.reason)))
    return table("Figures of the peer that are not there", ("state", "what", "why"), lines)


def _what(peer: Peer) -> str:
    """Our model and shape, or the program's own words."""
    if peer.model is None or peer.shape is None:
        return one_line(peer.label)
    shape = f"{peer.shape.prompt} + {peer.shape.generated} tokens at {peer.shape.depth}"
    return f"{one_line(peer.model.name)} {one_line(peer.model.quant)}, {shape}, {peer.phase}"
