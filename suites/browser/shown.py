"""A page as a browser shows it, and what can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WIDTHS = (1280, 390)  # a desk, a phone
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
LEAST_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3, text of ordinary size

# Contrast of every text against the nearest painted background above it: relative luminance as in WCAG 2.2.
_CONTRASTS = """() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const linear = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const paper = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), element = walk.currentNode.parentElement;
    if (!text) continue;
    const ink = luminance(parts(getComputedStyle(element).color)), back = luminance(paper(element));
    found.push([(Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05), text.slice(0, 60)]);
  }
  return found;
}"""

_WIDEST = "() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"

# Elements that stick out of the window although no box of their own scrolls them.
_STICKING_OUT = """() => [...document.body.querySelectorAll('*')].filter(element => {
  for (let at = element.parentElement; at; at = at.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(at).overflowX)) return false;
  return element.getBoundingClientRect().right > window.innerWidth + 0.5;
}).map(element => element.tagName + ': ' + element.textContent.trim().slice(0, 60))"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An open page. `complaints` are console messages and errors, `requests` what it asked for besides itself."""

    page: Page
    context: BrowserContext
    width: int
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, browser: Browser, path: Path, *, width: int, scheme: Any) -> Shown:
        """Open a file offline: whatever the page asks for over a network fails and is noted."""
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        shown = cls(page=context.new_page(), context=context, width=width)
        own = path.absolute().as_uri()
        shown.page.on("console", lambda message: shown.complaints.append(message.text))
        shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        shown.page.on("request", lambda request: _note(shown.requests, request.url, own))
        shown.page.goto(own)
        return shown

    def close(self) -> None:
        self.context.close()

    def sticking_out(self) -> list[str]:
        """What makes the whole page scroll sideways, or is cut off at its right edge."""
        widest = self.page.evaluate(_WIDEST)
        too_wide = [f"the page is {widest} px wide"] if not widest <= self.width else []
        return too_wide + list(self.page.evaluate(_STICKING_OUT))

    def faint(self) -> list[str]:
        """Texts with less than LEAST_CONTRAST, with their contrast; folded ones count."""
        found = self.page.evaluate(_CONTRASTS)
        assert found, "the page has no text"
        return [f"{contrast:.2f}: {text}" for contrast, text in found if not contrast >= LEAST_CONTRAST]

    def tags(self) -> set[str]:
        return set(self.page.evaluate("() => [...document.querySelectorAll('*')].map(e => e.tagName.toLowerCase())"))

    def focusable(self, presses: int) -> list[str]:
        """What the Tab key reaches, in order: tag names."""
        reached = []
        for _ in range(presses):
            self.page.keyboard.press("Tab")
            reached.append(str(self.page.evaluate("() => document.activeElement.tagName.toLowerCase()")))
        return reached


def _note(requests: list[str], url: str, own: str) -> None:
    if url.partition("#")[0] != own and not url.startswith("data:"):
        requests.append(url)
