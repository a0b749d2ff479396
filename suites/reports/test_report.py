"""report.md and report.html: what stands in them, that it comes from the rows, and that foreign text stays text."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.check_id import check_id, parse_check_id
from harness.errors import BadCall
from harness.schema import PlannedRow
from harness.store import read_run
from reports.run_report import PICTURES, write_report
from suites.reports.page import Page, read_page, without_code
from suites.reports.stored_runs import COMMAND, VALUES, bad, differing, ok, planned, write_run

HOSTILE = "a|`b`<script>x</script><img src=x onerror=y>@someone **b** $\\a$ \n## head\n\u202e[l](http://e.com) #1"
FEW = planned(quants=("Q8_0",), contexts=(64,), kvs=("f16",))
STRUCTURE = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "div", "p", "span", "nav", "section", "pre"}
TABLES = {"table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
TAGS = STRUCTURE | TABLES | {"a", "ul", "li", "figure", "picture", "source", "img"}


def rendered(folder: Path) -> tuple[Page, str]:
    return read_page((folder / "report.html").read_text()), (folder / "report.md").read_text()


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two proven rows, one that differs, one crash, one missing."""
    plan = planned(quants=("Q8_0",), contexts=(64,))[:5]
    first = "step 3, logit 17: 0.5 against 0.50000006"
    wrong = differing("graph = direct", "after", values=41, ulp=1234, first=first)
    rows = [
        ok(plan[0]),
        ok(plan[1]),
        ok(plan[2], status="parity_failed", proof=(*ok(plan[2]).proof, wrong)),
        bad(plan[3], "crashed", "signal 11 (SIGSEGV)"),
    ]
    folder = write_run(tmp_path_factory.mktemp("failing") / "run", rows, plan=plan)
    assert write_report(folder).exit_code == 2
    return folder


def test_verdict_comes_first(failing: Path) -> None:
    page, text = rendered(failing)
    headline = "BROKEN: 1 row crashed, 1 row missing, 1 row different, 2 rows proven"
    assert text.splitlines()[2] == f"## ⚠ {headline}"
    assert page.text.index(headline) < page.text.index("Parity")
    assert "Exit code 2: broken" in page.text
    order = [
        page.text.rindex(f" {title} ") for title in ("Parity", "Throughput by toggle", "Work per token", "Engagement")
    ]
    assert order == sorted(order)


def test_every_outcome_is_counted(failing: Path) -> None:
    page, _ = rendered(failing)
    counts = {line[0].split(" ", 1)[1]: line[1] for line in page.table("outcome", "rows", "meaning")}
    shown = {name: number for name, number in counts.items() if number != "0"}
    assert shown == {"crashed": "1", "missing": "1", "different": "1", "proven": "2"}
    assert "not applicable" in counts


def test_first_difference_says_where_and_how_to_repeat_it(failing: Path) -> None:
    page, text = rendered(failing)
    for shown in (page.text, text):
        assert "step 3, logit 17: 0.5 against 0.50000006" in shown
        assert f'{COMMAND} --where \'graph == "off" and prefill == "batched" and kv == "f16"\'' in shown
    assert any("SIGSEGV" in cell for line in page.table("key", "outcome", "why") for cell in line)


def test_a_failed_check_is_named_by_the_id_that_runs_it_alone(failing: Path) -> None:
    """And a row by its key, nowhere by what it is stored under."""
    page, text = rendered(failing)
    run = read_run(failing)
    row, check = next((row, check) for row in run.rows for check in row.proof if check.status == "failed")
    name = check_id(row.key, check)
    assert f"zeroulp parity RUN --check {name}" in page.text
    assert [line[0] for line in page.table("id", "failed check")] == [name]
    assert parse_check_id(name).key == row.key
    cells = {cell for table in page.tables for line in table for cell in line}
    assert {row.key for row in run.plan.rows} <= cells
    assert not cells & {row.id for row in run.plan.rows}
    assert f"row {row.id}" not in text


def test_parity_figures_are_sums_over_the_rows(failing: Path) -> None:
    page, _ = rendered(failing)
    lines = {line[0]: line[1:] for line in page.table("check", "values", "worst")}
    assert lines["✗ graph = direct"] == ["7", "6", "1", "0", f"{7 * VALUES:,}", "41", "1,234 ulp"]
    assert lines["✓ engine = oracle"] == ["6", "6", "0", "0", f"{6 * VALUES:,}", "0", "0 ulp"]
    assert lines["— pdl = no pdl"] == ["3", "0", "0", "3", "0", "0", "—"]
    assert (
        f"{19 * VALUES:,} values compared by bits in 19 comparisons of 3 rows: 41 differ, worst 1,234 ulp" in page.text
    )


def test_host_rows_show_counts_but_no_speed(failing: Path) -> None:
    page, text = rendered(failing)
    assert "an emulated speed is not a speed" in page.text
    assert "tokens/s" not in page.text + text
    assert not (failing / "throughput.png").exists()
    assert not (failing / "roofline.png").exists()
    work = {line[0]: line[1:3] for line in page.table("setting", "launches")}
    assert work["graph on, prefill batched"] == ["1", "61"]
    assert work["graph off, prefill batched"] == ["61", "0"]


def test_engagement_says_which_path_and_why_not(failing: Path) -> None:
    page, _ = rendered(failing)
    lines = page.table("toggle", "asked", "state")
    assert ["graph", "off", "— not engaged", "switched off", "4 of 4 steps", "1"] in lines
    assert ["graph", "on", "✓ engaged", "—", "4 of 4 steps", "2"] in lines
    assert ["pdl", "on", "— not applicable", "the host has no such launch", "—", "3"] in lines


