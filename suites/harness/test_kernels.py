"""Launches of a step taken apart: grouping, bytes and operations, ceilings; with real launches from the host device."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from engine.device import Device
from harness.adapters.kernels import Recorded, call, record_decode, record_prefill, step_bytes, step_facts
from harness.adapters.models import size_of
from harness.cli.kernels import HEADINGS, chosen_model, table
from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.kernels import Call, Memory, Step, TensorType, groups, roof, shape_text, work
from harness.profile import Profile, read_profiles, write_profiles
from harness.work_model import decode_work, prefill_work
from reference.spec.errors import BadInput
from suites.models import Models, random_tokens, session
from suites.reports.stored_profiles import kernel_row, of_kernels
from suites.reports.stored_runs import CEILINGS
from suites.status import not_applicable

# A matrix of 8 outputs and 4 columns in float32 and one in 4.5 bits; two key heads of 4; three rows at position 10.
TENSORS = {
    "token_embd.weight": TensorType(type="Q8_0", shape=(10, 32), bytes=340),
    "blk.0.ffn_up.weight": TensorType(type="Q4_K", shape=(8, 256), bytes=1152),
    "blk.1.ffn_up.weight": TensorType(type="Q4_K", shape=(8, 256), bytes=1152),
    "blk.0.ffn_gate.weight": TensorType(type="F32", shape=(8, 256), bytes=8192),
    "blk.0.attn_norm.weight": TensorType(type="F32", shape=(256,), bytes=1024),
}
STEP = Step(tensors=TENSORS, rows=3, position=10, heads=6, kv_heads=2, head_dim=4)


def buffer(name: str, *shape: int, dtype: str = "float32", item: int = 4) -> Memory:
    size = item
    for extent in shape:
        size *= extent
    return Memory(name=name, dtype=dtype, shape=shape, nbytes=size)


def shot(kernel: str, *buffers: Memory, grid: int = 1, scalars: tuple[float, ...] = ()) -> Call:
    return Call(module=kernel, kernel=kernel, grid=grid, block=256, shared=0, buffers=buffers, scalars=scalars)


def matmul(layer: int, *, rows: int = 3, kernel: str = "matmul_q4_k_matvec") -> Call:
    weight = buffer(f"blk.{layer}.ffn_up.weight", 1, 1, 4608, dtype="uint8", item=1)
    return shot(kernel, buffer("up", rows, 8), buffer("codes", rows, 256, dtype="int8", item=1), weight)


def test_launches_group_by_kernel_and_shape_not_by_data() -> None:
    other_size = shot("add", buffer("x", 3, 16), scalars=(16.0,))
    calls = [matmul(0), shot("add", buffer("x", 3, 8)), matmul(1), other_size, matmul(1, rows=1)]
    found = groups(calls, STEP)
    assert [(group.call.kernel, group.places, group.shape) for group in found] == [
        ("matmul_q4_k_matvec", [0, 2], "3 x 8 x 256 Q4_K"),
        ("add", [1], "3 x 8"),
        ("add", [3], "3 x 16"),
        ("matmul_q4_k_matvec", [4], "1 x 8 x 256 Q4_K"),
    ]
    assert found[0].roles == ("ffn_up",)
    assert found[0].weight_bytes == 2 * 1152


def test_a_launch_of_another_kernel_or_geometry_is_a_group_of_its_own() -> None:
    x = buffer("x", 3, 8)
    others = [
        shot("subtract", x),
        shot("add", x, grid=7),
        shot("add", x, scalars=(1.0,)),
        shot("add"),
        shot("add", x, x),
    ]
    assert len(groups([shot("add", x), shot("add", x), *others], STEP)) == 1 + len(others)


def test_a_matmul_reads_its_tensor_once_whatever_the_rows() -> None:
    found = work(matmul(0), STEP)
    assert (found.weight_bytes, found.kv_bytes, found.operations, found.floats) == (1152, 0, 2 * 3 * 8 * 256, False)
    assert work(matmul(0, rows=1), STEP).operations == 2 * 8 * 256


def test_a_kernel_over_several_matrices_reads_all() -> None:
    gate = buffer("blk.0.ffn_gate.weight", 1, 2, 16384, dtype="uint8", item=1)
    both = shot("fused_gate_up", *matmul(0).buffers, gate)
    found = work(both, STEP)
    assert (found.weight_bytes, found.operations, found.floats) == (1152 + 8192, 2 * 2 * 3 * 8 * 256, False)
    assert shape_text(both, STEP) == "3 x 8 x 256 Q4_K + 8 x 256 F32"
    assert work(shot("matmul_f32", buffer("gate", 3, 8), gate), STEP).floats


def test_memory_that_the_file_does_not_name_is_read_whole() -> None:
    packed = shot("fused", buffer("out", 3, 8), buffer("blk.0.qkv", 4, 100, dtype="uint8", item=1))
    assert work(packed, STEP).weight_bytes == 400


def test_an_embedding_reads_rows_of_its_table() -> None:
    table_ = buffer("token_embd.weight", 1, 1, 4352, dtype="uint8", item=1)
    found = work(shot("embedding_q8_0", buffer("x", 3, 32), table_), STEP)
    assert (found.weight_bytes, found.operations) == (3 * 34, 0)


def test_keys_and_values() -> None:
    caches = (
        buffer("keys.1", 2, 64, 4, dtype="float16", item=2),
        buffer("values.1", 2, 64, 4, dtype="float16", item=2),
    )
    position = 2 * (2 * 4) * 2  # keys and values, two heads of four, two bytes
    read = work(shot("attention_split_f16", buffer("out", 3, 24), *caches), STEP)
    assert read.kv_bytes == 13 * position
    assert read.operations == 4 * 6 * 4 * (11 + 12 + 13)
    assert read.floats
    written = work(shot("kv_append_f16", *caches, buffer("k", 3, 2, 4)), STEP)
    assert (written.kv_bytes, written.operations) == (3 * position, 0)


def test_the_roof_is_the_ceiling_that_asks_for_most() -> None:
    def share(seconds: float, moved: float, operations: float, *, floats: bool = False) -> tuple[str, float]:
        name, found = roof(seconds=seconds, moved=moved, operations=operations, floats=floats, ceilings=CEILINGS)
        return name, round(found or 0.0, 6)

    assert share(1e-3, 2.345e9, 1.236e12) == ("int8_mma", 100.0)
    assert share(2e-3, 4.69e9, 1.0) == ("read", 50.0)
    assert share(1e-3, 2.345e9, 1.236e12, floats=True) == ("read", 50.0)  # no float32 ceiling among these
    assert share(1e-3, 0.0, 0.0) == ("", 0.0)
    assert share(0.0, 1.0, 0.0) == ("", 0.0)
    assert roof(seconds=1.0, moved=1.0, operations=0.0, floats=True, ceilings=()) == ("", None)


@pytest.fixture(scope="module")
def recorded(device: Device, models: Models) -> tuple[Recorded, Recorded]:
    """A decode step at position 13, and a pass of five rows behind it."""
    model = models.tiny("Q4_K_M")
    taken = session(device, model, context=64, chunk=32)
    decode = record_decode(taken, random_tokens(model, 12, seed=1))
    return decode, record_prefill(taken, random_tokens(model, 5, seed=2))


@pytest.mark.parametrize("which", [0, 1], ids=["decode", "prefill"])
def test_real_launches_add_up_to_the_model_of_work(
    which: int, recorded: tuple[Recorded, Recorded], models: Models
) -> None:
    step, model = recorded[which], models.tiny("Q4_K_M")
    assert (step.rows, step.position) == ((1, 13), (5, 13))[which]
    found = groups([call(launch) for launch in step.launches], step_facts(model, step))
    assert sum(len(group.places) for group in found) == len(step.launches)
    assert sum(group.weight_bytes + group.kv_bytes for group in found) == step_bytes(model, step, kv="f16")
    size, rows = size_of(model, "f16"), step.rows
    whole = (
        decode_work(size, position=13, tokens=1)
        if rows == 1
        else prefill_work(size, position=13, tokens=rows, batch=rows)
    )
    assert sum(group.operations for group in found) == pytest.approx(rows * whole.operations, rel=1e-12)
    roles = {role for group in found for role in group.roles}
    assert roles >= {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "output"}


def test_a_decode_step_is_whole_and_its_state_comes_back(recorded: tuple[Recorded, Recorded]) -> None:
    kernels = [launch.kernel for launch in recorded[0].launches]
    assert kernels[0].startswith("embedding")
    assert kernels[-2:] == ["argmax", "advance"]
    state = {buffer.name: (buffer, values) for buffer, values in recorded[0].state}
    assert {"tokens", "position"} <= state.keys()
    place, before = state["position"]
    assert before.tolist() == [13]
    place.fill(0)
    recorded[0].restore()
    assert place.read().tolist() == [13]


def test_recorded_launches_can_be_made_again(device: Device, recorded: tuple[Recorded, Recorded]) -> None:
    stream = device.stream()
    decode = recorded[0]
    decode.restore()
    with stream.capture() as capture:
        for launch in decode.launches:
            launch.issue(stream)
    assert capture.graph.kernels == len(decode.launches)
    outputs = []
    for _ in range(2):
        decode.restore()
        capture.graph.launch()
        stream.synchronize()
        outputs.append({buffer.name: buffer.read().tolist() for buffer, _ in decode.state})
    assert outputs[0] == outputs[1]
    assert outputs[0]["position"] == [14]
    capture.graph.close()
    decode.restore()


@pytest.fixture
def stored() -> Profile:
    return of_kernels([kernel_row(0, us=10.0, share=80.0), kernel_row(1, us=20.0, share=50.0)])


def test_profiles_come_back_from_the_store(tmp_path: Path, stored: Profile) -> None:
    assert read_profiles(tmp_path) == ()
    other = msgspec.structs.replace(stored, rows=512)
    write_profiles(tmp_path, (stored, other))
    assert read_profiles(tmp_path) == (stored, other)
    line = json.loads((tmp_path / "kernels.jsonl").read_text().splitlines()[0])
    assert (line["schema"], len(line["kernels"])) == (1, 2)


def test_the_terminal_table_is_in_columns(stored: Profile) -> None:
    _, title, head, *lines, _ = table(stored)
    assert title == "qwen3-8b Q4_K_M, decode step at position 128: 1,200.0 us, 833 tokens/s"
    assert [head.index(name) for name in HEADINGS] == sorted(head.index(name) for name in HEADINGS)
    assert [line.split("  ")[0] for line in lines] == [
        "matmul_q4_k_matvec_1",
        "matmul_q4_k_matvec_0",
        "gaps between kernels",
        "the whole step",
    ]
    right = head.index("us a step") + len("us a step")
    assert [line[:right].split()[-1] for line in lines] == ["720.0", "360.0", "120.0", "1200.0"]


def test_the_host_device_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert zeroulp(["bench", "kernels", "qwen3-tiny:Q8_0", "--device", "host"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the host device emulates kernels" in error


def test_a_model_is_a_file_or_a_name_and_a_type(models: Models) -> None:
    path = Path(models.tiny("Q4_K_M").file.path)
    assert chosen_model(str(path)).facts.bytes == path.stat().st_size
    for text, expected in (("absent:Q8_0", "expected one of"), ("qwen3-tiny:Q9", "quant 'Q9'"), ("absent", "absent")):
        with pytest.raises((BadCall, BadInput), match=expected):
            chosen_model(text)


def test_a_gpu_times_every_group(device: Device, models: Models, tmp_path: Path) -> None:
    if device.name == "host":
        not_applicable("times of kernels are a GPU's")
    from harness.adapters.kernels import profile
    from harness.adapters.models import user_file

    file = user_file(Path(models.tiny("Q4_K_M").file.path))
    _, found = profile(file, cache=tmp_path, context=12, rows=5, settings=(), command="here", say=lambda text: None)
    assert [item.rows for item in found] == [1, 5]
    for item in found:
        assert item.bytes == item.model_bytes
        assert len(item.step_us.samples) >= 20
        assert item.kernels_us > 0
        assert item.step_us.min > 0
        assert 0 < item.empty_us < 20
