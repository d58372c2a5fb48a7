"""Stored features: maps of frames, features of points, and the words that go with them."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from purify3d.backbones import PointBackbone, embed_vocabulary, features
from purify3d.backbones.features import StoredMaps, StoredPoints, load, load_point_features
from purify3d.base.errors import BackboneError, LabelError, RunError
from purify3d.captures import CaptureConfig
from purify3d.features.config import LiftConfig
from purify3d.features.lifting import fuse_mean, view_of, visible_points
from purify3d.grid.projection import turn_camera
from purify3d.pipeline import run_job, segment
from purify3d.runs.job import Job
from purify3d.types import Camera, FeatureSpace, Frame, PointCloud, Scene, TextEmbeddings, Vocabulary

DIM = 5
SPACE = FeatureSpace("openseg", DIM, 100.0)
CAMERA = Camera(20.0, 20.0, 11.5, 7.5, 24, 16)
NAMES = ["chair", "Kitchen  Table", "sofa"]
EMBEDDINGS = np.random.default_rng(1).normal(size=(3, DIM)).astype(np.float32)


def folder(path: Path, *, table: bool = True, **space: object) -> Path:
    path.mkdir()
    content = {"id": "openseg", "dim": DIM, "logit_scale": 100} | space
    (path / "space.json").write_text(json.dumps(content))
    if table:
        np.savez(path / "text.npz", names=np.array(NAMES), embeddings=EMBEDDINGS)
    return path


def frame(name: str, turns: int = 0) -> Frame:
    """A frame as `open_capture` gives it: everything turned together."""
    camera, pose = turn_camera(CAMERA, np.eye(4), turns)
    image = np.zeros((16, 24, 3), dtype=np.uint8)
    depth = np.full((16, 24), 2.0, dtype=np.float32)
    return Frame(
        name=name,
        camera=camera,
        depth_camera=camera,
        world_from_camera=pose,
        color=lambda: np.rot90(image, turns).copy(),
        depth=lambda: np.rot90(depth, turns).copy(),
        turns=turns,
    )


def cloud(xyz: Tensor) -> PointCloud:
    n = len(xyz)
    return PointCloud(xyz, torch.zeros(n, 3).byte(), torch.zeros(n, 3), torch.full((n,), -1).int())


def maps(path: Path, number: int = 1) -> list[np.ndarray]:
    values = np.random.default_rng(2).normal(size=(number, DIM, 8, 12)).astype(np.float32)
    for i in range(number):
        np.save(path / f"{i:04d}.npy", values[i])
    return list(values)


def text_embeddings(model: StoredMaps | StoredPoints) -> TextEmbeddings:
    return TextEmbeddings(Vocabulary.parse("chair"), model.encode(["chair"]), torch.tensor([0]), model.space)


def observe(model: StoredMaps | StoredPoints, *frames: Frame) -> list[Tensor]:
    assert isinstance(model, StoredMaps)
    return [seen.values for seen in model.observe(frames, text_embeddings(model))]


# --- maps ------------------------------------------------------------------------------------------------


def test_maps_are_found_by_the_frame_and_read_from_every_kind_of_file(tmp_path: Path) -> None:
    path = folder(tmp_path / "maps")
    values = np.random.default_rng(0).normal(size=(4, DIM, 8, 12)).astype(np.float16)
    np.save(path / "a.npy", values[0])
    np.savez_compressed(path / "b.npz", values[1])
    torch.save(torch.from_numpy(values[2]), path / "1305031102.175304.pt")
    np.save(path / "not asked for.npy", values[3])
    model = load(str(path))
    found = observe(model, frame("1305031102.175304"), frame("a"), frame("b"))
    for seen, i in zip(found, (2, 0, 1), strict=True):
        assert seen.dtype == torch.float32
        np.testing.assert_array_equal(seen.numpy(), values[i].astype(np.float32))
    assert model.space == SPACE


@pytest.mark.parametrize("suffix", ["pt", "npy"])
def test_the_layout_is_recognised_by_content(tmp_path: Path, suffix: str) -> None:
    path = folder(tmp_path / "maps")
    values = torch.zeros(DIM, 2, 3)
    torch.save(values, path / "0.pt") if suffix == "pt" else np.save(path / "0.npy", values.numpy())
    assert isinstance(load(str(path)), StoredMaps)
    points = folder(tmp_path / "points")
    torch.save({"feat": torch.zeros(1, DIM), "mask_full": torch.ones(1, dtype=torch.bool)}, points / "0.pt")
    assert isinstance(load(str(points)), StoredPoints)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_maps_turn_with_the_frame_and_points_take_their_own_pixel(tmp_path: Path, turns: int) -> None:
    """A map that holds the position of every pixel of the stored image: after lifting, each point must have
    the position that the unturned camera projects it to."""
    path = folder(tmp_path / "maps")
    rows, columns = np.mgrid[:16, :24].astype(np.float32)
    np.save(path / "f.npy", np.stack([columns, rows, rows * 0, rows * 0, rows * 0 + 1]))
    rng = np.random.default_rng(3)
    uv = np.stack([rng.integers(2, 22, 40), rng.integers(2, 14, 40)], axis=1)
    z = 2.0
    xyz = np.c_[(uv[:, 0] - 11.5) / 20 * z, (uv[:, 1] - 7.5) / 20 * z, np.full(40, z)]
    points = torch.from_numpy(xyz.astype(np.float32))
    shot = frame("f", turns)
    [seen] = load(str(path)).observe([shot], text_embeddings(load(str(path))))  # type: ignore[union-attr]
    assert seen.values.shape[1:] == shot.color().shape[:2]
    point, pixel = visible_points(points, shot, LiftConfig(margin=1))
    assert len(point) == 40
    values, views, _ = fuse_mean([view_of(point, pixel, shot.camera, seen, points)], 40)
    torch.testing.assert_close(values[:, :2], torch.from_numpy(uv).float(), atol=1e-4, rtol=0)
    assert views.eq(1).all()


def test_maps_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "maps")
    maps(path)
    np.save(path / "last.npy", np.zeros((8, 12, DIM), dtype=np.float32))
    np.save(path / "flat.npy", np.zeros((DIM, 8), dtype=np.float32))
    np.save(path / "nan.npy", np.full((DIM, 2, 2), np.nan, dtype=np.float16))
    np.save(path / "object.npy", np.array([{}], dtype=object))
    np.savez(path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    (path / "broken.npy").write_bytes(b"\x93NUMPY")
    torch.save([torch.zeros(1)], path / "list.pt")
    model = load(str(path))
    for name, message in {
        "0001": r"no feature map of frame '0001' among 8 files \(.*expected 0001\.npy",
        "last": r"\(8, 12, 5\); expected \(5, h, w\)",
        "flat": r"\(5, 8\); expected",
        "nan": "not finite",
        "object": "cannot be read as a numeric array",
        "two": "holds 'a', 'b'; expected one array",
        "broken": "cannot be read as a numeric array",
        "list": "holds a list; expected one array",
    }.items():
        with pytest.raises(BackboneError, match=message):
            observe(model, frame(name))


# --- points ----------------------------------------------------------------------------------------------


def write_points(path: Path, feature: Tensor, chosen: Sequence[int], count: int) -> None:
    """As OpenScene's fusion does: half precision, the chosen points in the order of the cloud."""
    mask = torch.zeros(count, dtype=torch.bool)
    mask[list(chosen)] = True
    torch.save({"feat": feature[mask].half(), "mask_full": mask}, path)


