"""Taking the steps of a session apart on a GPU: which kernels they launch, and how long each takes by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from engine.device import Buffer, DeviceError, Graph, KernelArgument
from engine.devices.cuda import CudaDevice
from engine.devices.cuda.stream import CudaStream
from engine.devices.cuda.timing import StreamTimer
from engine.launch_log import Launch
from engine.session import Session
from engine.toggles import Toggles
from harness.adapters.devices import gpu_probe, opened
from harness.adapters.engine import LoadedModel
from harness.adapters.models import ModelFile, open_file, size_of
from harness.adapters.settings import NUMERICS, BadInput
from harness.counters import Counted, joined
from harness.environment import environment
from harness.kernels import Call, Group, Memory, Step, TensorType, groups, roof
from harness.measure import spread
from harness.profile import KernelRow, Profile
from harness.schema import Ceiling, Environment, ModelFacts, Spread
from harness.store import utc_now
from harness.words import plural
from harness.work_model import decode_work, prefill_work
from reference.spec.model import Model

ROOM = 64  # positions behind the step: replays of a decode step move on, and are put back between samples
SAMPLES, WARM_UP = 30, 5
MOST_REPLAYS, SAMPLE_MS = 8, 5.0  # the whole step is replayed so often in one sample, or so long
FLUSH = 4  # times the L2 cache is read between samples
STATE_BYTES = 1 << 20  # larger int32 buffers are no state of a step
DEPTH_CHUNK = 512  # rows of a pass that fills the cache


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The launches of one step, and what to write before they are made again."""

    launches: tuple[Launch, ...]
    rows: int
    position: int  # of row 0
    state: tuple[tuple[Buffer, NDArray[np.generic]], ...]  # token, position, counts

    def restore(self) -> None:
        for buffer, values in self.state:
            buffer.write(values)


def record_decode(session: Session, tokens: Sequence[int] | NDArray[np.int64]) -> Recorded:
    """The launches of a greedy step behind `tokens`: embedding, captured region, choice of the next token.

    What is restored is the state behind that step, so a replay computes the next one, at position len(tokens) + 1.
    """
    session.reset()
    session.generate(tokens, 1)
    with session.launches.noting() as launches:
        session.generate_more(1)
    graph = session.engaged()["graph"]
    if session.toggles.graph == "on" and not graph.engaged:
        raise DeviceError(f"bench kernels: the step was not captured: {graph.reason}")
    return Recorded(launches=tuple(launches), rows=1, position=session.length, state=_state(launches))


def record_steps(session: Session, context: int, rows: int) -> Iterator[Recorded]:
    """A decode step behind `context` tokens, then, with more than one row, a pass of so many behind it.

    The second is recorded when it is asked for: until then the first can be made again.
    """
    vocab = session.spec.vocab
    tokens = np.random.default_rng([vocab, context, rows]).integers(0, vocab, context - 1 + rows)
    yield record_decode(session, tokens[: context - 1])
    if rows > 1:
        yield record_prefill(session, tokens[context - 1 :])


def record_prefill(session: Session, tokens: Sequence[int] | NDArray[np.int64]) -> Recorded:
    """The launches of one pass over `tokens` behind what the session holds, logits of the last one included."""
    position = session.length
    with session.launches.noting() as launches:
        session.prefill(tokens)
    return Recorded(launches=tuple(launches), rows=len(tokens), position=position, state=_state(launches))


def _state(launches: Sequence[Launch]) -> tuple[tuple[Buffer, NDArray[np.generic]], ...]:
    found: dict[int, Buffer] = {}
    for launch in launches:
        for buffer in launch.args:
            if _is_buffer(buffer) and buffer.dtype == np.int32 and buffer.nbytes <= STATE_BYTES:
                known = found.get(buffer.ptr)
                if known is None or known.nbytes < buffer.nbytes:
                    found[buffer.ptr] = buffer
    return tuple((buffer, buffer.read()) for buffer in found.values())


def call(launch: Launch) -> Call:
    """What the harness's model of work has to know of a launch."""
    buffers = tuple(
        Memory(name=arg.name, dtype=str(arg.dtype), shape=tuple(arg.shape), nbytes=arg.nbytes)
        for arg in launch.args
        if _is_buffer(arg)
    )
    return Call(
        module=launch.module,
        kernel=launch.kernel,
        grid=launch.grid,
        block=launch.block,
        shared=launch.shared,
        buffers=buffers,
        scalars=tuple(float(arg) for arg in launch.args if isinstance(arg, np.number)),
    )


