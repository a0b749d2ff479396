"""Where the rows were made and how to make them again."""

from __future__ import annotations

from harness.schema import Environment
from harness.store import StoredRun
from harness.words import plural
from reports.document import Block, Paragraph, Section, Table, table
from reports.reproduce import configuration, typed
from reports.text import one_line
from reports.units import count, short
from reports.verdict import outcome


def section(run: StoredRun) -> Section:
    blocks: list[Block] = [Paragraph(text="To make this run again:"), typed(run.environment.command)]
    if run.plan.command != run.environment.command:
        blocks += [Paragraph(text="It was called as:"), typed(run.plan.command)]
    other = [row for row in run.rows if row.environment != run.environment.id]
    if other:
        text = f"{plural(len(other), 'row')} came from another environment than this one; do not compare their speeds."
        blocks.append(Paragraph(text=text, tone="unsure"))
    if run.environment.git_dirty:
        blocks.append(Paragraph(text="The checkout had changes that were not committed.", tone="unsure"))
    facts = machine(run.environment, run.plan.started)
    return Section(title="Environment and reproduction", blocks=(*blocks, facts, _models(run), _rows(run)))


def machine(env: Environment, started: str) -> Table:
    """Where and with what a run was made."""
    facts = [
        ("started", started),
        ("zeroulp", f"{env.version}, numerics {env.numerics}"),
        ("commit", (env.git_commit + (" with changes" if env.git_dirty else "")) or "outside a checkout"),
        *([("tree", env.tree)] if env.tree else []),
        ("machine", env.machine),
        ("system", env.os),
        ("CPU", f"{env.cpu}, {plural(env.cores, 'core')} usable, {short(env.memory_bytes, 'B')} memory"),
        *_gpu(env),
        ("Python", env.python),
        ("libraries", ", ".join(f"{name} {version}" for name, version in sorted(env.libraries.items()))),
        *((f"compiled for {device}", flags) for device, flags in sorted(env.compile_flags.items()) if flags),
        ("environment", env.id),
    ]
    return table("Environment", ("what", "value"), [(one_line(name), one_line(value)) for name, value in facts])


def _gpu(env: Environment) -> list[tuple[str, str]]:
    gpu = env.gpu
    if gpu is None:
        return [("GPU", "none")]
    sizes = f"{gpu.multiprocessors} multiprocessors, {short(gpu.memory_bytes, 'B')} memory"
    return [
        ("GPU", f"{gpu.name}, compute capability {gpu.compute_capability}, {sizes}"),
        ("GPU id", gpu.uuid),
        ("driver and CUDA", f"driver {gpu.driver}, CUDA {gpu.cuda}"),
    ]


def _models(run: StoredRun) -> Table:
    models = dict.fromkeys(
        (row.model.name, row.model.quant, row.model.bytes, row.model.sha256) for row in run.plan.rows
    )
    rows = [
        (one_line(name), one_line(quant), short(size, "B"), one_line(digest)) for name, quant, size, digest in models
    ]
    return table("Models", ("model", "weights", "size", "sha256"), rows, numbers=("size",))


def _rows(run: StoredRun) -> Table:
    """All planned rows, for looking one up."""
    made = {row.id: row for row in run.rows}
    lines = []
    for planned in run.plan.rows:
        row = made.get(planned.id)
        result = outcome(row, run.environment.ceilings) if row else "missing"
        memory = short(row.metrics.memory_bytes, "B") if row and row.metrics else "—"
        values = count(sum(check.values for check in row.proof)) if row else "—"
        seconds = f"{row.seconds:.1f}" if row else "—"
        opened = row.metrics.first_token_seconds if row and row.metrics else None
        first = f"{opened:.2f}" if opened is not None else "—"
        lines.append((planned.key, configuration(planned), result, values, memory, first, seconds))
    names = ("key", "configuration", "outcome", "values compared", "memory", "s to first token", "seconds")
    return table(f"All {plural(len(lines), 'planned row')}", names, lines, numbers=names[3:], folded=True)
