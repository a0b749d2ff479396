"""Faults of what speed is held against: targets, rows at once, the crossover of matvec and gemm, counted bytes."""

from __future__ import annotations

from suites.selftest.planting import Fault

_TARGETS = "suites/harness/test_targets.py::"
_SHOWN = "suites/reports/test_targets.py::"
_PROOF = "suites/harness/test_proof.py::"
_VOUCHED = "suites/harness/test_vouched.py::"
_MEASURE = "suites/harness/test_measure.py::"
_REPLAY = "suites/graph_replay/test_replay.py::"
_CROSSOVER = "suites/kernels/test_crossover.py::"
_TIMES = "suites/harness/test_crossover.py::"
_COUNTERS = "suites/harness/test_counters.py::"
_VERDICT = "suites/reports/test_verdict.py::"
_ROW = "suites/harness/test_row.py::"
_SAMPLED = "suites/harness/test_sampled.py::"

TARGET_FAULTS: tuple[Fault, ...] = (
    Fault(
        name="more-time-reaches-a-target",
        file="harness/targets.py",
        old="return value <= wanted if figure.least else value >= wanted",
        new="return value >= wanted",
        checks=(f"{_TARGETS}test_of_times_less_is_better",),
    ),
    Fault(
        name="a-figure-that-is-no-number-reaches-a-target",
        file="harness/targets.py",
        old="return value <= wanted if figure.least else value >= wanted",
        new="return not value > wanted if figure.least else not value < wanted",
        checks=(f"{_TARGETS}test_of_speeds_more_is_better", f"{_TARGETS}test_of_times_less_is_better"),
    ),
    Fault(
        name="a-row-that-is-not-proven-meets-its-target",
        file="reports/targets.py",
        old='row if result == "proven" else None',
        new="row",
        checks=(f"{_SHOWN}test_only_proven_rows_count",),
    ),
    Fault(
        name="a-target-without-rows-is-dropped-in-silence",
        file="harness/matrix.py",
        old="if not any(wanted(row.fields()) for row in every):",
        new="if not every:",
        checks=(f"{_TARGETS}test_a_target_without_a_row_on_any_device_is_refused",),
    ),
    # ---- rows at once ----
    Fault(
        name="rows-at-once-are-compared-with-themselves",
        file="harness/proof.py",
        old="decoded = Evidence(logits=own.logits[-rows:], engaged=own.engaged)",
        new=(
            "self._engine.truncate(len(self._tokens.ids) - rows)\n"
            "        decoded = Evidence(logits=self._engine.verify(self._tokens.ids[-rows:]), engaged=own.engaged)"
        ),
        checks=(f"{_PROOF}test_one_ulp_of_rows_at_once_fails",),
    ),
    Fault(
        name="at-depth-a-side-is-compared-with-itself",
        file="harness/proof.py",
        old="decoded = Evidence(logits=one_by_one, engaged",
        new="decoded = Evidence(logits=self._engine.verify(tokens), engaged",
        checks=(f"{_PROOF}test_at_depth_one_ulp_fails",),
    ),
    Fault(
        name="rows-at-once-need-no-comparison",
        file="reports/verdict.py",
        old="at_once = (VERIFIED,) if row.shape.verify else ()",
        new="at_once = (VERIFIED,) if row.shape.verify < 0 else ()",
        checks=(f"{_VERDICT}test_one_odd_row[rows at once that were not compared]",),
    ),
    Fault(
        name="a-deep-row-needs-no-comparison-at-its-depth",
        file="reports/verdict.py",
        old="deep = (AT_DEPTH,) if row.shape.depth and",
        new="deep = (AT_DEPTH,) if row.shape.depth < 0 and",
        checks=(f"{_VERDICT}test_one_odd_row[a depth that nothing was compared behind]",),
    ),
    Fault(
        name="eight-rows-at-once-are-proven-of-sixteen",
        file="harness/proof.py",
        old="        rows = self._verify\n",
        new="        rows = min(self._verify, 8)\n",
        checks=(f"{_ROW}test_all_rows_of_a_timed_pass_are_proven",),
    ),
    Fault(
        name="rows-at-once-begin-where-the-last-pass-did",
        file="engine/session.py",
        old="        self._buffers.position.write(np.array([self._length], np.int32))\n        self._run_few(rows)",
        new="        if not self._graphs:\n"
        "            self._buffers.position.write(np.array([self._length], np.int32))\n"
        "        self._run_few(rows)",
        checks=(f"{_REPLAY}test_every_number_of_rows_has_a_graph_of_its_own[{{device}}]",),
    ),
    Fault(
        name="all-numbers-of-rows-share-a-graph",
        file="engine/session.py",
        old="key = rows, choose",
        new="key = min(rows, 2), choose",
        checks=(f"{_REPLAY}test_every_number_of_rows_has_a_graph_of_its_own[{{device}}]",),
    ),
    Fault(
        name="the-time-of-rows-at-once-is-that-of-one-pass-of-many",
        file="harness/measure.py",
        old="return timer.take(lambda: engine.verify_again(shape.verify, VERIFY_PASSES))",
        new="return timer.take(lambda: engine.verify_again(shape.verify, 1))",
        checks=(f"{_MEASURE}test_rows_at_once_are_timed_in_the_middle_of_the_answer",),
    ),
    # ---- what the oracle vouched for ----
    Fault(
        name="an-answer-about-other-values-is-taken",
        file="harness/adapters/shown.py",
        old="(value if name in WHOLE else value[self._sampled]).tobytes()",
        new="value[self._sampled].tobytes()",
        checks=(f"{_VOUCHED}test_one_bit_of_what_the_oracle_looks_at_is_another_question",),
    ),
    Fault(
        name="an-answer-about-another-model-is-taken",
        file="harness/adapters/vouched.py",
        old="key = json.dumps([self.sha256, tokens.tolist()",
        new="key = json.dumps([tokens.tolist()",
        checks=(f"{_VOUCHED}test_an_answer_is_of_one_model_token_list_cache_type_and_oracle",),
    ),
    Fault(
        name="an-answer-under-another-name-is-taken",
        file="harness/adapters/vouched.py",
        old="return answer.vouched if answer.of == path.name else None",
        new="return answer.vouched",
        checks=(f"{_VOUCHED}test_a_file_under_the_name_of_another_is_no_answer",),
    ),
    Fault(
        name="only-the-last-decoded-step-is-checked",
        file="harness/adapters/sampled.py",
        old="self._sampled = np.arange(len(tokens))",
        new="self._sampled = np.array([len(tokens) - 1])",
        checks=(f"{_SAMPLED}test_a_value_that_is_off_by_an_ulp_is_named_with_its_op",),
    ),
    # ---- the crossover ----
    Fault(
        name="a-far-weight-decides-the-path",
        file="engine/ops/_crossover.py",
        old="nearest.distance(outputs, cols) <= NEAR",
        new="nearest.matvec_rows > 0",
        checks=(f"{_CROSSOVER}test_without_a_table_or_far_from_all_of_it_the_default_holds",),
    ),
    Fault(
        name="the-table-of-another-gpu-is-taken",
        file="engine/ops/_crossover.py",
        old='if data.get("gpu") != gpu:',
        new='if not data.get("gpu"):',
        checks=(f"{_CROSSOVER}test_a_wrong_table_is_refused_by_one_line_that_names_it",),
    ),
    Fault(
        name="the-matvec-is-taken-past-a-number-of-rows-it-is-slower-at",
        file="harness/crossover.py",
        old="                break\n",
        new="                continue\n",
        checks=(f"{_TIMES}test_the_matvec_is_taken_as_long_as_it_is_faster",),
    ),
    # ---- counted bytes ----
    Fault(
        name="bytes-of-another-kernel-are-taken",
        file="harness/counters.py",
        old="if names != list(launched):",
        new="if len(names) != len(launched):",
        checks=(f"{_COUNTERS}test_other_kernels_than_were_launched_are_refused",),
    ),
    Fault(
        name="megabytes-count-as-bytes",
        file="harness/counters.py",
        old="return float(value) * UNITS[unit]",
        new="return float(value) * UNITS[unit] ** 0",
        checks=(f"{_COUNTERS}test_every_launch_has_its_bytes",),
    ),
)
