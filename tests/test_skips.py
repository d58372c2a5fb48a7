"""Nothing skips but what needs the reference captures and the TensorFlow Lite file, which do not ship."""

import subprocess
import sys
from pathlib import Path

import pytest

#: The tests that may ask for what does not ship: real and rendered captures, and a segmenter's weights.
NEED_SHARED = {
    "test_captures.py": {"test_reference_captures"},
    "test_describe.py": {"test_tflite"},
    "test_segmenter.py": {"test_tflite", "test_tflite_needs_its_names"},
}


def test_only_captures_and_the_tflite_file_are_asked_for(request: pytest.FixtureRequest) -> None:
    asking = [item for item in request.session.items if "shared" in getattr(item, "fixturenames", ())]
    others = [
        item.nodeid
        for item in asking
        if item.name.split("[")[0] not in NEED_SHARED.get(item.path.name, set())
    ]
    assert others == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("def test_it(): pass", 0),
        ("def test_it(shared): assert (shared / 'captures').is_dir()", 0),
        ("import pytest\ndef test_it(): pytest.skip('not today')", 1),
        ("import pytest\n@pytest.mark.skipif(True, reason='not today')\ndef test_it(): pass", 1),
        ("import pytest\npytest.importorskip('no_such_package')\ndef test_it(): pass", 1),
    ],
)
def test_a_run_in_which_anything_else_skips_fails(tmp_path: Path, body: str, code: int) -> None:
    """The rule itself (in conftest.py), at work in a folder that has no reference data beside it."""
    tests = tmp_path / "project" / "tests"
    tests.mkdir(parents=True)
    for name in ("conftest.py", "fakes.py"):
        (tests / name).write_text((Path(__file__).parent / name).read_text())
    (tests / "test_it.py").write_text("def test_other(): pass\n")
    (tests / "test_one.py").write_text(body + "\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", str(tests)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stdout + run.stderr
    assert ("skipped without leave" in run.stdout) == bool(code)