def test_points_take_their_rows_and_others_those_of_the_nearest(tmp_path: Path) -> None:
    path = folder(tmp_path / "points")
    feature = torch.arange(6.0)[:, None].expand(6, DIM)
    write_points(path / "scene0011_00_0.pt", feature, [4, 0], 6)
    write_points(path / "scene0011_00_1.pt", feature, [4, 2], 6)
    write_points(path / "scene0011_01_0.pt", feature + 100, range(6), 6)
    points = cloud(torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [1, 0, 0], [1.2, 0, 0], [3, 0, 0], [9, 0, 0]]))
    model = load(str(path))
    assert isinstance(model, StoredPoints)
    found = model.point_features(points, "scene0011_00")
    assert found.values[:, 0].tolist() == [0, 0, 2, 2, 4, 4]
    assert found.views.tolist() == [1, 0, 1, 0, 1, 0]
    assert found.values.dtype == torch.float32
    assert found.views.dtype == torch.int32
    assert found.space == SPACE


@pytest.mark.parametrize("core", ["numpy._core.multiarray", "numpy.core.multiarray"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_older_files_with_numpy_masks_and_a_third_axis(
    tmp_path: Path, core: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(np.empty(0).__reduce__()[0], "__module__", core)
        torch.save(
            {"feat": torch.ones(2, DIM, 1), "mask_full": np.array([True, False, True])}, tmp_path / "s.pt"
        )
    assert core.encode() in (tmp_path / "s.pt").read_bytes()
    found = load_point_features([tmp_path / "s.pt"], cloud(torch.zeros(3, 3)), SPACE)
    assert found.views.tolist() == [1, 0, 1]
    assert found.values.eq(1).all()


class Trap:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("trapped",)


def test_points_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    points, mask, path = cloud(torch.zeros(3, 3)), torch.tensor([True, False, True]), tmp_path / "s.pt"
    good = {"feat": torch.zeros(2, DIM), "mask_full": mask}
    for content, message in (
        ({**good, "mask_full": torch.ones(4).bool()}, r"of a cloud of 4 points; expected the 3"),
        ({**good, "feat": torch.zeros(3, DIM)}, r"\(3, 5\); expected \(2, 5\)"),
        ({**good, "feat": torch.zeros(2, 4)}, r"\(2, 4\); expected \(2, 5\)"),
        ({**good, "feat": torch.full((2, DIM), torch.inf)}, "not finite"),
        ({**good, "mask_full": mask.int()}, r"torch.int32; expected \(N,\) bool"),
        ({"feat": torch.zeros(0, DIM), "mask_full": torch.zeros(3).bool()}, "no point has a feature"),
        ({**good, "mask": mask}, "holds 'feat', 'mask_full', 'mask'; expected"),
        (torch.zeros(3), "holds a Tensor; expected 'feat'"),
        ({**good, "trap": Trap()}, "code are refused"),
    ):
        torch.save(content, path)
        with pytest.raises(BackboneError, match=message):
            load_point_features([path], points, SPACE)
    assert not (tmp_path / "trapped").exists()
    path.write_bytes(b"PK nothing")
    with pytest.raises(BackboneError, match="cannot be read as tensors"):
        load_point_features([path], points, SPACE)


def test_a_scene_without_a_file_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path / "points")
    write_points(path / "scene0011_00_0.pt", torch.zeros(1, DIM), [0], 1)
    model = load(str(path))
    assert isinstance(model, StoredPoints)
    for scene in ("scene0011", "scene0011_00_0_0", "scene.0011_00"):
        with pytest.raises(BackboneError, match=r"among 1 files \(scene0011_00_0\); expected "):
            model.point_features(cloud(torch.zeros(1, 3)), scene)


# --- words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_words_come_from_the_table(tmp_path: Path, kind: str) -> None:
    path = folder(tmp_path / "maps", table=kind == "npz")
    if kind == "safetensors":
        rows = {"embeddings": torch.from_numpy(EMBEDDINGS)}
        save_file(rows, path / "text.safetensors", {"names": json.dumps(NAMES)})
    maps(path)
    model = load(str(path))
    expected = normalize(torch.from_numpy(EMBEDDINGS), dim=1)
    assert torch.equal(model.encode(["sofa", "kitchen table", "CHAIR", "sofa"]), expected[[2, 1, 0, 2]])
    assert model.encode([]).shape == (0, DIM)
    found = embed_vocabulary(model, Vocabulary.parse("sofa|chair, kitchen table"))
    assert found.owner.tolist() == [0, 0, 1]
    with pytest.raises(LabelError, match=r"no embedding of 'lamp', 'bed'.*3 stored.*: chair, Kitchen  Table"):
        model.encode(["lamp", "chair", "bed"])


class Encoder:
    """Counts what it is asked."""

    def __init__(self, dim: int) -> None:
        self.space = FeatureSpace("words", dim, 1.0)
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return normalize(torch.tensor([[len(text)] * self.space.dim for text in texts]).float(), dim=1)


def test_other_words_come_from_the_named_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path / "maps", text="clip:some/model")
    maps(path)
    encoder = Encoder(DIM)

    def load_backbone(name: str, *, device: str) -> Encoder:
        assert (name, device) == ("clip:some/model", "cpu")
        return encoder

    monkeypatch.setattr(features.text, "load_backbone", load_backbone)
    model = load(str(path))
    rows = model.encode(["lamp", "chair", "lamp", "bed"])
    assert rows[1].equal(normalize(torch.from_numpy(EMBEDDINGS[0]), dim=0))
    assert rows[0].equal(rows[2])
    model.encode(["bed", "Lamp"])
    assert encoder.asked == ["lamp", "bed"]
    encoder.space = FeatureSpace("words", 7, 1.0)
    with pytest.raises(BackboneError, match=r"has 7 channels, the stored features 5"):
        model.encode(["new"])


def test_tables_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "maps")
    maps(path)
    names = np.array(NAMES)
    for arrays, message in (
        ({"names": names}, "cannot be read"),
        ({"names": np.array(NAMES, dtype=object), "embeddings": EMBEDDINGS}, "not of objects"),
        ({"names": names[:2], "embeddings": EMBEDDINGS}, r"2 names and embeddings of \(3, 5\)"),
        ({"names": names, "embeddings": EMBEDDINGS[:, :4]}, r"\(3, 4\); expected a row of 5"),
        ({"names": np.arange(3), "embeddings": EMBEDDINGS}, "no list of texts"),
        ({"names": names, "embeddings": EMBEDDINGS * 0}, "zero or not finite"),
    ):
        np.savez(path / "text.npz", **arrays)
        with pytest.raises(BackboneError, match=message):
            load(str(path))
    (path / "text.npz").unlink()
    save_file({"embeddings": torch.from_numpy(EMBEDDINGS)}, path / "text.safetensors")
    with pytest.raises(BackboneError, match="metadata, a JSON list"):
        load(str(path))


