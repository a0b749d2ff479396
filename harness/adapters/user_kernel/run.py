"""Running a user's kernel on the cases of an op, in this process: compile, bind, poison, launch, compare."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from engine.device import Device, DeviceError, KernelArgument, LaunchError, Stream
from engine.devices import AccessFault, GuardDamage, KernelFault, open_device
from engine.devices.host.device import KERNELS
from harness.adapters.user_kernel.buffers import Guarded
from harness.adapters.user_kernel.op import Case
from harness.adapters.user_kernel.ops import OPS
from harness.errors import BadCall
from harness.expressions import whole_number
from harness.user_kernel import CaseResult, Difference, KernelAnswer, KernelCall, Outcome, judged
from reference.forms import EXACT, IDEAL
from reference.spec.errors import BadInput

WIDE = "int64:"  # before an expression in --args: a number of 64 bits
OUR_RULE = ("access before pdl_wait", "no thread executes pdl_wait")  # a kernel that runs alone need not follow it


def check_kernel(call: KernelCall, cache: Path) -> KernelAnswer:
    """Every case on every grid. Says which one runs, so that the log of a process that died tells."""
    results: list[CaseResult] = []
    try:
        with _device(call, cache) as (device, module):
            for case in chosen_cases(call):
                for grid in (None, *call.grids):
                    print(f"in case {case.name}" + (f" on {grid} blocks" if grid else ""), flush=True)
                    results.append(_Run(call, device, module, case).result(grid))
                    if results[-1].outcome == "crashed" and call.device == "cuda":
                        return KernelAnswer(results=tuple(results))  # nothing runs on a GPU after a fault
    except (DeviceError, BadCall, BadInput) as error:
        return KernelAnswer(results=tuple(results), refused=str(error))
    return KernelAnswer(results=tuple(results))


def chosen_cases(call: KernelCall) -> Iterator[Case]:
    """All of the op, or the one that is named. Raises BadCall if there is none of that name."""
    names = []
    for case in OPS[call.op].cases():
        names.append(case.name)
        if call.case in ("", case.name):
            yield case
    if call.case and call.case not in names:
        raise BadCall(f"--case {call.case!r}: {call.op} has no such case, expected one of: {'; '.join(names)}")


@contextmanager
def _device(call: KernelCall, cache: Path) -> Iterator[tuple[Device, str]]:
    """A device that knows the user's file, and the module's name. Headers (.cuh) beside the file can be included."""
    source = Path(call.source)
    module = f"user_{source.stem}" if (KERNELS / source.name).exists() else source.stem
    with tempfile.TemporaryDirectory() as folder:
        for header in source.parent.glob("*.cuh"):
            shutil.copyfile(header, Path(folder) / header.name)
        shutil.copyfile(source, Path(folder) / f"{module}.cu")
        options = {"mode": "check", "order": "random"} if call.check else {}
        device = open_device(call.device, cache_dir=cache, kernel_dirs=(Path(folder),), **options)
        with closing(device):
            try:
                yield device, module
            except DeviceError as error:  # in the words of the file that the user knows
                text = str(error).replace(f"{folder}/{module}.cu", str(source)).replace(f"{module}.cu", source.name)
                raise DeviceError(text) from None


class _Run:
    """One case with its buffers."""

    def __init__(self, call: KernelCall, device: Device, module: str, case: Case) -> None:
        self._call, self._device, self._module, self._case = call, device, module, case
        self._op = OPS[call.op]
        self._inputs = {name: Guarded.upload(device, array, name) for name, array in case.arrays.items()}
        self._expected = case.oracle(EXACT if call.against == "exact" else IDEAL)
        self._outputs = {
            name: Guarded.output(device, shape, dtype, name, unlike=self._expected[name])
            for name, (shape, dtype) in case.outputs.items()
        }

    def result(self, forced_grid: int | None) -> CaseResult:
        """Raises BadCall for a launch that does not fit, DeviceError for a file that does not compile."""
        grid = forced_grid or self._size(self._call.grid or self._op.grid, "--grid")
        try:
            reports = self._launch(self._device.stream(), grid)
            return self._ended(grid, "checker", reports[0], reports) if reports else self._judged(grid)
        except GuardDamage as fault:
            return self._ended(grid, "out of bounds", str(fault))
        except KernelFault as fault:
            return self._ended(grid, "crashed", str(fault))
        except DeviceError as fault:
            if self._device.name == "host" or "does not compile" in str(fault):
                raise
            return self._ended(grid, "crashed", str(fault))
        finally:
            self._free()

    def _launch(self, stream: Stream, grid: int) -> tuple[str, ...]:
        """What the access checker saw."""
        call = self._call
        block = self._size(call.block or self._op.block, "--block")
        shared = self._size(call.shared, "--shared")
        words = call.arguments or tuple(argument.name for argument in self._op.listed)
        arguments = [self._argument(word) for word in words]
        try:
            stream.launch(self._module, call.entry, grid=grid, block=block, args=arguments, shared=shared)
        except LaunchError as error:
            raise BadCall(self._refusal(str(error), words)) from None
        except AccessFault as fault:
            return tuple(report for report in fault.reports if not report.startswith(OUR_RULE))
        stream.synchronize()
        return ()

    def _refusal(self, text: str, words: Sequence[str]) -> str:
        """A launch that does not fit, by the names of the user's file, and the option that mends it."""
        file, entry = Path(self._call.source).name, self._call.entry
        text = text.replace(f"{self._module}.{entry}:", f"{file}: {entry}:").replace(f"{self._module}.cu", file)
        if "argument" in text:
            return f"{text} (given: {', '.join(f'{i} {word}' for i, word in enumerate(words))}; --args chooses others)"
        absent = "no such kernel" in text or "no kernel of that name" in text
        return f"{text} (--entry names another)" if absent else text

    def _argument(self, word: str) -> KernelArgument:
        if word in self._inputs:
            return self._inputs[word].inside
        if word in self._outputs:
            return self._outputs[word].inside
        if word in self._case.scalars:
            return self._case.scalars[word]
        value = self._size(word.removeprefix(WIDE), "--args")
        return np.int64(value) if word.startswith(WIDE) else np.int32(value)

    def _size(self, text: str, where: str) -> int:
        return whole_number(text, self._case.sizes, where)

    def _judged(self, grid: int) -> CaseResult:
        for name, guarded in (*self._inputs.items(), *self._outputs.items()):
            if damage := guarded.damage():
                return self._ended(grid, "out of bounds", f"wrote {damage} of {name}")
        for name, array in self._case.arrays.items():
            if self._inputs[name].read().tobytes() != np.ascontiguousarray(array).tobytes():
                return self._ended(grid, "out of bounds", f"wrote to {name}, which is an input")
        found = [
            judged(name, guarded.read(), self._expected[name], self._call.bound)
            for name, guarded in self._outputs.items()
        ]
        return _joined(self._case.name, grid, found)

    def _ended(self, grid: int, outcome: Outcome, reason: str, reports: Sequence[str] = ()) -> CaseResult:
        text = " ".join(reason.split())
        return CaseResult(case=self._case.name, grid=grid, outcome=outcome, reason=text, reports=tuple(reports))

    def _free(self) -> None:
        for guarded in (*self._inputs.values(), *self._outputs.values()):
            self._device.free(guarded.whole)


def _joined(case: str, grid: int, found: Sequence[Difference]) -> CaseResult:
    worst = [difference.worst_ulp for difference in found]
    errors = [difference.nmse for difference in found if difference.nmse is not None]
    within = all(difference.within for difference in found)
    first = next((difference.first for difference in found if not difference.within), "")
    return CaseResult(
        case=case,
        grid=grid,
        outcome="passed" if within else "differs",
        reason=first,
        values=sum(difference.values for difference in found),
        differing=sum(difference.differing for difference in found),
        worst_ulp=max(ulp for ulp in worst if ulp is not None) if None not in worst else None,
        nmse=max(errors) if errors else None,
        first_difference=next((difference.first for difference in found if difference.first), ""),
    )
