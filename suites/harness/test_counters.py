"""Bytes by the GPU's counters: what ncu prints, what it says when it cannot, and whose bytes they are."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from engine.device import Device
from engine.session import Session
from harness.adapters.counted import CountJob, run
from harness.adapters.kernels import record_steps, step_context, step_toggles
from harness.cli.kernels import COUNTERS, _counted, counters_table
from harness.cli.main import zeroulp
from harness.counters import Counted, Unreadable, count, find_program, joined, parse
from harness.errors import BadCall
from reports.profile import by_counters
from suites.models import Models
from suites.reports.stored_profiles import kernel_row, of_kernels

HEAD = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device",'
)
HEAD += '"CC","Section Name","Metric Name","Metric Unit","Metric Value"'
BEFORE = "==PROF== Connected to process 815 (/usr/bin/python3.12)\nloading\n==PROF== Disconnected from process 815\n"
REFUSED = (
    BEFORE
    + "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters on the"
    " target device 0.\n==WARNING== No kernels were profiled.\n"
)


def line(place: int, kernel: str, value: str, *, unit: str = "byte", metric: str = "dram__bytes_read.sum") -> str:
    facts = [place, 815, "python3.12", "127.0.0.1", kernel, 1, 7, "(256, 1, 1)", "(396, 1, 1)", 0, "9.0"]
    return ",".join(f'"{fact}"' for fact in [*facts, "Command line profiler metrics", metric, unit, value])


def printed(*lines: str) -> str:
    return BEFORE + "\n".join([HEAD, *lines]) + "\n"


def test_every_launch_has_its_bytes() -> None:
    text = printed(
        line(0, "embedding_q4_k", "2,304"),
        line(1, "matmul_group_q4_k_q4_k_matvec(const float *)", "9437184"),
        line(1, "matmul_group_q4_k_q4_k_matvec", "3", metric="gpu__time_duration.sum"),
        line(2, "argmax", "1.5", unit="Mbyte"),
    )
    assert parse(text) == [
        Counted(kernel="embedding_q4_k", read_bytes=2304.0),
        Counted(kernel="matmul_group_q4_k_q4_k_matvec", read_bytes=9437184.0),
        Counted(kernel="argmax", read_bytes=1.5e6),
    ]


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        (REFUSED, 1, "ncu ended with exit status 1: ERR_NVGPUCTRPERM - The user does not have permission"),
        (REFUSED, 0, "ERR_NVGPUCTRPERM"),
        (printed(line(0, "add", "5")), 9, "ncu ended with exit status 9"),
        ("", -11, "ncu ended with killed by SIGSEGV: it said nothing"),
        ("unknown option --page\n", 1, "exit status 1: unknown option --page"),
        (printed(), 0, "ncu printed no dram__bytes_read.sum"),
        (printed(line(0, "add", "n/a")), 0, "ncu printed dram__bytes_read.sum as 'n/a' 'byte', expected a number"),
        (printed(line(0, "add", "nan")), 0, "as 'nan' 'byte', expected a number of bytes"),
        (printed(line(0, "add", "inf")), 0, "as 'inf' 'byte'"),
        (printed(line(0, "add", "-5")), 0, "as '-5' 'byte'"),
        (printed(line(0, "add", "5", unit="sector")), 0, "as '5' 'sector'"),
    ],
)
def test_counters_that_cannot_be_read_say_why_in_one_line(text: str, code: int, reason: str) -> None:
    with pytest.raises(Unreadable) as error:
        parse(text, code=code)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_other_kernels_than_were_launched_are_refused() -> None:
    counted = [Counted(kernel="a", read_bytes=1.0), Counted(kernel="b", read_bytes=2.0)]
    assert joined(counted, ["a", "b"]) == [1.0, 2.0]
    with pytest.raises(BadCall, match="ncu saw b instead of c at launch 1"):
        joined(counted, ["a", "c"])
    with pytest.raises(BadCall, match="ncu saw 2 kernels instead of 3"):
        joined(counted, ["a", "b", "c"])


def program(folder: Path, body: str) -> Path:
    """A stand-in for ncu."""
    path = folder / "ncu"
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_program_is_called_for_one_metric_over_the_steps(tmp_path: Path) -> None:
    text = printed(line(0, "add", "64"))
    stand_in = program(tmp_path, f"open('asked', 'w').write(' '.join(sys.argv[1:]))\nsys.stdout.write({text!r})")
    job = tmp_path / "job.json"
    job.write_bytes(b"{}")
    assert count(stand_in, job, environment=os.environ) == [Counted(kernel="add", read_bytes=64.0)]
    asked = (tmp_path / "asked").read_text()
    assert "--metrics dram__bytes_read.sum" in asked
    assert "--profile-from-start off" in asked
    assert asked.endswith(f"{sys.executable} -m harness.adapters.counted {job}")


def test_a_program_that_never_ends_is_stopped(tmp_path: Path) -> None:
    stand_in = program(tmp_path, "import time\ntime.sleep(60)")
    with pytest.raises(Unreadable, match="no answer after 1 s"):
        count(stand_in, tmp_path / "job.json", environment=os.environ, seconds=1.0)


def test_a_machine_without_the_right_to_count_is_no_failure_of_ours(tmp_path: Path) -> None:
    stand_in = program(tmp_path, f"sys.stdout.write({REFUSED!r})\nsys.exit(1)")
    counted, unread = _counted(stand_in, tmp_path / "m.gguf", 1, 128, ())
    assert counted == []
    assert unread.startswith("ncu ended with exit status 1: ERR_NVGPUCTRPERM")


def test_a_program_that_is_not_there_is_a_bad_call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(BadCall, match=r"--ncu .*/ncu: no such program; expected ncu of Nsight Compute"):
        find_program(str(tmp_path / "ncu"))
    assert zeroulp(["bench", "kernels", "qwen3-tiny:Q8_0", "--device", "host", "--ncu", "ncu"]) == 2
    assert "the host device emulates kernels" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [1, 5])
def test_what_the_counter_sees_is_what_the_profile_takes_apart(
    models: Models, device: Device, tmp_path: Path, rows: int
) -> None:
    model, settings = models.tiny("Q4_K_M"), ("kv=f32",)
    kept = Path.home() / ".cache" / "zeroulp"
    job = CountJob(model_path=str(model.file.path), cache=str(kept), context=9, rows=rows, settings=settings)
    assert msgspec.json.decode(msgspec.json.encode(job), type=CountJob) == job
    own = Session(device, model, context=step_context(9, rows), toggles=step_toggles(settings, rows))
    steps = list(record_steps(own, 9, rows))
    assert [step.rows for step in steps] == [1, 5][: len(steps)]
    assert len(steps) == (2 if rows > 1 else 1)
    assert run(job, device.name) == [launch.kernel for step in steps for launch in step.launches]


def test_ratios_stand_beside_the_counted_bytes() -> None:
    rows = [kernel_row(0, us=10.0, share=50.0), kernel_row(1, us=5.0, share=50.0), kernel_row(2, us=1.0, share=0.0)]
    dram = [1.02 * rows[0].bytes, 0.99 * rows[1].bytes, 512.0]
    read = [msgspec.structs.replace(row, dram_bytes=value) for row, value in zip(rows, dram, strict=True)]
    profile = of_kernels(read)
    assert [one[-1] for one in by_counters(profile)] == ["1.020", "0.990", "1.010"]
    shown = counters_table(profile)
    assert shown[0].split("  ")[0] == COUNTERS[0]
    assert "1.020" in shown[1]
    assert by_counters(of_kernels(rows)) == []
    assert counters_table(of_kernels(rows)) == []