# --- the folder ------------------------------------------------------------------------------------------


def test_the_folder_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="found no folder"):
        load(str(tmp_path / "nothing"))
    path = folder(tmp_path / "empty")
    with pytest.raises(BackboneError, match="found no features in"):
        load(str(path))
    maps(path)
    (path / "text.npz").unlink()
    with pytest.raises(BackboneError, match=r"tells what words mean; expected text.npz or text.safetensors"):
        load(str(path))
    (path / "space.json").unlink()
    with pytest.raises(BackboneError, match=r'found no .*space.json; expected \{"id"'):
        load(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "KeyError"),
        ("{", "cannot be used"),
        ('{"id": "x", "dim": 5}', "logit_scale"),
        ('{"id": "x", "dim": 0, "logit_scale": 1}', "expected"),
        ('{"id": "x", "dim": 5, "logit_scale": -1}', "expected"),
        ('{"id": "x", "dim": 5, "logit_scale": 1, "txt": "clip:x"}', '"txt"'),
        ('{"id": "x", "dim": 5, "logit_scale": 1, "text": 3}', "expected"),
        ('{"id": "x", "dim": 5, "logit_scale": 1, "length_is_confidence": "no"}', "true or false"),
        ('{"id": "x", "dim": 5, "logit_scale": 1, "text": "features:here"}', "expected a model"),
    ],
)
def test_the_space_is_checked(tmp_path: Path, content: str, message: str) -> None:
    path = folder(tmp_path / "maps")
    maps(path)
    (path / "space.json").write_text(content)
    with pytest.raises(BackboneError, match=message):
        load(str(path))


