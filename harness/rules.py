"""How long a row is warmed up and sampled, and which samples count. One set for sweeps, one for gates."""

from __future__ import annotations

import msgspec


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds are of wall clock, shares are of 1. The defaults are those of a gate."""

    warm_seconds: tuple[float, float] = (2.0, 20.0)  # at least, at most
    warm_share: float = 0.005  # three windows in a row agree within this, in time and in SM clock
    samples: tuple[int, int] = (50, 400)  # at least, at most, of a short run of tokens
    seconds: float = 5.0  # sampling ends here, with `samples[0]` or not
    stderr: float = 0.002  # or when the standard error of the median is below this share of it
    run_tokens: int = 8  # decoded for one sample, in the middle of the answer; 0: the whole answer
    clock_share: float = 0.75  # a sample below this share of the median SM clock is discarded
    discard_share: float = 0.1  # more discarded than this: the row is throttled
    limit_share: float = 1.05  # above this share of a measured ceiling a figure is an error


CAREFUL = Rules()


def quick(repeats: int) -> Rules:
    """Of a sweep: so many samples of whole prompts and whole answers behind a short warm-up."""
    return Rules(warm_seconds=(1.0, 3.0), samples=(repeats, repeats), run_tokens=0)
