"""Small captures that the tests build themselves."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from purify3d.types import Scene

SHARED = Path(__file__).resolve().parents[2] / "shared"
_MISSING = "reference captures and weights (../shared) are not on this machine"
_NO_BROWSER = "no Chromium is installed on this machine (Debian: apt-get install chromium)"
_LEAVE = (_MISSING, _NO_BROWSER)  # what a test may skip for
_skipped: list[str] = []


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference captures and a segmenter's weights, which do not ship with the package."""
    if not SHARED.is_dir():
        pytest.skip(_MISSING)
    return SHARED


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program of the browser that is installed; none is downloaded."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    program = next((path for path in found if path), None)
    if program is None:
        pytest.skip(_NO_BROWSER)
    return program


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Headless, with WebGL drawn by the processor."""
    from playwright.sync_api import sync_playwright

    drawn = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=drawn)
        yield browser
        browser.close()


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if report.skipped and not hasattr(report, "wasxfail") and not any(leave in reason for leave in _LEAVE):
        _skipped.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note_skip(report)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A test that skips protects nothing, so only what needs data or a browser that does not ship may."""
    if _skipped and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _skipped:
        terminalreporter.write_line(f"skipped without leave: {line}")


@pytest.fixture(scope="session")
def room() -> Scene:
    """A small furnished room with truth."""
    from purify3d.rooms import synthetic_scene

    return synthetic_scene(3, frames=8, width=160, height=120)


@pytest.fixture(scope="session")
def room_folder(room: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captures") / "room"
    for name in ("color", "depth", "label", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    camera = room.frames[0].camera
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    for kind in ("color", "depth"):
        np.savetxt(folder / "intrinsic" / f"intrinsic_{kind}.txt", matrix)
    for i, frame in enumerate(room.frames):
        assert frame.label is not None
        Image.fromarray(frame.color()).save(folder / "color" / f"{i}.jpg", quality=95)
        Image.fromarray((frame.depth() * 1000).round().astype(np.uint16)).save(folder / "depth" / f"{i}.png")
        Image.fromarray((frame.label() + 1).astype(np.uint16)).save(folder / "label" / f"{i}.png")
        np.savetxt(folder / "pose" / f"{i}.txt", frame.world_from_camera)
    names = {"0": "unlabeled"} | {str(i + 1): name for i, name in room.truth.items()}
    (folder / "labels.json").write_text(json.dumps(names))
    return folder


@pytest.fixture
def capture(room_folder: Path, tmp_path: Path) -> Path:
    """The room as a ScanNet-style folder, to be spoilt at will."""
    return Path(shutil.copytree(room_folder, tmp_path / "room"))


@pytest.fixture
def purify3d(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the program in this process: exit code, stdout, stderr."""
    from purify3d.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["purify3d", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        out, err = capfd.readouterr()
        return code, out, err

    return run
