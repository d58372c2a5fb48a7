import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeModel
from recorded import Recorded
from safetensors.torch import load_file, save_file

from purify3d.affinities.building import affinity
from purify3d.affinities.config import COMPACT, PAPER, PurifyConfig, StudentConfig
from purify3d.affinities.embeddings import Learned, geometric_embedding, joined, load_embedding
from purify3d.affinities.student import SHIPPED, Student, load_released, student_input, word_evidence
from purify3d.base.errors import CheckpointError, PurifyWarning
from purify3d.grid.convolution import KernelMap
from purify3d.grid.voxels import voxelize
from purify3d.types import FeatureSpace, PointCloud, PointFeatures, TextEmbeddings, Vocabulary, Voxels

SMALL = StudentConfig(feature_dim=3, width=8, blocks=2, out_channels=5)


def rel(found: torch.Tensor, expected: np.ndarray) -> float:
    return float((found.detach() - torch.from_numpy(expected)).abs().max() / np.abs(expected).max())


def cloud_of(count: int = 400, seed: int = 0) -> tuple[PointCloud, Voxels, PointFeatures]:
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.rand(count, 3, generator=generator) * torch.tensor([0.3, 0.3, 0.04])
    normal = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    rgb = torch.randint(0, 256, (count, 3), generator=generator, dtype=torch.uint8)
    cloud = PointCloud(xyz, rgb, normal, torch.full((count,), -1, dtype=torch.int32))
    values = torch.randn(count, 3, generator=generator)
    features = PointFeatures(values, torch.ones(count, dtype=torch.int32), FeatureSpace("test", 3, 1.0))
    return cloud, voxelize(xyz, 0.02), features


def trained(config: StudentConfig = SMALL, seed: int = 0) -> Student:
    """A student whose batch norm statistics and weights are all unlike their initial values."""
    torch.manual_seed(seed)
    student = Student(config)
    for name, value in student.state_dict().items():
        if ".bn." in name and value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5)
    return student.eval()


@pytest.fixture(scope="module")
def golden():
    return Recorded("student")


def golden_state(golden) -> dict[str, torch.Tensor]:
    return {
        k.removeprefix("state/"): torch.from_numpy(v) for k, v in golden.items() if k.startswith("state/")
    }


def test_agrees_with_the_official_engine(golden, tmp_path):
    torch.save(golden_state(golden), tmp_path / "geopurify.pth")
    student = load_released(tmp_path / "geopurify.pth")
    assert student.config == StudentConfig(feature_dim=16, width=16, blocks=4, out_channels=8)
    inputs, kernel_map = (
        torch.from_numpy(golden["features"]),
        KernelMap.of(torch.from_numpy(golden["coords"])),
    )
    assert rel(student(inputs, kernel_map), golden["embedding_eval"]) < 1e-4

    student.train()
    embedding = student(inputs, kernel_map)
    assert rel(embedding, golden["embedding_train"]) < 1e-4
    loss = embedding.square().mean()
    assert loss.item() == pytest.approx(float(golden["loss_train"]), rel=1e-4)
    loss.backward()
    assert rel(student.input_layer[0].kernel.grad, golden["grad_input_kernel"]) < 1e-4
    assert rel(student.output_layer.kernel.grad, golden["grad_output_kernel"]) < 1e-4


def test_named_configurations_have_the_stated_size():
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in Student(config).parameters()) for config in (PAPER, COMPACT)]
    assert PAPER.in_channels == 518
    assert COMPACT.in_channels == 6 + 2 + len(COMPACT.words)
    assert sizes[0] == pytest.approx(63.8e6, rel=1e-3)
    assert sizes[1] == pytest.approx(0.27e6, rel=0.05)


