"""The HTML report: parsed, and in a browser (`make test-slow`).

The browser is Chromium with its driver: `apt-get install chromium chromium-driver`, or Chrome and
chromedriver on the PATH.
"""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium import webdriver

from tests.helpers import dataset_flags, score, write_ranking, write_realbench

OVERFLOWING = """
return [...document.querySelectorAll("body, body *")].filter(element =>
  element.getBoundingClientRect().right > innerWidth + 0.5 || !element.closest("svg")
  && element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1
).map(element => element.tagName + " " + element.textContent.slice(0, 40))
"""
COLUMN = """
return [...document.querySelectorAll("#scenes tbody tr")].map(
  row => row.cells[arguments[0]].dataset.value || row.cells[arguments[0]].textContent)
"""


class Page(HTMLParser):
    """Gather a page's tags; its elements must be closed in the order in which they were opened."""

    VOID = ("meta", "link", "img", "br", "line", "circle", "polyline")

    def __init__(self) -> None:
        """Begin with nothing open."""
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that has no end."""
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Check that the tag that was opened last is closed first."""
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of each tag of this name."""
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    realbench = write_realbench(tmp_path)
    for number in (0, 2):
        write_ranking(realbench / f"RealBench-{number}-results", (0, 1, 2))
    score(realbench, *dataset_flags(realbench))
    html = (realbench.parent / "report.html").read_text()
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    addresses = [a.get(key) for _, a in page.found for key in ("src", "href") if a.get(key)]
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"url\(|@import|https?://(?!arxiv)", html)
    # Target and truth of each of 4 scenes, best and worst of each of 12 folders.
    assert len(page.all("img")) == 4 * 2 + 12 * 2
    assert len(page.all("polyline")) == 2
    assert len([a for a in page.all("span") if a.get("class") == "bar"]) == 12 * 2
    assert "Paint-by-Example" in html


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(tmp_path: Path, browser: webdriver.Chrome, width: int) -> None:
    realbench = write_realbench(tmp_path)
    for number in (0, 2, 10):
        write_ranking(realbench / f"RealBench-{number}-results", (0, 1, 2))
    metrics = ["--metrics", "psnr", "ssim", "lpips", "dreamsim", "dino", "clip"]
    (realbench / "RealBench-2-results-fp32" / "1.png").unlink()
    score(realbench, *dataset_flags(realbench), *metrics, code=3)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((realbench.parent / "report.html").as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script(OVERFLOWING) == []
    loaded = "return [...document.images].every(image => image.naturalWidth)"
    assert browser.execute_script(loaded)

    buttons = browser.find_elements("css selector", "#scenes th button")
    assert [button.is_displayed() for button in buttons] == [True] * len(buttons)
    buttons[1].click()
    numbers = [float(value) for value in browser.execute_script(COLUMN, 1)]
    assert numbers == sorted(numbers, reverse=True)
    buttons[1].click()
    assert [float(value) for value in browser.execute_script(COLUMN, 1)] == numbers[::-1]
    buttons[0].click()
    names = [name.strip() for name in browser.execute_script(COLUMN, 0)]
    assert names.index("RealBench-2-results") < names.index("RealBench-10-results")
    assert browser.get_log("browser") == []
