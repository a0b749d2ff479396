"""The commands as processes: what the shell sees of a refusal and of Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.store import ROWS, read_run

COMMANDS = {
    "zeroulp": "from harness.cli.main import main; main()",
    "bench-allrows": "from harness.cli.main import bench_allrows; bench_allrows()",
}
MATRIX = """\
schema = 1
[[group]]
models = ["qwen3-tiny"]
quants = ["Q8_0"]
shapes = [{ prompt = 4, generated = 2, context = 8 }]
[group.toggles]
graph = ["on", "off"]
prefill = ["batched", "sequential"]
chunk = [2, 3]
"""


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", COMMANDS[name], *arguments]


def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, *arguments),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=120,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_option_is_one_line_and_exit_code_2(name: str) -> None:
    done = run(name, "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("zeroulp: No such option")
    assert "--no-such-option" in done.stderr
    assert done.stderr.count("\n") == 1


def test_cuda_without_a_gpu(tiny: Path) -> None:
    done = run(
        "zeroulp", "generate", str(tiny), "--tokens", "1", "-n", "1", "--engine", "cuda", CUDA_VISIBLE_DEVICES=""
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("zeroulp: device cuda: ")
    assert done.stderr.count("\n") == 1


def test_a_sweep_on_cuda_without_a_gpu_leaves_nothing(tmp_path: Path) -> None:
    done = run("bench-allrows", "--device", "cuda", "--out", str(tmp_path / "results"), CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("zeroulp: device cuda: ")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_the_rows_that_are_finished(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MATRIX)
    call = command("bench-allrows", "mine.toml", "--device", "host", "--out", "results")
    with subprocess.Popen(call, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        deadline = time.monotonic() + 240
        while not any(path.stat().st_size for path in tmp_path.glob(f"results/*/{ROWS}")):
            assert sweep.poll() is None, sweep.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        sweep.send_signal(signal.SIGINT)
        out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert out == ""
    assert err.splitlines()[-1].startswith("zeroulp: interrupted: ")
    assert "Traceback" not in err
    stored = read_run(next(tmp_path.glob("results/*")))
    assert stored.rows
    assert len(stored.rows) + len(stored.missing) == 8
    assert stored.problems == ()