def test_input_matches_the_official_voxel_inputs():
    """The stored file has no colours in 0..255 and no point features: voxel features are spread to points."""
    arrays = Recorded("pooling")
    inputs = torch.from_numpy(arrays["voxel_inputs"])
    geometry = torch.from_numpy(arrays["point_geometry"])
    index = torch.from_numpy(arrays["voxel_coords"])
    of_point = torch.from_numpy(arrays["point_to_voxel"]).long()
    voxels = Voxels(index, 0.02, torch.zeros(3).double(), of_point)
    count = len(geometry)
    rgb = torch.randint(0, 256, (count, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    label = torch.full((count,), -1, dtype=torch.int32)
    cloud = PointCloud(torch.zeros(count, 3), rgb, geometry[:, 3:].contiguous(), label)
    space = FeatureSpace("golden", 512, 1.0)
    features = PointFeatures(voxels.to_points(inputs[:, :512]), torch.ones(count, dtype=torch.int32), space)
    found = student_input(cloud, voxels, features, config=PAPER)
    assert found.shape == inputs.shape
    torch.testing.assert_close(found[:, :512], inputs[:, :512])
    torch.testing.assert_close(found[:, 515:], inputs[:, 515:])
    members = (voxels.of_point == 17).nonzero()[:, 0]
    torch.testing.assert_close(found[17, 512:515], rgb[members].float().mean(0) / 255)


def test_input_of_a_geometry_only_student_ignores_features():
    cloud, voxels, features = cloud_of()
    config = StudentConfig()
    alone = student_input(cloud, voxels, config=config)
    assert alone.shape == (len(voxels), 6)
    assert alone[:, :3].min() >= 0
    assert alone[:, :3].max() <= 1
    assert torch.equal(alone, student_input(cloud, voxels, features, config=config))


def test_input_expands_factored_features():
    cloud, voxels, features = cloud_of()
    basis = torch.randn(2, 3, generator=torch.Generator().manual_seed(5))
    factored = PointFeatures(features.values[:, :2], features.views, features.space, basis)
    dense = PointFeatures(factored.dense(), features.views, features.space)
    torch.testing.assert_close(
        student_input(cloud, voxels, factored, config=SMALL),
        student_input(cloud, voxels, dense, config=SMALL),
    )


def test_input_refuses_what_the_student_was_not_trained_for():
    cloud, voxels, features = cloud_of()
    with pytest.raises(CheckpointError, match="3 channels, found none"):
        student_input(cloud, voxels, config=SMALL)
    with pytest.raises(CheckpointError, match="512 channels, found 3 channels of test"):
        student_input(cloud, voxels, features, config=PAPER)
    with pytest.raises(CheckpointError, match=r"found voxels of 0.05 m, but .* 0.02 m"):
        student_input(cloud, voxelize(cloud.xyz, 0.05), features, config=SMALL)


def test_embed_gives_unit_rows_in_eval_mode_and_leaves_the_student_as_it_was():
    scene, student = cloud_of(), trained()
    expected = torch.nn.functional.normalize(
        student(student_input(*scene, config=SMALL), KernelMap.of(scene[1].index)), dim=1
    )
    before = {name: value.clone() for name, value in student.state_dict().items()}
    student.train()
    embedding = student.embed(*scene, dtype=torch.float32)
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert not embedding.requires_grad
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(len(scene[1])))
    torch.testing.assert_close(embedding, expected)


def test_folded_batch_norm_is_batch_norm():
    (_, voxels, _), student = cloud_of(), trained()
    inputs, kernel_map = torch.randn(len(voxels), 9), KernelMap.of(voxels.index)
    student.train()
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 1.0  # keep the statistics of this very batch
    unfolded = student(inputs, kernel_map)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            # The running variance is unbiased, that of a training batch is not.
            module.running_var *= (len(voxels) - 1) / len(voxels)
    torch.testing.assert_close(student.eval()(inputs, kernel_map), unfolded, rtol=1e-4, atol=1e-5)


def test_bfloat16_embeddings_point_the_same_way():
    scene, student = cloud_of(), trained(StudentConfig(feature_dim=3, width=32, out_channels=16))
    exact, half = (student.embed(*scene, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert (exact * half).sum(1).min() > 0.999


@pytest.mark.parametrize("native", [True, False])
def test_half_precision_is_taken_where_it_is_native(native, monkeypatch):
    scene, student = cloud_of(), trained()
    monkeypatch.setattr("purify3d.affinities.student.multiplies_bfloat16", lambda device: native)
    dtype = torch.bfloat16 if native else torch.float32
    assert torch.equal(student.embed(*scene), student.embed(*scene, dtype=dtype))


def test_a_step_of_training_reaches_every_parameter():
    (cloud, voxels, features), student = cloud_of(), trained().train()
    inputs = student_input(cloud, voxels, features, config=SMALL)
    target = torch.randn(len(voxels), 5)
    (student(inputs, KernelMap.of(voxels.index)) * target).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())


def test_saved_students_come_back_whole(tmp_path):
    student = trained()
    student.save_pretrained(tmp_path / "student")
    assert sorted(path.name for path in (tmp_path / "student").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    loaded = Student.from_pretrained(tmp_path / "student")
    assert loaded.config == SMALL
    assert not loaded.training
    for name, value in student.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


def damage(folder, change) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("res_blocks.1.conv2.kernel"), r"1 missing \(res_blocks.1.conv2.kernel\)"),
        (lambda s: s.update(extra=torch.zeros(2)), r"1 unexpected \(extra\)"),
        (
            lambda s: s.update({"output_layer.kernel": torch.zeros(8, 7)}),
            r"output_layer.kernel \(8, 7\) instead of \(8, 5\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    trained().save_pretrained(tmp_path)
    damage(tmp_path, change)
    with pytest.raises(CheckpointError, match=message):
        Student.from_pretrained(tmp_path)


def test_unreadable_folders_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not describe a student"):
        Student.from_pretrained(tmp_path)
    trained().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong in ({**config, "depth": 3}, {**config, "width": 0}, {**config, "width": "8"}, [1]):
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(CheckpointError, match="does not describe a student"):
            Student.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match=r"model.safetensors cannot be read"):
        Student.from_pretrained(tmp_path)
    for nothing in (tmp_path / "absent", "./absent", "absent"):
        with pytest.raises(CheckpointError, match="found no folder"):
            Student.from_pretrained(nothing)


def test_hub_ids_are_downloaded(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    trained().save_pretrained(tmp_path)
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **_: asked.append(name) or str(tmp_path))
    assert Student.from_pretrained("someone/student").config == SMALL
    assert asked == ["someone/student"]

    def absent(name, **_):
        raise OSError("404")

    monkeypatch.setattr(hub, "snapshot_download", absent)
    with pytest.raises(CheckpointError, match="no such repository"):
        Student.from_pretrained("someone/student")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "optimizer_state_dict": {"state": {}}, "model_state_dict": state},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    ],
)
def test_released_checkpoints_load_however_they_are_wrapped(tmp_path, wrap):
    student = trained()
    torch.save(wrap(student.state_dict()), tmp_path / "geopurify.pth")
    loaded = load_released(tmp_path / "geopurify.pth")
    assert loaded.config == SMALL
    assert not loaded.training
    scene = cloud_of()
    assert torch.equal(loaded.embed(*scene), student.embed(*scene))