def step_facts(model: Model, recorded: Recorded) -> Step:
    spec = model.spec
    return Step(
        tensors={
            info.name: TensorType(type=info.type, shape=info.shape, bytes=info.nbytes)
            for info in model.file.tensors.values()
        },
        rows=recorded.rows,
        position=recorded.position,
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        head_dim=spec.head_dim,
    )


def step_bytes(model: Model, recorded: Recorded, *, kv: str) -> float:
    """Of the whole step, as the model of work of bench-allrows has it."""
    size, rows = size_of(model, kv), recorded.rows
    if rows == 1:
        return decode_work(size, position=recorded.position, tokens=1).bytes
    return rows * prefill_work(size, position=recorded.position, tokens=rows, batch=rows).bytes


def step_toggles(settings: Sequence[str], rows: int) -> Toggles:
    """Of a session whose steps are taken apart. Raises BadInput."""
    chosen = Toggles.parse([*settings, f"chunk={max(rows, DEPTH_CHUNK)}"])
    if chosen.prefill == "sequential":
        raise BadInput("bench kernels: a sequential prefill is decode steps; leave prefill at batched")
    return chosen


def step_context(context: int, rows: int) -> int:
    """The positions that such a session holds."""
    return context + max(rows, 1) + ROOM


def profile(
    file: ModelFile,
    *,
    cache: Path,
    context: int,
    rows: int,
    settings: Sequence[str],
    command: str,
    say: Callable[[str], None],
    counted: Sequence[Counted] = (),
) -> tuple[Environment, tuple[Profile, ...]]:
    """Take apart a decode step behind `context` tokens and, with more than one row, a pass of so many behind it.

    `counted` are the launches of all these steps by the GPU's counters, where those were read.
    Raises BadInput for toggles or sizes that cannot be profiled, NoDevice where there is no GPU.
    """
    chosen = step_toggles(settings, rows)
    with opened("cuda", cache) as device:
        assert isinstance(device, CudaDevice)
        say(f"{device.description}: measuring ceilings")
        made = environment("cuda", gpu_probe(device, ceilings=True), command=command)
        model = open_file(file.path)
        say(f"loading {file.facts.name} {file.facts.quant}")
        with LoadedModel(device, model) as loaded:
            engine = loaded.engine(chosen.as_dict(), context=step_context(context, rows))
            try:
                bench = _Bench(device, engine.session, model, file.facts, made, say, counted)
                return made, bench.profiles(context, rows)
            finally:
                engine.close()


class _Bench:
    """One session on a GPU, and what its steps are timed with."""

    def __init__(
        self,
        device: CudaDevice,
        session: Session,
        model: Model,
        facts: ModelFacts,
        made: Environment,
        say: Callable[[str], None],
        counted: Sequence[Counted],
    ) -> None:
        self._device, self._session, self._model, self._facts = device, session, model, facts
        self._made, self._say = made, say
        self._counted = list(counted)  # of the steps to come

    def profiles(self, context: int, rows: int) -> tuple[Profile, ...]:
        return tuple(self._profile(recorded) for recorded in record_steps(self._session, context, rows))

    def _profile(self, recorded: Recorded) -> Profile:
        session, model, started = self._session, self._model, utc_now()
        found = groups([call(launch) for launch in recorded.launches], step_facts(model, recorded))
        text = f"{plural(len(recorded.launches), 'launch', 'launches')} in {plural(len(found), 'group')}"
        self._say(f"step of {plural(recorded.rows, 'row')} at position {recorded.position}: {text}")
        timer = StepTimer(self._device, recorded, pdl=session.toggles.pdl == "on")
        try:
            step_us = timer.step_us()
            dram = self._dram(recorded)
            rows = tuple(
                _row(
                    group,
                    timer.call_us(group.places),
                    self._made.ceilings,
                    [dram[place] for place in group.places if dram],
                )
                for group in found
            )
            empty_us = timer.empty_us()
        finally:
            timer.close()
        return Profile(
            model=self._facts,
            rows=recorded.rows,
            position=recorded.position,
            context=session.limits.context,
            toggles=session.toggles.as_dict(),
            device="cuda",
            environment=self._made.id,
            numerics=NUMERICS,
            started=started,
            step_us=step_us,
            empty_us=empty_us,
            model_bytes=step_bytes(model, recorded, kv=session.toggles.kv),
            kernels=rows,
        )

    def _dram(self, recorded: Recorded) -> list[float]:
        """Bytes that each launch of the step read by the counters; empty where those were not read."""
        launched = [launch.kernel for launch in recorded.launches]
        mine, self._counted = self._counted[: len(launched)], self._counted[len(launched) :]
        return joined(mine, launched) if mine else []


