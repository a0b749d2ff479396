"""Faults of the measurement: what is compared, proven, timed and counted in the process of a row."""

from __future__ import annotations

from suites.selftest.planting import Fault

_COMPARE = "suites/harness/test_compare.py::"
_PROOF = "suites/harness/test_proof.py::"
_ROW = "suites/harness/test_row.py::"
_VOUCHED = "suites/harness/test_vouched.py::"
_PROCESS = "suites/harness/test_process.py::"
_SAMPLING = "suites/harness/test_sampling.py::"
_MEASURE = "suites/harness/test_measure.py::"
_MISSING = "suites/devices/test_cuda_missing.py::"
_LAYOUT = "suites/selftest/test_layout.py::"

MEASUREMENT_FAULTS: tuple[Fault, ...] = (
    # ---- comparisons that cannot fail ----
    Fault(
        name="compare-is-always-equal",
        file="harness/compare.py",
        old="differs = bits(left) != bits(right)",
        new="differs = bits(left) != bits(left)",
        checks=(f"{_COMPARE}test_one_ulp_is_found_with_its_place_and_both_values",),
    ),
    Fault(
        name="compare-lets-a-nan-pass",
        file="harness/compare.py",
        old="differs = bits(left) != bits(right)",
        new="differs = np.abs(left - right) > 0",
        checks=(f"{_COMPARE}test_nan_differs_from_everything_but_nan",),
        origin="25",
    ),
    Fault(
        name="compare-of-nothing-passes",
        file="harness/compare.py",
        old="return self.values > 0 and self.differing == 0",
        new="return self.differing == 0",
        checks=(f"{_COMPARE}test_nothing_compared_is_not_the_same",),
        origin="42",
    ),
    Fault(
        name="compare-of-two-shapes-passes",
        file="harness/compare.py",
        old="return Comparison(values=most, differing=most, worst_ulp=None, first_difference=text)",
        new="return Comparison(values=most, differing=0, worst_ulp=None, first_difference=text)",
        checks=(f"{_COMPARE}test_another_shape_differs_everywhere",),
    ),
    Fault(
        name="a-side-is-compared-with-itself",
        file="harness/proof.py",
        old="    result = compare(left.logits, right.logits)\n    reasons",
        new="    result = compare(left.logits, left.logits)\n    reasons",
        checks=(f"{_PROOF}test_one_ulp_in_one_twin_fails_its_check_only",),
    ),
    Fault(
        name="only-the-last-position-is-compared",
        file="harness/proof.py",
        old="return Evidence(logits=np.concatenate(rows), engaged=dict(engine.engaged()))",
        new="return Evidence(logits=np.concatenate(rows)[-1:], engaged=dict(engine.engaged()))",
        checks=(f"{_PROOF}test_equal_engines_pass_every_check_over_every_position",),
        origin="2",
    ),
    # ---- proofs ----
    Fault(
        name="a-silent-fallback-passes",
        file="harness/proof.py",
        old="    if path.asked == value and path.engaged is expected:",
        new="    if path.asked == value:",
        checks=(f"{_PROOF}test_a_side_that_did_not_engage_fails_though_the_bits_agree",),
        origin="9",
    ),
    Fault(
        name="lost-logits-count-as-proof",
        file="harness/proof.py",
        old="return not np.isfinite(logits).any()",
        new="return not logits.size",
        checks=(f"{_PROOF}test_logits_that_are_all_lost_show_nothing",),
        origin="25",
    ),
    Fault(
        name="the-proof-behind-is-the-one-before",
        file="harness/proof.py",
        old="        own = _evidence(self._engine, self._tokens)\n        found",
        new='        own = vars(self).setdefault("_own", _evidence(self._engine, self._tokens))\n        found',
        checks=(f"{_PROOF}test_an_engine_that_was_right_before_is_asked_again",),
    ),
    Fault(
        name="a-twin-of-other-tokens-stands-for-a-row",
        file="harness/proof.py",
        old="asked = (tuple(sorted(toggles.items())), tuple(map(int, self._tokens.ids)), self._tokens.tail)",
        new="asked = tuple(sorted(toggles.items()))",
        checks=(f"{_PROOF}test_twins_that_are_known_are_not_opened_again_and_still_compared",),
    ),
    Fault(
        name="other-logits-are-vouched-for-as-well",
        file="harness/adapters/engine.py",
        old="if asked in self._vouched and compare(logits, self._vouched[asked][0]).same:",
        new="if asked in self._vouched:",
        checks=(f"{_PROCESS}test_logits_that_differ_from_those_the_oracle_vouched_for_are_not_vouched_for",),
    ),
    Fault(
        name="a-cached-result-is-returned",
        file="harness/adapters/oracle.py",
        old="key = json.dumps([sha256, tokens.tolist(), kv, code_hash(ORACLE_CODE)])",
        new="key = json.dumps([sha256, tokens.tolist(), code_hash(ORACLE_CODE)])",
        checks=(f"{_PROCESS}test_all_rows_of_a_model_are_proven_and_none_has_a_time_on_the_host",),
    ),
    Fault(
        name="known-ops-stand-for-the-logits",
        file="harness/adapters/sampled.py",
        old='joined([("", before), (LINK, compare(logits[len(tokens) - 1 :], own))])',
        new="before",
        checks=(f"{_VOUCHED}test_logits_are_compared_though_the_ops_are_known[{{device}}]",),
    ),
    Fault(
        name="proven-only-before-the-timed-loop",
        file="harness/proven.py",
        old='proof = (*before, *deep, *prover.checks("after"))',
        new="proof = tuple(before)",
        checks=(f"{_ROW}test_a_row_is_proven_before_and_after_at_every_position[on-batched-f16]",),
        origin="9",
    ),
    Fault(
        name="a-failed-proof-is-no-status",
        file="harness/proven.py",
        old='return "parity_failed", f"{reason} [check {check_id(self.key, failed)}]"',
        new='return "ok", f"{reason} [check {check_id(self.key, failed)}]"',
        checks=(f"{_ROW}test_one_wrong_bit_of_the_oracle_is_a_failed_row",),
    ),
    Fault(
        name="too-little-memory-is-a-plain-error",
        file="harness/proven.py",
        old="if isinstance(error, OutOfMemory | MemoryError):",
        new="if isinstance(error, MemoryError):",
        checks=(f"{_ROW}test_too_little_memory_is_a_status",),
        origin="37",
    ),
    # ---- times ----
    Fault(
        name="no-warm-up",
        file="harness/sampling.py",
        old="    warm_up = warm(take, rules, least=warm_seconds)",
        new='    warm_up = ""',
        checks=(f"{_SAMPLING}test_more_than_a_tenth_thrown_away_is_a_throttled_row",),
        origin="36",
    ),
    Fault(
        name="the-warm-up-does-not-look-at-the-clock",
        file="harness/sampling.py",
        old="for found in (times, clocks) for value",
        new="for found in (times,) for value",
        checks=(f"{_SAMPLING}test_a_warm_up_lasts_until_the_clock_is_flat_too",),
        origin="36",
    ),
    Fault(
        name="a-window-that-is-no-time-is-flat",
        file="harness/sampling.py",
        old="all(value - min(found) <= share * min(found)",
        new="all(not value - min(found) > share * min(found)",
        checks=(f"{_SAMPLING}test_windows_of_which_one_is_no_time_are_not_flat",),
    ),
    Fault(
        name="samples-of-a-slowed-gpu-are-kept",
        file="harness/sampling.py",
        old="slow = bool(SLOWED & set(take.reasons)) or",
        new="slow = False or",
        checks=(f"{_SAMPLING}test_samples_of_a_slowed_gpu_are_thrown_away_and_counted",),
    ),
    Fault(
        name="a-throttled-row-is-not-told",
        file="harness/sampling.py",
        old="if not len(discarded) <= rules.discard_share * len(takes):",
        new="if not len(discarded) <= len(takes):",
        checks=(f"{_SAMPLING}test_more_than_a_tenth_thrown_away_is_a_throttled_row",),
    ),
    Fault(
        name="the-physical-limit-is-ignored",
        file="harness/limits.py",
        old="            if not reached <= share:",
        new="            if not reached <= 100 * share:",
        checks=(f"{_PROCESS}test_a_row_faster_than_the_machine_is_an_error_not_a_win",),
    ),
    Fault(
        name="a-run-of-tokens-is-taken-for-one",
        file="harness/process.py",
        old="decode=measured.decode.samples(per=measured.run) if measured.decode else None,",
        new="decode=measured.decode.samples() if measured.decode else None,",
        checks=(f"{_PROCESS}test_times_are_of_a_token_and_of_a_prompt",),
    ),
    Fault(
        name="decode-is-timed-from-the-end-of-the-prompt",
        file="harness/measure.py",
        old="engine.truncate(len(tokens) + (shape.generated - run) // 2)",
        new="engine.truncate(len(tokens))",
        checks=(f"{_MEASURE}test_a_sample_of_decode_is_a_short_run_in_the_middle_of_the_answer",),
    ),
    # ---- where it runs ----
    Fault(
        name="the-host-stands-in-for-a-gpu",
        file="engine/devices/__init__.py",
        old='    if name == "host":\n',
        new='    if name == "host" or (name == "cuda" and why_unavailable(name) is not None):\n',
        checks=(f"{_MISSING}test_no_driver",),
        origin="38",
    ),
    Fault(
        name="the-engine-reads-the-environment",
        file="engine/toggles.py",
        old="        return asdict(self)\n",
        new="        import os\n\n"
        '        return asdict(self) | ({"graph": "off"} if os.environ.get("NO_GRAPH") else {})\n',
        checks=(f"{_LAYOUT}test_environment_variables_are_read_at_the_edge_only",),
        origin="35",
    ),
)
