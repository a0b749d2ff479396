"""What llama-bench prints with `-o json`: reading it, and which of our rows an entry stands beside.

Fields as llama-bench's own printer names them. One entry is one test: n_prompt tokens at once or n_gen one after the
other, both behind n_depth tokens that are in the cache already.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import msgspec

from harness.adapters.models import FileFacts
from harness.adapters.settings import BadInput
from harness.measure import spread
from harness.schema import ModelFacts, Peer, PeerStatus, Phase, Shape

PROGRAM = "llama-bench"
LONGEST = 160  # characters of a foreign text in an error


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are used; a build that does not print one of them is too old. Others are left alone."""

    build_commit: str
    build_number: int
    gpu_info: str
    backends: str
    model_filename: str
    model_type: str  # "qwen3 8B Q4_K - Medium"
    model_size: int  # bytes of all tensors
    n_batch: int
    n_ubatch: int
    type_k: str
    type_v: str
    n_gpu_layers: int
    flash_attn: bool | int | str
    n_prompt: int
    n_gen: int
    n_depth: int
    samples_ts: tuple[float, ...]  # tokens / s

    @property
    def phase(self) -> Phase | None:
        """None for a test of both phases together, whose speed is neither's."""
        if self.n_prompt and self.n_gen:
            return None
        return "prefill" if self.n_prompt else "decode"

    @property
    def test(self) -> str:
        """The test in words: "prompt 512 at 0"."""
        parts = [f"prompt {self.n_prompt}" if self.n_prompt else "", f"generated {self.n_gen}" if self.n_gen else ""]
        return f"{' + '.join(part for part in parts if part)} at {self.n_depth}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model and shape of our rows that a peer is wanted for."""

    model: ModelFacts
    shape: Shape
    path: str  # of the model file
    file: FileFacts

    @property
    def key(self) -> tuple[str, Shape]:
        return self.model.sha256, self.shape


