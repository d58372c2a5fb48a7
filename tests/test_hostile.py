"""What strangers put into a run or a capture reads, writes and runs nothing beyond it."""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import stat
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filelock import Timeout
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from purify3d.backbones.pretrained import source_of
from purify3d.base import files
from purify3d.base.arrays import array_headers, load_array
from purify3d.base.errors import CaptureError, PurifyWarning, RunError
from purify3d.base.files import append_text, locked, make_folders, path_inside, write_folder, write_whole
from purify3d.base.limits import address_space_left
from purify3d.base.memory import free_memory
from purify3d.captures import open_capture
from purify3d.captures.formats.nerfstudio import write_nerfstudio
from purify3d.cli.errors import explained
from purify3d.clouds import read_cloud
from purify3d.runs import Run
from purify3d.runs.folder import Folder
from purify3d.types import Scene

Program = Callable[..., tuple[int, str, str]]
SOURCE = Path(__file__).resolve().parents[1] / "src" / "purify3d"
SECRET = "secret of the user"


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """A file of the user, which is as it was after the test."""
    file = tmp_path / "private.txt"
    file.write_text(SECRET)
    yield file
    assert file.read_text() == SECRET
    assert stat.S_ISREG(file.lstat().st_mode)


# -------------------------------------------------------------------------------------------- one place


@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "pipe"])
@pytest.mark.parametrize("write", ["whole", "folder", "append", "lock"])
def test_nothing_is_written_through_what_is_no_file(
    kind: str, write: str, secret: Path, tmp_path: Path
) -> None:
    place, target = tmp_path / "place", secret if kind == "link" else tmp_path / "beyond"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(target)
    writers: dict[str, Callable[[], Any]] = {
        "whole": lambda: write_whole(place, lambda path: path.write_text("ours")),
        "folder": lambda: write_folder(place, lambda path: (path / "ours").touch()),
        "append": lambda: append_text(place, "ours"),
        "lock": lambda: locked(place),
    }
    if kind == write:  # the one thing that a folder may replace
        return
    with pytest.raises(OSError, match=r"expected (a file of ours or nothing|one)") as raised:
        writers[write]()
    assert str(place) in str(raised.value)
    assert not (tmp_path / "beyond").exists()
    assert not list(tmp_path.glob(".partial-*"))


def test_a_folder_of_ours_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "named").symlink_to(tmp_path / "elsewhere")  # by the user
    assert make_folders(tmp_path / "named", "a", "b").is_dir()
    (tmp_path / "elsewhere" / "c").symlink_to(tmp_path)
    with pytest.raises(OSError, match="found no folder of ours"):
        make_folders(tmp_path / "named", "c", "d")
    assert not (tmp_path / "d").exists()


def test_a_link_that_appears_while_a_file_is_made(secret: Path, tmp_path: Path) -> None:
    """At its place, or in place of the folder in which it is made."""
    place = tmp_path / "ours"

    def swapped(path: Path) -> None:
        (made,) = tmp_path.glob(".partial-*")
        made.rename(tmp_path / "moved")
        (tmp_path / "trap").mkdir(exist_ok=True)
        (tmp_path / "trap" / "ours").symlink_to(secret)
        made.symlink_to(tmp_path / "trap")
        path.write_text("ours")
        place.symlink_to(secret)

    with pytest.raises(OSError, match="found a link"):
        write_whole(place, swapped)


def test_junctions_of_windows_are_links() -> None:
    """By their reparse tag; what a cloud drive keeps elsewhere has one too, and is a file."""
    junction = SimpleNamespace(st_mode=stat.S_IFDIR | 0o755, st_reparse_tag=0xA0000003)
    in_the_cloud = SimpleNamespace(st_mode=stat.S_IFREG | 0o644, st_reparse_tag=0x9000001A)
    assert files._kind(junction) == "a link"  # type: ignore[arg-type]
    assert files._kind(in_the_cloud) is None  # type: ignore[arg-type]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", lambda path: (path / "a").write_text("1"))
    with pytest.raises(ZeroDivisionError):
        write_folder(tmp_path / "out", lambda path: 1 / 0)
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "a"]
    write_folder(tmp_path / "out", lambda path: (path / "b").write_text("2"))
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["b", "out"]


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock"), pytest.raises(Timeout):
        locked(tmp_path / ".lock")


