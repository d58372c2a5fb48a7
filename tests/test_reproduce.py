"""The commands of docs/reproduce.md for every list of labels, on tiny data in the layout of the releases.

Truth is what the procedural rooms are made of, in ids and names written down here; numbers are counted from
it point by point.
"""

import io
import json
import re
import struct
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_benchmarking import by_hand, mean, write_room

from purify3d.features.labels_from_frames import fuse_labels
from purify3d.features.surface import with_points
from purify3d.rooms import synthetic_scene

Program = Callable[..., tuple[int, str, str]]
PAGE = (Path(__file__).resolve().parents[1] / "docs" / "reproduce.md").read_text()
#: What is in the rooms: its nyu40id, its nyuClass in Matterport3D's table, and its id and name in ScanNet's.
THINGS = {
    "wall": (1, "wall", 1, "wall"),
    "floor": (2, "floor", 3, "floor"),
    "ceiling": (22, "ceiling", 41, "ceiling"),
    "door": (8, "door", 5, "door"),
    "window": (9, "window", 16, "window"),
    "curtain": (16, "curtain", 21, "curtain"),
    "picture": (11, "picture", 15, "picture"),
    "rug": (20, "rug", 0, "rug"),
    "table": (7, "table", 4, "table"),
    "desk": (14, "desk", 9, "desk"),
    "chair": (5, "chair", 2, "chair"),
    "sofa": (6, "sofa", 6, "couch"),
    "bed": (4, "bed", 11, "bed"),
    "pillow": (18, "pillow", 13, "pillow"),
    "cabinet": (3, "cabinet", 7, "cabinet"),
    "bookshelf": (10, "bookshelf", 18, "bookshelf"),
    "book": (23, "book", 22, "book"),
    "lamp": (35, "lamp", 28, "lamp"),
    "plant": (40, "plant", 40, "plant"),
    "television": (25, "television", 33, "tv"),
    "monitor": (40, "monitor", 19, "monitor"),
    "refrigerator": (24, "refridgerator", 27, "refrigerator"),
    "counter": (12, "counter", 35, "counter"),
    "sink": (34, "sink", 14, "sink"),
    "nightstand": (32, "night stand", 34, "nightstand"),
    "trash can": (39, "garbage bin", 56, "trash can"),
    "box": (29, "box", 26, "box"),
    "cup": (40, "cup", 130, "cup"),
}
#: nyu40id of the 21 labels, in their order.
OF_21 = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39, 22]
HOUSE = "2t7WUuJeko7"  # of the split
APART = 40.0  # metres between the two rooms of the house


def commands(pattern: str) -> list[list[str]]:
    """Words of the page's commands, without the flags of the paper's model, whose weights cannot be had."""
    found = re.findall(rf"^(purify3d {pattern}.*?)(?: +#.*)?$", PAGE, re.MULTILINE)
    return [line.replace(" $MODEL", "").split()[1:] for line in found]


def names_of(labels: str) -> list[str]:
    return list(json.loads((files("purify3d.data") / f"{labels}.json").read_text())["names"])


def room(seed: int) -> tuple[Any, np.ndarray, list[str]]:
    """A filmed room, its points (N, 3), and what each is of ("" = nothing)."""
    made = with_points(synthetic_scene(seed, frames=4, width=128, height=96), voxel=0.06)
    of = [made.truth.get(i, "") for i in fuse_labels(made.frames, made.cloud()).tolist()]
    return made, made.cloud().xyz.numpy(), of


def region(xyz: np.ndarray, of: list[str]) -> tuple[bytes, list[str]]:
    """A mesh of region_segmentations, and what is true of its vertices: each face has three of one thing."""
    faces, true = [], [""] * len(xyz)
    for number, name in enumerate(THINGS, start=1):
        mine = [i for i, thing in enumerate(of) if thing == name]
        if len(mine) < 3:
            continue
        for k in range(0, len(mine), 3):
            corners = mine[k : k + 3] if k + 3 <= len(mine) else mine[-3:]
            faces.append(struct.pack("<B6i", 3, *corners, 0, number, number))
        for i in mine:
            true[i] = name
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(xyz)}"]
    lines += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz", "tx", "ty")]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    lines += [f"property int {name}" for name in ("material_id", "segment_id", "category_id")]
    vertices = b"".join(struct.pack("<8f3B", *place, 0, 0, 1, 0, 0, 90, 90, 90) for place in xyz)
    return "\n".join([*lines, "end_header", ""]).encode() + vertices + b"".join(faces), true


