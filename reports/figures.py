"""The figures of runs as Markdown for a page of documentation: machine, targets, rows, and where a step's time goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.aa_schema import RESULT, read_result
from harness.errors import BadCall
from harness.profile import KERNELS, read_profiles
from harness.schema import Environment
from harness.store import PLAN, StoredRun, read_environment, read_run
from reports import markdown, noise
from reports.document import Block, Paragraph, Table
from reports.frames import row_frame, timed_rows
from reports.profile import pairs
from reports.reproduce import typed
from reports.sections import profile, throughput
from reports.sections import targets as targets_section
from reports.targets import held
from reports.text import one_line
from reports.units import plain
from reports.verdict import decide

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def figures(folders: Sequence[Path]) -> str:
    """One part for each run folder, in the order given, and one for all A/A runs. Raises BadCall for other folders."""
    noisy = [folder for folder in folders if (folder / RESULT).is_file()]
    parts = [_blocks(folder) for folder in folders if folder not in noisy]
    if noisy:
        parts.append(noise.blocks([read_result(folder) for folder in noisy]))
    return "\n\n".join(markdown.render_blocks(part) for part in parts) + "\n"


def replaced(page: str, made: str, *, name: str) -> str:
    """The page with what stands between its two marks replaced. Raises BadCall for a page without them."""
    head, begin, rest = page.partition(f"{BEGIN}\n")
    _, end, tail = rest.partition(f"{END}\n")
    if not begin or not end:
        raise BadCall(f"{name}: expected a line {BEGIN} and behind it a line {END}")
    return f"{head}{begin}\n{made}\n{end}{tail}"


def _blocks(folder: Path) -> list[Block]:
    planned, taken_apart = (folder / PLAN).exists(), (folder / KERNELS).exists()
    if not planned and not taken_apart:
        raise BadCall(f"{folder}: holds neither rows nor profiles of kernels nor an A/A run; expected a run folder")
    made = read_environment(folder)
    run = read_run(folder) if planned else None
    commands = (run.plan.parts if run else ()) or (made.command,)
    blocks: list[Block] = [Paragraph(text=_machine(made)), *map(typed, commands)]
    if run:
        blocks += _rows(run)
    if taken_apart:
        blocks += [block for block in profile.section(pairs(read_profiles(folder))).blocks if isinstance(block, Table)]
    return blocks


def _rows(run: StoredRun) -> list[Block]:
    found, timed = held(run), timed_rows(row_frame(run))
    return [
        Paragraph(text=f"{decide(run).headline}."),
        *(targets_section.section(found).blocks if found else ()),
        *([throughput.speeds(run, timed)] if len(timed) else ()),
    ]


def _machine(made: Environment) -> str:
    gpu = made.gpu
    where = f"{gpu.name} (driver {gpu.driver}, CUDA {gpu.cuda})" if gpu else f"{made.cpu}, no GPU"
    commit = f"commit {made.git_commit[:12]}" + (" with changes" if made.git_dirty else "")
    code = commit if made.git_commit else f"tree {made.tree or 'unknown'}"
    text = f"Machine: {where}; zeroulp {made.version}, numerics {made.numerics}, {code}."
    ceilings = [f"{ceiling.name} {plain(ceiling.median)} {ceiling.unit}" for ceiling in made.ceilings]
    return one_line(
        f"{text} Ceilings measured in the same run: {', '.join(ceilings)}." if ceilings else text, longest=800
    )