@pytest.mark.parametrize(
    "name",
    ["../a", "/etc/passwd", "b/../../a", "", " ", "a\0b", "x" * 1000, "\ud800", "..", "b/" + "y" * 300],
)
def test_names_that_lead_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"outside|the name of no file"):
        path_inside(tmp_path / "c" / "d", name)


@pytest.mark.parametrize("name", ["a.png", "b/../a.png", "./a b.png", "ä/ö.jpg", "a:b.png"])
def test_names_that_stay_inside(name: str, tmp_path: Path) -> None:
    assert path_inside(tmp_path, name) == tmp_path / name


#: Calls that write or make files and folders, by the last part of their name.
WRITES = {
    *("write_text", "write_bytes", "mkdir", "touch", "save", "savefig", "savez_compressed", "save_file"),
    *("rename", "replace_file", "makedirs", "copyfile", "copytree", "symlink_to", "mkdtemp", "rmtree"),
    *("TemporaryFile", "NamedTemporaryFile", "TemporaryDirectory", "FileLock", "imwrite", "tofile"),
}
#: Those of `base/files.py` that have the name of one.
OURS = {"write_text"}
#: All functions of the package that do so, and why each may: it is given a place by `base/files.py`, makes
#: only the folder that the user names, or a temporary file of the system.
WRITERS = {
    "base/files.py": "the one home of writing",
    "base/stopwatch.py": "/proc/self of this process",
    "affinities/student.py:save_pretrained": "the folder that the user names; write_whole",
    "affinities/tiles.py:__init__": "a temporary file without a name",
    "benchmarking/datasets/prepare.py:prepare": "the folder that the user names",
    "benchmarking/datasets/writing.py": "in write_folder",
    "captures/formats/exchange.py": "in write_folder, and the folder around what the user names",
    "cli/check.py:check": "the folder around what the user names",
    "cli/view.py:view": "the picture that the user names",
    "clouds/las.py": "given a place",
    "clouds/ply.py:write_ply": "given a place",
    "exporting/coco.py": "in write_folder",
    "exporting/glb.py": "given a place",
    "exporting/npz.py": "given a place",
    "exporting/rrd.py": "given a place",
    "exporting/scannet.py": "in write_folder",
    "exporting/writing.py:export": "the folder around what the user names",
    "pictures/encoding.py": "into memory",
    "runs/artefacts.py": "in StageWriter.write",
    "runs/folder.py:writing": "the folder that the user names",
    "runs/folder.py:_save": "in write_whole",
    "runs/folder.py:flush": "in write_whole",
    "runs/folder.py:write_json": "in write_whole",
    "runs/folder.py:check_writable": "a temporary file without a name",
    "runs/objects.py": "in StageWriter.write",
    "training/loop.py": "the folder that the user names; write_whole",
    "training/report.py:plot": "in write_whole",
    "training/scenes.py:_keep": "the folder that the user names; write_whole",
    "viewing/share/single_file.py:write_page": "the folder around what the user names; write_whole",
    "viewing/state.py": "a temporary folder of the system",
}


def writers_of(file: Path) -> set[str]:
    """Functions of a file in which something is written."""
    found = set()

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef):
            function = function or node.name
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            name = "" if ast.unparse(called) in OURS else name
            words = [
                a.value
                for a in (*node.args, *(k.value for k in node.keywords))
                if isinstance(a, ast.Constant)
            ]
            opens = name == "open" and any(
                isinstance(w, str) and set(w) & set("wax+") and len(w) < 4 for w in words
            )
            if name in WRITES or opens or ast.unparse(called) == "las.write":
                found.add(f"{file.relative_to(SOURCE).as_posix()}:{function}")
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(file.read_text()), "")
    return found


def test_every_writer_is_known() -> None:
    """Whoever adds one says in WRITERS why no link can lead it elsewhere."""
    found = set[str]().union(*(writers_of(file) for file in SOURCE.rglob("*.py")))
    unknown = {each for each in found if each not in WRITERS and each.partition(":")[0] not in WRITERS}
    gone = {each for each in WRITERS if not any(f == each or f.startswith(f"{each}:") for f in found)}
    assert (unknown, gone) == (set(), set())


# -------------------------------------------------------------------------------------------------- runs