def write_house(root: Path) -> dict[str, list[str]]:
    """One house of the Matterport3D release with two regions, and category_mapping.tsv beside it."""
    house, true = root / HOUSE, {}
    kinds = ("camera_parameters", "color_images", "depth_images")
    for name in (*(f"undistorted_{kind}" for kind in kinds), "region_segmentations", "house_segmentations"):
        (house / name).mkdir(parents=True)
    conf = ["dataset matterport", "n_images 8"]
    conf += ["depth_directory undistorted_depth_images", "color_directory undistorted_color_images"]
    for number, seed in enumerate((3, 4)):
        made, xyz, of = room(seed)
        away = np.array([APART * number, 0, 0])
        data, true[f"{HOUSE}_region{number}"] = region((xyz + away).astype("<f4"), of)
        (house / f"region_segmentations/region{number}.ply").write_bytes(data)
        for other in ("fsegs", "semseg", "vsegs"):
            (house / f"region_segmentations/region{number}.{other}.json").write_text("{}")
        camera, pano = made.frames[0].camera, f"{number}" * 32
        # Rows are counted from the bottom here, integers being pixel centres.
        fx, fy, cx, upwards = (
            float(v) for v in (camera.fx, camera.fy, camera.cx, camera.height - 1 - camera.cy)
        )
        conf.append(f"intrinsics_matrix {fx!r} 0 {cx!r}  0 {fy!r} {upwards!r}  0 0 1 ")
        for turn, frame in enumerate(made.frames):
            stored = frame.world_from_camera @ np.diag([1.0, -1, -1, 1])  # x right, y up, z back
            stored[:3, 3] += away
            shot = f"{pano}_d0_{turn}.png {pano}_i0_{turn}.jpg"
            conf.append(f"scan {shot} {' '.join(repr(float(value)) for value in stored.ravel())}")
            stream = io.BytesIO()
            Image.fromarray(frame.color()).save(stream, "JPEG", quality=95)
            (house / f"undistorted_color_images/{pano}_i0_{turn}.jpg").write_bytes(stream.getvalue())
            units = np.rint(frame.depth() * 4000).astype(np.uint16)
            Image.fromarray(units).save(house / f"undistorted_depth_images/{pano}_d0_{turn}.png")
    (house / f"undistorted_camera_parameters/{HOUSE}.conf").write_text("\n".join(conf) + "\n")
    (house / f"house_segmentations/{HOUSE}.house").write_text("ASCII 1.1\n")
    rows = ["index\traw_category\tcategory\tcount\tnyuId\tnyu40id\teigen13id\tnyuClass\tnyu40class"]
    for i, (name, (nyu40, nyu, *_)) in enumerate(THINGS.items(), start=1):
        rows.append(f"{i}\t{name}\t{name}\t9\t1\t{nyu40}\t1\t{nyu}\tx")
    (root / "category_mapping.tsv").write_text("\n".join(rows) + "\n")
    return true


def given_labels(run: Path) -> np.ndarray:
    """(N,) what labels.ply of a run says, by its own header."""
    header, _, body = (run / "labels.ply").read_bytes().partition(b"end_header\n")
    kinds = {"float": "<f4", "double": "<f8", "uchar": "u1", "int": "<i4", "ushort": "<u2"}
    found = re.findall(r"^property (\w+) (\w+)\r?$", header.decode(), re.MULTILINE)
    rows = np.frombuffer(body, dtype=[(name, kinds[kind]) for kind, name in found])
    return rows["label"].astype(int)


def check_table(results: dict[str, Any], folder: Path, truth: dict[str, np.ndarray], out: str) -> None:
    """Every number of the method that labels.ply shows, counted again."""
    assert results["failed"] == {}
    assert list(results["scenes"]) == list(truth)
    pairs = [(true, given_labels(folder / "scenes" / name)) for name, true in truth.items()]
    iou, accuracy = by_hand(pairs, len(results["labels"]))
    found = results["overall"]["student"]
    for key, wanted in (("iou", iou), ("accuracy", accuracy)):
        assert found[key] == pytest.approx(wanted, abs=1e-12, nan_ok=False)
    assert found["miou"] == pytest.approx(mean(iou), abs=1e-12)
    assert found["macc"] == pytest.approx(mean(accuracy), abs=1e-12)
    assert found["miou"] > 0.05
    assert 0 < sum(value is not None for value in iou) < len(iou)
    for name, true in truth.items():
        assert results["scenes"][name]["labelled"] == int((true >= 0).sum()) > 500
        for rows in (results["scenes"][name]["methods"][m]["counts"] for m in ("raw", "student")):
            for label in set(true[true >= 0].tolist()):  # points of each class, whatever they were called
                assert sum(count for row, _, count in rows if row == label) == int((true == label).sum())
    (line,) = re.findall(
        r"^student +(\S+) +(\S+)", out.partition("all scenes")[2].partition("mean of")[0], re.M
    )
    assert [float(text) for text in line] == [
        pytest.approx(100 * value, abs=0.051) for value in (found["miou"], found["macc"])
    ]


