"""The page in a real browser: it loads, follows what is typed, switches, hides; names are never run."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error
from playwright.sync_api import Page as Tab

from purify3d.backbones import Backbone, load_backbone
from purify3d.labels.questions import answer as answer_of
from purify3d.pictures.palettes import colors_of_labels, heat_colors
from purify3d.pipeline import run_job
from purify3d.runs import Run, artefacts
from purify3d.runs.job import changed
from purify3d.viewing.boxes import boxes
from purify3d.viewing.client import Client
from purify3d.viewing.page import Page
from purify3d.viewing.photos import photos
from purify3d.viewing.scene import ViewedScene
from purify3d.viewing.words import Words

LABELS = ["wall", "floor", "chair", "table", "sofa", "cabinet", "<script>window.broken=1</script>"]


@pytest.fixture(scope="module")
def relabelled(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose scene and one label have names that a page could take for its own."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("page") / "run"))
    run_job(changed(Run.open(folder).job, {"labels": LABELS}), folder)
    facts = json.loads((folder / "scene.json").read_text())
    name = "<img src=x onerror=window.broken=1>"
    (folder / "scene.json").write_text(json.dumps(facts | {"name": name}))
    record = json.loads((folder / "stages.json").read_text())
    record["points"]["files"]["scene.json"] = (folder / "scene.json").stat().st_size
    (folder / "stages.json").write_text(json.dumps(record))
    Run.open(folder).objects()
    return Run.open(folder)


@pytest.fixture(scope="module")
def backbone(relabelled: Run) -> Backbone:
    return load_backbone(relabelled.job.backbone)


@pytest.fixture(scope="module")
def viewed(relabelled: Run, backbone: Backbone) -> ViewedScene:
    return ViewedScene.of(relabelled, Words(backbone))


@pytest.fixture
def page(relabelled: Run, backbone: Backbone, viewed: ViewedScene) -> Iterator[Page]:
    offset = viewed.center + viewed.scene.origin
    seen = photos(relabelled, offset)
    frames = tuple(
        replace(frame, name=f"<script>window.broken=1</script>{frame.name}") for frame in seen.frames
    )
    shown = viewed, Words(backbone), replace(seen, frames=frames), boxes(relabelled, offset)
    page = Page(viewed.scene.up, lambda handle: Client(handle, *shown), port=0)
    yield page
    page.stop()


@pytest.fixture
def visit(browser: Browser, page: Page) -> Iterator[Callable[[], tuple[Tab, Client]]]:
    """Open the page in one more tab; no tab may have had an error, or have asked another machine."""
    wrong: list[str] = []
    tabs: list[Tab] = []

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrong.append(message.text)

    def raised(error: Error) -> None:
        wrong.append(str(error))

    def open_tab() -> tuple[Tab, Client]:
        before = set(page.clients)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.on("console", said)
        tab.on("pageerror", raised)
        tab.on(
            "request", lambda request: None if "//localhost:" in request.url else wrong.append(request.url)
        )
        tab.goto(page.address)
        tab.get_by_text("Colour by").wait_for()
        until(lambda: bool(page.clients.keys() - before))
        tabs.append(tab)
        return tab, page.clients[max(page.clients)]

    yield open_tab
    for tab in tabs:
        if tab.is_closed():
            continue
        assert tab.evaluate("window.broken") is None
        tab.close()
    outside = [text for text in wrong if not text.startswith(("data:", "blob:"))]
    assert outside == []


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "this has not happened"
        time.sleep(0.05)


def field(tab: Tab, label: str) -> Any:
    """The input beside a label."""
    return tab.locator(f"xpath=//label[normalize-space()='{label}']/following::input[1]")


def picture(tab: Tab) -> np.ndarray:
    """(H, W, 3) of the left part of the page, where the points are."""
    import io

    from PIL import Image

    shot = tab.screenshot(clip={"x": 0, "y": 0, "width": 860, "height": 800})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def has(tab: Tab, color: np.ndarray) -> int:
    """Pixels of about this colour."""
    return int((np.abs(picture(tab) - color).max(2) < 12).sum())


def test_typed_words_colour_the_right_points(
    visit: Callable[[], tuple[Tab, Client]], viewed: ViewedScene, relabelled: Run, backbone: Backbone
) -> None:
    tab, client = visit()
    said = viewed.version(True).labels
    assert np.array_equal(client.colors, colors_of_labels(said.numpy(), LABELS)[client.index])
    floor = colors_of_labels(np.array([1]), LABELS)[0]
    until(lambda: has(tab, floor) > 500)  # the browser has drawn it
    field(tab, "Words").press_sequentially("chair", delay=20)
    points = viewed.scene.cloud()
    features = artefacts.read_features(relabelled.files, artefacts.PURIFIED, points)
    answer = answer_of(points, features, "chair", backbone)
    expected = heat_colors(answer.heat.numpy())
    until(lambda: np.array_equal(client.colors, expected[client.index]))
    tab.get_by_text(f"peak {answer.peak:.3f}").wait_for()
    cold = np.array([13, 8, 135])
    until(lambda: has(tab, cold) > 500 and has(tab, floor) < 200)
    field(tab, "Purified").uncheck()
    raw = artefacts.read_features(relabelled.files, artefacts.FEATURES, points)
    raw = raw.within(relabelled.job.method.purify.fill)
    lifted = heat_colors(answer_of(points, raw, "chair", backbone).heat.numpy())
    assert not np.array_equal(lifted, expected)
    until(lambda: np.array_equal(client.colors, lifted[client.index]))


def test_the_legend_hides_and_isolates(visit: Callable[[], tuple[Tab, Client]], viewed: ViewedScene) -> None:
    tab, client = visit()
    said = viewed.version(True).labels.numpy()
    field(tab, "floor").uncheck()
    until(lambda: bool((said[client.index] != 1).all()))
    assert len(client.index) == (said != 1).sum()
    tab.get_by_text(f"{(said == 1).sum():,} are hidden").wait_for()
    tab.get_by_role("button", name=f"{(said == 0).sum():,}", exact=True).click()
    until(lambda: bool((said[client.index] == 0).all()))
    until(lambda: not field(tab, "chair").is_checked())
    tab.get_by_role("button", name="Show all").click()
    until(lambda: len(client.index) == len(said))
    until(lambda: bool(field(tab, "floor").is_checked()))


def test_a_click_says_what_a_point_is(visit: Callable[[], tuple[Tab, Client]], viewed: ViewedScene) -> None:
    tab, client = visit()
    until(lambda: has(tab, colors_of_labels(np.array([1]), LABELS)[0]) > 500)
    hit = np.argwhere(np.abs(picture(tab) - colors_of_labels(np.array([1]), LABELS)[0]).max(2) < 12)
    row, column = hit[len(hit) // 2]
    tab.mouse.click(int(column), int(row))
    tab.get_by_text("place").wait_for()
    point = client.chosen
    x, y, z = viewed.scene.cloud().xyz[point].tolist()
    tab.get_by_text(f"{x:.3f} {y:.3f} {z:.3f} m").wait_for()
    tab.get_by_role("button", name="More like this").click()
    until(lambda: client.look.coloring == "heat" and client.look.question is not None)
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download as PLY").click()
    assert Path(download.value.path()).read_bytes()[:3] == b"ply"


def test_cameras_jump_and_show_their_photo(
    visit: Callable[[], tuple[Tab, Client]], viewed: ViewedScene
) -> None:
    tab, client = visit()
    client.jump(3)
    frame = client.photos.frames[3]
    tab.get_by_text(frame.name).wait_for()  # as text, tags and all
    tab.locator("img[src^='data:image/jpeg'], img[src^='blob:']").first.wait_for()
    wanted = frame.world_from_camera[:3, 3] + client.photos.shift
    until(lambda: bool(np.abs(client.client.camera.position - wanted).max() < 1e-3))
    field(tab, f"Objects ({len(client.boxes)})").check()


def test_visitors_do_not_disturb_each_other(
    visit: Callable[[], tuple[Tab, Client]], backbone: Backbone, page: Page
) -> None:
    first, one = visit()
    second, other = visit()
    assert one is not other
    release = threading.Event()
    asked = threading.Event()

    def encode(texts: list[str]) -> Any:
        asked.set()
        assert release.wait(60)
        return backbone.encode(texts)

    one.words = Words(SimpleNamespace(space=backbone.space, facts=backbone.facts, encode=encode))  # type: ignore[arg-type]
    field(first, "Words").fill("lamp")
    until(asked.is_set)
    field(second, "floor").uncheck()  # answered while the first waits
    until(lambda: 1 in other.look.hidden)
    assert one.look.hidden == frozenset()
    assert one.look.question is None
    release.set()
    until(lambda: one.look.question is not None)
    assert other.look.question is None
    second.close()
    until(lambda: len(page.clients) == 1)


def test_errors_stand_on_the_page(visit: Callable[[], tuple[Tab, Client]]) -> None:
    tab, client = visit()
    field(tab, "Words").fill("chair||")
    tab.get_by_text("is empty").wait_for()
    field(tab, "Words").fill("chair")
    until(lambda: client.look.question is not None)


def test_what_is_left_out_is_said_and_the_near_is_refined(
    browser: Browser, viewed: ViewedScene, relabelled: Run, backbone: Backbone
) -> None:
    budget = 5000
    seen = photos(relabelled, viewed.center + viewed.scene.origin)
    words = Words(backbone)
    page = Page(
        viewed.scene.up, lambda handle: Client(handle, viewed, words, seen, (), budget=budget), port=0
    )
    try:
        tab = browser.new_page()
        tab.goto(page.address)
        tab.get_by_text(f"{budget:,} of {len(viewed):,} points are shown").wait_for()
        tab.get_by_text(f"{len(viewed) - budget:,} are left out").wait_for()
        client = page.clients[max(page.clients)]
        pose = seen.frames[3].world_from_camera
        offset = viewed.xyz - (pose[:3, 3] + seen.shift)
        far = np.linalg.norm(offset, axis=1)
        before = np.nonzero(offset @ pose[:3, 2] > 0.7 * far)[0]
        near = before[np.argsort(far[before])][:200]
        assert np.isin(near, client.index).mean() < 0.6
        client.jump(3)
        until(lambda: bool(np.isin(near, client.index).all()))
        assert len(client.index) == budget
        tab.close()
    finally:
        page.stop()


def test_measuring_between_two_points(visit: Callable[[], tuple[Tab, Client]], viewed: ViewedScene) -> None:
    tab, client = visit()
    client.select(5)
    field(tab, "Measure").check()
    until(lambda: client.points == [])
    client.select(40)
    client.select(900)
    a, b = viewed.scene.cloud().xyz[[40, 900]].double()
    tab.get_by_text(f"{float((a - b).norm()):.3f} m").wait_for()
