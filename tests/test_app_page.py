"""The app in a browser (`make test-slow`): all that a person does, with a real pointer.

Needs Chromium and its driver, `apt-get install chromium chromium-driver`, and requirements-app.txt.
"""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from realfill.app import workspace
from realfill.images.blend import feather
from realfill.scene import find_image
from tests.conftest import ROOT, environment

PATIENCE = 400
YARD = ROOT / "data" / "yard"
TOO_WIDE = """
return [...document.querySelectorAll("body *")].filter(element =>
  element.getBoundingClientRect().width && element.getBoundingClientRect().right > innerWidth + 1
).map(element => element.outerHTML.slice(0, 80))
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Serve the page over a new workspace."""
    pytest.importorskip("gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--workspace", str(tmp_path / "space"), "--port", str(port), "--no_browser"]
    command = [sys.executable, "app.py", *flags]
    server = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    wait_for(lambda: server.poll() is not None or answers(url))
    yield url
    server.terminate()
    server.wait()


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def wait_for(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.3)


def resize_window(browser: webdriver.Chrome, width: int) -> None:
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def shown(browser: webdriver.Chrome, selector: str) -> list:
    return [
        each for each in browser.find_elements(By.CSS_SELECTOR, selector) if each.is_displayed()
    ]


def press(browser: webdriver.Chrome, selector: str) -> None:
    wait_for(lambda: shown(browser, selector))
    [button, *_] = shown(browser, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    wait_for(button.is_enabled)
    button.click()


def paint(browser: webdriver.Chrome, right: int, down: int) -> None:
    """Paint a stroke, from the middle of the editor on."""
    [canvas, *_] = browser.find_elements(By.CSS_SELECTOR, "#editor canvas")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    moves = ActionChains(browser).move_to_element_with_offset(canvas, 0, 40).click_and_hold()
    moves.move_by_offset(right // 2, down // 2).move_by_offset(right // 2, down // 2).release()
    moves.perform()
    time.sleep(2)


def said(browser: webdriver.Chrome, text: str) -> bool:
    return text in browser.find_element(By.TAG_NAME, "body").text


def compare_completions(browser: webdriver.Chrome) -> None:
    """Look at a completion beside the photo, then beside another completion."""

    def first_source() -> str | None:
        images = shown(browser, "#result img")
        return images[0].get_attribute("src") if len(images) == 2 else None

    photo = first_source()
    press(browser, "#gallery .thumbnail-lg")
    time.sleep(5)  # it may look like what the references filled
    assert first_source() == photo
    press(browser, "#against label:nth-of-type(2) input")
    press(browser, "#gallery .thumbnail-small:not(.selected)")
    wait_for(lambda: first_source() not in (photo, None))


def fill_field(browser: webdriver.Chrome, label: str, value: int) -> None:
    field = browser.find_element(By.CSS_SELECTOR, f"input[type=number][aria-label*='{label}']")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(str(value), Keys.TAB)


@pytest.mark.slow
def test_a_photo_is_filled_and_a_model_is_trained(
    address: str, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    space, upload = tmp_path / "space", find_image(YARD / "target", "gt")
    resize_window(browser, 1280)
    browser.get(address)
    wait_for(lambda: shown(browser, "#fill"))
    press(browser, "#fill")
    wait_for(lambda: said(browser, "There is no photo yet"))
    browser.find_elements(By.CSS_SELECTOR, "input[type=file]")[0].send_keys(str(upload))
    wait_for(lambda: workspace.list_scenes(space) and shown(browser, "#editor canvas"))
    [name] = workspace.list_scenes(space)
    time.sleep(3)  # the editor fits the photo to its window
    press(browser, "#fill")
    wait_for(lambda: said(browser, "Nothing is painted yet"))
    paint(browser, 60, 30)
    press(browser, "#fill")
    wait_for(lambda: said(browser, "There are no other photos yet"))
    references = [str(path) for path in sorted((YARD / "ref").iterdir())[:2]]
    browser.find_element(By.CSS_SELECTOR, "#uploads input").send_keys("\n".join(references))
    wait_for(lambda: len(shown(browser, "#cards figure")) == 2)
    press(browser, "#fill")
    wait_for(lambda: said(browser, "Filling from your photos"))
    wait_for(lambda: said(browser, "Filling from your photos: done"))
    wait_for(lambda: len(shown(browser, "#cards figure.tied")) == 2)
    wait_for(lambda: shown(browser, "#result img"))

    best = workspace.result_folder(space, workspace.FILLED, name) / "best.png"
    filled, photo = (np.asarray(Image.open(path).convert("RGB")) for path in (best, upload))
    mask = workspace.mask_of(space, name)
    outside = np.asarray(feather(mask)) == 0
    assert np.array_equal(filled[outside], photo[outside])
    inside = np.asarray(mask) > 0
    assert np.abs(filled[inside].astype(int) - photo[inside]).mean() < 20, "it was there"

    wait_for(lambda: said(browser, "on this machine"))  # how long training takes, before it begins
    fill_field(browser, "Training steps", 80)
    fill_field(browser, "Completions", 2)
    press(browser, "#train")
    model = workspace.model_folder(space, name)
    wait_for(lambda: shown(browser, "#validation img"))
    wait_for(lambda: list(model.glob("checkpoint-25")))
    press(browser, "#cancel")
    wait_for(lambda: said(browser, "Training on this place: cancelled"))
    wait_for(lambda: "Go on" in browser.find_element(By.CSS_SELECTOR, "#train").text)
    press(browser, "#train")
    wait_for(lambda: said(browser, "Training on this place: done"))
    wait_for(lambda: len(shown(browser, "#gallery img")) >= 2)
    compare_completions(browser)
    assert len(shown(browser, "#files a")) >= 3, "the contact sheet, and two completions"

    browser.get(address)
    wait_for(lambda: shown(browser, "#scenes input"))
    press(browser, "#scenes input")
    wait_for(lambda: said(browser, f"{name} (filled, trained)"))
    field = browser.find_element(By.CSS_SELECTOR, "#scenes input")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(f"{name} (filled, trained)", Keys.ENTER)
    wait_for(lambda: shown(browser, "#result img") and shown(browser, "#gallery img"))
    press(browser, "#fill")
    wait_for(lambda: said(browser, "Filling from your photos: done"))
    assert workspace.list_scenes(space) == [name], "nothing was painted anew"

    resize_window(browser, 390)
    time.sleep(2)
    assert browser.execute_script(TOO_WIDE) == []
    for selector in ("#fill", "#train", "#download", "#overlay input"):
        assert shown(browser, selector)
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


@pytest.mark.slow
def test_a_large_photo_many_references_and_two_tabs(
    address: str, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    space = tmp_path / "space"
    upload = tmp_path / "large.jpg"
    Image.open(find_image(YARD / "target", "gt")).resize((6000, 4000)).save(upload)
    seen = [Image.open(path) for path in sorted((YARD / "ref").iterdir())]
    references = [tmp_path / f"{number}.jpg" for number in range(30)]
    for number, path in enumerate(references[:-1]):
        width = 400 + 8 * number
        photo = seen[number % len(seen)].convert("RGB")
        photo.resize((width, round(photo.height * width / photo.width))).save(path)
    elsewhere = next((ROOT / "data" / "leuven" / "ref").iterdir())
    Image.open(elsewhere).convert("RGB").save(references[-1])
    resize_window(browser, 1280)
    browser.get(address)
    wait_for(lambda: shown(browser, "#fill"))
    browser.find_elements(By.CSS_SELECTOR, "input[type=file]")[0].send_keys(str(upload))
    wait_for(lambda: workspace.list_scenes(space) and shown(browser, "#editor canvas"))
    [name] = workspace.list_scenes(space)
    time.sleep(10)  # without a graphics card it takes that long to draw the photo
    paint(browser, 60, 30)
    browser.find_element(By.CSS_SELECTOR, "#uploads input").send_keys(
        "\n".join(map(str, references))
    )
    wait_for(lambda: len(shown(browser, "#cards figure")) == len(references))
    mask = np.asarray(workspace.mask_of(space, name)) > 0
    assert mask.shape == (4000, 6000)
    columns = np.flatnonzero(mask.any(0))
    assert abs(columns.mean() - 3000) < 600, "painted from the middle to the right"

    browser.switch_to.new_window("tab")
    resize_window(browser, 1280)
    browser.get(address)
    wait_for(lambda: shown(browser, "#scenes input"))
    field = browser.find_element(By.CSS_SELECTOR, "#scenes input")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("example: graf", Keys.ENTER)
    wait_for(lambda: said(browser, "Looking at your photos"))
    wait_for(lambda: said(browser, "Looking at your photos: done"))
    wait_for(lambda: shown(browser, "#result img"))
    browser.switch_to.window(browser.window_handles[0])
    wait_for(lambda: said(browser, "Looking at your photos: done"))
    wait_for(lambda: len(shown(browser, "#cards figure.waiting")) == 0)
    assert len(shown(browser, "#cards figure.tied")) == 6, "as many are used"
    assert len(shown(browser, "#cards figure.beside")) > len(references) // 2
    assert 1 <= len(shown(browser, "#cards figure.apart")) < 5