#: Whatever a question, objects, an export or a repeated run might write.
WRITTEN = (".writer", ".lock", "query-bed.ply", "query-bed.png", "objects.json", "objects.csv", "objects.ply")
COMMANDS = (
    ("query", "RUN", "bed"),
    ("objects", "RUN"),
    ("export", "RUN", "--to", "ply"),
)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_run_writes_through_no_link(name: str, run: Path, secret: Path, purify3d: Program) -> None:
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(secret)
    for command in COMMANDS:
        code, _, err = purify3d(*(str(run) if word == "RUN" else word for word in command))
        assert code == 0 or (name in err and "found a link" in err)


@pytest.mark.parametrize(
    "name", [*WRITTEN, "config.json", "stages.json", "labels.ply", "features.safetensors"]
)
def test_no_pipe_makes_a_run_wait(name: str, run: Path, purify3d: Program) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    for command in COMMANDS:
        code, _, err = purify3d(*(str(run) if word == "RUN" else word for word in command))
        assert code == 0 or "expected" in err or "a file is missing" in err


@pytest.mark.parametrize("name", ["export", "export/room.ply"])
def test_an_export_stays_in_the_run(name: str, run: Path, tmp_path: Path, purify3d: Program) -> None:
    (tmp_path / "elsewhere").mkdir()
    if name == "export":
        (run / "export").symlink_to(tmp_path / "elsewhere")
    else:
        (run / "export").mkdir()
        name = f"{Run.open(run).scene.name}.ply"
        (run / "export" / name).symlink_to(tmp_path / "elsewhere" / "made")
    code, _, err = purify3d("export", run, "--to", "ply", "--overwrite")
    assert code == 1
    assert "found no folder of ours" in err or "found a link" in err
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    "name", ["config.json", "labels.ply", "features.safetensors", "points.ply", "stages.json"]
)
def test_a_run_reads_no_file_of_its_reader(name: str, run: Path, tmp_path: Path, purify3d: Program) -> None:
    """What lies at the other end of a link may be private."""
    (run / name).rename(tmp_path / "other")
    (run / name).symlink_to(tmp_path / "other")
    code, _, err = purify3d(
        *(("export", run, "--to", "ply") if name == "labels.ply" else ("query", run, "bed"))
    )
    assert code == 1
    assert name in err or "no whole features" in err or "no whole labels" in err


@pytest.mark.parametrize("endless", ["config.json", "stages.json"])
def test_endless_files_end(endless: str, run: Path, purify3d: Program) -> None:
    (run / endless).unlink()
    (run / endless).symlink_to("/dev/zero")
    code, _, err = purify3d("query", run, "bed")
    assert code == 1
    assert endless in err


def test_endless_settings_end(purify3d: Program, tmp_path: Path) -> None:
    code, _, err = purify3d(
        "segment", "synthetic:7?frames=2", "--config", "/dev/zero", "-o", tmp_path / "run"
    )
    assert code != 0
    assert "found a device" in err


# ------------------------------------------------------------------------------------- runs of others


