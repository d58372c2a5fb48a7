"""Small captures that the tests build themselves. Nothing heavy is imported before a fixture needs it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if TYPE_CHECKING:
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
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A folder that `make` fills, once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = base / name, base / f"{name}.made"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def room_folder(room: Scene, once: Callable[..., Path]) -> Path:
    """The room as a ScanNet-style folder, to be read alone; see `capture`."""
    from fakes import write_scannet

    return once("room", lambda folder: write_scannet(room, folder))


@pytest.fixture
def capture(room_folder: Path, tmp_path: Path) -> Path:
    """The room as a ScanNet-style folder, to be spoilt at will."""
    return Path(shutil.copytree(room_folder, tmp_path / "room"))


@pytest.fixture(scope="session")
def finished(room_folder: Path, once: Callable[..., Path]) -> Path:
    """A finished run of the room with LABELS, to be read alone; see `run`."""
    from fakes import LABELS

    from purify3d.pipeline import run_job
    from purify3d.runs.job import job

    return once("finished", lambda folder: run_job(job(room_folder, LABELS), folder))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """The folder of a finished run, to be spoilt at will; its capture is where it was."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


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
