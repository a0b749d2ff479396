"""How long a row is warmed up and sampled, and which samples count. One set for sweeps, one for gates."""

from __future__ import annotations

import msgspec


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds are of timed work, shares are of 1. The defaults are those of a gate."""

    warm_seconds: tuple[float, float] = (1.0, 20.0)  # at least (before the first row of a process), at most
    warm_share: float = 0.005  # three windows in a row agree within this, in time and in SM clock
    samples: tuple[int, int] = (50, 400)  # of decode, each a short run of tokens: at least, at most
    prefill_samples: tuple[int, int] = (10, 200)  # each a whole prompt
    seconds: float = 5.0  # no further samples after this, once there are the least
    stderr: float = 0.002  # nor when the standard error of the median is below this share of it
    run_tokens: int = 8  # decoded for one sample, in the middle of the answer; 0: the whole answer
    clock_share: float = 0.75  # a sample below this share of the median SM clock is discarded
    discard_share: float = 0.1  # more discarded than this: the row is throttled
    limit_share: float = 1.05  # above this share of a measured ceiling a figure is an error


CAREFUL = Rules()


def quick(repeats: int) -> Rules:
    """Of a sweep: so many samples of whole answers and whole prompts behind a short warm-up."""
    most = (repeats, repeats)
    return Rules(warm_seconds=(1.0, 2.0), samples=most, prefill_samples=most, run_tokens=0)
