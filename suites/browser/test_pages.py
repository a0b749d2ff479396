"""Reports in a real browser: they load nothing, fit a phone, can be read in both schemes and by the keyboard alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from suites.browser.conftest import Show
from suites.browser.pages import ELEMENTS, GATES, RUNS, write_page
from suites.browser.shown import SCHEMES, WIDTHS, Shown

Written = Callable[[str], Path]
PAGES = (*GATES, *RUNS)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The file of a page by its name, written when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("pages"), dict[str, Path]()

    def write(name: str) -> Path:
        if name not in made:
            made[name] = write_page(name, folder / name)
        return made[name]

    return write


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_is_legible_and_asks_for_nothing(
    show: Show, written: Written, name: str, width: int, scheme: str
) -> None:
    shown = show(written(name), width=width, scheme=scheme)
    assert shown.sticking_out() == []
    open_all(shown)
    assert shown.sticking_out() == []
    assert shown.faint() == []
    assert shown.complaints == []
    assert shown.requests == []
    assert shown.tags() <= ELEMENTS


@pytest.mark.parametrize("name", PAGES)
def test_the_schemes_differ_and_each_has_its_paper(show: Show, written: Written, name: str) -> None:
    light, dark = (
        show(written(name), scheme=scheme).page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        for scheme in SCHEMES
    )
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 24, 29)")


@pytest.mark.parametrize("name", ["gate fails", "run fails"])
def test_folded_tables_open_and_close_by_the_keyboard(show: Show, written: Written, name: str) -> None:
    page = show(written(name)).page
    first = page.locator("details").first
    table = first.locator("table")
    assert not table.is_visible()
    first.locator("summary").focus()
    page.keyboard.press("Enter")
    assert table.is_visible()
    page.keyboard.press("Enter")
    assert not table.is_visible()


@pytest.mark.parametrize("name", ["gate fails", "gate passes", "run fails"])
def test_everything_that_folds_scrolls_or_leads_on_is_reached_by_tab(show: Show, written: Written, name: str) -> None:
    shown = show(written(name), width=390)
    wanted = shown.page.locator("a, summary, details[open] .wide, section > .wide, figure > .wide").count()
    assert wanted > 4
    assert len([tag for tag in shown.focusable(wanted) if tag != "body"]) == wanted


@pytest.mark.parametrize("name", ["gate is long", "run on a GPU"])
def test_a_wide_table_scrolls_in_itself(show: Show, written: Written, name: str) -> None:
    page = show(written(name), width=390).page
    boxes = "() => [...document.querySelectorAll('.wide')].filter(box => box.scrollWidth > box.clientWidth)"
    assert page.evaluate(f"({boxes})().length") > 0
    moved = "(boxes => { boxes[0].scrollLeft = 1e6; return [boxes[0].scrollLeft, window.scrollX]; })"
    inner, outer = page.evaluate(f"{moved}(({boxes})())")
    assert inner > 0
    assert outer == 0


@pytest.mark.parametrize("name", PAGES)
def test_links_stay_in_the_page_and_arrive(show: Show, written: Written, name: str) -> None:
    page = show(written(name)).page
    for link in page.locator("a").all():
        target = link.get_attribute("href") or ""
        assert target.startswith("#")
        assert page.locator(f"[id='{target[1:]}']").count() == 1
    page.locator("nav a").last.click()
    assert page.evaluate("() => document.querySelector('section:last-of-type').getBoundingClientRect().top") < 800


@pytest.mark.parametrize("name", ["gate is hostile", "run is hostile"])
def test_hostile_names_are_read_and_not_obeyed(show: Show, written: Written, name: str) -> None:
    shown = show(written(name))
    assert "document.title='x'" in shown.page.inner_text("body")
    assert shown.page.title() != "x"
    assert shown.page.locator("script, body [onmouseover], body [style], img[src^=http]").count() == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gate passes", "✓ PASS"),
        ("gate fails", "✗ REGRESSION"),
        ("gate cannot tell", "? CANNOT TELL"),
        ("gate is broken", "⚠ BROKEN"),
    ],
)
def test_the_verdict_is_in_words_and_in_sight_on_a_phone(show: Show, written: Written, name: str, words: str) -> None:
    page = show(written(name), width=390).page
    verdict = page.locator(".verdict > p")
    assert verdict.inner_text().startswith(words)
    box = verdict.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 400
    assert page.title().startswith(words)


def test_without_colour_every_state_is_still_told(show: Show, written: Written) -> None:
    """No cell is told from another by its class alone: a coloured one that is no figure begins with an icon."""
    cells = show(written("gate fails")).page.locator("td.good, td.bad, td.unsure").all_text_contents()
    assert len(cells) > 10
    assert [cell for cell in cells if cell[0] not in "✓✗?▲●—⚠" and not cell.replace(",", "").isdigit()] == []


def open_all(shown: Shown) -> None:
    shown.page.evaluate("() => document.querySelectorAll('details').forEach(box => box.open = true)")
