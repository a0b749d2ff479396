"""Faults of what says where runs differ: the tape, the saved op, the comparison of tapes and of runs, the ids."""

from __future__ import annotations

from suites.selftest.planting import Fault

_TAPE = "suites/graph_replay/test_tape.py::"
_DIVERGE = "suites/harness/test_diverge.py::"
_ULPS = "suites/harness/test_diverge_ulps.py::"
_RECORDS = "suites/harness/test_tape_records.py::"
_COMPARE = "suites/harness/test_compare_runs.py::"
_CHECK = "suites/harness/test_check_id.py::"

WHERE_FAULTS: tuple[Fault, ...] = (
    Fault(
        name="tape-takes-the-head-for-the-first-rows",
        file="engine/points.py",
        old="self._head_first = (x.ptr - self._stream_start) // (x.nbytes // x.shape[0])",
        new="self._head_first = 0",
        checks=(f"{_TAPE}test_a_head_of_the_last_row_only_is_noted_at_its_position[{{device}}-on-names0]",),
    ),
    Fault(
        name="watch-reads-the-position-after-the-run",
        file="engine/points.py",
        old='return buffer.name in ("cos", "sin") or',
        new='return buffer.name in ("cos", "sin", "position") or',
        checks=(f"{_TAPE}test_a_watched_op_gives_its_value_again[{{device}}-1.q_rope-2]",),
    ),
    Fault(
        name="diverge-runs-every-side-without-a-graph",
        file="harness/adapters/diverge/engine_side.py",
        old='{**self.toggles.as_dict(), "tape": tape}',
        new='{**self.toggles.as_dict(), "tape": tape, "graph": "off"}',
        checks=(f"{_DIVERGE}test_a_side_runs_the_way_that_it_is_asked_for[{{device}}]",),
    ),
    Fault(
        name="diverge-compares-a-side-with-itself",
        file="harness/divergence.py",
        old="left, right = a.tape(), b.tape()",
        new="left = right = a.tape()",
        checks=(f"{_DIVERGE}test_a_wrong_bit_is_named[{{device}}-up-0-0-0]",),
    ),
    Fault(
        name="the-oracles-tape-has-norms-quantised-behind-their-scale",
        file="harness/adapters/diverge/oracle_side.py",
        old="return [normed.pop()] if normed else []",
        new="return [quantize.exact(value)]",
        checks=(f"{_DIVERGE}test_a_second_replay_is_as_good_as_a_direct_launch[{{device}}]",),
    ),
    Fault(
        name="a-tap-that-a-side-lacks-is-equal",
        file="harness/divergence.py",
        old="if (key, position) not in own))",
        new="if (key, position) not in own and not own))",
        checks=(f"{_ULPS}test_equal_taps_are_not_enough_where_a_side_lacks_some",),
    ),
    Fault(
        name="replay-answers-with-the-stored-row",
        file="harness/adapters/diverge/engine_side.py",
        old="            value = buffers[self.watched.out].read()",
        new="            value = self.watched.buffers[self.watched.out].before",
        checks=(f"{_DIVERGE}test_any_op_of_either_side_runs_alone[{{device}}-1.q]",),
    ),
    Fault(
        name="first-difference-is-the-last-position",
        file="harness/tape.py",
        old="position = int(np.flatnonzero(differs.any(axis=0))[0])",
        new="position = int(np.flatnonzero(differs.any(axis=0))[-1])",
        checks=(f"{_RECORDS}test_the_first_difference_is_the_earliest_position_and_in_it_the_earliest_op",),
    ),
    Fault(
        name="compare-passes-without-a-row-of-a",
        file="harness/comparison.py",
        old="(self.vanished and not self.shared)",
        new="(self.vanished < 0 and not self.shared)",
        checks=(f"{_COMPARE}test_a_row_that_vanished_is_no_pass",),
    ),
    Fault(
        name="compare-passes-with-less-of-a-proof",
        file="harness/comparison.py",
        old="if not both or self.less or",
        new="if not both or",
        checks=(f"{_COMPARE}test_a_check_that_is_gone_is_no_pass",),
    ),
    Fault(
        name="the-checks-of-a-run-pass-without-its-missing-rows",
        file="harness/cli/row_checks.py",
        old="    unshown += [row.key for row in run.missing]",
        new="    unshown += [row.key for row in run.missing if row.key in unshown]",
        checks=("suites/harness/test_check_id.py::test_a_run_whose_checks_do_not_carry_it_is_listed_and_no_pass",),
    ),
    Fault(
        name="compare-believes-a-check-over-differing-bits",
        file="harness/comparison.py",
        old='check.status == "failed" or check.differing != 0 for check',
        new='check.status == "failed" for check',
        checks=(f"{_COMPARE}test_a_row_that_is_called_ok_with_less_of_a_proof_is_no_pass",),
    ),
    Fault(
        name="compare-joins-rows-by-their-ids",
        file="harness/comparison.py",
        old="return {row.key: worst[row.key] for row in rows}",
        new="return {row.id: worst[row.key] for row in rows}",
        checks=(f"{_COMPARE}test_rows_are_joined_by_what_is_measured_not_by_their_ids",),
    ),
    Fault(
        name="compare-loses-the-rows-of-one-run",
        file="harness/comparison.py",
        old="for key in dict.fromkeys((*left, *right))]",
        new="for key in left if key in right]",
        checks=(f"{_COMPARE}test_rows_of_one_run_alone_are_listed",),
        origin="39",
    ),
    Fault(
        name="one-check-runs-against-itself",
        file="harness/proof.py",
        old="return {**toggles, name: right if toggles[name] == left else left}",
        new="return dict(toggles)",
        checks=(f"{_CHECK}test_a_prover_of_one_check_opens_one_twin",),
    ),
)
