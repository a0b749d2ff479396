"""The browser's checks can fail: each finds what it is for on a page that was made wrong."""

from __future__ import annotations

from pathlib import Path

from suites.browser.conftest import Show

PAGE = "<!doctype html><html lang='en'><body style='margin:0;background:#fff;color:#000'>{}</body></html>"


def faulty(folder: Path, body: str) -> Path:
    path = folder / "page.html"
    path.write_text(PAGE.format(body))
    return path


def test_a_sound_page_has_no_findings(show: Show, tmp_path: Path) -> None:
    shown = show(faulty(tmp_path, "<p>words</p><div style='overflow-x:auto'><p style='width:2000px'>wide</p></div>"))
    assert (shown.sticking_out(), shown.faint(), shown.complaints, shown.requests) == ([], [], [], [])


def test_what_is_too_wide_is_found(show: Show, tmp_path: Path) -> None:
    path = faulty(tmp_path, "<p style='width:500px'>wide</p>")
    assert show(path, width=390).sticking_out()[-1] == "P: wide"
    assert show(path, width=1280).sticking_out() == []
    hidden = faulty(tmp_path, "<div style='overflow:hidden'><p style='width:500px'>cut off</p></div>")
    assert show(hidden, width=390).sticking_out() == ["P: cut off"]


def test_faint_text_is_found_also_where_it_is_folded(show: Show, tmp_path: Path) -> None:
    body = "<p style='color:#777'>too faint</p><details><p style='background:#222;color:#555'>folded</p></details>"
    assert show(faulty(tmp_path, body)).faint() == ["4.48: too faint", "2.13: folded"]


def test_requests_and_complaints_are_noted(show: Show, tmp_path: Path) -> None:
    shown = show(
        faulty(tmp_path, "<img src='http://127.0.0.1:9/x.png'><script>console.log('said'); nothing()</script>")
    )
    assert shown.requests == ["http://127.0.0.1:9/x.png"]
    assert "said" in shown.complaints
    assert any("nothing is not defined" in complaint for complaint in shown.complaints)