def parse_entries(data: bytes, source: str) -> tuple[Entry, ...]:
    """The entries of a list or a single one. Raises BadInput naming `source`."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = "nothing" if not data.strip() else f"no JSON ({error})"
        raise BadInput(f"{source}: {what}, expected the output of {PROGRAM} -o json") from None
    items = found if isinstance(found, list) else [found]
    if not items:
        raise BadInput(f"{source}: an empty list, expected at least one entry of {PROGRAM} -o json")
    return tuple(_entry(item, f"{source}: entry {number}") for number, item in enumerate(items, start=1))


def _entry(item: Any, where: str) -> Entry:
    try:
        entry = msgspec.convert(item, Entry)
    except msgspec.ValidationError as error:
        missing = re.search(r"missing required field `(\w+)`", str(error))
        if missing and isinstance(item, Mapping) and {"build_commit", "avg_ts"} & item.keys():
            raise BadInput(f"{where} has no {missing[1]}: this {PROGRAM} is too old, or another program") from None
        raise BadInput(f"{where} is none of {PROGRAM} -o json ({error})") from None
    if not (entry.samples_ts and all(math.isfinite(sample) and sample > 0 for sample in entry.samples_ts)):
        raise BadInput(f"{where}: samples_ts has no tokens/s above zero in it")
    if min(entry.n_prompt, entry.n_gen, entry.n_depth) < 0 or not entry.n_prompt + entry.n_gen:
        raise BadInput(f"{where}: n_prompt {entry.n_prompt}, n_gen {entry.n_gen}, n_depth {entry.n_depth} are no test")
    return entry


def not_on_gpu(entry: Entry) -> str:
    """Why an entry is not the speed of a GPU; empty if it is."""
    on_cpu = not entry.gpu_info or entry.backends in ("", "CPU", "BLAS") or entry.n_gpu_layers == 0
    return f"it ran without a GPU (backends {cut(entry.backends) or 'none'})" if on_cpu else ""


def matched(entry: Entry, targets: Iterable[Target]) -> tuple[Target, ...]:
    """The targets whose rows an entry stands beside. Raises BadInput with why there is none: nothing is guessed.

    The file must have the same name, architecture and tensor bytes, the test the same tokens. A decode test may begin
    where our decode does (depth + prompt) or at our depth, which is llama-bench's own habit; its position is stored.
    """
    if entry.phase is None:
        raise BadInput("a test of prompt and generation together, expected one of either")
    if why := not_on_gpu(entry):
        raise BadInput(why)
    name = PurePath(entry.model_filename).name
    named = [target for target in targets if PurePath(target.path).name == name]
    if not named:
        raise BadInput(f"no row has a model file of the name {cut(name)}")
    same = [target for target in named if target.file.tensor_bytes == entry.model_size]
    if not same:
        sizes = f"{entry.model_size:,} bytes of tensors, the file here {named[0].file.tensor_bytes:,}"
        raise BadInput(f"another file of the name {cut(name)}: it has {sizes}")
    file = same[0].file
    if entry.model_type.split(" ")[0] != file.architecture:
        raise BadInput(f"its model is {cut(entry.model_type)}, the file here is {file.architecture}")
    if 0 <= entry.n_gpu_layers <= file.layers:  # the head counts as one more
        raise BadInput(f"it ran with {entry.n_gpu_layers} of {file.layers + 1} layers on the GPU")
    found = tuple(target for target in same if _same_test(entry, target.shape))
    if not found:
        raise BadInput(f"no row of {cut(name)} has {entry.test}")
    return found


def _same_test(entry: Entry, shape: Shape) -> bool:
    if entry.phase == "prefill":
        return (entry.n_prompt, entry.n_depth) == (shape.prompt, shape.depth)
    return entry.n_gen == shape.generated and entry.n_depth in (shape.depth, shape.depth + shape.prompt)


def peer_of(entry: Entry, target: Target, *, source: str, command: str, started: str) -> Peer:
    """The record of an entry that stands beside a target's rows."""
    flags: dict[str, str | int] = {
        "n_batch": entry.n_batch,
        "n_ubatch": entry.n_ubatch,
        "n_gpu_layers": entry.n_gpu_layers,
        "flash_attn": int(entry.flash_attn) if isinstance(entry.flash_attn, bool) else entry.flash_attn,
        "type_k": entry.type_k,
        "type_v": entry.type_v,
    }
    # A file can hold one test under several settings; a measurement made again replaces the one before it.
    apart = "" if command else msgspec.json.encode([flags, entry.build_commit, entry.gpu_info, entry.n_depth]).decode()
    return Peer(
        id=peer_id(target, entry.phase, source, apart),
        program=PROGRAM,
        source=source,
        status="ok",
        model=target.model,
        shape=target.shape,
        phase=entry.phase,
        position=entry.n_depth,
        tps=spread(entry.samples_ts),
        label=entry.model_type,
        build=f"{entry.build_commit} ({entry.build_number})",
        gpu=entry.gpu_info,
        kv=entry.type_k if entry.type_k == entry.type_v else f"{entry.type_k}/{entry.type_v}",
        flags=flags,
        command=command,
        started=started,
    )


def without_figure(
    status: PeerStatus,
    reason: str,
    *,
    source: str,
    started: str,
    target: Target | None = None,
    phase: Phase | None = None,
    command: str = "",
    label: str = "",
) -> Peer:
    """The record of a measurement that failed, or of an entry of a file that belongs to no row."""
    return Peer(
        id=peer_id(target, phase, source, label),
        program=PROGRAM,
        source=source,
        status=status,
        reason=reason,
        model=target.model if target else None,
        shape=target.shape if target else None,
        phase=phase,
        label=label,
        command=command,
        started=started,
    )


def peer_id(target: Target | None, phase: Phase | None, source: str, apart: str = "") -> str:
    """Of what was measured; `apart` tells entries of one file from each other."""
    shape = msgspec.structs.asdict(target.shape) if target else {}
    parts = [target.model.sha256 if target else "", shape, phase, source, apart]
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest()


def cut(text: str) -> str:
    """A foreign text for one line of an error: visible characters, not too many."""
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:LONGEST])
    return visible if len(visible) < LONGEST else f"{visible[: LONGEST - 3]}..."