def test_markdown_and_html_say_the_same(failing: Path) -> None:
    page, text = rendered(failing)
    rows = [line for line in without_code(text).splitlines() if line.startswith("|") and "---" not in line]
    assert len(rows) == sum(len(table) for table in page.tables)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = planned(("qwen3-8b",), ("Q4_K_M",), (4096,), ("f16",), device="cuda")
    host = [msgspec.structs.replace(row, id="h" + row.id) for row in FEW]
    folder = write_run(tmp_path_factory.mktemp("gpu") / "run", [ok(row) for row in (*plan, *host)])
    assert write_report(folder).exit_code == 0
    return folder


def test_gpu_rows_show_speeds_ceilings_and_toggles(gpu: Path) -> None:
    page, _ = rendered(gpu)
    speeds = page.table("configuration", "of read ceiling")
    assert [line[3] for line in speeds] == ["60.0 %", "60.0 %", "42.0 %", "42.0 %"]
    decode = 0.6 * 4.69e12 / (8.2e9 * 4.9 / 8 + 4096 * 200)
    assert speeds[0][2] == f"{decode:,.0f} ({decode * 0.97:,.0f} to {decode * 1.02:,.0f})"
    effects = {(line[0], line[2]): line[1:2] + line[3:] for line in page.table("toggle", "phase")}
    assert effects["graph", "decode"] == ["on against off", "+42.9 % ± 0.0", "2", "0", "+42.9 %", "+42.9 %"]
    assert ["read", "GB/s", "4,690", "4,650 to 4,702", "50"] in page.table("ceiling", "median")
    assert {line[7] for line in page.table("key", "of the roof")} >= {"60.0 %", "42.0 %"}
    assert "4 rows of the host device show no tokens per second" in page.text
    assert all((gpu / name).exists() for name in PICTURES)


def test_page_stands_alone(gpu: Path) -> None:
    page, _ = rendered(gpu)
    assert set(page.tags) <= TAGS
    sources = [value for name, value in page.attributes if name in ("src", "srcset")]
    assert len(sources) == 2 * len(PICTURES)
    assert all(value.startswith("data:image/png;base64,") for value in sources)
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")


def test_pictures_of_an_earlier_report_do_not_stay(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [ok(row) for row in FEW])
    (folder / "roofline.png").write_bytes(b"old")
    write_report(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "environment.json",
        "parity.png",
        "plan.json",
        "report.html",
        "report.md",
        "rows.jsonl",
        "work.png",
    ]


def hostile(row: PlannedRow) -> PlannedRow:
    model = msgspec.structs.replace(row.model, name=HOSTILE, quant="Q|<b>")
    return msgspec.structs.replace(row, id=row.id + HOSTILE, model=model, toggles={**row.toggles, HOSTILE: HOSTILE})


def test_foreign_text_stays_text(tmp_path: Path) -> None:
    plan = [hostile(row) for row in FEW]
    rows = [
        ok(plan[0]),
        bad(plan[1], "crashed", HOSTILE),
        ok(plan[2], proof=(differing(HOSTILE, "before", first=HOSTILE),)),
    ]
    environment = {"machine": HOSTILE, "command": HOSTILE, "libraries": {HOSTILE: HOSTILE}}
    folder = write_run(tmp_path / "run", rows, plan=plan, environment=environment)
    write_report(folder)
    page, text = rendered(folder)
    assert set(page.tags) <= TAGS
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "<img src=x onerror=y>@someone **b** $\\a$ \\n## head\\n\\u202e[l](http://e.com) #1" in page.text
    assert "\u202e" not in text + page.text
    plain = without_code(text)
    for active in ("<script", "<img", "@someone", "`b`", "[l]", "http://", "\n## head", "**b**", "$"):
        assert active not in plain.replace("\\$", "")
    tables = [line for line in plain.splitlines() if line.startswith("|")]
    widths = [line.count("|") for line in tables]
    starts = [at for at, line in enumerate(tables) if "---" in line]
    for start, end in zip(starts, [*(at - 1 for at in starts[1:]), len(tables)], strict=True):
        assert len(set(widths[start - 1 : end])) == 1


def test_empty_run_cannot_tell(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [])
    assert write_report(folder).exit_code == 3
    page, _ = rendered(folder)
    assert "CANNOT TELL" in page.text
    assert "Nothing was compared." in page.text


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(BadCall, match="not a run folder"):
        write_report(tmp_path)


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [ok(row) for row in FEW])
    made = []
    for _ in range(2):
        write_report(folder)
        made.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert made[0] == made[1]


def test_many_rows(tmp_path: Path) -> None:
    plan = planned(("qwen3-tiny", "qwen3-0.6b"), ("Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K", "F16", "F32"))[:200]
    folder = write_run(tmp_path / "run", [ok(row) for row in plan[:-1]], plan=plan)
    assert write_report(folder).headline == "BROKEN: 1 row missing, 199 rows proven"
    page, text = rendered(folder)
    assert len(page.table("key", "values compared", "seconds")) == 200
    assert len(text.encode()) < 1_000_000  # a step summary of a forge takes 1 MiB


def test_a_stored_selftest_is_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [ok(row) for row in FEW])
    write_report(folder)
    assert "selftest" not in rendered(folder)[0].text
    (folder / "selftest.json").write_text('{"faults": [{"name": "clock drift", "caught": false, "by": ""}]}')
    write_report(folder)
    for text in (rendered(folder)[0].text, rendered(folder)[1]):
        assert "selftest: the suites catch 0 of 1 planted fault; missed: clock drift" in text


def test_a_selftest_that_cannot_be_read_leaves_the_report_as_it_was(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [ok(row) for row in FEW])
    (folder / "selftest.json").write_text("{")
    with pytest.raises(BadCall, match="not what `zeroulp selftest --json` prints"):
        write_report(folder)
    assert not (folder / "report.html").exists()
