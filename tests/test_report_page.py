"""The HTML report in a browser (`make test-slow`).

Needs Chromium and its driver: `apt-get install chromium chromium-driver`, or Chrome and
chromedriver on the PATH.
"""

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