def _row(group: Group, us: Spread, ceilings: Sequence[Ceiling], dram: Sequence[float]) -> KernelRow:
    shot = group.call
    name, share = roof(
        seconds=1e-6 * us.median * len(group.places),
        moved=group.weight_bytes + group.kv_bytes,
        operations=group.operations,
        floats=group.floats,
        ceilings=ceilings,
    )
    return KernelRow(
        kernel=shot.kernel,
        module=shot.module,
        shape=group.shape,
        weights=group.roles,
        calls=len(group.places),
        grid=shot.grid,
        block=shot.block,
        shared=shot.shared,
        us=us,
        weight_bytes=group.weight_bytes,
        kv_bytes=group.kv_bytes,
        operations=group.operations,
        dram_bytes=sum(dram) if dram else None,
        roof=name,
        percent_of_roof=share,
    )


class StepTimer:
    """Times the launches of a recorded step, each sample with a cold L2 cache, by the GPU's own clock.

    Kernels are timed without programmatic launches, one after the other has ended: what an empty kernel takes in their
    place is subtracted, so that a launch's cost is not the kernel's. The whole step is timed as the session runs it.
    """

    def __init__(self, device: CudaDevice, recorded: Recorded, *, pdl: bool) -> None:
        self._device, self._recorded = device, recorded
        self._plain = device.stream(pdl=False)
        self._own = device.stream(pdl=pdl)
        self._timer = StreamTimer(self._plain)
        slice_bytes = 512 * 4 * 16
        size = FLUSH * device.l2_bytes // slice_bytes * slice_bytes
        self._data = device.alloc((size // 16, 4), np.uint32, "profile.flush")
        self._sum = device.upload(np.zeros(1, np.uint32), "profile.sum")
        self._empty: dict[int, float] = {}
        self._step = self._captured(self._own, recorded.launches)

    def close(self) -> None:
        self._step.close()
        self._device.free(self._data)
        self._device.free(self._sum)

    def step_us(self) -> Spread:
        """The whole step as one graph, replayed several times in a row."""
        timer = StreamTimer(self._own)
        self._recorded.restore()
        first = max(timer.milliseconds(self._step.launch) for _ in range(2))
        replays = min(MOST_REPLAYS, max(1, math.ceil(SAMPLE_MS / first)))

        def work() -> None:
            for _ in range(replays):
                self._step.launch()

        times = []
        for _ in range(WARM_UP + SAMPLES):
            self._recorded.restore()
            self._flush(self._own)
            times.append(1e3 * timer.milliseconds(work) / replays)
        self._recorded.restore()
        return spread(times[WARM_UP:])

    def call_us(self, places: Sequence[int]) -> Spread:
        """One call of some of the step's launches, made one after the other; never below zero."""
        launches = [self._recorded.launches[place] for place in places]
        self._recorded.restore()
        self._step.launch()  # so that buffers hold what the step leaves in them, not what another group does
        self._own.synchronize()
        self._recorded.restore()
        empty = self._empty_graph_us(len(launches))
        graph = self._captured(self._plain, launches)
        try:
            return spread([max(0.0, (time - empty) / len(launches)) for time in self._samples(graph)])
        finally:
            graph.close()

    def empty_us(self) -> float:
        """An empty kernel of a graph as long as the step."""
        count = len(self._recorded.launches)
        return self._empty_graph_us(count) / count

    def _empty_graph_us(self, count: int) -> float:
        if count not in self._empty:
            nothing = Launch(
                module="ceilings", kernel="do_nothing", grid=self._device.multiprocessors, block=256, args=(), shared=0
            )
            graph = self._captured(self._plain, [nothing] * count)
            try:
                self._empty[count] = spread(self._samples(graph)).median
            finally:
                graph.close()
        return self._empty[count]

    def _captured(self, stream: CudaStream, launches: Sequence[Launch]) -> Graph:
        with stream.capture() as capture:
            for launch in launches:
                launch.issue(stream)
        return capture.graph

    def _samples(self, graph: Graph) -> list[float]:
        """Microseconds of each replay. The flush before it also hides what the CPU needs to launch the graph."""
        times = []
        for _ in range(WARM_UP + SAMPLES):
            self._flush(self._plain)
            times.append(1e3 * self._timer.milliseconds(graph.launch))
        return times[WARM_UP:]

    def _flush(self, stream: CudaStream) -> None:
        grid = self._device.multiprocessors * 4
        args = (self._sum, self._data, np.int64(self._data.shape[0]))
        stream.launch("ceilings", "read_all", grid=grid, block=512, args=args)


def _is_buffer(arg: KernelArgument) -> TypeGuard[Buffer]:
    return hasattr(arg, "ptr")
