"""Sonata against arrays of the official code on a scaled-down model; its checkpoint's keys at full size."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recorded import Kept, Recorded, manifest, pair
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Module

from purify3d.base import checkpoints
from purify3d.base.errors import CheckpointError, PurifyWarning
from purify3d.training.teachers import Targets, Teacher
from purify3d.training.teachers.sonata import Sonata, load, sonata_input, weights
from purify3d.training.teachers.sonata.curves import CURVES, curve_depth, curve_key
from purify3d.training.teachers.sonata.network import SonataConfig, SonataNetwork, upcast
from purify3d.training.teachers.sonata.weights import OPTIONAL, read_network
from purify3d.types import PointCloud

Z = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Arrays this small gain nothing from threads, which on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def golden() -> Recorded:
    return Recorded("sonata_tiny")


@pytest.fixture(scope="module")
def state(golden: Recorded) -> dict[str, Tensor]:
    return {
        k.removeprefix("weights/"): torch.from_numpy(v) for k, v in golden.items() if k.startswith("weights/")
    }


@pytest.fixture(scope="module")
def official(golden: Recorded) -> dict:
    """The config as it lies in a checkpoint."""
    return json.loads(str(golden["config_json"]))


@pytest.fixture
def checkpoint(tmp_path: Path, state: dict[str, Tensor], official: dict) -> Path:
    torch.save({"config": official, "state_dict": state}, tmp_path / "sonata.pth")
    return tmp_path / "sonata.pth"


@pytest.fixture(scope="module")
def network(
    state: dict[str, Tensor], official: dict, tmp_path_factory: pytest.TempPathFactory
) -> SonataNetwork:
    path = tmp_path_factory.mktemp("sonata") / "sonata.pth"
    torch.save({"config": official, "state_dict": state}, path)
    return read_network(path)


def close(actual: Tensor, recorded: np.ndarray | Kept, name: str = "", relative: float = 1e-5) -> None:
    """Error against the recorded array, in the Euclidean norm, and no single value far off."""
    assert actual.shape == recorded.shape, name
    found, expected = pair(actual, recorded)
    difference = found - expected
    assert np.linalg.norm(difference) < relative * np.linalg.norm(expected), name
    assert np.abs(difference).max() < 5 * relative * np.abs(expected).max(), name


def inputs(golden: Recorded, case: str) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(golden[f"{case}/in/feat"]), torch.from_numpy(golden[f"{case}/in/grid_coord"])


def clouds(seed: int = 0, count: int = 600, extent: float = 0.5) -> PointCloud:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, 3, generator=generator)
    return PointCloud(
        xyz=torch.rand(count, 3, generator=generator) * extent,
        rgb=torch.randint(0, 256, (count, 3), generator=generator).to(torch.uint8),
        normal=normal / normal.norm(dim=1, keepdim=True),
        label=torch.full((count,), -1, dtype=torch.int32),
    )


def dense(targets: Targets) -> Tensor:
    """(N, C) the feature of every point."""
    assert targets.feature is not None
    return targets.feature[targets.group[:, 0]]


# ---- the network


def seen_by_name(network: SonataNetwork, *args: Tensor) -> dict[str, Tensor]:
    """What the network makes, under the names of the golden file."""
    seen: dict[str, Tensor] = {}
    modules: dict[str, Module] = {"embedding.feat": network.embedding["stem"]}
    for stage, children in network.enc.named_children():
        modules |= {f"{stage}.{name}.feat": child for name, child in children.named_children()}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for name, module in modules.items()
    ]
    stages = network(*args)
    for hook in hooks:
        hook.remove()
    for s, stage in enumerate(stages):
        depth = curve_depth(stage.grid)
        codes = torch.stack([curve_key(stage.grid, curve, depth) for curve in CURVES])
        seen |= {
            f"enc{s}.feat": stage.features,
            f"enc{s}.grid_coord": stage.grid,
            f"enc{s}.pooling_inverse": stage.of_finer,
            f"enc{s}.serialized_code": codes,
            f"enc{s}.serialized_order": codes.argsort(1),
            f"enc{s}.serialized_depth": torch.tensor(depth),
        }
    seen["upcast.level2.feat"] = upcast(stages)[0]
    seen["upcast.level3.feat"] = torch.cat([stages[3].features, stages[4].features[stages[4].of_finer]], 1)
    return seen


@pytest.mark.parametrize("case", ["a", "b"])
def test_every_intermediate_is_golden(golden: Recorded, network: SonataNetwork, case: str) -> None:
    seen = seen_by_name(network, *inputs(golden, case))
    stored = {key.split("/out/")[1] for key in golden if key.startswith(f"{case}/out/")}
    # Mean coordinates are carried along officially and read by nothing; point features have a test below.
    stored -= {"out.coord", "final.point_feat"}
    assert stored <= seen.keys()
    assert len(stored) >= 36
    for name in stored:
        expected = golden[f"{case}/out/{name}"]
        if isinstance(expected, np.ndarray) and expected.dtype == np.int64:
            assert np.array_equal(seen[name].numpy(), expected), name
        else:
            close(seen[name], expected, name)


@pytest.mark.parametrize("case", ["a", "b"])
def test_point_features_are_golden(golden: Recorded, network: SonataNetwork, case: str) -> None:
    """From the cloud to its points. The points that were drawn officially come first here, so are kept."""
    drawn = torch.from_numpy(golden[f"{case}/in/sampled_index"])
    raw = {name: torch.from_numpy(golden[f"{case}/raw/{name}"]) for name in ("coord", "color", "normal")}
    rest = torch.ones(len(raw["coord"]), dtype=torch.bool)
    rest[drawn] = False
    order = torch.cat([drawn, rest.nonzero()[:, 0]])
    cloud = PointCloud(
        xyz=raw["coord"][order],
        rgb=raw["color"][order].to(torch.uint8),
        normal=raw["normal"][order],
        label=torch.full((len(order),), -1, dtype=torch.int32),
    )
    features, voxels = sonata_input(cloud, up=Z)
    row = torch.empty(len(voxels), dtype=torch.int64)  # official rows are in the order of a hash
    row[voxels.of_point[: len(drawn)]] = torch.arange(len(drawn))
    assert np.array_equal(voxels.index.numpy(), golden[f"{case}/in/grid_coord"][row])
    assert np.array_equal(row[voxels.of_point].numpy(), golden[f"{case}/in/inverse"][order])
    assert np.array_equal(features.numpy(), golden[f"{case}/in/feat"][row])

    teacher: Teacher = Sonata(network)
    described = dense(teacher.teach(cloud, up=Z))
    close(described[order.argsort()], golden[f"{case}/out/final.point_feat"])
    assert torch.equal(described, dense(teacher.teach(cloud, up=Z)))


def test_order_of_voxels_does_not_matter(golden: Recorded, network: SonataNetwork) -> None:
    features, grid = inputs(golden, "a")
    order = torch.randperm(len(grid), generator=torch.Generator().manual_seed(0))
    straight, row = upcast(network(features, grid))
    mixed, mixed_row = upcast(network(features[order], grid[order]))
    assert torch.equal(row[order], mixed_row)
    close(mixed, straight.numpy(), relative=1e-6)


# ---- curves


@pytest.mark.parametrize("curve", CURVES)
def test_curve_visits_every_cell_once(curve: str) -> None:
    cells = torch.cartesian_prod(*[torch.arange(8)] * 3)
    path = cells[curve_key(cells, curve, 3).argsort()]
    assert torch.equal(curve_key(path, curve, 3), torch.arange(512))
    steps = (path[1:] - path[:-1]).abs().sum(1)
    assert (steps.max() == 1) == curve.startswith("hilbert")


def test_depth_of_a_curve() -> None:
    depths = {0: 1, 1: 2, 62: 6, 63: 7, 64: 7, 65534: 16}
    assert {top: curve_depth(torch.tensor([[0, top, 0]])) for top in depths} == depths
    with pytest.raises(ValueError, match=r"spans 65536 voxels .* in metres"):
        curve_depth(torch.tensor([[0, 0, 65535]]))


# ---- from points to voxels


def test_up_becomes_z(network: SonataNetwork) -> None:
    cloud = clouds()
    turned = replace(
        cloud,
        xyz=cloud.xyz[:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0]),
        normal=cloud.normal[:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0]),
    )
    teacher = Sonata(network)
    plain = dense(teacher.teach(cloud, up=Z))
    close(dense(teacher.teach(turned, up=np.array([0.0, 1.0, 0.0]))), plain.numpy())
    assert (dense(teacher.teach(turned, up=Z)) - plain).abs().max() > 0.1


def test_input_of_a_voxel_is_its_first_point() -> None:
    cloud = clouds(count=4000, extent=0.2)
    features, voxels = sonata_input(cloud, up=Z)
    low, high = cloud.xyz.amin(0), cloud.xyz.amax(0)
    origin = torch.tensor([*((low + high) / 2)[:2], low[2]])
    for v in range(0, len(voxels), 97):
        first = (voxels.of_point == v).nonzero()[0, 0]
        assert torch.equal(features[v, :3], cloud.xyz[first] - origin)
        assert torch.equal(features[v, 3:6], cloud.rgb[first] / 255)
        assert torch.equal(features[v, 6:], cloud.normal[first])
    assert features[:, 3:6].max() == 1


def test_points_without_normals_are_refused() -> None:
    cloud = clouds()
    with pytest.raises(ValueError, match="no normal on any of 600 points"):
        sonata_input(replace(cloud, normal=torch.zeros_like(cloud.normal)), up=Z)


def test_points_of_a_cell_share_one_feature(network: SonataNetwork) -> None:
    cloud = clouds(count=4000, extent=0.3)
    targets = Sonata(network).teach(cloud, up=Z)
    assert targets.feature is not None
    assert targets.group.shape == (4000, 1)
    assert targets.group.unique().tolist() == list(range(len(targets.feature)))
    assert 16 < len(targets.feature) < 130  # 8 cm cells of 2 cm voxels in a cube of 30 cm
    # Cells are those of the voxels, counted from the cloud's own corner.
    _, voxels = sonata_input(cloud, up=Z)
    cell = voxels.to_points(voxels.index // 4)
    pairs = torch.cat([cell, targets.group], 1).unique(dim=0)
    assert len(pairs) == len(targets.feature) == len(cell.unique(dim=0))


def test_the_fingerprint_is_that_of_weights_and_use(
    checkpoint: Path, state: dict[str, Tensor], official: dict, network: SonataNetwork
) -> None:
    own = Sonata(network).fingerprint
    assert own == Sonata(read_network(checkpoint)).fingerprint
    changed = dict(state)
    name = next(key for key in state if key.endswith("cpe.0.bias"))
    changed[name] = state[name] + 1e-3
    torch.save({"config": official, "state_dict": changed}, checkpoint)
    assert Sonata(read_network(checkpoint)).fingerprint != own
    assert (Sonata.name, Sonata.licence) == ("sonata", "CC-BY-NC-4.0")


def test_a_single_point(network: SonataNetwork) -> None:
    assert dense(Sonata(network).teach(clouds(count=1), up=Z)).isfinite().all()


# ---- weights


def test_every_key_of_the_full_size_model() -> None:
    full = manifest("sonata")
    with torch.device("meta"):
        network = SonataNetwork(SonataConfig())
    unread = full["tensors"].pop(OPTIONAL)
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == full["tensors"]
    assert sum(p.numel() for p in network.parameters()) + unread[1] == full["num_parameters"]
    assert full["optional_keys"] == [OPTIONAL]
    assert weights._config(Path("sonata.pth"), full["config"]) == SonataConfig()


def test_file_folder_and_safetensors(
    checkpoint: Path, state: dict[str, Tensor], network: SonataNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = clouds()
    with pytest.warns(PurifyWarning, match="CC-BY-NC") as caught:
        expected = dense(load(str(checkpoint)).teach(cloud, up=Z))
    assert len(caught) == 1
    with pytest.warns(PurifyWarning):
        assert torch.equal(dense(load(str(checkpoint.parent)).teach(cloud, up=Z)), expected)
    checkpoint.unlink()
    save_file(state, checkpoint.parent / "model.safetensors")
    # No config beside the weights: they are taken for the published model, which the tiny ones are not.
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit .* of another shape"):
        load(str(checkpoint.parent))
    monkeypatch.setattr(weights, "SonataConfig", lambda: network.config)
    with pytest.warns(PurifyWarning):
        assert torch.equal(dense(load(str(checkpoint.parent)).teach(cloud, up=Z)), expected)


def test_mask_token_may_be_absent(checkpoint: Path, state: dict[str, Tensor], official: dict) -> None:
    given = {k: v for k, v in state.items() if k != OPTIONAL}
    torch.save({"config": official, "state_dict": given}, checkpoint)
    network = read_network(checkpoint)
    assert network.state_dict().keys() == given.keys()


def test_keys_that_do_not_fit_are_named(checkpoint: Path, state: dict[str, Tensor], official: dict) -> None:
    wrong = dict(state, **{"dec.dec0.up.proj.weight": torch.zeros(1)})
    del wrong["enc.enc0.block0.cpe.0.bias"]
    wrong["embedding.stem.linear.weight"] = torch.zeros(16, 6)
    torch.save({"config": official, "state_dict": wrong}, checkpoint)
    with pytest.raises(CheckpointError) as error:
        read_network(checkpoint)
    for part in (
        "1 missing (enc.enc0.block0.cpe.0.bias)",
        "1 unexpected (dec.dec0.up.proj.weight)",
        "1 of another shape (embedding.stem.linear.weight (16, 6) instead of (16, 9))",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"order": ["z", "hilbert"]}, "order is"),
        ({"in_channels": 6}, "in_channels is 6, expected 9"),
        ({"layer_scale": 0.1}, "layer_scale is 0.1"),
        ({"pre_norm": False}, "pre_norm is False"),
        ({"enable_rpe": True}, "enable_rpe is True, expected False"),
        ({"enc_patch_size": [64, 64, 64, 64, 32]}, "one size for all stages"),
        ({"enc_num_head": [2, 2, 4, 4]}, "one depth, width and number of heads"),
        ({"enc_depths": None}, "TypeError"),
    ],
)
def test_other_networks_are_refused(
    checkpoint: Path, state: dict[str, Tensor], official: dict, setting: dict, message: str
) -> None:
    torch.save({"config": official | setting, "state_dict": state}, checkpoint)
    with pytest.raises(CheckpointError, match=message):
        read_network(checkpoint)


def test_unreadable_files(tmp_path: Path) -> None:
    path = tmp_path / "sonata.pth"
    path.write_bytes(b"version https")
    with pytest.raises(CheckpointError, match=r"sonata\.pth"):
        read_network(path)
    torch.save({"state_dict": {}, "config": SimpleNamespace()}, path)
    with pytest.raises(CheckpointError, match=r"unknown object types\.SimpleNamespace"):
        read_network(path)
    torch.save({"state_dict": {"model": 3}}, path)
    with pytest.raises(CheckpointError, match="expected names and tensors"):
        read_network(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        read_network(path)


def test_where_weights_are_looked_for(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def snapshot_download(repo: str, allow_patterns: list[str]) -> str:
        asked.append((repo, *allow_patterns))
        if repo != "facebook/sonata":
            raise OSError("404")
        return str(checkpoint.parent)

    fake = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setattr(checkpoints, "require", lambda package, extra: fake)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load("facebook/sonata")
    assert [str(w.message)[:6] for w in caught] == ["Sonata"]
    assert asked == [("facebook/sonata", "sonata.pth")]
    with pytest.raises(CheckpointError, match=r"gave no sonata\.pth .* \(404\)"):
        load("nobody/nothing")
    with pytest.raises(CheckpointError, match=r"no file .*there\.pth"):
        load(str(tmp_path / "not" / "there.pth"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no file .*empty"):
        load(str(tmp_path / "empty"))
    assert len(asked) == 2
