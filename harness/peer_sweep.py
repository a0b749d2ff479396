"""The peer's part of a sweep: after the first of our rows of a model and shape, the peer on the same, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.adapters.models import file_facts
from harness.adapters.settings import BadInput
from harness.errors import BadCall
from harness.peer import PROGRAM, Target, matched, parse_entries, peer_of, without_figure
from harness.peer_run import LlamaBench, require_program
from harness.planning import Planned, Sweep
from harness.progress import SweepProgress
from harness.schema import ModelFacts, Peer, PlannedRow, Shape
from harness.store import PEERS, append_peers, read_peers, utc_now
from harness.words import plural


class Peers:
    """What is still to be measured; each record is on disk before the next row starts. Without a program, nothing."""

    def __init__(
        self, program: LlamaBench | None, waiting: Sequence[Target], folder: Path, progress: SweepProgress
    ) -> None:
        self._program = program
        self._waiting = {target.key: target for target in waiting}
        self._folder = folder
        self._progress = progress

    def after(self, row: PlannedRow) -> None:
        """Measure what stands beside this row, unless another row of its model and shape has come before."""
        target = self._waiting.pop((row.model.sha256, row.shape), None)
        if target is not None and self._program is not None:
            self._progress.say(f"peer {PROGRAM}: {_name(target.model, target.shape)}")
            records = self._program.measure(target)
            append_peers(self._folder, records)
            for record in records:
                self._progress.say(f"peer {PROGRAM}: {record.phase} {_figure(record)}")

    def rest(self) -> None:
        """Measure what no row of this call stood before: a resumed run has its rows already."""
        for target in list(self._waiting.values()):
            self.after(PlannedRow(id="", model=target.model, shape=target.shape, toggles={}, device=""))


def require_peer(sweep: Sweep) -> None:
    """Raises BadCall for a peer that cannot be: on the host device, both ways at once, no program, no file."""
    if sweep.peer is None and sweep.peer_json is None:
        return
    if sweep.device == "host":
        raise BadCall("--peer: the host device has no speed to compare (an emulated speed is not a speed); use a GPU")
    if sweep.peer is not None:
        if sweep.peer_json is not None:
            raise BadCall("--peer runs the program and --peer-json reads its output: give one of them")
        require_program(sweep.peer)


def open_peers(sweep: Sweep, planned: Sequence[Planned], folder: Path, progress: SweepProgress) -> Peers:
    """Try the program, or store what a file says of the planned rows. Raises BadInput before any row is made."""
    if sweep.peer is None and sweep.peer_json is None:
        return Peers(None, (), folder, progress)
    targets = find_targets(planned)
    if sweep.peer is None:
        if sweep.peer_json is not None:
            records = from_file(sweep.peer_json, targets)
            append_peers(folder, records)
            progress.say(f"peer {PROGRAM}: {_summary(records)}")
        return Peers(None, (), folder, progress)
    program = LlamaBench(
        path=sweep.peer,
        repeats=sweep.repeats or sweep.config.repeats,
        timeout=sweep.config.timeout,
        environment=sweep.environment,
    )
    known, _ = read_peers(folder / PEERS)
    measured = [(peer.model.sha256, peer.shape, peer.phase) for peer in known if peer.status == "ok" and peer.model]
    waiting = [
        target for target in targets if any((*target.key, phase) not in measured for phase in ("prefill", "decode"))
    ]
    if waiting:
        progress.say(f"peer {PROGRAM}: trying {sweep.peer}")
        program.require_usable(waiting[0].path)
    return Peers(program, waiting, folder, progress)


def find_targets(planned: Sequence[Planned]) -> list[Target]:
    """The models and shapes of the planned rows, each once whatever the toggles; a model that cannot be has none."""
    found: dict[tuple[str, Shape], Target] = {}
    for item in planned:
        key = (item.row.model.sha256, item.row.shape)
        if not item.refused and key not in found:
            file = file_facts(Path(item.path))
            found[key] = Target(model=item.row.model, shape=item.row.shape, path=item.path, file=file)
    return list(found.values())


def from_file(path: Path, targets: Sequence[Target]) -> list[Peer]:
    """The entries of a file of llama-bench's output: beside our rows, or listed with why not. Raises BadInput."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"--peer-json {path}: cannot read ({error.strerror})") from None
    started, records = utc_now(), list[Peer]()
    for number, entry in enumerate(parse_entries(data, str(path)), start=1):
        try:
            beside = matched(entry, targets)
        except BadInput as error:
            reason = f"{entry.test}: {error}"
            label = f"entry {number}, {entry.model_type}"
            records.append(without_figure("unmatched", reason, source=str(path), label=label, started=started))
            continue
        records += [peer_of(entry, target, source=str(path), command="", started=started) for target in beside]
    return records


def _summary(records: Sequence[Peer]) -> str:
    ok = sum(record.status == "ok" for record in records)
    return (
        f"{plural(ok, 'figure stands', 'figures stand')} beside our rows,"
        f" {plural(len(records) - ok, 'entry belongs', 'entries belong')} to none and listed in the report"
    )


def _figure(peer: Peer) -> str:
    return f"{peer.tps.median:,.1f} tokens/s" if peer.tps else f"failed: {peer.reason}"


def _name(model: ModelFacts, shape: Shape) -> str:
    depth = f" at {shape.depth}" if shape.depth else ""
    return f"{model.name} {model.quant}, {shape.prompt} + {shape.generated} tokens{depth}"
