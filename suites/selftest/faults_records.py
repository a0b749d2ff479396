"""Faults of what is kept and told: store, index, reports, exit codes, and this selftest itself."""

from __future__ import annotations

from suites.selftest.planting import Fault

_STORE = "suites/harness/test_store.py::"
_KILL = "suites/harness/test_store_kill.py::"
_INDEX = "suites/harness/test_store_index.py::"
_MERGE = "suites/harness/test_store_merge.py::"
_UPGRADE = "suites/harness/test_store_upgrade.py::"
_CLI = "suites/harness/test_cli.py::"
_BUDGET = "suites/reports/test_pr_budget.py::"
_HOSTILE = "suites/reports/test_pr_hostile.py::"
_PR = "suites/reports/test_pr.py::"
_VERDICT = "suites/reports/test_verdict.py::"
_EFFECTS = "suites/reports/test_effects.py::"
_PROFILE = "suites/reports/test_profile.py::"
_PLANTED = "suites/selftest/test_planted.py::"

RECORD_FAULTS: tuple[Fault, ...] = (
    # ---- store ----
    Fault(
        name="a-torn-line-is-passed-over-in-silence",
        file="harness/store.py",
        old="""yield f"{path.name} line {number}: {'torn, skipped' if torn else f'skipped ({error})'}\"""",
        new="""if not torn:
                    yield f"{path.name} line {number}: skipped ({error})\"""",
        checks=(f"{_KILL}test_a_line_cut_anywhere_is_told_and_costs_no_other",),
    ),
    Fault(
        name="a-torn-line-takes-the-next-row-with-it",
        file="harness/store.py",
        old='        if not _ends_a_line(path):\n            self._file.write(b"\\n")',
        new='        if not path.exists():\n            self._file.write(b"\\n")',
        checks=(f"{_KILL}test_a_line_cut_anywhere_is_told_and_costs_no_other",),
    ),
    Fault(
        name="two-writers-on-one-file",
        file="harness/store.py",
        old="fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        new="fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        checks=(f"{_KILL}test_a_second_writer_is_refused_until_the_first_has_ended",),
    ),
    Fault(
        name="a-row-stays-in-memory",
        file="harness/store.py",
        old='        self._file.write(msgspec.json.encode(record) + b"\\n")\n        self._file.flush()',
        new='        self._file.write(msgspec.json.encode(record) + b"\\n")\n        self._file.seekable()',
        checks=(f"{_STORE}test_every_appended_row_is_on_disk_before_the_next",),
    ),
    Fault(
        name="a-failed-write-replaces-what-was-there",
        file="harness/store.py",
        old='with temporary.open("wb") as file:',
        new='with path.open("wb") as file:',
        checks=(f"{_STORE}test_a_failed_write_leaves_what_was_there",),
    ),
    Fault(
        name="planned-rows-that-are-absent-are-not-missed",
        file="harness/store.py",
        old="missing=tuple(row for row in plan.rows if row.id not in rows),",
        new="missing=(),",
        checks=(f"{_VERDICT}test_missing_row_is_a_failure",),
        origin="42",
    ),
    Fault(
        name="the-index-is-stale",
        file="harness/index.py",
        old="        temporary.replace(path)\n",
        new="        if not path.exists():\n            temporary.replace(path)\n",
        checks=(f"{_INDEX}test_the_index_is_made_of_the_lines_again",),
    ),
    Fault(
        name="an-older-row-counts-after-a-merge",
        file="harness/merge.py",
        old="rows.sort(key=lambda row: row.started)",
        new="rows.sort(key=lambda row: row.id)",
        checks=(f"{_MERGE}test_a_line_that_both_have_is_kept_once_and_the_later_row_counts",),
    ),
    Fault(
        name="rows-of-two-toggles-have-one-key",
        file="harness/schema.py",
        old="model.sha256, sizes, dict(toggles), device]",
        new="model.sha256, sizes, sorted(toggles), device]",
        checks=(f"{_UPGRADE}test_a_key_is_what_is_measured_and_nothing_else",),
    ),
    # ---- exit codes ----
    Fault(
        name="an-exit-code-is-lost-at-the-edge",
        file="harness/cli/edge.py",
        old="return result if isinstance(result, int) else PASS",
        new="return PASS",
        checks=(f"{_CLI}test_report_is_made_of_stored_rows_and_exits_with_their_verdict",),
    ),
    Fault(
        name="suites-that-were-cut-short-pass",
        file="harness/cli/parity.py",
        old="code = _exit_code(total) if ended else edge.BROKEN",
        new="code = _exit_code(total)",
        checks=(f"{_CLI}test_suites_that_were_cut_short_are_no_pass",),
    ),
    Fault(
        name="no-test-at-all-passes",
        file="harness/cli/parity.py",
        old='return edge.PASS if total["passed"] else edge.CANNOT_TELL',
        new="return edge.PASS",
        checks=(f"{_CLI}test_parity_that_runs_nothing_cannot_tell",),
        origin="42",
    ),
    Fault(
        name="a-skipped-test-counts-as-passed",
        file="harness/cli/parity_plugin.py",
        old='    if report.skipped:\n        return "skipped"',
        new='    if report.skipped:\n        return "passed"',
        checks=("suites/selftest/test_status.py::test_a_skipped_test_is_no_pass",),
        origin="42",
    ),
    Fault(
        name="not-applicable-counts-as-passed",
        file="harness/cli/parity_plugin.py",
        old='        return "not applicable"',
        new='        return "passed"',
        checks=("suites/selftest/test_status.py::test_a_skipped_test_is_no_pass",),
        origin="42",
    ),
    # ---- reports ----
    Fault(
        name="failing-rows-are-cut-first",
        file="reports/budget.py",
        old="key=lambda place: tables[place].yields):",
        new="key=lambda place: -tables[place].yields):",
        checks=(f"{_BUDGET}test_passing_rows_go_first",),
    ),
    Fault(
        name="rows-are-cut-in-silence",
        file="reports/budget.py",
        old='caption = f"{table.caption} ({cut:,} of {len(table.rows):,} left out for space)"',
        new="caption = table.caption",
        checks=(f"{_BUDGET}test_a_failed_row_is_never_cut_in_silence",),
    ),
    Fault(
        name="the-best-of-the-failing-rows-stay",
        file="reports/gate_verdict.py",
        old="key=lambda row: (order[row.verdict],",
        new="key=lambda row: (-order[row.verdict],",
        checks=(f"{_BUDGET}test_the_worst_of_the_moved_rows_stay",),
    ),
    Fault(
        name="names-are-not-escaped-in-the-comment",
        file="reports/text.py",
        old="""    escaped = "".join(_ENTITIES.get(character, character) for character in escaped)
    return""",
        new="    return",
        checks=(f"{_HOSTILE}test_only_our_own_markup_is_in_the_comment",),
    ),
    Fault(
        name="names-are-not-escaped-in-the-page",
        file="reports/html.py",
        old="autoescape=True,",
        new="autoescape=False,",
        checks=(f"{_HOSTILE}test_elements_of_the_page_are_ours",),
    ),
    Fault(
        name="a-row-that-cannot-be-told-is-reported-as-a-pass",
        file="reports/gate_verdict.py",
        old='tone="unsure", exit_code=3',
        new='tone="unsure", exit_code=0',
        checks=(f"{_PR}test_a_claim_that_the_rows_do_not_carry_is_not_repeated",),
    ),
    Fault(
        name="a-verdict-that-its-rows-do-not-carry-is-repeated",
        file="reports/gate_verdict.py",
        old="    codes |= {VERDICTS[row.verdict].exit_code for row in result.rows}\n",
        new="",
        checks=(f"{_PR}test_a_claim_that_the_rows_do_not_carry_is_not_repeated",),
    ),
    Fault(
        name="a-report-believes-a-proof-before-alone",
        file="reports/verdict.py",
        old='if not all(_shown(row, when) for when in ("before", "after")) or row.metrics is None:',
        new='if not all(_shown(row, when) for when in ("before", "before")) or row.metrics is None:',
        checks=(f"{_VERDICT}test_one_odd_row",),
        origin="9",
    ),
    Fault(
        name="an-empty-run-is-a-pass",
        file="reports/verdict.py",
        old='    if counts["proven"] == 0:\n        codes.add(3)',
        new='    if counts["proven"] < 0:\n        codes.add(3)',
        checks=(f"{_VERDICT}test_nothing_shown_cannot_be_a_pass",),
        origin="42",
    ),
    Fault(
        name="gaps-between-kernels-are-no-time",
        file="reports/profile.py",
        old='return [*found, _plain(GAPS, "", pair.now.gaps_us,',
        new='return [*found, _plain(GAPS, "", 0.0,',
        checks=(f"{_PROFILE}test_kernels_and_gaps_add_up_to_the_step",),
        origin="40",
    ),
    Fault(
        name="an-effect-pairs-rows-that-differ-in-more",
        file="reports/effects.py",
        old="found.setdefault((row.model, row.shape, row.device, row.environment, others), {})",
        new="found.setdefault((row.model, row.shape, row.device, others), {})",
        checks=(f"{_EFFECTS}test_rows_of_two_machines_are_no_pair",),
    ),
    Fault(
        name="an-effect-has-the-interval-of-a-normal-mean",
        file="reports/effects.py",
        old="stats.t.ppf((1 + LEVEL) / 2, len(logs) - 1)",
        new="stats.norm.ppf((1 + LEVEL) / 2)",
        checks=(f"{_EFFECTS}test_an_effect_is_the_mean_of_the_pairs_with_its_t_interval",),
    ),
    # ---- the selftest ----
    Fault(
        name="a-crash-counts-as-caught",
        file="suites/selftest/planting.py",
        old='return Verdict(outcome="caught" if caught else "crashed", by=name, message=message)',
        new='return Verdict(outcome="caught", by=name, message=message)',
        checks=(f"{_PLANTED}test_what_a_junit_file_says",),
    ),
    Fault(
        name="a-check-that-is-not-there-shows-something",
        file="suites/selftest/planting.py",
        old="if returncode != 0 or not ran or len(ran) < len(cases):",
        new="if returncode < 0:",
        checks=(f"{_PLANTED}test_what_a_junit_file_says",),
        origin="42",
    ),
    Fault(
        name="a-missed-fault-exits-0",
        file="suites/selftest/campaign.py",
        old="exit_code=2 if broken else 1 if missed else 0,",
        new="exit_code=2 if broken else 0,",
        checks=("suites/selftest/test_campaign.py::test_a_miss_is_listed_and_exits_1",),
    ),
)
