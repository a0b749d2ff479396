"""Is a region safe to capture? A value that differs between states must not be frozen into a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.devices.host.arguments import Launch
from engine.devices.host.device import HostDevice
from engine.devices.host.memory import HostBuffer


def frozen_values(device: HostDevice, step: Callable[[], None], states: Sequence[Callable[[], None]]) -> list[str]:
    """Names every argument, grid, block or shared size of the launches of `step` that differs between the states.

    Each state is a function that sets it up; `step` is then traced, not run, and may do nothing but launch, on any
    stream of the device. An empty list: a graph captured in one state is right in all of them.
    """
    recordings: list[tuple[Launch, ...]] = []
    for state in states:
        state()
        with device.trace() as launches:
            step()
        recordings.append(tuple(launches))
    found: list[str] = []
    for number, recording in enumerate(recordings[1:], 1):
        found += _differences(number, recordings[0], recording)
    return found


def _differences(state: int, first: tuple[Launch, ...], other: tuple[Launch, ...]) -> list[str]:
    if [launch.name for launch in first] != [launch.name for launch in other]:
        return [f"state {state}: another list of launches ({len(first)} and {len(other)})"]
    found = []
    for i, (a, b) in enumerate(zip(first, other, strict=True)):
        where = f"state {state}, launch {i} {a.name}"
        for what in ("grid", "block", "shared"):
            if getattr(a, what) != getattr(b, what):
                found.append(f"{where}: {what} {getattr(a, what)} -> {getattr(b, what)}")
        for j, (u, v) in enumerate(zip(a.words, b.words, strict=True)):
            if u != v:
                found.append(f"{where}: argument {j} {_words(a, j)} -> {_words(b, j)}")
    return found


def _words(launch: Launch, index: int) -> str:
    value = launch.args[index]
    return f"'{value.name}' at {value.ptr:#x}" if isinstance(value, HostBuffer) else str(value)