def test_whether_length_is_confidence_is_said_by_the_folder(tmp_path: Path) -> None:
    for name, said, expected in (("a", {}, False), ("b", {"length_is_confidence": True}, True)):
        path = folder(tmp_path / name, **said)
        maps(path)
        assert load(str(path)).space == replace(SPACE, length_is_confidence=expected)


def test_a_text_encoder_is_looked_up_when_a_word_needs_it(tmp_path: Path) -> None:
    path = folder(tmp_path / "maps", text="nosuchfamily:x")
    maps(path)
    model = load(str(path))
    assert model.encode(["chair"]).shape == (1, DIM)
    with pytest.raises(BackboneError, match="nosuchfamily"):
        model.encode(["lamp"])


# --- in the method ---------------------------------------------------------------------------------------


def stored_scene(path: Path) -> tuple[Scene, Path]:
    """A scene whose left points have the feature of "chair" and whose right ones that of "sofa"."""
    grid = torch.cartesian_prod(torch.arange(10.0), torch.arange(10.0), torch.zeros(1)) * 0.02
    xyz = torch.cat([grid, grid + torch.tensor([1.0, 0, 0])])
    rows = normalize(torch.from_numpy(EMBEDDINGS), dim=1)
    write_points(folder(path) / "hall.pt", rows[[0] * 100 + [2] * 100], range(200), 200)
    points = replace(cloud(xyz), normal=torch.tensor([[0.0, 0, 1]]).expand(200, 3))
    return Scene("hall", (), np.array([0.0, 0, 1]), points), path / "hall.pt"


