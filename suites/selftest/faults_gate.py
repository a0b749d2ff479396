"""Faults of the gate: what is slower, absent, throttled or another build, and is taken for good."""

from __future__ import annotations

from suites.selftest.planting import Fault

_FAKES = "suites/harness/gate_fakes.py"
_GATE_NOISE = "suites/harness/test_gate_noise.py::"
_GATE = "suites/harness/test_gate.py::"
_HOLES = "suites/harness/test_gate_holes.py::"
_RUNS = "suites/harness/test_gate_runs.py::"
_ACCEPT = "suites/harness/test_gate_accept.py::"
_ARMS = "suites/harness/test_gate_arms.py::"
_COUNTS = "suites/harness/test_gate_counts.py::"
_RESUME = "suites/harness/test_gate_resume.py::"

GATE_FAULTS: tuple[Fault, ...] = (
    # ---- in the machine that a gate measures, simulated ----
    Fault(
        name="a-kernel-3-percent-slower",
        file=_FAKES,
        old='decode=samples(US["decode"] * _blur(noise)) if timed else None,',
        new='decode=samples(US["decode"] * _blur(noise) * (1.03 if act.side == "head" else 1.0)) if timed else None,',
        checks=(f"{_GATE}test_the_same_build_twice_passes_after_the_first_look",),
    ),
    Fault(
        name="a-kernel-2.7-percent-slower",
        file=_FAKES,
        old='decode=samples(US["decode"] * _blur(noise)) if timed else None,',
        new='decode=samples(US["decode"] * _blur(noise) * (1.027 if act.side == "head" else 1.0)) if timed else None,',
        checks=(f"{_GATE}test_the_same_build_twice_passes_after_the_first_look",),
    ),
    Fault(
        name="a-clock-3-percent-lower-in-head",
        file=_FAKES,
        old='decode=samples(US["decode"] * _blur(noise)) if timed else None,',
        new='decode=samples(US["decode"] * _blur(noise), mhz=1980.0 if act.side == "base" else 1920.0)\n'
        "        if timed\n"
        "        else None,",
        checks=(f"{_GATE}test_the_same_build_twice_passes_after_the_first_look",),
    ),
    Fault(
        name="a-path-gated-off-in-head",
        file=_FAKES,
        old='engaged={"graph": Engagement(asked="on", engaged=True)},',
        new='engaged={"graph": Engagement(asked="on", engaged=act.side == "base")},',
        checks=(f"{_GATE}test_the_same_build_twice_passes_after_the_first_look",),
        origin="5",
    ),
    # ---- in the gate ----
    Fault(
        name="a-vanished-row-is-left-out",
        file="harness/gate/verdicts.py",
        old="for row in evidence.rows.values() for verdict in self._row(row))",
        new="for row in evidence.rows.values() if row.head for verdict in self._row(row))",
        checks=(f"{_GATE}test_a_row_that_vanishes_is_missing",),
    ),
    Fault(
        name="a-dead-process-breaks-nothing",
        file="harness/gate/evidence.py",
        old="            if fault is not None:\n                evidence.faults.append(fault)",
        new="            if outcome.answer is None:\n"
        "                continue\n"
        "            if fault is not None:\n"
        "                evidence.faults.append(fault)",
        checks=(f"{_GATE}test_a_process_that_dies_breaks_its_rows",),
    ),
    Fault(
        name="a-throttled-run-taken-for-a-good-one",
        file="harness/gate/times.py",
        old="            if not share <= MOST_DISCARDED:",
        new="            if not share <= 1.0:",
        checks=(f"{_GATE}test_throttled_samples_cannot_tell",),
        origin="36",
    ),
    Fault(
        name="clock-drift-between-the-arms-ignored",
        file="harness/gate/times.py",
        old="abs(clock - 1) <= CLOCK_DRIFT",
        new="abs(clock - 1) <= 1.0",
        checks=(f"{_GATE}test_a_clock_that_drifts_between_the_arms_cannot_tell",),
        origin="36",
    ),
    Fault(
        name="base-is-measured-before-head",
        file="harness/gate/pairs.py",
        old='return ("base", "head") if pair % 4 in (0, 3) else ("head", "base")',
        new='return ("base", "head")',
        checks=(f"{_GATE}test_the_same_build_twice_passes_after_the_first_look",),
    ),
    Fault(
        name="samples-of-one-process-for-pairs",
        file="harness/gate/times.py",
        old="log_ratios([b.median for b, _ in pairs], [h.median for _, h in pairs])",
        new="log_ratios(pairs[0][0].values, pairs[0][1].values)",
        checks=(f"{_GATE}test_the_same_build_twice_passes_after_the_first_look",),
    ),
    Fault(
        name="confirmation-skipped",
        file="harness/gate/verdicts.py",
        old="if self.confirmation.still and confirms(again.logs, again.differences_us, self.policy):",
        new="if self.confirmation.still:",
        checks=(f"{_GATE}test_a_slowdown_that_does_not_repeat_is_visible_and_neutral",),
    ),
    Fault(
        name="pairs-are-spent-on-a-time-that-is-ungateable",
        file="harness/gate/pairs.py",
        old="worth = [metric for metric in TIME_METRICS if noise.get((row.row.key, metric)) != UNGATEABLE]",
        new="worth = TIME_METRICS",
        checks=(f"{_GATE_NOISE}test_a_time_that_is_known_to_be_ungateable_asks_for_no_more_pairs",),
    ),
    Fault(
        name="a-time-that-is-ungateable-is-slower",
        file="harness/gate/verdicts.py",
        old="ungateable = self.noise.get((row.row.key, metric)) == UNGATEABLE",
        new="ungateable = False",
        checks=(f"{_GATE_NOISE}test_the_noise_class_is_shown_and_an_ungateable_row_is_never_slower",),
    ),
    Fault(
        name="a-moved-canary-ignored",
        file="harness/gate/run.py",
        old="moved=tuple(canary.name for canary in found.canaries if canary.moved),",
        new="moved=(),",
        checks=(f"{_GATE}test_a_canary_that_moved_takes_all_times_with_it_but_not_parity",),
    ),
    Fault(
        name="a-canary-that-was-not-measured-is-at-rest",
        file="harness/gate/canaries.py",
        old="return CanaryVerdict(name=name, ratio=None, moved=True, reason=counts)",
        new="return CanaryVerdict(name=name, ratio=None, moved=False, reason=counts)",
        checks=(f"{_GATE}test_a_canary_that_was_not_measured_counts_as_moved",),
    ),
    Fault(
        name="a-time-beyond-the-machine-passes-the-gate",
        file="harness/gate/times.py",
        old="    if one.limit:\n",
        new="    if one.limit and not samples.values:\n",
        checks=(f"{_GATE}test_what_the_machine_cannot_do_is_broken",),
    ),
    Fault(
        name="a-warm-up-that-never-became-flat-is-no-matter",
        file="harness/gate/times.py",
        old='    return Timed(verdict="broken", reason=f"{side}: {warm_up}") if warm_up else None',
        new="    return None",
        checks=(f"{_HOLES}test_a_warm_up_that_never_became_flat_breaks_what_was_sampled_behind_it",),
    ),
    Fault(
        name="a-median-is-believed",
        file="harness/gate/times.py",
        old="    if not is_median(samples.median, samples.values):",
        new="    if not is_median(samples.median, [samples.median]):",
        checks=(f"{_HOLES}test_a_median_that_is_not_that_of_its_samples_is_broken",),
    ),
    Fault(
        name="a-stored-median-is-believed",
        file="harness/gate/stored.py",
        old="if speed is not None and not is_median(speed.median, speed.samples):",
        new="if speed is not None and not is_median(speed.median, [speed.median]):",
        checks=(f"{_RUNS}test_a_stored_median_that_is_not_that_of_its_samples_is_broken",),
    ),
    Fault(
        name="a-crash-that-is-run-again-is-not-said",
        file="harness/gate/processes.py",
        old="            self._note(step, outcome.reason)\n",
        new="            pass\n",
        checks=(f"{_RESUME}test_a_process_that_died_is_run_again_and_that_is_said",),
    ),
    Fault(
        name="nothing-launched-is-a-measurement",
        file="harness/gate/counts.py",
        old="if before is None or after is None or not after[0] > 0:",
        new="if before is None or after is None:",
        checks=(f"{_GATE}test_a_row_that_is_97_percent_faster_because_nothing_was_measured_is_broken",),
        origin="40",
    ),
    Fault(
        name="a-lost-path-is-not-looked-for",
        file="harness/gate/counts.py",
        old="taken = [name for name, path in base.engaged.items() if path.engaged is True]",
        new="taken = [name for name, path in base.engaged.items() if path.engaged is None]",
        checks=(f"{_COUNTS}test_a_path_that_no_longer_engages_fails",),
        origin="5",
    ),
    Fault(
        name="one-launch-more-is-no-change",
        file="harness/gate/counts.py",
        old="        if old != new\n",
        new="        if abs(new - old) > 1\n",
        checks=(f"{_COUNTS}test_one_launch_more_fails_and_one_less_is_said",),
    ),
    Fault(
        name="the-wrong-build-is-measured",
        file="harness/gate/arms.py",
        old="if tree != self.arm.tree:",
        new="if not tree:",
        checks=(f"{_GATE}test_another_build_than_the_arm_is_broken",),
    ),
    Fault(
        name="the-arm-imports-what-lies-around",
        file="harness/gate/arms.py",
        old='isolated = (str(made.python), "-I")',
        new='isolated = (str(made.python), "-u")',
        checks=(f"{_ARMS}test_two_commits_are_two_builds_whatever_lies_around",),
    ),
    Fault(
        name="another-gpu-than-asked-for",
        file="harness/gate/processes.py",
        old="if not reason and step.gpu and plain_uuid(",
        new="if not reason and not step.gpu and plain_uuid(",
        checks=(f"{_GATE}test_another_gpu_than_asked_for_is_broken",),
        origin="38",
    ),
    Fault(
        name="kept-processes-of-another-build-stand-in",
        file="harness/gate/processes.py",
        old="if kept == self._record(step, kept.answer) and not self._foreign(step, kept.answer):",
        new="if kept.name == step.name:",
        checks=(f"{_RESUME}test_what_is_kept_of_other_rows_or_another_build_is_measured_again",),
    ),
    Fault(
        name="a-much-faster-row-is-not-checked-again",
        file="harness/statistics.py",
        old="recheck=not mean >= math.log1p(-policy.recheck_above),",
        new="recheck=False,",
        checks=(f"{_GATE}test_a_much_faster_row_that_is_wrong_in_a_fresh_process_fails",),
        origin="40",
    ),
    Fault(
        name="a-proof-before-the-timed-loop-suffices",
        file="harness/gate/parity.py",
        old='PHASES: tuple[When, When] = ("before", "after")',
        new='PHASES: tuple[When, When] = ("before", "before")',
        checks=(f"{_GATE}test_a_proof_with_a_hole_is_no_pass",),
        origin="9",
    ),
    Fault(
        name="differing-bits-pass-where-the-check-says-so",
        file="harness/gate/parity.py",
        old='if check.status == "failed" or check.differing != 0), None)',
        new='if check.status == "failed"), None)',
        checks=(f"{_GATE}test_differing_bits_fail_whatever_the_check_says",),
    ),
    Fault(
        name="a-gate-goes-on-with-another-model",
        file="harness/gate/plan.py",
        old="if file_sha256(path, cache) != model.rows[0].model.sha256:",
        new="if not file_sha256(path, cache):",
        checks=(f"{_RESUME}test_a_gate_does_not_go_on_with_another_model",),
    ),
    Fault(
        name="head-is-held-to-the-last-process-of-base-alone",
        file="harness/gate/parity.py",
        old="max(most[check.name, check.when], check.values)",
        new="check.values",
        checks=(f"{_GATE}test_one_process_of_base_that_compared_more_is_what_head_is_held_to",),
    ),
    Fault(
        name="a-confirmation-at-another-clock-confirms",
        file="harness/gate/verdicts.py",
        old="if again is not None and again.unfit:",
        new="if again is not None and again.unfit and again.ratio is None:",
        checks=(f"{_HOLES}test_a_confirmation_at_another_clock_or_throttled_confirms_nothing",),
    ),
    Fault(
        name="a-process-that-died-confirming-is-forgotten",
        file="harness/gate/run.py",
        old="            evidence.rows[key].faults.extend(row.faults)",
        new="            evidence.rows[key].faults.extend(row.faults[1:])",
        checks=(f"{_HOLES}test_a_process_that_dies_while_it_confirms_is_broken_and_says_how",),
    ),
    Fault(
        name="another-tree-taken-for-another-engine",
        file="harness/gate/run.py",
        old="{build.arm.engine for build in",
        new="{build.arm.tree for build in",
        checks=(f"{_RESUME}test_times_that_the_engine_cannot_explain_stay_so_when_they_are_judged_again",),
    ),
    Fault(
        name="the-exit-code-of-a-broken-row-is-lost",
        file="harness/gate/verdicts.py",
        old='    "broken": 2,',
        new='    "broken": 0,',
        checks=(f"{_GATE}test_a_row_that_ends_badly_is_broken_and_the_others_go_on",),
    ),
    Fault(
        name="no-row-at-all-is-a-pass",
        file="harness/gate/verdicts.py",
        old="for row in rows} or {2}",
        new="for row in rows} or {0}",
        checks=(f"{_GATE}test_a_moved_canary_alone_cannot_tell_and_no_row_is_no_pass",),
        origin="42",
    ),
    Fault(
        name="an-accept-file-hides-a-parity-failure",
        file="harness/gate/verdicts.py",
        old='        found = [self._verdict(row, "parity", *judge_parity(row))]',
        new="        found = []\n"
        "        if not self.accepted.entries:\n"
        '            found = [self._verdict(row, "parity", *judge_parity(row))]',
        checks=(f"{_ACCEPT}test_an_entry_never_hides_a_parity_failure",),
    ),
    Fault(
        name="an-expired-acceptance-is-honoured",
        file="harness/gate/accept.py",
        old="return today > self.expires",
        new="return today > self.expires and not self.reason",
        checks=(f"{_ACCEPT}test_an_entry_that_does_not_reach_accepts_nothing_and_is_named",),
    ),
    Fault(
        name="an-acceptance-has-no-most",
        file="harness/gate/accept.py",
        old="if slowdown <= entry.most), None)",
        new="if slowdown > 0), None)",
        checks=(f"{_ACCEPT}test_an_entry_that_does_not_reach_accepts_nothing_and_is_named",),
    ),
)
