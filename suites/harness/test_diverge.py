"""A wrong bit planted in one value of one layer at one position is named by step, row, layer, tap and element."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.arena import Arena
from engine.device import Buffer, Device, Stream
from engine.families import qwen3, qwen3_fused
from engine.session import Session
from harness.adapters.diverge import engine_side
from harness.adapters.diverge.script import Rows, Script, Seen, Side
from harness.adapters.diverge.sides import load_op, parse_side, stored_side
from harness.divergence import Element, Found, Where, diverge, first_element, save_ops
from harness.errors import BadCall
from harness.tape import Tape, read_tape, write_tape
from reference.spec.qwen3 import Qwen3
from suites.models import MICRO, Models, random_tokens

PREFILLED, DECODED = 6, 3
DIRECT = "graph=off,fused=off"


@dataclass
class Bench:
    """Sides of one script on one device."""

    device: Device
    script: Script
    cache: Path
    position: Buffer | None = None  # of the session that was made last

    def side(self, text: str, kv: str | None = "f16") -> Side:
        named = text.replace("engine", self.device.name)
        return parse_side(named, self.script, kv=kv, model="m", cache=self.cache, environment={})

    def diverge(self, a: str, b: str, *, ulps: int = 0) -> Found:
        return diverge(self.side(a), self.side(b), self.script, ulps=ulps)


@pytest.fixture
def bench(device: Device, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Q8_0, so that a step of one row is fused. Sides use the suite's device, which has the kernel flip_bit."""
    model = models.variant("diverge", "Q8_0", replace(MICRO, layers=2))

    @contextmanager
    def opened(name: str, cache: Path) -> Iterator[Device]:
        assert name == device.name
        yield device

    made = qwen3.buffers

    def buffers(arena: Arena, spec: Qwen3) -> qwen3.Buffers:
        found = made(arena, spec)
        made_bench.position = found.position
        return found

    monkeypatch.setattr(engine_side, "opened", opened)
    monkeypatch.setattr(qwen3, "buffers", buffers)
    ids = random_tokens(model, PREFILLED + DECODED, seed=70)
    script = Script(model=model, name="m", sha256="0", ids=ids, decoded=DECODED)
    made_bench = Bench(device=device, script=script, cache=tmp_path)
    return made_bench


@dataclass(frozen=True, kw_only=True)
class Plant:
    """Which launcher of a page is followed by a flipped bit, and in what of its calls."""

    launcher: str
    mine: Callable[[tuple[Any, ...], dict[str, Any]], Buffer | None]  # the buffer to spoil, None in other calls
    tap: str
    element: int


def _weight(name: str) -> Callable[[tuple[Any, ...], dict[str, Any]], Buffer | None]:
    """Of the matmul with that weight."""
    return lambda args, named: named["out"] if args[2].name == name else None


def _grouped(name: str) -> Callable[[tuple[Any, ...], dict[str, Any]], Buffer | None]:
    """Of the product with that weight in a fused group."""
    return lambda args, named: next((product.out for product in args[2] if product.weight.name == name), None)


def _residual(name: str) -> Callable[[tuple[Any, ...], dict[str, Any]], Buffer | None]:
    """Of the residual stream behind the product with that weight."""
    return lambda args, named: named["x"] if args[2].name == name else None


def _attention(args: tuple[Any, ...], named: dict[str, Any]) -> Buffer | None:
    return named["out"] if args[2].name == "keys.1" else None


PLAIN = (
    Plant(launcher="matmul", mine=_weight("blk.1.ffn_up.weight"), tap="up", element=37),
    Plant(launcher="matmul", mine=_weight("blk.1.attn_v.weight"), tap="v", element=0),
    Plant(launcher="attention", mine=_attention, tap="attention", element=63),
)
FUSED = (
    Plant(launcher="matmul_residual", mine=_residual("blk.1.attn_output.weight"), tap="attn_residual", element=9),
    Plant(launcher="matmul_group", mine=_grouped("blk.1.attn_k.weight"), tap="k", element=31),
)


def _plant(bench: Bench, monkeypatch: pytest.MonkeyPatch, page: Any, plant: Plant, position: int) -> None:
    """From now on the launcher's buffer has a wrong bit at `position`."""
    launch = getattr(page, plant.launcher)

    def spoiled(stream: Stream, *args: Any, **named: Any) -> None:
        launch(stream, *args, **named)
        buffer = plant.mine((stream, *args), named)
        if buffer is not None:
            sizes = buffer.shape[0], math.prod(buffer.shape[1:])
            numbers = [np.int32(number) for number in (position, *sizes, plant.element)]
            stream.launch("flip_bit", "flip_bit", grid=1, block=32, args=(buffer, bench.position, *numbers))

    monkeypatch.setattr(page, plant.launcher, spoiled)


def _named(found: Found) -> tuple[Where, Element]:
    where = found.divergence.where
    assert where is not None, found.divergence
    assert where.element is not None, where
    return where, where.element