def test_matterport(purify3d: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    true = write_house(tmp_path / "houses")
    prepare, measure = commands("prepare matterport"), commands("benchmark matterport")
    lists = [words[words.index("--labels") + 1] for words in measure]
    assert lists == ["matterport21", "matterport40", "matterport80", "matterport160"]
    for words in prepare:
        code, out, err = purify3d(*words)
        assert code == 0, err
        assert f"{HOUSE}_region1" in out
    for labels, words in zip(lists, measure, strict=True):
        names = names_of(labels)
        if labels == "matterport21":
            index = {name: OF_21.index(row[0]) for name, row in THINGS.items() if row[0] in OF_21}
        else:
            index = {name: names.index(row[1]) for name, row in THINGS.items() if row[1] in names}
        truth = {scene: np.array([index.get(name, -1) for name in of]) for scene, of in true.items()}
        code, out, err = purify3d(*words, "--pictures", 0)
        assert code == 0, err
        folder = Path(words[words.index("-o") + 1])
        results = json.loads((folder / "results.json").read_text())
        assert (results["label_set"], len(results["labels"])) == (labels, len(names))
        assert [scene["frames"] for scene in results["scenes"].values()] == [4, 4]
        check_table(results, folder, truth, out)


def test_scannet(purify3d: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scene = "scene0011_00"
    write_room(monkeypatch, tmp_path / "scans", scene, seed=3)
    made = with_points(synthetic_scene(3, frames=4, width=128, height=96), voxel=0.05)
    of = [made.truth.get(i, "") for i in fuse_labels(made.frames, made.cloud()).tolist()]
    # For 200 labels: a segment for each thing, and what people called it.
    kinds = ["", *THINGS]
    groups = [{"id": i, "objectId": i, "segments": [i], "label": kinds[i]} for i in range(1, len(kinds))]
    folder = tmp_path / "scans" / scene
    (folder / f"{scene}.aggregation.json").write_text(json.dumps({"sceneId": scene, "segGroups": groups}))
    segments = {"sceneId": scene, "segIndices": [kinds.index(name) for name in of]}
    (folder / f"{scene}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(segments))
    rows = ["id\traw_category\tcategory\tcount\tnyu40id"]
    rows += [f"{row[2]}\t{name}\t{row[3]}\t9\t{row[0]}" for name, row in THINGS.items() if row[2]]
    (tmp_path / "scans" / "scannetv2-labels.combined.tsv").write_text("\n".join(rows) + "\n")
    prepare, measure = commands("prepare scannet"), commands("benchmark scannet")
    lists = [words[words.index("--labels") + 1] for words in measure]
    assert lists == ["scannet20", "scannet200"]
    for words in prepare:
        code, _, err = purify3d(*words)
        assert code == 0, err
    for labels, words in zip(lists, measure, strict=True):
        names = names_of(labels)
        which = 3 if labels == "scannet200" else None
        index = {n: names.index(w) for n, row in THINGS.items() if (w := row[which] if which else n) in names}
        code, out, err = purify3d(*words, "--pictures", 0)
        assert code == 0, err
        results_in = Path(words[words.index("-o") + 1])
        results = json.loads((results_in / "results.json").read_text())
        assert results["labels"] == names[: len(results["labels"])]
        assert len(results["labels"]) == {"scannet20": 19, "scannet200": 200}[labels]
        check_table(results, results_in, {scene: np.array([index.get(n, -1) for n in of])}, out)


def test_nothing_on_the_page_was_measured() -> None:
    tables = re.findall(r"^\|(?!-)(.*)\|$", PAGE.partition("## Differences")[0], re.MULTILINE)
    rows = [row.split("|") for row in tables if re.search(r"\d", row)]
    assert len(rows) > 8
    assert all(row[-1].strip() == "not measured" for row in rows)
