"""Another program's figures in a report: the rows they stand beside, the ratio, and that foreign text stays text."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from matplotlib.text import Text

from harness.schema import Peer
from harness.store import read_run
from reports.charts.style import LIGHT, png
from reports.charts.throughput import panels
from reports.frames import row_frame
from reports.peers import beside
from reports.run_report import figure, write_report
from suites.reports.page import Page, read_page, without_code
from suites.reports.stored_runs import GPU, STARTED, ok, peer, planned, spread, write_run
from suites.reports.test_pictures import assert_no_overlap
from suites.reports.test_report import HOSTILE, TAGS

PLAN = planned(("qwen3-8b",), ("Q4_K_M",), (4096,), device="cuda")
SAME = [
    msgspec.structs.replace(row, model=msgspec.structs.replace(row.model, sha256="a" * 64)) for row in PLAN
]  # one file
ROWS = [ok(row) for row in SAME]


def page_of(folder: Path) -> Page:
    return read_page((folder / "report.html").read_text())


def speeds(page: Page) -> list[list[str]]:
    return page.table("configuration", "peer, tokens/s", "ratio")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rows with KV f16, four with f32, and a peer that ran with f16."""
    peers = [peer(SAME[0], "prefill"), peer(SAME[0], "decode")]
    folder = write_run(tmp_path_factory.mktemp("peer") / "run", ROWS, peers=peers)
    assert write_report(folder).exit_code == 0
    return folder


def test_both_speeds_and_the_ratio_for_rows_of_the_same_kv_type(reported: Path) -> None:
    lines = speeds(page_of(reported))
    assert len(lines) == 8  # four rows of KV f16, two phases
    assert {line[2] for line in lines} == {"prefill 3072", "decode 4"}
    assert not any("kv f32" in line[0] for line in lines)
    decode = next(line for line in lines if line[2] == "decode 4" and line[0].startswith("graph on"))
    ours = ROWS[0].metrics.decode_tps.median if ROWS[0].metrics and ROWS[0].metrics.decode_tps else 0
    assert decode[1:] == ["proven", "decode 4", "3,072", "3,072", decode[5], "200 (194 to 204)", f"{ours / 200:.2f}"]


def test_the_build_the_settings_and_the_call_are_shown(reported: Path) -> None:
    page, text = page_of(reported), (reported / "report.md").read_text()
    assert page.table("peer", "build", "settings") == [
        [
            *("llama-bench", "0c1e570 (6789)", "qwen3 8B Q4_K - Medium", "NVIDIA H200"),
            *("n_batch 2048, flash_attn 1, type_k f16", "/opt/llama-bench"),
        ]
    ]
    assert "/opt/llama-bench -p 3072 -o json" in text
    assert "## Peer" in text
    assert "another time" not in text


def test_a_run_without_a_peer_has_no_such_section(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ROWS[:2])
    write_report(folder)
    assert "## Peer" not in (folder / "report.md").read_text()
    assert not (folder / "peers.jsonl").exists()


def test_another_gpu_has_no_ratio_and_no_point(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ROWS[:1], peers=[peer(SAME[0], "decode", gpu="NVIDIA H200 NVL")])
    write_report(folder)
    assert [line[-1] for line in speeds(page_of(folder))] == ["another GPU"]
    run = read_run(folder)
    assert [panel.peers for panel in panels(row_frame(run), beside(run))] == [(), ()]


def test_one_of_several_gpus_is_the_same(tmp_path: Path) -> None:
    both = f"{GPU.name}, {GPU.name}"
    run = read_run(write_run(tmp_path / "run", ROWS[:1], peers=[peer(SAME[0], "decode", gpu=both)]))
    assert [pair.why_not for pair in beside(run)] == [""]