def _assert_named(found: Found, plant: Plant, *, step: int, row: int) -> None:
    where, element = _named(found)
    assert (where.step, where.row, where.layer, where.tap) == (step, row, 1, plant.tap)
    assert (element.index, element.ulps, element.differing) == (plant.element, 1, 1)
    assert int(element.left_bits, 16) ^ int(element.right_bits, 16) == 1
    assert found.divergence.exit_code == 1


@pytest.mark.parametrize(("position", "step", "row"), [(0, 0, 0), (4, 0, 4), (PREFILLED + 1, 2, 0)])
@pytest.mark.parametrize("plant", PLAIN, ids=lambda plant: plant.tap)
def test_a_wrong_bit_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, plant: Plant, position: int, step: int, row: int
) -> None:
    _plant(bench, monkeypatch, qwen3, plant, position)
    _assert_named(bench.diverge(f"engine:{DIRECT}", "oracle"), plant, step=step, row=row)


@pytest.mark.parametrize("plant", FUSED, ids=lambda plant: plant.tap)
def test_a_wrong_bit_inside_a_replayed_graph_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, plant: Plant
) -> None:
    """Only the fused page is spoiled, and the graph holds it: direct single ops are right."""
    _plant(bench, monkeypatch, qwen3_fused, plant, PREFILLED + 2)
    for other in (f"engine:{DIRECT}", "oracle"):
        _assert_named(bench.diverge("engine", other), plant, step=3, row=0)


def test_a_second_replay_is_as_good_as_a_direct_launch(bench: Bench) -> None:
    for a, b in (("engine", f"engine:{DIRECT}"), ("engine:prefill=sequential", "engine:chunk=4"), ("engine", "oracle")):
        result = bench.diverge(a, b).divergence
        assert result.where is None
        assert result.exit_code == 0
        assert result.positions == PREFILLED + DECODED
        assert result.taps > 30
        assert result.values > result.rows > 300
        assert result.remarks == ()


def test_a_side_runs_the_way_that_it_is_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Session] = []

    def noted(*args: Any, **named: Any) -> Session:
        made.append(Session(*args, **named))
        return made[-1]

    monkeypatch.setattr(engine_side, "Session", noted)
    for text in ("engine", f"engine:{DIRECT}"):
        bench.side(text).tape()
    replayed, direct = (session.engaged() for session in made)
    assert (replayed["graph"].engaged, replayed["fused"].engaged, replayed["tape"].engaged) == (True, True, True)
    assert (direct["graph"].engaged, direct["fused"].asked, direct["tape"].engaged) == (False, "off", True)


def test_a_value_that_only_one_side_has_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _plant(bench, monkeypatch, qwen3_fused, FUSED[0], PREFILLED)
    where, _ = _named(bench.diverge("engine", "oracle"))
    assert where.between == ("1.attn_output",)
    assert where.after.startswith("1.attention")