@pytest.fixture
def read_only(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of somebody else: any writing there is an error."""
    monkeypatch.setattr(Folder, "writable", False)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a run that cannot be written is written")

    monkeypatch.setattr(Folder, "writing", refuse)
    return run


def test_a_read_only_run_answers(read_only: Path, tmp_path: Path, purify3d: Program) -> None:
    before = contents(read_only)
    code, out, err = purify3d("query", read_only, "bed")
    assert (code, "cannot be written, so nothing is kept; -o FOLDER" in err) == (0, True)
    assert "wrote" not in out
    code, out, _ = purify3d("query", read_only, "bed", "-o", tmp_path / "answers")
    assert code == 0
    assert {"query-bed.ply", "query-bed.png"} == contents(tmp_path / "answers").keys()
    code, out, _ = purify3d("objects", read_only, "--text", "bed", "-o", tmp_path / "objects")
    assert {f"objects-bed.{suffix}" for suffix in ("json", "csv", "ply")} == contents(
        tmp_path / "objects"
    ).keys()
    assert purify3d("objects", read_only, "-o", tmp_path / "all")[0] == 0
    assert {f"objects.{suffix}" for suffix in ("json", "csv", "ply")} == contents(tmp_path / "all").keys()
    assert purify3d("export", read_only, "--to", "ply", "-o", tmp_path / "room.ply")[0] == 0
    assert contents(read_only) == before


def test_a_read_only_run_answers_as_another(run: Path, tmp_path: Path, purify3d: Program) -> None:
    """The same files with -o as in the run."""
    assert purify3d("query", run, "bed")[0] == 0
    assert purify3d("query", run, "bed", "-o", tmp_path / "out")[0] == 0
    for name, data in contents(tmp_path / "out").items():
        assert (run / name).read_bytes() == data


def test_who_may_write_is_asked_of_the_system() -> None:
    """In a process of a user who may not."""
    ask = (
        "import os, tempfile; from purify3d.runs.folder import Folder\n"
        "home = tempfile.mkdtemp(); os.chmod(home, 0o555); folder = Folder(home)\n"
        "os.geteuid() or os.seteuid(65534)\n"
        "print(folder.writable)"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be opened"):
        files.read_text(tmp_path / "none")


# ------------------------------------------------------------------------------------------- code in models


@pytest.mark.parametrize("name", ["segmenter:FOLDER", "clip:FOLDER", "siglip:FOLDER"])
@pytest.mark.parametrize("place", ["config", "tokenizer", "processor"])
def test_no_code_of_a_model_is_run(
    name: str, place: str, tmp_path: Path, purify3d: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where somebody says yes to whatever is asked."""
    pytest.importorskip("transformers")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Any: pass\n")
    kinds = (
        "AutoConfig",
        "AutoModelForSemanticSegmentation",
        "AutoModel",
        "AutoTokenizer",
        "AutoImageProcessor",
    )
    mapped = {"auto_map": {kind: "code.Any" for kind in kinds}, "model_type": "own"}
    known = {"model_type": {"segmenter": "segformer"}.get(name.partition(":")[0], name.partition(":")[0])}
    processor = {"image_processor_type": "SegformerImageProcessor"}
    files = {
        "config.json": mapped if place == "config" else known,
        "tokenizer_config.json": mapped if place == "tokenizer" else {},
        "preprocessor_config.json": mapped if place == "processor" else processor,
    }
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    code, _, err = purify3d("info", name.replace("FOLDER", str(folder)))
    assert code == 1
    assert str(folder) in err
    assert not (tmp_path / "ran").exists()


def test_every_call_of_the_library_refuses_code() -> None:
    """Each takes the options of `source_of`, which say no."""
    calls = [
        (file.name, ast.unparse(node))
        for file in (SOURCE / "backbones").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("from_pretrained")
    ]
    assert len(calls) >= 5
    assert [call for call in calls if "**options" not in call[1]] == []


def test_options_refuse_code(tmp_path: Path) -> None:
    for name in (str(tmp_path), "some/model", "some/model@v1"):
        assert source_of(name)[1]["trust_remote_code"] is False


# ------------------------------------------------------------------------------ names that a file mentions


def triangle(uri: str) -> dict[str, Any]:
    """A glTF whose three positions lie in a file of that name."""
    return {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": uri, "byteLength": 36}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0}],
    }


def leads_out(tmp_path: Path) -> list[str]:
    return [
        "../positions.bin",
        str(tmp_path / "positions.bin"),
        "a/../../positions.bin",
        "%2e%2e/positions.bin",
    ]


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder for a capture; what is private lies beside it."""
    np.arange(9, dtype="<f4").tofile(tmp_path / "positions.bin")
    Image.new("RGB", (4, 4), "red").save(tmp_path / "private.png")
    folder = tmp_path / "scan"
    folder.mkdir()
    np.arange(9, dtype="<f4").tofile(folder / "positions.bin")
    return folder


def test_gltf_reads_beside_itself_alone(beside: Path) -> None:
    (beside / "a.gltf").write_text(json.dumps(triangle("positions.bin")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PurifyWarning)
        assert len(read_cloud(beside / "a.gltf")) == 3
    for uri in leads_out(beside.parent):
        (beside / "a.gltf").write_text(json.dumps(triangle(uri)))
        with pytest.raises(CaptureError, match="outside"):
            read_cloud(beside / "a.gltf")


def test_textures_are_read_beside_a_mesh_alone(beside: Path) -> None:
    tree = triangle("positions.bin")
    tree["accessors"].append({"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC2"})
    tree["meshes"][0]["primitives"][0] |= {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}
    tree["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    tree |= {"textures": [{"source": 0}], "images": [{"uri": "../private.png"}]}
    (beside / "a.gltf").write_text(json.dumps(tree))
    mesh = "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl m\nf 1/1 2/1 3/1\n"
    (beside / "a.obj").write_text(mesh)
    (beside / "a.mtl").write_text("newmtl m\nmap_Kd ../private.png\n")
    (beside / "b.obj").write_text(mesh.replace("a.mtl", "../a.mtl"))
    (beside.parent / "a.mtl").write_text("newmtl m\nmap_Kd private.png\n")
    for name in ("a.gltf", "a.obj", "b.obj"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cloud = read_cloud(beside / name)
        assert any("outside" in str(warning.message) for warning in caught)
        assert (cloud.rgb == 128).all()


@pytest.mark.parametrize("name", ["../../private.png", "/etc/hostname.png", "x" * 1000 + ".png"])
def test_lists_of_files_lead_nowhere(name: str, tmp_path: Path, room: Scene) -> None:
    """transforms.json and TUM's lists; COLMAP's and Matterport's names go the same way."""
    scan = write_nerfstudio(room, tmp_path / "a" / "scan")
    Image.new("RGB", (4, 4), "red").save(tmp_path / "private.png")
    tree = json.loads((scan / "transforms.json").read_text())
    tree["frames"][0]["file_path"] = name
    (scan / "transforms.json").write_text(json.dumps(tree))
    with pytest.warns(PurifyWarning, match=r"1 frame is left out: .*(outside|the name of no file)") as caught:
        assert len(open_capture(scan).frames) == len(room.frames) - 1
    assert len(str(caught[0].message)) < 600
    tum = tmp_path / "b" / "tum"
    tum.mkdir(parents=True)
    for kind in ("rgb", "depth"):
        (tum / f"{kind}.txt").write_text(f"1.0 {name if kind == 'rgb' else 'depth.png'}\n")
    (tum / "groundtruth.txt").write_text("1.0 0 0 0 0 0 0 1\n")
    with pytest.raises(CaptureError, match=r"outside|the name of no file"):
        open_capture(tum)


def test_every_reader_of_names_asks_one_function() -> None:
    """Where a capture or cloud names files, `path_inside` or `find_file` finds them: in these files. A new
    reader that joins a folder with text of a file belongs here, or takes names from a listing."""
    asks = {
        file.relative_to(SOURCE).as_posix()
        for file in SOURCE.rglob("*.py")
        if re.search(r"\b(path_inside|find_file)\(", file.read_text())
    }
    assert asks == {
        "base/files.py",
        "captures/formats/colmap.py",
        "captures/formats/matterport.py",
        "captures/formats/nerfstudio.py",
        "captures/formats/tum.py",
        "captures/reading/archives.py",
        "captures/reading/keys.py",
        "clouds/gltf.py",
        "clouds/obj.py",
    }


# --------------------------------------------------------------------------------- small files that grow


def test_what_is_unpacked_has_a_ceiling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("depth.npy", "w") as file,
    ):
        np.lib.format.write_array(file, np.zeros((2000, 2000), np.float32))
    assert load_array(tmp_path / "a.npz").shape == (2000, 2000)
    monkeypatch.setenv("PURIFY3D_UNPACKED_GB", "0.01")
    with pytest.raises(CaptureError, match=r"would take 16 MB once unpacked.*PURIFY3D_UNPACKED_GB=1"):
        load_array(tmp_path / "a.npz")
    monkeypatch.setenv("PURIFY3D_UNPACKED_GB", "much")
    with pytest.raises(CaptureError, match="expected a number of GB above 0"):
        load_array(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}",  # memory for nothing
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)",
        "((((",
        "'",
        "{'descr': [('a', '<f4', 99999999999999999999)], 'fortran_order': False, 'shape': (2, 2)}",
        "",
    ],
)
def test_damaged_headers_of_arrays(header: str, tmp_path: Path) -> None:
    text = header.encode()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(16))
    with pytest.raises(ValueError, match="no whole array"):
        load_array(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "a.npy")
    with pytest.raises(ValueError, match="no whole array"):
        array_headers(tmp_path / "a.npz")


