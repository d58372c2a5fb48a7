"""What a reviewer found who attacked: each case ran code, waited for ever, or took gigabytes before."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from purify3d.affinities.student import Student
from purify3d.backbones.pretrained import source_of
from purify3d.base.checkpoints import file_digest, read_checkpoint
from purify3d.base.errors import CaptureError, CheckpointError, PurifyError, PurifyWarning, RunError
from purify3d.captures.formats.colmap import _floats
from purify3d.captures.reading.images import read_color
from purify3d.captures.reading.opening import opened_bytes, opened_image
from purify3d.captures.reading.video import read_index
from purify3d.clouds import read_cloud
from purify3d.clouds.vertices import picture
from purify3d.exporting.file_stems import file_stem
from purify3d.pictures.palettes import label_colors
from purify3d.runs import Run
from purify3d.runs.folder import Folder
from purify3d.types import Camera

TOPICS = (
    "CREATE TABLE topics(id INTEGER PRIMARY KEY, name, type, serialization_format, offered_qos_profiles);"
)
MESSAGES = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, data);"
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS"


# ------------------------------------------------------------------------------------------------- bags


def bag(folder: Path, sql: str, name: str = "a.db3") -> Path:
    base = sqlite3.connect(folder / name)
    base.executescript(sql)
    base.close()
    return folder / name


@pytest.mark.parametrize(
    "sql",
    [
        f"{TOPICS}{MESSAGES}CREATE VIEW schema AS {ENDLESS} schema_version FROM c WHERE x < 0;",
        f"{TOPICS}{MESSAGES}CREATE VIEW message_definitions AS {ENDLESS} id FROM c;",
        f"{TOPICS}CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, data AS (zeroblob(900000000)));",
    ],
)
def test_databases_that_compute_are_not_asked(sql: str, tmp_path: Path) -> None:
    bags = pytest.importorskip("purify3d.captures.formats.ros_bags")
    pytest.importorskip("rosbags")
    with (
        pytest.raises(CaptureError, match="expected the tables that ROS writes"),
        bags.open_bag(bag(tmp_path, sql)),
    ):
        pass


def test_pages_in_a_circle_end(tmp_path: Path) -> None:
    """Each inner page of the tree names the next one hundreds of times: no walk through it would end."""
    from purify3d.captures.formats.ros_bags import check_tables

    rows = "INSERT INTO messages SELECT x, 1, x, 'a' FROM c LIMIT 5;"
    file = bag(
        tmp_path, f"PRAGMA page_size=4096;{TOPICS}{MESSAGES}{rows.replace('INSERT', _WITH + 'INSERT', 1)}"
    )
    data = bytearray(file.read_bytes())
    size = 4096
    root = len(data) // size  # the last page holds the rows of messages
    leaf = bytes(data[(root - 1) * size : root * size])
    depth = 8
    pages = []
    for level in range(depth):  # pages root, root + 1, ...: each but the last one points to the next
        child, count = root + level + 1, 500
        page = bytearray(size)
        cells = [size - 5 * (i + 1) for i in range(count)]
        page[:12] = struct.pack(">BHHHBI", 5, 0, count, min(cells), 0, child)
        for i, at in enumerate(cells):
            page[12 + 2 * i : 14 + 2 * i] = struct.pack(">H", at)
            page[at : at + 5] = struct.pack(">IB", child, 5)
        pages.append(bytes(page))
    data[(root - 1) * size :] = b"".join([*pages, leaf])
    data[28:32] = struct.pack(">I", len(data) // size)
    file.write_bytes(data)
    with pytest.raises(sqlite3.Error):
        check_tables(file)


_WITH = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "


def test_a_database_has_its_own_name(tmp_path: Path) -> None:
    """SQLite takes a path for an address: `%2e%2e%2f` leads out of the folder."""
    bags = pytest.importorskip("purify3d.captures.formats.ros_bags")
    pytest.importorskip("rosbags")
    bag(tmp_path, TOPICS + MESSAGES, "private.db3")
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "%2e%2e%2fprivate.db3").touch()
    with (
        pytest.raises(CaptureError, match="rename it"),
        bags.open_bag(tmp_path / "bag" / "%2e%2e%2fprivate.db3"),
    ):
        pass


def test_aliases_of_yaml_are_not_unfolded(tmp_path: Path) -> None:
    bags = pytest.importorskip("purify3d.captures.formats.ros_bags")
    pytest.importorskip("rosbags")
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    (tmp_path / "metadata.yaml").write_text("\n".join(lines))
    with pytest.raises(CaptureError, match="unfold to any size"), bags.open_bag(tmp_path):
        pass


# --------------------------------------------------------------------------------------------- checkpoints


def test_models_are_made_of_files(tmp_path: Path) -> None:
    """A pipe in the folder of a student, of a model of transformers, or in place of a checkpoint."""
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match="named pipe"):
        Student.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="named pipe"):
        source_of(str(tmp_path))
    for read in (file_digest, lambda path: read_checkpoint(path, advice="None")):
        with pytest.raises(CheckpointError, match="named pipe"):
            read(tmp_path / "config.json")


def test_packed_tensors_are_none_of_torch(tmp_path: Path) -> None:
    torch.save(torch.zeros(1_000_000), tmp_path / "a.pt")
    assert len(read_checkpoint(tmp_path / "a.pt", advice="None")) == 1_000_000
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as plain,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(CheckpointError, match="packed"):
        read_checkpoint(tmp_path / "b.pt", advice="None")


# -------------------------------------------------------------------------------------------------- images


def test_no_image_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n"
    (tmp_path / "a.png").write_bytes(text)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(CaptureError), opened_image(tmp_path / "a.png") as image:
        image.load()
    with pytest.raises(CaptureError), opened_bytes(text, "it") as image:
        image.load()
    assert picture(tmp_path / "a.png") is None


def test_scans_of_a_jpeg_are_few(tmp_path: Path) -> None:
    """Of 64 megapixels each takes some milliseconds, and has a hundred bytes."""
    Image.new("L", (640, 480)).save(tmp_path / "a.jpg", progressive=True)
    data = (tmp_path / "a.jpg").read_bytes()
    assert read_color(tmp_path / "a.jpg", Camera(500, 500, 320, 240, 640, 480)).shape == (480, 640, 3)
    last = data[data.rindex(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(data[:-2] + 250 * last + data[-2:])
    with pytest.raises(CaptureError, match=r"JPEG of 2\d+ scans"):
        read_color(tmp_path / "a.jpg", Camera(500, 500, 320, 240, 640, 480))
    assert picture(tmp_path / "a.jpg") is None


def peak_of(code: str) -> int:
    """MB that a process takes."""
    end = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    done = subprocess.run([sys.executable, "-c", code + end], capture_output=True, text=True, check=True)
    return int(done.stdout)


def png(path: Path, side: int, bits: int, kind: int) -> Path:
    """A black square of some kB."""
    packed = zlib.compressobj(9)
    row = b"\0" + bytes(side * {0: 1, 6: 4}[kind] * bits // 8)
    data = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, bits, kind, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    )
    written = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))
    return path


def test_large_images_take_what_they_must(tmp_path: Path) -> None:
    grey = png(tmp_path / "grey.png", 8000, 16, 0)
    assert grey.stat().st_size < 1_000_000
    begin = "from pathlib import Path; from purify3d."
    code = (
        f"{begin}captures.reading.images import read_color; from purify3d.types import Camera; "
        f"read_color(Path({str(grey)!r}), Camera(9, 9, 4000, 4000, 8000, 8000))"
    )
    assert peak_of(code) < 2000
    texture = png(tmp_path / "texture.png", 13370, 8, 6)
    code = f"{begin}clouds.vertices import picture; picture(Path({str(texture)!r}))"
    assert peak_of(code) < 2000


@pytest.mark.parametrize("kind", ["I;16", "I", "F"])
def test_grey_is_scaled_as_it_was(kind: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 60000, (40, 50))
    stored = values.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[kind])
    if kind == "F":
        stored[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(stored).save(tmp_path / "a.tiff")
    grey = stored.astype(np.float64)
    known = grey[np.isfinite(grey)]
    low, high = np.percentile(known, [0.5, 99.5])
    scaled = (np.nan_to_num(grey, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12)
    wanted = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    found = read_color(tmp_path / "a.tiff", Camera(50, 50, 25, 20, 50, 40))
    assert (found == wanted[..., None]).all()


def test_a_list_of_videos_is_no_video(tmp_path: Path) -> None:
    """FFmpeg would open what is in it."""
    pytest.importorskip("av")
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile b.mp4\n")
    os.mkfifo(tmp_path / "b.mp4")
    with pytest.raises(CaptureError):
        read_index(tmp_path / "a.mp4")


@pytest.mark.parametrize("header", ["((((", "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "'"])
def test_depth_maps_believe_no_header(header: str, tmp_path: Path) -> None:
    text = header.encode()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(16))
    with pytest.raises(CaptureError, match="expected depth as floats"):
        _floats(tmp_path / "a.npy")


# -------------------------------------------------------------------------------------------------- glTF


def scene(file: Path, **changed: Any) -> Path:
    """Three vertices in a file beside."""
    tree = {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": "a.bin", "byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0}],
    }
    (file.parent / "a.bin").write_bytes(bytes(120_000))
    file.write_text(json.dumps(tree | changed))
    return file


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    read = np.fromfile

    def counted(path: Path, kind: type) -> np.ndarray:
        calls.append(path)
        return read(path, kind)

    monkeypatch.setattr("numpy.fromfile", counted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PurifyWarning)
        assert len(read_cloud(scene(tmp_path / "a.gltf", buffers=[{"uri": "a.bin"}] * 1000))) == 3
    assert len(calls) == 1


def test_meshes_are_placed_up_to_a_number(tmp_path: Path) -> None:
    table = {"bufferView": 0, "componentType": 5126, "count": 10000, "type": "VEC3"}
    views = [{"buffer": 0, "byteLength": 120_000}]
    file = scene(tmp_path / "a.gltf", accessors=[table], bufferViews=views, nodes=[{"mesh": 0}] * 2001)
    with pytest.raises(CaptureError, match="placed as more than"):
        read_cloud(file)


# --------------------------------------------------------------------------------------------------- runs


@pytest.mark.parametrize(
    "row",
    [
        {"color": ["'><script>alert(1)</script>", 2, 3]},
        {"color": "'><script>"},
        {"points": "many"},
        {"points": None},
        {"name": 3},
    ],
)
def test_a_notebook_shows_no_markup_of_a_run(row: dict[str, Any], run: Path) -> None:
    legend = json.loads((run / "labels.json").read_text())
    legend[0] |= row
    (run / "labels.json").write_text(json.dumps(legend))
    with pytest.raises(RunError, match=r"labels\.json cannot be used"):
        Run.open(run)._repr_html_()


def test_a_command_to_repeat_is_quoted(run: Path) -> None:
    """It is there to be copied into a shell."""
    config = json.loads((run / "config.json").read_text())
    config["capture"]["path"], config["backbone"] = "scan; touch gone", "segmenter:lite; touch gone"
    (run / "config.json").write_text(json.dumps(config))
    (run / "stages.json").write_text(json.dumps({"lift": {"files": {}}}))
    with pytest.raises(RunError, match="make it anew") as raised:
        Folder(run)
    words = shlex.split(str(raised.value).partition("make it anew: ")[2])
    assert "scan; touch gone" in words
    assert "segmenter:lite; touch gone" in words


def test_names_that_cannot_be_written(run: Path) -> None:
    """Half a character, as a name of a file that is no UTF-8 has it."""
    facts = json.loads((run / "scene.json").read_text())
    (run / "scene.json").write_text(json.dumps(facts | {"name": "\ud800"}))
    with pytest.raises(RunError, match="cannot write"):
        Run.open(run).objects()


@pytest.mark.parametrize("how", ["@{}", "{}"])
def test_settings_of_strangers_read_no_labels(how: str, run: Path, tmp_path: Path) -> None:
    """They would be shown, exported and shared."""
    (tmp_path / "private.txt").write_text("my password")
    config = json.loads((run / "config.json").read_text())
    config["labels"] = how.format(tmp_path / "private.txt")
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="expected labels themselves") as raised:
        Run.open(run)
    assert "password" not in str(raised.value)


def test_what_killed_exports_left_goes(run: Path) -> None:
    left = run / "export" / ".partial-a"
    left.mkdir(parents=True)
    (left / "room.ply").touch()
    os.utime(left, (0, 0))
    Run.open(run).export("ply")
    assert [file.suffix for file in (run / "export").iterdir()] == [".ply"]


def test_names_do_not_move_the_cursor(purify3d: Callable[..., tuple[int, str, str]], run: Path) -> None:
    """Escapes of a terminal in a label, and in a path."""
    legend = (run / "config.json").read_text()
    (run / "config.json").write_text(legend.replace("chair", "ch\\u001b[2Jair"))
    for arguments in (("info", run), ("info", "scan\x1b[2J")):
        _, out, err = purify3d(*arguments)
        assert "\x1b" not in out + err
        assert "\N{REPLACEMENT CHARACTER}" in out + err


def test_colors_of_many_labels_take_no_longer_each(tmp_path: Path) -> None:
    """As many comparisons for each of them, however many there are."""
    names = [f"label {i}" for i in range(3000)]
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += np.size(args[0])
        return norm(*args, **kwargs)

    norm = np.linalg.norm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("numpy.linalg.norm", counted)
        label_colors(names[:1500])
        first, calls = calls, 0
        label_colors(names)
    assert calls <= 2.1 * first


@pytest.mark.parametrize("key", ["backbone", "affinity"])
def test_names_of_models_that_no_file_system_has(key: str, run: Path) -> None:
    """A foreign configuration may name anything."""
    text = (run / "config.json").read_text()
    changed = re.sub(rf'"{key}": "[^"]*"', f'"{key}": "{"x" * 5000}"', text)
    assert changed != text
    (run / "config.json").write_text(changed)
    opened = Run.open(run)
    assert opened.job.resolved()
    with pytest.raises(PurifyError):
        opened.backbone if key == "backbone" else opened.embedding


@pytest.mark.parametrize("name", ["ü" * 300, "房" * 300, "a" * 300, "..", ""])
def test_names_of_files_are_short_in_bytes(name: str) -> None:
    stem = file_stem(name)
    assert 0 < len(stem.encode()) <= 100
    assert not stem.startswith(".")


def test_origins_beyond_all_numbers(run: Path) -> None:
    facts = json.loads((run / "scene.json").read_text())
    (run / "scene.json").write_text(json.dumps(facts | {"origin": [10**400, 0, 0]}))
    with pytest.raises(RunError):
        Run.open(run).points
