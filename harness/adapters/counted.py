"""The steps that `bench kernels` takes apart, each launch once, for a counter that looks on: `python -m ... JOB`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from engine.device import Device, Stream
from engine.devices.cuda import CudaDevice
from engine.session import Session
from harness.adapters.devices import opened
from harness.adapters.engine import LoadedModel
from harness.adapters.kernels import record_steps, step_context, step_toggles
from harness.adapters.models import open_file


class CountJob(msgspec.Struct, frozen=True, kw_only=True):
    """As `bench kernels` was asked; `cache` is the folder for kernels."""

    model_path: str
    cache: str
    context: int
    rows: int
    settings: tuple[str, ...]


def main() -> None:
    run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=CountJob))


def run(job: CountJob, device_name: str = "cuda") -> list[str]:
    """Returns the names of the kernels in the order in which the counter saw them."""
    with (
        opened(device_name, Path(job.cache)) as device,
        LoadedModel(device, open_file(Path(job.model_path))) as loaded,
    ):
        toggles = step_toggles(job.settings, job.rows).as_dict()
        engine = loaded.engine(toggles, context=step_context(job.context, job.rows))
        try:
            return _steps(device, engine.session, job)
        finally:
            engine.close()


def _steps(device: Device, session: Session, job: CountJob) -> list[str]:
    """Each step is recorded unseen, and then issued launch by launch while the counter looks on."""
    stream: Stream = device.stream(pdl=False)
    seen: list[str] = []
    for recorded in record_steps(session, job.context, job.rows):
        recorded.restore()
        _watched(device, on=True)
        for launch in recorded.launches:
            launch.issue(stream)
            seen.append(launch.kernel)
        stream.synchronize()
        _watched(device, on=False)
    return seen


def _watched(device: Device, *, on: bool) -> None:
    """Start or stop the range that a profiler of the process looks at. The host device has none."""
    if isinstance(device, CudaDevice):
        runtime = device.cuda.cupy.cuda.runtime
        (runtime.profilerStart if on else runtime.profilerStop)()


if __name__ == "__main__":
    main()