def test_texts_beyond_all_characters(tmp_path: Path) -> None:
    names = np.array(["abc"])
    names.view(np.uint32)[1] = 0x7FFFFFFF
    np.save(tmp_path / "a.npy", names)
    with pytest.raises(ValueError, match="no whole array"):
        load_array(tmp_path / "a.npy")


# ------------------------------------------------------------------------ numbers that a damaged run holds


@pytest.mark.parametrize("damage", ["label", "score", "views", "place", "normal"])
def test_a_damaged_run_is_named(damage: str, run: Path) -> None:
    """With the size that its record says: only its numbers are wrong."""
    name = "points.ply" if damage in ("place", "normal") else "labels.ply"
    header, _, data = (run / name).read_bytes().partition(b"end_header\n")
    kinds = {"float": "<f4", "uchar": "u1", "int": "<i4", "short": "<i2", "double": "<f8", "ushort": "<u2"}
    words = [line.split() for line in header.decode().splitlines() if line.startswith("property")]
    rows = np.frombuffer(data, np.dtype([(word[2], kinds[word[1]]) for word in words])).copy()
    column = {"place": "x", "normal": "nx"}.get(damage, damage)
    rows[column][0] = {"label": -2, "score": np.nan, "views": -5, "place": 1e24, "normal": 1e38}[damage]
    (run / name).write_bytes(header + b"end_header\n" + rows.tobytes())
    with pytest.raises(RunError, match=f"{name}.*damaged"):
        Run.open(run).labels


