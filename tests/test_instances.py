"""Truth objects from the renderer to points, through every format that keeps them."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_captures import edit_json, shots, transforms, write_scannet, write_transforms
from test_clouds import columns, foreign_ply

from purify3d.base.errors import CaptureError
from purify3d.captures import open_capture
from purify3d.captures.formats.nerfstudio import write_nerfstudio
from purify3d.captures.selecting import upright
from purify3d.clouds import read_cloud
from purify3d.clouds.ply import read_written, write_ply
from purify3d.features import labels_from_frames
from purify3d.features.labels_from_frames import fuse_instances, fuse_labels
from purify3d.features.surface import with_points
from purify3d.types import Camera, Frame, PointCloud, Scene

CAMERA = Camera(10.0, 10.0, 3.5, 2.5, 8, 6)


def wall(label: np.ndarray | None, instance: np.ndarray | None) -> Frame:
    """A wall one metre ahead of the origin whose pixels carry these ids."""
    return Frame(
        "wall",
        CAMERA,
        CAMERA,
        np.eye(4),
        lambda: np.zeros((6, 8, 3), np.uint8),
        lambda: np.ones((6, 8), np.float32),
        None if label is None else lambda: label,
        None if instance is None else lambda: instance,
    )


def pixels() -> PointCloud:
    """A point of the wall for every pixel, row by row."""
    v, u = np.mgrid[:6, :8].reshape(2, -1)
    return PointCloud.from_arrays(np.stack([(u - 3.5) / 10, (v - 2.5) / 10, np.ones(48)], 1))


def votes(count: int, highest: int) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.integers(-1, highest, (6, 8)).astype(np.int32) for _ in range(count)]


@pytest.mark.parametrize("merge", [1, 100, 10_000])
def test_ids_are_the_majority_and_ties_go_to_the_smaller(monkeypatch: pytest.MonkeyPatch, merge: int) -> None:
    monkeypatch.setattr(labels_from_frames, "_MERGE_ROWS", merge)
    label, instance = votes(9, 3), votes(9, 5)
    frames = [wall(a, b) for a, b in zip(label, instance, strict=True)]
    for images, found in (
        (label, fuse_labels(frames, pixels())),
        (instance, fuse_instances(frames, pixels())),
    ):
        expected = []
        for given in np.stack(images).reshape(9, -1).T.tolist():
            count = Counter(given)
            expected.append(min(count, key=lambda i: (-count[i], i)))
        assert found.tolist() == expected
        assert found.dtype == torch.int32
    assert not torch.equal(fuse_labels(frames, pixels()), fuse_instances(frames, pixels()))


def test_ids_of_any_size_are_kept_apart() -> None:
    ids = np.array([-(2**31), -1, 0, 2**31 - 1], np.int32)[np.arange(48).reshape(6, 8) % 4]
    assert fuse_instances([wall(None, ids)], pixels()).tolist() == ids.ravel().tolist()


def test_frames_without_objects_are_passed_over() -> None:
    ids = np.full((6, 8), 4, np.int32)
    frames = [wall(ids, None), wall(ids - 1, ids + 1)]
    assert fuse_instances(frames, pixels()).unique().tolist() == [5]
    assert fuse_labels(frames, pixels()).unique().tolist() == [3]
    assert fuse_instances(frames[:1], pixels()).unique().tolist() == [-1]


def test_points_have_no_object_unless_given() -> None:
    assert pixels().instance.tolist() == [-1] * 48
    assert pixels().instance.dtype == torch.int32
    given = PointCloud.from_arrays(np.zeros((3, 3)), instance=[4, -1, 4])
    assert given.instance.tolist() == [4, -1, 4]
    assert given.label.tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match=r"instance must be \(3,\)"):
        PointCloud.from_arrays(np.zeros((3, 3)), instance=[1, 2])
    with pytest.raises(ValueError, match=r"instance must be \(3,\) torch.int32, found \(3,\) torch.int64"):
        PointCloud(given.xyz, given.rgb, given.normal, given.label, torch.zeros(3, dtype=torch.int64))


def test_rooms_know_their_objects(room: Scene) -> None:
    """An object has one class; some class has several objects; the same object is seen in several frames."""
    frames = [(frame.label(), frame.instance()) for frame in room.frames if frame.label and frame.instance]
    assert len(frames) == len(room.frames)
    pairs = set()
    for label, instance in frames:
        assert instance.shape == label.shape
        assert instance.dtype == np.int32
        pairs |= set(zip(instance.ravel().tolist(), label.ravel().tolist(), strict=True))
    objects = [instance for instance, _ in pairs]
    assert len(objects) == len(set(objects))
    assert len({label for _, label in pairs}) < len(objects)
    assert any(np.isin(a, b).any() for (_, a), (_, b) in pairwise(frames))


def test_objects_of_fused_points_have_one_label_each(room: Scene) -> None:
    points = with_points(room, voxel=0.05).cloud()
    label, instance = fuse_labels(room.frames, points), fuse_instances(room.frames, points)
    seen = instance >= 0
    assert seen.float().mean() > 0.5
    # Majorities of either are taken on their own, so a few points at borders may disagree.
    most = {
        i: Counter(label[instance == i].tolist()).most_common(1)[0][1]
        for i in instance[seen].unique().tolist()
    }
    assert sum(most.values()) > 0.98 * int(seen.sum())


def test_scannet_objects(tmp_path: Path) -> None:
    folder = write_scannet(tmp_path / "s", shots(2))
    (folder / "instance").mkdir()
    stored = np.arange(160, dtype=np.uint16).reshape(10, 16) * 400
    Image.fromarray(stored).save(folder / "instance/1.png")
    first, second = open_capture(folder).frames
    assert first.instance is None
    assert second.instance is not None
    assert np.array_equal(second.instance(), stored.astype(int) - 1)
    assert second.instance().max() == 63599
    assert second.label is None
    assert folder / "instance/1.png" in second.files
    Image.fromarray(np.zeros((10, 16, 3), np.uint8)).save(folder / "instance/1.png")
    with pytest.raises(CaptureError, match=r"1\.png: found a mask of objects of mode 'RGB'"):
        second.instance()


def test_nerfstudio_objects_round_trip(tmp_path: Path) -> None:
    ids = np.array([-1, 0, 7, 65534], np.int32)[np.arange(48).reshape(6, 8) % 4]
    scene = Scene("made up", (wall(None, ids), wall(ids, None)), np.array([0.0, -1.0, 0.0]))
    folder = write_nerfstudio(scene, tmp_path / "out")
    with_object, with_label = open_capture(folder).frames
    assert with_object.instance is not None
    assert np.array_equal(with_object.instance(), ids)
    assert with_object.label is None
    assert with_label.instance is None
    assert folder / "instances/00000.png" in with_object.files
    again = write_nerfstudio(open_capture(folder), tmp_path / "again")
    assert (again / "instances/00000.png").read_bytes() == (folder / "instances/00000.png").read_bytes()
    with pytest.raises(ValueError, match=r"found instance ids 0 to 65535; expected -1 to 65534"):
        write_nerfstudio(
            Scene("large", (wall(None, ids + 1),), np.array([0.0, -1.0, 0.0])), tmp_path / "large"
        )


def test_nerfstudio_objects_are_undistorted_without_mixing(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "n", shots(1), transforms(k1=0.9))
    stored = np.arange(160, dtype=np.uint16).reshape(10, 16) * 3 + 5
    Image.fromarray(stored).save(folder / "ids.png")
    edit_json(folder, lambda meta: meta["frames"][0].update(instance_file_path="ids.png"))
    frame = open_capture(folder, up="+z").frames[0]
    assert frame.instance is not None
    found = frame.instance()
    assert set(found.ravel().tolist()) <= set((stored.astype(int) - 1).ravel().tolist()) | {-1}
    assert not np.array_equal(found, stored.astype(int) - 1)


def test_objects_turn_with_their_frame() -> None:
    ids = np.arange(48, dtype=np.int32).reshape(6, 8)
    turned = upright(wall(ids, ids), np.array([1.0, 0.0, 0.0]))
    assert turned.turns in (1, 3)
    assert turned.instance is not None
    assert np.array_equal(turned.instance(), np.rot90(ids, turned.turns))
    assert upright(wall(None, None), np.array([1.0, 0.0, 0.0])).instance is None


def test_ply_keeps_objects_where_there_are_any(tmp_path: Path) -> None:
    points = PointCloud.from_arrays(np.arange(9).reshape(3, 3), instance=[2**31 - 1, -1, 0])
    write_ply(tmp_path / "a.ply", points, score=np.zeros(3))
    assert b"property int instance" in (tmp_path / "a.ply").read_bytes()
    assert torch.equal(read_written(tmp_path / "a.ply").points.instance, points.instance)
    assert torch.equal(read_cloud(tmp_path / "a.ply").instance, points.instance)
    none = PointCloud.from_arrays(np.arange(9).reshape(3, 3), instance=[-1, -1, -1])
    write_ply(tmp_path / "b.ply", none)
    assert b"instance" not in (tmp_path / "b.ply").read_bytes()
    assert read_written(tmp_path / "b.ply").points.instance.tolist() == [-1] * 3
    assert read_cloud(tmp_path / "b.ply").instance.tolist() == [-1] * 3


def test_objects_of_other_programs_clouds(tmp_path: Path) -> None:
    xyz = np.arange(12.0).reshape(4, 3)
    xyz[1] = np.nan
    given = columns(xyz) | {name: np.full(4, 90, "u1") for name in ("red", "green", "blue")}
    path = foreign_ply(tmp_path / "a.ply", given | {"instance": np.array([3, 4, 5, 6], "<i4")})
    with pytest.warns(UserWarning, match="not finite"):
        assert read_cloud(path).instance.tolist() == [3, 5, 6]