def test_other_files_are_no_released_checkpoint(tmp_path):
    file = tmp_path / "geopurify.pth"
    with pytest.raises(CheckpointError, match="found no file"):
        load_released(file)
    for content in (b"", b"not a checkpoint", b"PK\x03\x04 cut off"):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot be read .*is the download complete"):
            load_released(file)
    torch.save({"model": SMALL}, file)  # a pickled object could run code
    with pytest.raises(CheckpointError, match=r"unknown object purify3d\.affinities\.config\.StudentConfig"):
        load_released(file)
    torch.save({"state_dict": {"conv.weight": torch.zeros(3)}}, file)
    with pytest.raises(CheckpointError, match="holds no student"):
        load_released(file)
    state = trained().state_dict()
    del state["res_blocks.0.norm1.bn.running_mean"]
    torch.save({**state, "teacher.weight": torch.zeros(1)}, file)
    with pytest.raises(
        CheckpointError, match=r"missing \(res_blocks.0.norm1.bn.running_mean\); 1 unexpected \(teacher"
    ):
        load_released(file)
    torch.save({**trained().state_dict(), "input_layer.0.kernel": torch.zeros(27, 4, 8)}, file)
    with pytest.raises(CheckpointError, match="reads 4 channels"):
        load_released(file)


def test_words_are_told_alike_by_every_model() -> None:
    cloud, voxels, _ = cloud_of()
    config = StudentConfig(width=8, blocks=1, out_channels=4, words=("chair", "wall"))
    assert config.in_channels == 2 + 2 + 6
    silent = student_input(cloud, voxels, config=config)
    assert not silent[:, :4].any()
    for dim, scale in ((2, 10.0), (5, 40.0)):
        space = FeatureSpace(f"model {dim}", dim, scale, length_is_confidence=dim == 2)
        text_embeddings = TextEmbeddings(
            Vocabulary.parse("chair, wall"), torch.eye(dim)[:2], torch.arange(2), space
        )
        values = torch.eye(dim)[:2][torch.arange(len(cloud)) % 2] * 0.5
        views = torch.full((len(cloud),), 3, dtype=torch.int32)
        gap = torch.zeros(len(cloud))
        gap[:4] = torch.inf
        evidence = word_evidence(PointFeatures(values, views, space, gap=gap), text_embeddings)
        assert not evidence[:4].any()  # nothing is known
        length = 0.5 if dim == 2 else 1.0  # of the other model lengths mean nothing
        assert evidence[4].tolist() == pytest.approx([length, 0, length, 0.5], abs=1e-3)
        assert evidence[5].tolist() == pytest.approx([0, length, length, 0.5], abs=1e-3)
        told = student_input(
            cloud, voxels, PointFeatures(values, views, space), config=config, text_embeddings=text_embeddings
        )
        assert torch.equal(told[:, 4:], silent[:, 4:])


