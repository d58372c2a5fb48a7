"""The examples run as they are, with fewer frames and steps."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
QUICKER = {r"\?frames=\d+": "?frames=4&width=160&height=120", r"STEPS = \d+": "STEPS = 3"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 40
    for slow, quick in QUICKER.items():
        source = re.sub(slow, quick, source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    exec(compile(source, str(path), "exec"), {"__name__": "__main__", "__file__": str(path)})
    assert capsys.readouterr().out


def test_every_example_is_linked() -> None:
    for page in ("README.md", "docs/library.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert all(path.name in text for path in EXAMPLES), page