def test_the_saved_op_gives_the_difference_again(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _plant(bench, monkeypatch, qwen3, PLAIN[2], PREFILLED)
    found = bench.diverge(f"engine:{DIRECT}", "oracle")
    save_ops(found, tmp_path)
    rows = []
    for name, seen in (("a.npz", found.left), ("b.npz", found.right)):
        op, row = load_op(tmp_path / name)
        assert seen is not None
        assert op.text == seen.op.text
        assert row.tobytes() == seen.row.tobytes()
        rows.append(op.again(bench.cache))
        assert rows[-1].tobytes() == row.tobytes()
    element = first_element(rows[0], rows[1])
    assert element is not None
    assert (element.index, element.ulps) == (PLAIN[2].element, 1)


@pytest.mark.parametrize(
    "key",
    [
        "0.attn_norm",
        "1.ffn_norm.scales",
        "1.q",
        "1.k_rope",
        "1.keys",
        "1.attention",
        "0.swiglu.codes",
        "1.down",
        "logits",
    ],
)
def test_any_op_of_either_side_runs_alone(bench: Bench, key: str) -> None:
    for text in (f"engine:{DIRECT}", "oracle"):
        for position in (3, PREFILLED):
            seen = bench.side(text).look(key, position)
            assert seen is not None
            assert seen.op.again(bench.cache).tobytes() == seen.row.tobytes(), (text, position, seen.op.text)


def test_stored_tapes_name_the_op(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean = bench.side("engine").tape()
    _plant(bench, monkeypatch, qwen3_fused, FUSED[1], PREFILLED + 1)
    write_tape(tmp_path / "a.npz", clean)
    write_tape(tmp_path / "b.npz", bench.side("engine").tape())
    sides = [stored_side(str(tmp_path / name)) for name in ("a.npz", "b.npz")]
    assert sides[0] is not None
    assert sides[1] is not None
    result = diverge(sides[0], sides[1], None).divergence
    assert result.where is not None
    assert (result.where.step, result.where.row, result.where.key) == (2, 0, "1.k")
    assert result.where.element is None
    assert result.where.left_note != result.where.right_note
    assert read_tape(tmp_path / "a.npz").head == clean.head


@dataclass(frozen=True)
class Flaky:
    """A side whose second run is not its first."""

    run: str
    first: Tape
    later: Side

    def tape(self) -> Tape:
        return self.first

    def rows(self) -> Rows:
        return self.later.rows()

    def look(self, key: str, position: int) -> Seen | None:
        return self.later.look(key, position)


def test_a_difference_that_does_not_come_back_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        _plant(bench, patched, qwen3, PLAIN[0], 2)
        first = bench.side(f"engine:{DIRECT}").tape()
    flaky = Flaky("flaky", first, bench.side(f"engine:{DIRECT}"))
    result = diverge(flaky, bench.side("oracle"), bench.script).divergence
    assert result.where is not None
    assert (result.where.key, result.where.position, result.where.element) == ("1.up", 2, None)
    assert result.where.left_note != result.where.right_note
    assert result.remarks == ("a second run of both sides gave equal rows: what differs does not come back each time",)
    assert result.exit_code == 1


def test_an_input_that_no_tap_shows_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong angle in one session's table: the rotation differs, and so does what it read."""
    made = qwen3.buffers
    sessions = iter([True, False, True, False])

    def buffers(arena: Arena, spec: Qwen3) -> qwen3.Buffers:
        found = made(arena, spec)
        if next(sessions):
            cos = np.asarray(found.cos.read(), np.float32)
            cos[4] *= np.float32(0.5)
            found.cos.write(cos)
        return found

    monkeypatch.setattr(qwen3, "buffers", buffers)
    where, _ = _named(bench.diverge(f"engine:{DIRECT}", f"engine:{DIRECT},chunk=512"))
    assert (where.position, where.layer, where.tap) == (4, 0, "q_rope")
    assert where.other_inputs == ("cos",)


def test_ideal_is_compared_by_ulps(bench: Bench) -> None:
    result = bench.diverge("ideal", "oracle", ulps=8).divergence
    assert result.where is not None
    assert (result.where.position, result.where.key) == (0, "0.q")  # the first op that rounds its input to 8 bits
    assert result.where.element is not None
    assert result.where.element.ulps is not None
    assert result.where.element.ulps > 8
    assert bench.diverge("ideal", "oracle", ulps=2**33).divergence.where is None
    assert bench.diverge(f"engine:{DIRECT}", "oracle", ulps=1).divergence.where is None


def test_a_bound_lets_smaller_differences_pass(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = Plant(launcher="matmul", mine=_weight("output.weight"), tap="logits", element=5)
    _plant(bench, monkeypatch, qwen3, logits, PREFILLED + 2)
    sides = (f"engine:{DIRECT}", "oracle")
    assert _named(bench.diverge(*sides))[0].key == "logits"
    assert bench.diverge(*sides, ulps=1).divergence.where is None


@pytest.mark.parametrize(
    ("a", "b", "ulps", "message"),
    [
        ("ideal", "oracle", 0, "ideal is float64 and has no bits in common with another run"),
        ("engine", "oracle", 3, "--ulps needs the values of every tap, which graph=off,fused=off has"),
        ("engine:kv=f32", "engine", 0, "do not compute the same: kv f32 against f16"),
        ("engines", "oracle", 0, "'engines': expected ideal, oracle, host or cuda"),
        ("oracle:graph=off", "engine", 0, "oracle knows only the toggle kv"),
        ("engine:graph=of", "engine", 0, "toggle graph: 'of' is not on | off"),
    ],
)
def test_what_cannot_be_compared_is_said(bench: Bench, a: str, b: str, ulps: int, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("|", r"\|").replace("engine", bench.device.name, 1)) as error:
        bench.diverge(a, b, ulps=ulps)
    assert "\n" not in str(error.value)


def test_first_element_lets_no_nan_pass() -> None:
    left = np.array([1, np.nan, 2, np.inf, -0.0], np.float32)
    assert first_element(left, left.copy()) is None
    for index, value in ((1, 0.0), (2, np.nan), (3, -np.inf)):
        right = left.copy()
        right[index] = value
        element = first_element(left, right, bound=2**40)
        assert element is not None
        assert (element.index, element.ulps) == (index, None)
    zero = first_element(left, np.abs(left))
    assert zero is not None
    assert (zero.index, zero.ulps, zero.left, zero.right) == (4, 1, "-0", "0")
    half = first_element(np.array([1, 2], np.float16), np.array([1, 2.002], np.float16))
    assert half is not None
    assert (half.index, half.ulps) == (1, 1)
    code = first_element(np.array([3, -5], np.int8), np.array([3, 5], np.int8))
    assert code is not None
    assert (code.index, code.ulps, code.left) == (1, 10, "-5")


def test_what_is_no_tape_is_said() -> None:
    with pytest.raises(BadCall, match="not a tape"):
        read_tape(Path(__file__))