def test_squared_distances_of_student_and_geometry_add_up() -> None:
    cloud, voxels, _ = cloud_of()
    config = StudentConfig(width=8, blocks=1, out_channels=4, sharpness=160.0, geometric=10.0)
    own = torch.nn.functional.normalize(torch.randn(len(voxels), 4), dim=1)
    both, geometry = joined(own, cloud, voxels, config), geometric_embedding(cloud, voxels)

    def distance(x: torch.Tensor) -> torch.Tensor:
        return (x[0] - x[1]).square().sum()

    expected = 160 * distance(own) + 10 * distance(geometry)
    torch.testing.assert_close(160 * distance(both), expected)
    alone = StudentConfig(width=8, blocks=1, out_channels=4)
    assert joined(own, cloud, voxels, alone) is own


def test_at_other_voxels_normals_and_colours_stand_in_for_the_shipped_student(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    xyz = torch.rand(400, 3, generator=rng)
    points = PointCloud.from_arrays(
        xyz, rgb=(xyz * 255).to(torch.uint8), normal=torch.randn(400, 3, generator=rng)
    )
    features = PointFeatures(
        torch.ones(400, 1), torch.ones(400, dtype=torch.int32), FeatureSpace("test", 1, 1.0)
    )
    coarse = PurifyConfig(affinity="student", voxel=0.05, confidence=0)
    with pytest.warns(PurifyWarning, match=r"trained on voxels of 0\.02 m; those of 0\.05 m .* normals and"):
        _, stands_in = affinity(points, features, coarse)
    _, geometric = affinity(points, features, replace(coarse, affinity="geometric"))
    assert torch.equal(stands_in.weight, geometric.weight)  # type: ignore[union-attr]
    _, own = affinity(points, features, replace(coarse, voxel=0.02))
    _, other = affinity(points, features, replace(coarse, affinity="geometric", voxel=0.02))
    assert not torch.allclose(own.weight, other.weight)  # type: ignore[union-attr]
    mine = shutil.copytree(SHIPPED, tmp_path / "mine")
    with pytest.raises(CheckpointError, match=r"found voxels of 0\.05 m"):  # one's own is never left out
        affinity(points, features, replace(coarse, affinity=str(mine)))


def test_a_model_that_fails_at_the_students_words_leaves_it_shape_and_colour() -> None:
    digits = FakeModel(
        FeatureSpace("digits", 1, 1.0), words=lambda texts: torch.tensor([[float(text)] for text in texts])
    )
    with pytest.warns(PurifyWarning, match="reads nothing of what the 2D model saw .* could not convert"):
        found = load_embedding("student", digits)
    assert isinstance(found, Learned)
    assert found.text_embeddings is None
