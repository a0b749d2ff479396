"""A stand-in for llama-bench: `python llama_bench.py LOG MODE ARGUMENTS...` prints entries for -p, -n, -d and -r.

MODE is one of answer, old, refuse, crash, hang, noise, nothing, cpu, kv, repeats, test; "later:MODE" does so only when
asked for more than one repeat, and answers before. Each call appends "peer" and its test to LOG.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

GPU = "Some GPU"
SPEEDS = {"prefill": 4000.0, "decode": 200.0}


def entry(
    *, prompt: int = 0, generated: int = 0, depth: int = 0, repeats: int = 5, model: str = "m.gguf", **changes: Any
) -> dict[str, Any]:
    """One entry, with the fields that a build of 2025 prints."""
    base = SPEEDS["prefill" if prompt else "decode"]
    samples = [base * (1 + 0.01 * (i - repeats // 2)) for i in range(repeats)]
    found = {
        "build_commit": "0c1e570",
        "build_number": 6789,
        "cpu_info": "Some CPU",
        "gpu_info": GPU,
        "backends": "CUDA",
        "model_filename": model,
        "model_type": "qwen3 8B Q4_K - Medium",
        "model_size": 4_000_000,
        "model_n_params": 8_000_000,
        "n_batch": 2048,
        "n_ubatch": 512,
        "n_threads": 8,
        "type_k": "f16",
        "type_v": "f16",
        "n_gpu_layers": 99,
        "split_mode": "none",
        "main_gpu": 0,
        "no_kv_offload": False,
        "flash_attn": True,
        "tensor_split": "0.00",
        "embeddings": False,
        "n_prompt": prompt,
        "n_gen": generated,
        "n_depth": depth,
        "test_time": "2026-01-02T03:04:05Z",
        "avg_ns": 1000,
        "stddev_ns": 10,
        "avg_ts": sum(samples) / len(samples),
        "stddev_ts": 1.0,
        "samples_ns": [1000] * repeats,
        "samples_ts": samples,
    }
    return {**found, **changes}


def program(folder: Path, log: Path, mode: str = "answer") -> Path:
    """An executable that behaves as MODE says."""
    path = folder / "llama-bench"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{log}" "{mode}" "$@"\n')
    path.chmod(0o755)
    return path


def misbehave(mode: str) -> dict[str, Any]:
    """What the mode changes in an entry, if it leaves this process alive and well."""
    if mode == "refuse":
        print("usage: llama-bench [options]")
        sys.exit("error: invalid parameter for argument: -d")
    if mode == "crash":
        print("loading\nGGML_ASSERT error: it broke", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGABRT)
    if mode == "hang":
        time.sleep(60)
    if mode in ("noise", "nothing"):
        print("| model | t/s |" if mode == "noise" else "")
        sys.exit(0)
    changes: dict[str, dict[str, Any]] = {
        "cpu": {"gpu_info": "", "backends": "CPU"},
        "kv": {"type_v": "q8_0"},
        "repeats": {"samples_ts": [100.0]},
        "test": {"n_depth": 3},
    }
    return changes.get(mode, {})


def main(log: str, mode: str, *arguments: str) -> None:
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    prompt, generated, depth, repeats = (int(given[name]) for name in ("-p", "-n", "-d", "-r"))
    with Path(log).open("a") as file:
        file.write(f"peer:{prompt}+{generated}@{depth}x{repeats}\n")
    when, _, later = mode.partition(":")
    if when == "later":
        mode = later if repeats > 1 else "answer"
    changes = misbehave(mode)
    entries = [
        entry(**test, depth=depth, repeats=repeats, model=given["-m"], n_ubatch=int(size)) | changes
        for size in given["-ub"].split(",")
        for test in ({"prompt": prompt}, {"generated": generated})
        if any(test.values())
    ]
    for item in entries:
        item["samples_ts"] = [speed * (1 + item["n_ubatch"] / 1e5) for speed in item["samples_ts"]]
    if mode == "old":
        for item in entries:
            del item["n_depth"]
    print(json.dumps(entries, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