def test_stored_points_take_the_place_of_lifting(tmp_path: Path) -> None:
    scene, file = stored_scene(tmp_path / "points")
    model = load(str(file.parent))
    assert isinstance(model, PointBackbone)
    result = segment(scene, "sofa, chair", backbone=model, neighbors=8).labels
    assert result.label.tolist() == [1] * 100 + [0] * 100
    torch.testing.assert_close(result.score, torch.ones(200), atol=1e-3, rtol=0)
    maps(folder(tmp_path / "maps"))
    assert not isinstance(load(str(tmp_path / "maps")), PointBackbone)


def test_a_run_notices_that_a_stored_file_changed(tmp_path: Path) -> None:
    scene, file = stored_scene(tmp_path / "points")
    (file.parent / "notes.txt").touch()

    def repeat(*, overwrite: bool = False) -> list[str]:
        job = Job(CaptureConfig("hall"), "sofa, chair", f"features:{file.parent}")
        return list(run_job(job, tmp_path / "run", scene=scene, overwrite=overwrite).reused)

    assert repeat() == []
    os.utime(file.parent / "notes.txt", (0, 0))  # not read, so it does not count
    assert repeat() == ["points", "lift", "label"]
    for changed in (file, file.parent / "text.npz", file.parent / "space.json"):
        os.utime(changed, (0, 0))
        with pytest.raises(RunError, match="another capture, backbone or lifting"):
            repeat()
        assert repeat(overwrite=True) == []
        assert repeat() == ["points", "lift", "label"]
    write_points(file.parent / "other.pt", torch.zeros(1, DIM), [0], 1)
    with pytest.raises(RunError):
        repeat()


def test_masks_depend_on_the_words_they_were_scored_with(tmp_path: Path) -> None:
    """Whatever the fusion: features of a mask-type model are not reused for other words."""
    scene, file = stored_scene(tmp_path / "points")
    model = load(str(file.parent))

    def repeat(words: str, output: str) -> list[str]:
        job = Job(CaptureConfig("hall"), words)
        return list(run_job(job, tmp_path / output, scene=scene, backbone=model).reused)

    repeat("sofa", "dense")
    assert repeat("chair", "dense") == ["points", "lift"]
    model.reads_words = True
    repeat("sofa", "masks")
    with pytest.raises(RunError):
        repeat("chair", "masks")


def test_facts(tmp_path: Path) -> None:
    _, file = stored_scene(tmp_path / "points")
    facts = load(str(file.parent)).facts
    assert (facts.kind, facts.source, facts.disk_bytes) == ("points", str(file.parent), file.stat().st_size)
    maps(folder(tmp_path / "maps"), 2)
    assert load(str(tmp_path / "maps")).facts.kind == "dense"
