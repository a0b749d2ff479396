"""Faults of the statistics: a tail, a look, a floor, and what a machine at rest looks like."""

from __future__ import annotations

from suites.selftest.planting import Fault

_STATISTICS = "harness/statistics.py"
_CANARY_RULE = "harness/canary_rule.py"
_CANARIES = "suites/harness/test_canary_rule.py::"
_RULES = "suites/harness/test_statistics.py::"
_RATES = "suites/harness/test_gate_statistics.py::"
_NOISE = "suites/harness/test_noise.py::"
_AA = "suites/harness/test_aa.py::"

STATISTICS_FAULTS: tuple[Fault, ...] = (
    Fault(
        name="the-wrong-tail",
        file=_STATISTICS,
        old="shown: NDArray[np.bool_] = -_upper(-logs, policy.slower_alpha) > 0",
        new="shown: NDArray[np.bool_] = _upper(logs, policy.slower_alpha) > 0",
        checks=(f"{_RULES}test_verdict_and_the_look_that_settles_it",),
    ),
    Fault(
        name="a-look-at-every-pair",
        file=_STATISTICS,
        old="    for k in policy.looks:\n",
        new="    for k in range(2, policy.looks[-1] + 1):\n",
        checks=(f"{_RULES}test_verdict_and_the_look_that_settles_it",),
    ),
    Fault(
        name="a-standard-deviation-for-a-standard-error",
        file=_STATISTICS,
        old="logs.std(axis=1, ddof=1) / math.sqrt(k)",
        new="logs.std(axis=1, ddof=1)",
        checks=(f"{_RULES}test_bounds_are_those_of_the_t_distribution",),
    ),
    Fault(
        name="a-normal-distribution-for-a-t",
        file=_STATISTICS,
        old="return float(stats.t.isf(alpha, freedom))",
        new="return float(stats.norm.isf(alpha))",
        checks=(f"{_RATES}test_a_change_that_costs_nothing_is_not_called_slower",),
    ),
    Fault(
        name="a-settled-verdict-is-looked-at-again",
        file=_STATISTICS,
        old="new = ((codes == MORE) | (codes == CANNOT_TELL)) & (slower | same)",
        new="new = slower | same",
        checks=(f"{_RULES}test_a_verdict_once_settled_is_not_looked_at_again",),
    ),
    Fault(
        name="no-absolute-floor",
        file=_STATISTICS,
        old="differences.mean(axis=1) >= policy.absolute_us",
        new="differences.mean(axis=1) >= 0",
        checks=(f"{_RULES}test_a_slowdown_below_the_absolute_floor_is_not_called_slower",),
    ),
    Fault(
        name="few-pairs-confirm",
        file=_STATISTICS,
        old="return len(logs) >= policy.confirm_pairs and bool(",
        new="return len(logs) >= 2 and bool(",
        checks=(f"{_RULES}test_confirmation_wants_enough_fresh_pairs_in_the_same_direction",),
    ),
    Fault(
        name="a-canary-has-to-move-tenfold",
        file=_CANARY_RULE,
        old="limit = math.log1p(policy.canary)",
        new="limit = math.log1p(10 * policy.canary)",
        checks=(f"{_CANARIES}test_a_shift_of_every_process_has_moved",),
    ),
    Fault(
        name="one-slow-process-moves-a-canary",
        file=_CANARY_RULE,
        old="small = np.abs(np.median(_differences(base, head), axis=1)) <= limit",
        new="small = np.abs(_differences(base, head).mean(axis=1)) <= limit",
        checks=(f"{_CANARIES}test_the_canaries_of_h200s_at_rest_stop_few_gates",),
    ),
    Fault(
        name="a-canary-moves-without-its-fastest-process",
        file=_CANARY_RULE,
        old="fastest = np.abs(head.min(axis=1) - base.min(axis=1)) <= limit",
        new="fastest = np.zeros(len(base), dtype=np.bool_)",
        checks=(f"{_CANARIES}test_what_slows_some_processes_of_four_is_no_change_between_the_arms",),
    ),
    Fault(
        name="ranks-of-a-canary-are-not-looked-at",
        file=_CANARY_RULE,
        old="moved: NDArray[np.bool_] = ~(small | (fastest & unshown))",
        new="moved: NDArray[np.bool_] = ~(small | fastest)",
        checks=(f"{_CANARIES}test_what_slows_most_of_an_arm_and_none_of_the_other_has_moved",),
    ),
    Fault(
        name="a-nan-is-a-time",
        file=_STATISTICS,
        old="            if not 0 < time < math.inf:",
        new="            if time <= 0 or time == math.inf:",
        checks=(f"{_RULES}test_a_time_that_is_none_is_refused",),
    ),
    Fault(
        name="a-slowdown-of-3-percent-is-lost-in-the-floor",
        file=_STATISTICS,
        old="    floor: float = 0.02  #",
        new="    floor: float = 0.029  #",
        checks=(f"{_RATES}test_a_slowdown_of_3_percent_is_seen",),
    ),
    Fault(
        name="the-simulated-order-is-ab-ab",
        file="harness/noise_model.py",
        old='return 2 * pair + np.isin(pair % 4, (1, 2)) if order == "abba" else pair',
        new='return 2 * pair if order == "abba" else pair',
        checks=(f"{_RATES}test_the_simulated_order_is_the_one_that_is_measured",),
    ),
    Fault(
        name="drift-is-taken-for-noise",
        file="harness/noise.py",
        old="squares = np.sort(np.diff(logs, axis=1) ** 2, axis=1)",
        new="squares = np.sort((logs - logs.mean(axis=1, keepdims=True))[:, 1:] ** 2, axis=1)",
        checks=(f"{_NOISE}test_drift_is_no_noise",),
    ),
    Fault(
        name="only-one-arm-of-an-a-a-run-is-proven",
        file="harness/aa.py",
        old="for arm in (row, RowEvidence(row=row.row, base=row.head, head=row.base)):",
        new="for arm in (row,):",
        checks=(f"{_AA}test_what_one_program_must_not_show_of_itself",),
    ),
    Fault(
        name="a-throttled-a-a-run-passes",
        file="harness/aa.py",
        old="        elif timed.unfit:",
        new="        elif timed.unfit and plan.processes < FEWEST:",
        checks=(f"{_AA}test_what_one_program_must_not_show_of_itself",),
    ),
)