def test_other_positions_and_other_times_are_said(tmp_path: Path) -> None:
    from_file = peer(SAME[0], "decode", position=0, command="", source="recorded.json")
    folder = write_run(tmp_path / "run", ROWS[:1], peers=[from_file])
    write_report(folder)
    page = page_of(folder)
    assert [line[3:5] for line in speeds(page)] == [["3,072", "0"]]
    assert "the ratio is then less than it would be" in page.text
    assert "measured at another time" in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {"model": msgspec.structs.replace(SAME[0].model, sha256="b" * 64)},
        {"shape": msgspec.structs.replace(SAME[0].shape, generated=5)},
        {"kv": "q8_0"},
        {"status": "failed", "tps": None},
    ],
)
def test_figures_of_something_else_stand_beside_no_row(tmp_path: Path, changes: dict[str, object]) -> None:
    folder = write_run(tmp_path / "run", ROWS[:1], peers=[peer(SAME[0], "decode", **changes)])
    assert beside(read_run(folder)) == ()
    write_report(folder)
    assert "No figure of a peer stands beside a timed row." in page_of(folder).text


def test_what_is_lacking_is_listed_and_a_failure_is_no_pass(tmp_path: Path) -> None:
    failed = peer(SAME[0], "decode", status="failed", reason="killed by SIGABRT", tps=None)
    unmatched = Peer(
        id="u",
        program="llama-bench",
        source="out.json",
        status="unmatched",
        reason="no row has it",
        label="entry 3, llama 7B",
        started=STARTED,
    )
    folder = write_run(tmp_path / "run", ROWS[:1], peers=[peer(SAME[0], "prefill"), failed, unmatched])
    verdict = write_report(folder)
    assert (verdict.exit_code, verdict.headline) == (2, "BROKEN: 1 row proven, 1 figure of the peer failed")
    assert "killed by SIGABRT" in verdict.reasons[0]
    shape = "qwen3-8b Q4_K_M, 3072 + 4 tokens at 0, decode"
    assert page_of(folder).table("state", "what", "why") == [
        ["✗ failed", shape, "killed by SIGABRT"],
        ["— belongs to no row", "entry 3, llama 7B", "no row has it"],
    ]


def test_points_of_the_peer_are_on_the_throughput_chart(tmp_path: Path) -> None:
    peers = [peer(SAME[0], "decode"), peer(SAME[0], "prefill", tps=spread(1e6))]
    run = read_run(write_run(tmp_path / "run", ROWS, peers=peers))
    by_phase = {panel.title.split(" ")[0]: panel for panel in panels(row_frame(run), beside(run))}
    assert {speed for _, speed in by_phase["Decode"].peers} == {200.0}
    assert {speed for _, speed in by_phase["Prefill"].peers} == {1e6}
    assert [at for at, _ in by_phase["Decode"].peers] == [0, 1, 2, 3]


def test_the_chart_is_readable_with_peers(tmp_path: Path) -> None:
    peers = [peer(SAME[0], "decode", tps=spread(550.0)), peer(SAME[0], "prefill")]
    run = read_run(write_run(tmp_path / "run", ROWS, peers=peers))
    drawing = figure(run, "throughput.png", LIGHT)
    png(drawing)
    assert_no_overlap(drawing, "throughput.png")
    assert "peer" in [text.get_text() for text in drawing.findobj(Text)]


def test_foreign_text_of_a_peer_stays_text(tmp_path: Path) -> None:
    texts = {"label": HOSTILE, "build": HOSTILE, "source": HOSTILE, "command": HOSTILE, "program": HOSTILE}
    peers = [
        peer(SAME[0], "decode", gpu=f"{GPU.name}, {HOSTILE}", flags={HOSTILE: HOSTILE}, **texts),
        peer(SAME[0], "prefill", status="failed", reason=HOSTILE, tps=None),
        Peer(
            id="u", status="unmatched", reason=HOSTILE, started=STARTED, label=HOSTILE, program=HOSTILE, source=HOSTILE
        ),
    ]
    folder = write_run(tmp_path / "run", ROWS[:1], peers=peers)
    write_report(folder)
    page, text = page_of(folder), (folder / "report.md").read_text()
    assert set(page.tags) <= TAGS
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "\u202e" not in text + page.text
    plain = without_code(text)
    for active in ("<script", "<img", "@someone", "`b`", "[l]", "http://", "\n## head", "**b**", "$"):
        assert active not in plain.replace("\\$", "")
