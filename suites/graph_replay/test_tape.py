"""The tape of a session: free when off; the same notes in a graph, fused, sequential or in chunks, and the oracle's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device
from engine.devices.host import HostDevice
from engine.points import Point, outputs
from engine.session import Session
from engine.tape import Notes
from engine.toggles import Toggles
from engine.watch import Watch, Watched
from reference.families import qwen3
from reference.forms import EXACT
from reference.ops import tape
from reference.spec.model import Model
from suites.models import Models, assert_same_bits, random_tokens, session

PREFILLED, DECODED = 7, 4
Marks = dict[tuple[str, int], tuple[int, int, int]]  # by point and position: hash, top, NaN

WAYS: dict[str, dict[str, str | int]] = {
    "direct": {"graph": "off", "fused": "off"},
    "replayed": {"fused": "off"},
    "fused": {"graph": "off"},
    "fused and replayed": {},
    "sequential": {"prefill": "sequential"},
    "chunks": {"chunk": 3},
    "gemm": {"matmul": "gemm"},
}


def _marks(notes: Notes) -> Marks:
    return {
        (str(op.point), int(notes.positions[i, slot])): (
            int(notes.hashes[i, slot]), int(notes.tops[i, slot]), int(notes.nans[i, slot]),
        )
        for i, op in enumerate(notes.ops)
        for slot in np.flatnonzero(notes.positions[i] >= 0)
    }  # fmt: skip


def _play(device: Device, model: Model, way: dict[str, str | int], watch: Watch | None = None) -> tuple[Session, Marks]:
    tokens = random_tokens(model, PREFILLED + DECODED, seed=60)
    toggles = Toggles.from_mapping({**way, "tape": "on"})
    s = Session(device, model, context=len(tokens), toggles=toggles, watch=watch)
    s.prefill(tokens[:PREFILLED], all_logits=True)
    for token in tokens[PREFILLED:]:
        s.decode(int(token))
    assert s.tape is not None
    return s, _marks(s.tape.take())


def _oracle(model: Model) -> dict[tuple[str, int], NDArray[Any]]:
    """Every tap of the exact form, by point and position."""
    found: dict[tuple[str, int], NDArray[Any]] = {}

    def tap(name: str, layer: int, value: NDArray[Any]) -> None:
        point = str(Point(layer=layer, name=name))
        found.update(((point, position), row[None]) for position, row in enumerate(value))

    tokens = random_tokens(model, PREFILLED + DECODED, seed=60)
    qwen3.forward(model, tokens, qwen3.new_cache(model, len(tokens), kv="f16", form=EXACT), form=EXACT, tap=tap)
    return found


@pytest.mark.parametrize("quant", ["Q4_K_M", "F16"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_leaves_the_notes_of_the_oracle(device: Device, models: Models, way: str, quant: str) -> None:
    model = models.tiny(quant)
    s, noted = _play(device, model, WAYS[way])
    expected = _oracle(model)
    common = expected.keys() & noted.keys()
    for key in sorted(common, key=lambda key: (key[1], key[0])):
        marks = tape.exact(expected[key])
        assert noted[key] == (marks.hashes[0], marks.tops[0], marks.nans[0]), f"{way}: {key[0]} at {key[1]}"
    for position in range(PREFILLED + DECODED):
        for name in ("embedding", "0.q", "1.v", "2.attn_residual", "2.ffn_residual", "logits"):
            assert (name, position) in common
    assert s.engaged()["tape"].engaged is True
    s.close()


def test_fused_kernels_leave_notes_of_their_8_bit_values(device: Device, models: Models) -> None:
    """What the fused path has besides the taps: the activations of every matmul, and the caches."""
    plain, fused = (_play(device, models.tiny("Q8_0"), WAYS[way]) for way in ("direct", "fused and replayed"))
    decoded = {key for key in fused[1] if key[1] >= PREFILLED}
    assert {key: fused[1][key] for key in decoded} == {key: plain[1][key] for key in decoded}
    names = {name for name, _ in decoded}
    assert {"0.attn_norm.codes", "1.attention.sums", "2.swiglu.scales", "output_norm.codes", "0.keys"} <= names
    assert "0.attn_norm" not in names  # never in memory on that path
    for s, _ in (plain, fused):
        s.close()


@pytest.mark.parametrize("quant", ["Q4_K_M", "Q8_0"])
def test_a_fused_pass_of_many_rows_leaves_the_notes_of_single_operations(
    device: Device, models: Models, quant: str
) -> None:
    model = models.tiny(quant)
    marks = {}
    for fused in ("on", "off"):
        s = session(device, model, context=11, tape="on", fused=fused)
        s.prefill(random_tokens(model, 11, seed=61))
        assert s.tape is not None
        marks[fused] = _marks(s.tape.take())
        s.close()
    assert marks["on"].items() <= marks["off"].items()
    names = {name for name, position in marks["on"] if position == 9}
    assert {"0.attn_norm.codes", "1.q", "1.q_rope", "1.values", "2.up", "2.swiglu.sums", "2.ffn_residual"} <= names


@pytest.mark.parametrize(
    ("fused", "names"),
    [("on", ("output_norm.codes", "logits")), ("off", ("output_norm", "output_norm.codes", "logits"))],
)
def test_a_head_of_the_last_row_only_is_noted_at_its_position(
    device: Device, models: Models, fused: str, names: tuple[str, ...]
) -> None:
    s = session(device, models.tiny("Q8_0"), context=8, tape="on", fused=fused)
    s.prefill([3, 4, 5, 6, 7])
    assert s.tape is not None
    noted = _marks(s.tape.take())
    for name in names:
        assert [position for key, position in noted if key == name] == [4]
    assert sorted(position for key, position in noted if key == "2.ffn_residual") == [0, 1, 2, 3, 4]
    s.close()


def test_off_is_free_and_on_changes_no_bit(device: Device, models: Models) -> None:
    model = models.tiny("Q8_0")
    off, on = session(device, model, context=8), session(device, model, context=8, tape="on")
    for token in (3, 4, 5):
        assert_same_bits(on.decode(token), off.decode(token), "with a tape")
    assert off.tape is None
    assert not any(name.startswith("tape") for name in off.launches.executed())
    assert "tape" not in off.engaged()
    own = {name: count for name, count in on.launches.executed().items() if not name.startswith("tape")}
    assert own == dict(off.launches.executed())
    assert on.counters.graph_launches == off.counters.graph_launches == 3
    assert off.memory_bytes() < on.memory_bytes()


WATCHED = ("0.attn_norm.codes", "1.v", "1.attention.codes", "2.keys", "2.attn_residual", "logits")
LATER = PREFILLED + 1  # in a step that is replayed


@pytest.mark.parametrize(
    ("point", "position"), [("1.q_rope", 2), *((point, position) for point in WATCHED for position in (2, LATER))]
)
def test_a_watched_op_gives_its_value_again(device: Device, models: Models, point: str, position: int) -> None:
    """What was copied around it, in a replay too, run once more: the row of the value has the hash of the tape."""
    layer, _, name = point.partition(".") if "." in point else ("-1", "", point)
    watch = Watch(point=Point(layer=int(layer), name=name), position=position)
    s, noted = _play(device, models.tiny("Q8_0"), {}, watch)
    assert s.tape is not None
    watched = s.tape.watched()
    assert watched is not None
    again = _again(device, watched)
    for value in (watched.value, again):
        row = value[:, watched.row] if watched.cached else value[watched.row]
        marks = tape.exact(row.reshape(1, -1))
        assert (marks.hashes[0], marks.tops[0], marks.nans[0]) == noted[point, position]
    s.close()


def _again(device: Device, watched: Watched) -> NDArray[Any]:
    buffers = [device.upload(held.before, held.name) for held in watched.buffers]
    stream = device.stream()
    for one in watched.launches:
        args = [buffers[arg] if type(arg) is int else arg for arg in one.args]
        stream.launch(one.module, one.kernel, grid=one.grid, block=one.block, args=args, shared=one.shared)  # type: ignore[arg-type]
    value = buffers[watched.out].read()
    for buffer in buffers:
        device.free(buffer)
    return value


def test_the_outputs_of_every_kernel_are_known() -> None:
    """engine/points.py says how many leading arguments a kernel writes: those that are pointers to non-const."""
    device = HostDevice()
    folder = Path(__file__).parents[2] / "engine" / "kernels"
    wrong = []
    for module in sorted(path.stem for path in folder.glob("*.cu") if path.stem not in ("ceilings", "tape")):
        for kernel, signature in device._module(module).signatures.items():
            kinds = "".join(parameter.kind for parameter in signature)
            known = outputs(kernel)
            if "p" in kinds[known:] or kinds[:known] != "p" * known:
                wrong.append(f"{kernel}: {kinds}, {known} outputs in engine/points.py")
    device.close()
    assert wrong == []
