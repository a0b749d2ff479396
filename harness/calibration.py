"""The tables of docs/gate.md, by simulation: what the gate sees, what it does not, what other rules would say."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from harness.noise_model import Noise, Order
from harness.simulate import Rates, canary_alarms, gate_rates, one_process_alarms, paired_alarms
from harness.statistics import Policy

PROCESS = (0.003, 0.007, 0.012)
SLOWDOWNS = (0.0, 0.01, 0.02, 0.025, 0.03, 0.05)
UNKIND = {
    "as assumed": Noise(),
    "heavy tails (t, 3 degrees of freedom)": Noise(tail=3),
    "correlated processes (0.5)": Noise(correlation=0.5),
    "anticorrelated processes (-0.5)": Noise(correlation=-0.5),
    "blips in 10 % of samples": Noise(blips=0.1, blip=0.5),
    "drift of 10 % over the run": Noise(drift=0.1),
    "process noise 3 %": Noise(process=0.03),
}
CANARY_SAMPLE = 0.004  # as on H200s
CANARY_NOISE = {
    "0.2 %": Noise(process=0.002, sample=CANARY_SAMPLE),
    "0.3 %": Noise(process=0.003, sample=CANARY_SAMPLE),
    "0.5 %": Noise(process=0.005, sample=CANARY_SAMPLE),
    "0.1 %, one process in five slower by 1 %": Noise(process=0.001, sample=CANARY_SAMPLE, slow=0.2, slow_by=0.01),
    "0.1 %, one in seven slower by 30 %": Noise(process=0.001, sample=CANARY_SAMPLE, slow=1 / 7, slow_by=0.3),
}
CANARY_CASES = ((0.0, 4), (0.0, 8), (0.0, 16), (0.01, 4), (0.01, 8), (0.02, 4))  # how far it moved, pairs
ORDERS: dict[Order, str] = {
    "base then head": "16 processes of base, then 16 of head",
    "abba": "16 pairs in ABBA order",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m harness.simulate", description=__doc__)
    parser.add_argument("--trials", type=int, default=20_000, help="runs simulated for each cell (default: 20000)")
    trials = parser.parse_args().trials
    if trials < 1:
        parser.error("--trials: expected at least 1")
    print("\n\n".join(tables(trials, Policy())))


def tables(trials: int, policy: Policy) -> list[str]:
    """Markdown; every table says below what was simulated how often."""
    return [
        _by_noise(trials, policy),
        _by_kind(trials, policy),
        _other_rules(max(1, trials // 4)),
        _canaries(trials, policy),
    ]


def _by_noise(trials: int, policy: Policy) -> str:
    lines = []
    for process in PROCESS:
        for slowdown in SLOWDOWNS:
            rates = gate_rates(Noise(process=process), slowdown=slowdown, trials=trials, policy=policy)
            counts = (rates.slower, rates.same, rates.cannot_tell, rates.confirmed)
            shares = [_share(rates, count) for count in counts]
            lines.append((f"{100 * process:.1f} %", f"{100 * slowdown:g} %", *shares, f"{rates.mean_pairs:.1f}"))
    head = ("process noise", "true slowdown", "slower", "same", "cannot tell", "slower and confirmed", "mean pairs")
    return _table(head, lines, f"{trials:,} simulated runs a line; `<` and `>` are ends of a 95 % interval.")


def _by_kind(trials: int, policy: Policy) -> str:
    lines = []
    for name, noise in UNKIND.items():
        still = gate_rates(noise, slowdown=0.0, trials=trials, policy=policy)
        slow = gate_rates(noise, slowdown=0.03, trials=trials, policy=policy)
        lines.append(
            (
                name,
                _share(still, still.slower),
                _share(still, still.confirmed),
                _share(slow, slow.slower),
                _share(slow, slow.confirmed),
                f"{still.mean_pairs:.1f}",
            )
        )
    head = ("noise", "false alarm", "confirmed", "3 % seen", "confirmed", "mean pairs without a change")
    return _table(head, lines, f"{trials:,} simulated runs a cell; process noise 0.7 % where nothing else is said.")


def _other_rules(trials: int) -> str:
    noise = Noise()
    lines = [
        (
            "t test on 50 samples of one process of each arm, 0.1 %",
            _percent(one_process_alarms(noise, trials=trials, alpha=0.001)),
        )
    ]
    for order, words in ORDERS.items():
        alarms = paired_alarms(noise, trials=trials, pairs=16, alpha=0.05, order=order)
        lines.append((f"{words}, t test on medians, 5 %", _percent(alarms)))
    return _table(("rule", "false alarms"), lines, f"{trials:,} simulated runs a line, drift of up to 2 % over a run.")


def _canaries(trials: int, policy: Policy) -> str:
    lines = [
        (
            name,
            *(
                _percent(canary_alarms(noise, shift=shift, trials=trials, pairs=pairs, policy=policy))
                for shift, pairs in CANARY_CASES
            ),
        )
        for name, noise in CANARY_NOISE.items()
    ]
    cases = (f"{f'{100 * shift:g} % apart' if shift else 'at rest'}, {pairs} pairs" for shift, pairs in CANARY_CASES)
    note = f"How often one canary says that the machine moved between the arms; {trials:,} runs a cell."
    return _table(("process noise of the canary", *cases), lines, note)


def _share(rates: Rates, count: int) -> str:
    """A share, or the end of its interval where nothing, or all, was counted."""
    if count in (0, rates.trials):
        low, high = rates.interval(count)
        return f"< {_percent(high)}" if count == 0 else f"> {_percent(low)}"
    return _percent(rates.share(count))


def _percent(share: float) -> str:
    """With more places towards both ends, where they tell."""
    rest = min(share, 1 - share)
    places = 1 if rest >= 0.01 else 2 if rest >= 0.001 else 3
    return f"{100 * share:.{places}f} %"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]], note: str) -> str:
    rows = [head, ["---", *["--:"] * (len(head) - 1)], *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{note}"
