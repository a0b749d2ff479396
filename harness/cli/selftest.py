"""`zeroulp selftest`: faults planted in a scratch copy, and the checks that see them."""

from __future__ import annotations

import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import edge
from harness.cli.options import FILE, json_option
from harness.errors import BadCall
from harness.words import plural

if TYPE_CHECKING:
    from harness.selftest import Selftest
    from suites.selftest.campaign import CampaignPlan


@click.command()
@click.option("--faults", multiple=True, metavar="NAME", help="A name, a pattern, an area, or all.  [default: all]")
@click.option("--sample", "size", type=click.IntRange(min=1), metavar="N", help="N of them; --seed says which.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the sample.  [default: the number of the day, UTC]")
@click.option("--device", type=click.Choice(["host", "cuda"]), help="Where the checks run.  [default: host]")
@click.option("-n", "processes", type=click.IntRange(min=1), help="Faults at a time.  [default: one per core]")
@click.option("--out", type=FILE, metavar="FOLDER", help="A new or empty folder.  [default: a new one in results]")
@click.option("--resume", type=FILE, metavar="FOLDER", help="Go on with a selftest that was stopped.")
@click.option("--list", "as_list", is_flag=True, help="Print the faults and the checks that should see them; no more.")
@json_option
def selftest(
    faults: tuple[str, ...],
    size: int | None,
    seed: int | None,
    device: str | None,
    processes: int | None,
    out: Path | None,
    resume: Path | None,
    as_list: bool,
    as_json: bool,
) -> int:
    """Plant faults and see whether the suites catch them.

    Each fault of the catalogue is one wrong line. It is planted in a copy of the packages, the checks that should see
    it are run there, and it is caught if one of them fails by an assertion. The same checks must pass with nothing
    planted. A fault that is missed is listed; it stays in the catalogue until a check sees it.

    The folder gets selftest.json, which a gate and the reports take. The score of the whole catalogue is kept by the
    hash of the code as well, so that a gate of the same code shows it. Ctrl-C keeps the verdicts; --resume goes on.

    \b
    Examples:
      zeroulp selftest
      zeroulp selftest --faults 'graph-*' --faults gate
      zeroulp selftest --sample 8 --seed 3
      zeroulp selftest --device cuda --json
      zeroulp selftest --resume results/20260101T120000Z-abc123

    Exit codes: 0 all caught, 1 one was missed, 2 a check fails unplanted or shows nothing, or a bad call,
    130 interrupted.
    """
    from harness.adapters.devices import require
    from harness.selftest import SELFTEST, encode, keep
    from harness.store import write_atomically
    from suites.selftest.campaign import Campaign, code_here, read_plan

    if as_list:
        return _print_list(faults or ("all",), device or "host", as_json=as_json)
    if resume is not None:
        if faults or any(option is not None for option in (size, seed, device, out)):
            raise BadCall("--resume takes faults, sample and device from its folder: give it with -n or --json alone")
        plan = read_plan(resume)
    else:
        plan = _plan(faults, size, seed, device or "host")
    require(plan.device)
    folder = resume or _begun(plan, out)
    workers = processes or edge.cores()
    campaign = Campaign(
        folder=folder,
        workers=workers,
        environment=edge.child_environment(workers),
        say=lambda line: click.echo(line, err=True),
    )
    try:
        found = campaign.run(plan)
    except KeyboardInterrupt:
        kept = len(list((folder / "tried").glob("*.json")))
        raise KeyboardInterrupt(f"{kept} verdicts are kept; go on with: zeroulp selftest --resume {folder}") from None
    if code_here() != plan.code:
        raise BadCall("the packages were changed meanwhile: what was found is of no one code, start again")
    write_atomically(folder / SELFTEST, encode(found))
    if found.whole:
        keep(found, edge.cache_folder())
    _say(found, folder / SELFTEST, as_json=as_json)
    return found.exit_code


def _plan(faults: tuple[str, ...], size: int | None, seed: int | None, device: str) -> CampaignPlan:
    from harness.store import utc_now
    from suites.selftest.campaign import CampaignPlan, chosen, code_here, sample

    if seed is not None and size is None:
        raise BadCall("--seed: expected --sample beside it")
    names = chosen(faults or ("all",), device)
    words = ["zeroulp", "selftest", "--device", device, *(f"--faults={name}" for name in faults)]
    if size is not None:
        seed = datetime.now(UTC).date().toordinal() if seed is None else seed
        names = sample(names, size, seed)
        words += ["--sample", str(size), "--seed", str(seed)]
    command = shlex.join(words)
    click.echo(f"{plural(len(names), 'fault')}; the same again: {command}", err=True)
    return CampaignPlan(names=names, device=device, code=code_here(), seed=seed, started=utc_now(), command=command)


def _begun(plan: CampaignPlan, out: Path | None) -> Path:
    """The folder with the plan in it. Raises BadCall if something is in the one that was asked for."""
    from harness.store import new_run_folder, require_folder
    from suites.selftest.campaign import write_plan

    if out is None:
        folder = new_run_folder(Path("results"))
    else:
        require_folder(out, "folder")
        if any(out.iterdir()):
            raise BadCall(f"{out}: is not empty, expected a new folder, or --resume {out}")
        folder = out
    try:
        write_plan(folder, plan)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder


def _say(found: Selftest, path: Path, *, as_json: bool) -> None:
    """Every fault with the check that saw it, the misses again, the score last."""
    from harness.selftest import encode
    from reference.spec.gguf_file import shown_path

    if as_json:
        click.echo(encode(found).decode(), nl=False)
        return
    width = max(len(fault.name) for fault in found.faults)
    for fault in found.faults:
        click.echo(f"{'caught' if fault.caught else 'missed':8} {fault.name:{width}}  {fault.by}".rstrip())
    for one in found.missed:
        click.echo(f"{one.outcome}: {one.name}: {' '.join(one.message.split())[-300:]}")
    words = {0: "PASS", 1: "MISSED", 2: "BROKEN"}[found.exit_code]
    part = "" if found.whole else f" (a part of {found.catalogue})"
    click.echo(f"{words}: {found.caught} of {found.planted} planted faults caught{part}; {shown_path(path)}")


def _print_list(wanted: tuple[str, ...], device: str, *, as_json: bool) -> int:
    import msgspec

    from suites.selftest.campaign import chosen
    from suites.selftest.faults import AREAS

    names = set(chosen(wanted, device))
    listed = [(area, fault) for area, faults in AREAS.items() for fault in faults if fault.name in names]
    if as_json:
        facts = [
            {"name": f.name, "area": area, "file": f.file, "origin": f.origin, "checks": f.checks} for area, f in listed
        ]
        click.echo(msgspec.json.format(msgspec.json.encode({"faults": facts}), indent=2).decode())
        return edge.PASS
    for area, fault in listed:
        click.echo(f"{area:12} {fault.name}  {fault.file}{f'  (origin {fault.origin})' if fault.origin else ''}")
        for check in fault.checks:
            click.echo(f"{'':14}{check.format(device=device)}")
    return edge.PASS