def test_damaged_features_are_named(run: Path) -> None:
    tensors = load_file(run / "features.safetensors")
    with safe_open(run / "features.safetensors", framework="pt") as file:
        metadata = file.metadata()
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, run / "features.safetensors", metadata=metadata)
    with pytest.raises(RunError, match="not finite"):
        Run.open(run).features


@pytest.mark.parametrize("value", ["1e400", "1" + "0" * 400, "-1e400", "NaN"])
def test_settings_beyond_all_numbers(value: str, run: Path) -> None:
    text = (run / "config.json").read_text()
    changed = re.sub(r'"neighbors": \d+', f'"neighbors": {value}', text)
    assert changed != text
    (run / "config.json").write_text(changed)
    with pytest.raises(RunError, match=r"config\.json cannot be used"):
        Run.open(run)


# --------------------------------------------------------------------------------------------- little memory


@pytest.mark.parametrize("limit", [0.4, 0.8, 1.0, 1.2])
def test_too_little_memory_is_said_before_anything_is_loaded(limit: float, tmp_path: Path) -> None:
    """PyTorch would end in a signal, or never."""
    start = (
        "import resource, sys; "
        f"resource.setrlimit(resource.RLIMIT_AS, ({int(limit * 1e9)},) * 2); "
        "from purify3d.cli import main; main()"
    )
    arguments = ("segment", "synthetic:7?frames=2", "--labels", "chair", "-o", str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, "-c", start, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert f"found a limit of {limit} GB of address space (ulimit -v)" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_limit_counts_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before = free_memory()
    monkeypatch.setattr("resource.getrlimit", lambda _: (10**10, 10**10))
    left = address_space_left()
    assert left is not None
    assert 0 <= left < 10**10
    after = free_memory()
    assert before is not None
    assert after is not None
    assert after <= left
    monkeypatch.setattr("resource.getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert address_space_left() is None


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 67 bytes"),
        ImportError("libopenjp2.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
    ],
)
def test_want_of_memory_is_no_fault_of_ours(error: Exception) -> None:
    assert explained(error).startswith("out of memory")


# ------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    ("value", "kind"), [("nan", "int"), ("300", "uchar"), ("-1", "ushort"), ("1e20", "int")]
)
@pytest.mark.parametrize("listed", [True, False])
def test_whole_numbers_of_a_text_that_are_none(value: str, kind: str, listed: bool, tmp_path: Path) -> None:
    """A cast would make another label of them."""
    what = f"property list uchar {kind} label" if listed else f"property {kind} label"
    rows = "0 0 0 1 {0}\n1 0 0 2 {0} 1\n" if listed else "0 0 0 {0}\n1 0 0 {0}\n"
    places = "".join(f"property float {axis}\n" for axis in "xyz")
    header = f"ply\nformat ascii 1.0\nelement vertex 2\n{places}{what}\n"
    (tmp_path / "a.ply").write_text(f"{header}end_header\n{rows.format(value)}")
    with pytest.raises(CaptureError, match="for 'label', which is of type"):
        read_cloud(tmp_path / "a.ply")


@pytest.mark.parametrize("up", [[1e300, 0, 0], [0, 0, 0], [1e-300, 0, 0], ["a", 0, 1]])
def test_directions_that_are_none(up: list[Any], room: Scene, tmp_path: Path) -> None:
    scan = write_nerfstudio(room, tmp_path / "scan")
    tree = json.loads((scan / "transforms.json").read_text())
    (scan / "transforms.json").write_text(json.dumps(tree | {"up": up}))
    with pytest.raises(CaptureError, match="expected three numbers, a direction"):
        open_capture(scan)
