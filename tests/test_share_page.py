"""The shared page in a real browser, from a file and without a network: it draws, hides, switches, turns."""

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser
from playwright.sync_api import Page as Tab

from purify3d.backbones import load_backbone
from purify3d.pictures.palettes import RIGHT, WRONG, colors_of_labels
from purify3d.pipeline import run_job
from purify3d.runs import Run
from purify3d.runs.job import changed
from purify3d.viewing import state
from purify3d.viewing.boxes import boxes
from purify3d.viewing.scene import ViewedScene
from purify3d.viewing.share.single_file import questions, share, write_page
from purify3d.viewing.state import Look
from purify3d.viewing.words import Words

EVIL = "</script><script>window.broken=1</script>"
LABELS = ["wall", "floor", "chair", "table", "sofa", "cabinet", EVIL]
NAME = "<img src=x onerror=window.broken=1>"
FLOOR = colors_of_labels(np.array([1]), LABELS)[0]
WALL = colors_of_labels(np.array([0]), LABELS)[0]
_BACK = np.array([0x14, 0x16, 0x1B])


@pytest.fixture(scope="module")
def relabelled(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("sharing") / "run"))
    run = run_job(changed(Run.open(folder).job, {"labels": LABELS}), folder)
    run.objects()
    return run


@pytest.fixture(scope="module")
def words(relabelled: Run) -> Words:
    return Words(load_backbone(relabelled.job.backbone))


@pytest.fixture(scope="module")
def viewed(relabelled: Run, words: Words) -> ViewedScene:
    return ViewedScene.of(relabelled, words)


@pytest.fixture(scope="module")
def page(
    relabelled: Run, viewed: ViewedScene, words: Words, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    viewed.scene = replace(viewed.scene, name=NAME)
    things = boxes(relabelled, viewed.center + viewed.scene.origin)
    things = [replace(box, label=f"{EVIL}{box.label}") for box in things]
    asked = questions(viewed, words, ["chair", "floor", EVIL])
    made = share(viewed, words, asked, things=things, budget=20_000)
    return write_page(tmp_path_factory.mktemp("pages") / "a page.html", made)


@pytest.fixture
def opened(browser: Browser, page: Path) -> Iterator[Callable[..., Tab]]:
    """Open the file in a tab that has no network; it may have no error and ask nobody for anything."""
    wrong: list[str] = []
    tabs: list[Tab] = []

    def open_tab(**options: object) -> Tab:
        context = browser.new_context(**({"viewport": {"width": 1000, "height": 700}} | options))  # type: ignore[arg-type]
        context.set_offline(True)
        tab = context.new_page()
        tab.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        tab.get_by_text("points are here").wait_for(state="attached")
        until(lambda: has(tab, WALL) > 500)
        tabs.append(tab)
        return tab

    asked: list[str] = []
    yield open_tab
    for tab in tabs:
        assert tab.evaluate("window.broken") is None
        tab.context.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    # Software rendering remarks on being slow when its pixels are read; that is no fault of the page.
    assert [text for text in wrong if "GPU stall" not in text] == []


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "this has not happened"
        time.sleep(0.05)


def picture(tab: Tab) -> np.ndarray:
    """(H, W, 3) of the canvas, left of the panel."""
    size = tab.viewport_size
    assert size is not None
    width = size["width"] - 310 if size["width"] > 700 else size["width"]
    shot = tab.screenshot(clip={"x": 0, "y": 0, "width": width, "height": size["height"]})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def has(tab: Tab, color: np.ndarray) -> int:
    """Pixels of this colour."""
    return int((np.abs(picture(tab) - color).max(2) < 6).sum())


def row(tab: Tab, name: str) -> list:
    """Buttons of a line of the legend: the label, and "only"."""
    line = tab.locator(".row").filter(has=tab.get_by_title(name, exact=True))
    return line.get_by_role("button").all()


def test_it_draws_from_a_file_without_a_network(opened: Callable[..., Tab], viewed: ViewedScene) -> None:
    tab = opened()
    shot = picture(tab)
    filled = (np.abs(shot - _BACK).max(2) > 6).mean()
    assert 0.15 < filled < 0.95
    assert tab.title() == NAME
    assert tab.locator("summary").inner_text() == NAME
    left = len(viewed) - 20_000
    tab.get_by_text(f"20,000 of {len(viewed):,} points are here. {left:,} are left out").wait_for()
    names = tab.locator(".row b").all_inner_texts()
    said = state.legend(viewed, Look())
    assert names == [line.name for line in said]
    assert tab.locator(".row span").all_inner_texts() == [f"{line.points:,}" for line in said]


def test_the_legend_hides_and_isolates(opened: Callable[..., Tab]) -> None:
    tab = opened()
    floor, wall = has(tab, FLOOR), has(tab, WALL)
    assert floor > 500
    row(tab, "floor")[0].click()
    until(lambda: has(tab, FLOOR) == 0)
    assert has(tab, WALL) >= wall
    assert row(tab, "floor")[0].get_attribute("aria-pressed") == "false"
    row(tab, "floor")[1].click()
    until(lambda: has(tab, FLOOR) >= floor and has(tab, WALL) == 0)
    tab.get_by_role("button", name="Show all").click()
    until(lambda: (has(tab, FLOOR), has(tab, WALL)) == (floor, wall))


def test_purified_and_words_change_the_colours(opened: Callable[..., Tab], viewed: ViewedScene) -> None:
    tab = opened()
    purified = picture(tab)
    tab.locator("#purified").uncheck()
    until(lambda: (np.abs(picture(tab) - purified).max(2) > 6).sum() > 50)
    raw = state.legend(viewed, Look(purified=False))
    assert tab.locator(".row span").all_inner_texts() == [f"{line.points:,}" for line in raw]
    tab.locator("#purified").check()
    until(lambda: bool((picture(tab) == purified).all()))
    tab.locator("#coloring").select_option("heat")
    cold = np.array([13, 8, 135])
    until(lambda: has(tab, cold) > 500 and has(tab, WALL) == 0)
    tab.get_by_text("cosine").wait_for()
    chair = picture(tab)
    tab.locator("#word").select_option(label="floor")
    until(lambda: (np.abs(picture(tab) - chair).max(2) > 40).sum() > 500)
    assert tab.locator("#word option").all_inner_texts() == ["chair", "floor", EVIL]


def test_every_colouring_draws(opened: Callable[..., Tab]) -> None:
    tab = opened()
    options = tab.locator("#coloring option").all_inner_texts()
    assert options == ["photo", "label", "heat", "score", "truth", "errors"]
    seen = {picture(tab).tobytes()}
    for option in options:
        tab.locator("#coloring").select_option(option)
        time.sleep(0.3)
        seen.add(picture(tab).tobytes())
    assert len(seen) == len(options)
    until(lambda: has(tab, np.array(RIGHT)) > has(tab, np.array(WRONG)) > 0)


def test_mouse_keys_and_controls(opened: Callable[..., Tab]) -> None:
    tab = opened()
    home = picture(tab)

    def changed(do: Callable[[], object]) -> None:
        before = picture(tab)
        do()
        until(lambda: (np.abs(picture(tab) - before).max(2) > 6).mean() > 0.01)

    def drag(button: str) -> None:
        tab.mouse.move(300, 300)
        tab.mouse.down(button=button)  # type: ignore[arg-type]
        tab.mouse.move(380, 330, steps=4)
        tab.mouse.up(button=button)  # type: ignore[arg-type]

    changed(lambda: drag("left"))
    changed(lambda: drag("right"))
    changed(lambda: tab.mouse.wheel(0, -400))
    changed(lambda: tab.keyboard.press("ArrowLeft"))
    changed(lambda: tab.locator("#cut").fill("0.4"))
    tab.locator("#cut").fill("1")
    changed(lambda: tab.locator("#background").fill("#ffffff"))
    tab.locator("#background").fill("#14161b")
    tab.get_by_role("button", name="Whole scene").click()
    until(lambda: bool((picture(tab) == home).all()))
    changed(lambda: tab.locator("#size").fill("4"))


def test_a_double_click_makes_a_place_the_middle(opened: Callable[..., Tab]) -> None:
    tab = opened()
    hit = np.argwhere(np.abs(picture(tab) - FLOOR).max(2) < 6)
    y, x = hit[len(hit) // 2]
    tab.mouse.dblclick(int(x), int(y))
    until(lambda: tab.evaluate("camera.target.some((value) => value !== 0)"))
    place = tab.evaluate("project(viewing(stand()), camera.target)")
    assert place[:2] == pytest.approx([(1000 - 290) / 2, 350], abs=1)  # of what is beside the panel
    target, up = np.array(tab.evaluate("camera.target")), np.array(tab.evaluate("UP"))
    assert target @ up < 0  # on the floor


def test_objects_are_drawn_with_their_names(opened: Callable[..., Tab]) -> None:
    tab = opened()
    before = picture(tab)
    tab.locator("#boxes").check()
    until(lambda: (np.abs(picture(tab) - before).max(2) > 6).sum() > 500)
    signs = tab.locator("#signs span:visible").all_inner_texts()
    assert signs
    assert all(text.startswith(EVIL) for text in signs)
    tab.locator("#boxes").uncheck()
    until(lambda: bool((picture(tab) == before).all()))


def test_fingers_on_a_phone(opened: Callable[..., Tab]) -> None:
    tab = opened(viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    touch = tab.context.new_cdp_session(tab)

    def fingers(kind: str, *places: tuple[int, int]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    state_of = "JSON.stringify([camera.turn, camera.distance, camera.target])"
    turn, distance, target = json.loads(tab.evaluate(state_of))
    fingers("touchStart", (60, 500))
    for step in range(1, 6):
        fingers("touchMove", (60 + 10 * step, 500))
    fingers("touchEnd")
    now = json.loads(tab.evaluate(state_of))
    assert now[0] == pytest.approx(turn - 50 / 200, abs=0.02)
    assert now[1:] == [distance, target]
    fingers("touchStart", (80, 550), (160, 550))
    for step in range(1, 6):
        fingers("touchMove", (80 - 8 * step, 550 + 4 * step), (160 + 8 * step, 550 + 4 * step))
    fingers("touchEnd")
    after = json.loads(tab.evaluate(state_of))
    assert after[0] == now[0]
    assert after[1] == pytest.approx(distance / 2, rel=0.05)  # twice as far apart: twice as near
    assert after[2] != target


def test_a_lost_picture_comes_back(opened: Callable[..., Tab]) -> None:
    tab = opened()
    before = picture(tab)
    tab.evaluate("window.lose = gl.getExtension('WEBGL_lose_context'); lose.loseContext()")
    until(lambda: has(tab, WALL) == 0)
    tab.evaluate("lose.restoreContext()")
    until(lambda: bool((picture(tab) == before).all()))
