"""Scenes larger than memory: tiles change nothing, and what they take does not grow with their number."""

import errno
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import pool_plain
from scipy.spatial import cKDTree

from purify3d.affinities import building, tiles
from purify3d.affinities.budget import affinity_bytes, tile_size
from purify3d.affinities.building import affinity
from purify3d.affinities.config import PurifyConfig, StudentConfig
from purify3d.affinities.embeddings import Embedding, Geometric, Learned, Uniform
from purify3d.affinities.pooling import pool, pool_features
from purify3d.affinities.student import Student
from purify3d.affinities.tiles import TiledAffinity, cut, tile_neighbors, tiled_affinity
from purify3d.backbones import load_backbone
from purify3d.backbones.facts import Facts
from purify3d.base.errors import PurifyError
from purify3d.base.memory import free_memory
from purify3d.base.stopwatch import _reset_peak, peak_memory
from purify3d.features.config import LiftConfig
from purify3d.grid.neighbors import grid_neighbors
from purify3d.grid.voxels import voxelize
from purify3d.labels.config import SegmentConfig
from purify3d.labels.labelling import label_points
from purify3d.runs.forecast import Forecast, forecast, lifted_floats, of_segmentation
from purify3d.runs.job import job
from purify3d.types import Affinity, FeatureSpace, PointCloud, PointFeatures, TextEmbeddings, Vocabulary

SPACE = FeatureSpace("test", 6, 20.0, length_is_confidence=True)


def floor(width: int, *, lonely: int = 0, seed: int = 0) -> tuple[PointCloud, PointFeatures]:
    """A bumpy floor of width x width voxels of 2 cm with a wall, and lonely points far off."""
    draw = np.random.default_rng(seed)
    x, y = np.divmod(np.arange(width * width), width)
    height = np.where(y > width // 2, 9, 0) + draw.integers(0, 2, len(x))
    cells = np.stack([x, y, height], axis=1)
    far = width + 10 * np.arange(1, lonely + 1)[:, None] * np.array([3, 1, 2])
    xyz = (np.concatenate([cells, far]) + draw.uniform(0.2, 0.8, (len(x) + lonely, 3))) * 0.02
    n = len(xyz)
    normal = draw.normal(size=(n, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    points = PointCloud.from_arrays(xyz, draw.integers(0, 256, (n, 3), dtype=np.uint8), normal)
    values = torch.from_numpy(draw.normal(size=(n, 6)).astype(np.float32))
    return points, PointFeatures(values, torch.ones(n, dtype=torch.int32), SPACE)


def tiled(monkeypatch: pytest.MonkeyPatch, limit: int, *given: Any, **named: Any) -> TiledAffinity:
    with monkeypatch.context() as patch:
        patch.setattr(building, "tile_size", lambda *_, **__: limit)
        _, heard = affinity(*given, **named)
    assert isinstance(heard, TiledAffinity)
    return heard


@pytest.mark.parametrize("kind", ["geometric", "uniform", "student"])
def test_nineteen_rounds_over_many_tiles_are_those_of_the_whole(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """19 rounds of 96 neighbours reach about 19 x 6 voxels: through all of the 4 x 4 tiles and more."""
    torch.manual_seed(0)
    monkeypatch.setattr(
        "purify3d.affinities.student.multiplies_bfloat16", lambda device: False
    )  # it rounds by parts
    student = Student(StudentConfig(width=8, blocks=4, out_channels=8, geometric=10.0)).eval()
    named: dict[str, Embedding] = {"geometric": Geometric(), "uniform": Uniform()}
    embedding = named.get(kind, Learned(student, "drawn"))
    points, features = floor(120, lonely=5)
    config = PurifyConfig(memory=math.inf)
    voxels, whole = affinity(points, features, config, embedding=embedding)
    assert isinstance(whole, Affinity)
    heard = tiled(monkeypatch, 1200, points, features, config, embedding=embedding)
    assert len(heard.tiles) >= 16
    for tile in heard.tiles:
        rows, sources, place, weight = heard.read(tile)
        assert torch.equal(sources[place], whole.neighbor[rows.long()])
        torch.testing.assert_close(weight, whole.weight[rows.long()], rtol=1e-4, atol=1e-6)
    values = voxels.mean(features.values)
    expected = pool_plain(whole, values, 19)
    assert float((expected - values).abs().mean()) > 0.5  # much has changed
    torch.testing.assert_close(pool(heard, values, 19), expected, rtol=1e-4, atol=1e-4)
    found = pool_features(features, voxels, heard, 19)
    torch.testing.assert_close(found.values, voxels.to_points(expected), rtol=1e-4, atol=1e-4)


def test_what_one_voxel_says_is_heard_four_tiles_away(monkeypatch: pytest.MonkeyPatch) -> None:
    points, features = floor(120)
    config = PurifyConfig(memory=math.inf)
    heard = tiled(monkeypatch, 1000, points, features, config, embedding=Uniform())
    voxels = voxelize(points.xyz, 0.02)
    values = torch.zeros(len(voxels), 1)
    values[0] = 1
    index = voxels.index[:, 0].float()
    reached = [float(index[(pool(heard, values, rounds) > 0)[:, 0]].max()) for rounds in (1, 5, 19)]
    assert reached[0] < 30 < reached[1] < reached[2] == 119  # a tile is about 30 voxels wide


def test_labels_do_not_depend_on_the_memory_that_is_allowed() -> None:
    points, features = floor(190)
    text_embeddings = TextEmbeddings(Vocabulary.parse("a, b, c, d"), torch.eye(6)[:4], torch.arange(4), SPACE)
    found = []
    for memory in (math.inf, 0.001):
        config = SegmentConfig(purify=PurifyConfig(memory=memory))
        _, heard = affinity(points, features, config.purify)
        assert isinstance(heard, Affinity if memory == math.inf else TiledAffinity)
        found.append(label_points(points, features, text_embeddings, config))
    assert torch.equal(found[0].label, found[1].label)
    torch.testing.assert_close(found[0].score, found[1].score, rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 300), st.integers(1, 40), st.integers(1, 60))
def test_neighbours_of_tiles_are_those_of_a_search_among_all(
    seed: int, count: int, k: int, limit: int
) -> None:
    draw = np.random.default_rng(seed)
    scale = draw.choice([4, 12, 200])  # crowded, loose, lonely
    cells = np.unique(draw.integers(0, scale, (count, 3)), axis=0).astype(np.int32)
    expected = grid_neighbors(torch.from_numpy(cells), k).numpy()
    for rows in cut(cells, limit):
        np.testing.assert_array_equal(tile_neighbors(cells, rows, k), expected[rows])


def test_neighbours_of_some_rows_are_nearest_by_a_tree() -> None:
    cells = np.unique(np.random.default_rng(1).integers(0, 20, (900, 3)), axis=0).astype(np.int32)
    rows = np.array([3, 77, 500])
    found = grid_neighbors(torch.from_numpy(cells), 12, rows=torch.from_numpy(rows)).numpy()
    distance, _ = cKDTree(cells).query(cells[rows], k=13)
    assert found.shape == (3, 12)
    np.testing.assert_allclose(
        np.linalg.norm(cells[found] - cells[rows, None], axis=2), distance[:, 1:], atol=1e-9
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 400), st.integers(1, 50))
def test_tiles_are_boxes_that_share_nothing_and_leave_nothing_out(seed: int, count: int, limit: int) -> None:
    draw = np.random.default_rng(seed)
    cells = np.unique(draw.integers(0, [30, 9, 2], (count, 3)), axis=0).astype(np.int32)
    tiles = cut(cells, limit)
    assert max(map(len, tiles)) <= limit
    assert np.array_equal(np.sort(np.concatenate(tiles)), np.arange(len(cells)))
    assert all((np.diff(rows) > 0).all() for rows in tiles)
    for rows in tiles:
        low, high = cells[rows].min(axis=0), cells[rows].max(axis=0)
        inside = ((cells >= low) & (cells <= high)).all(axis=1)
        assert inside.sum() == len(rows)  # no cell of another tile lies in the box


def _even(seen: np.ndarray, own: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    return torch.full(near.shape, 1 / near.shape[1])


def test_memory_is_flat_in_the_number_of_tiles() -> None:
    """4 and 64 tiles of one size, and 64 of them as one: what is measured is what neighbours take."""
    taken = {}
    size = 50 * 50
    for side, limit in ((2, size), (8, size), (8, 64 * size)):
        x, y = np.divmod(np.arange((side * 50) ** 2), side * 50)
        cells = np.stack([x, y, np.zeros_like(x)], axis=1).astype(np.int32)
        values = torch.rand(len(cells), 1)
        _reset_peak()
        before = peak_memory()
        heard = tiled_affinity(cells, 96, _even, limit=limit)
        pool(heard, values, 2)
        taken[len(heard.tiles)] = peak_memory() - before
    whole = 64 * size * 96 * 8
    assert taken.keys() == {4, 64, 1}
    assert taken[1] > whole
    assert taken[64] - taken[4] < 0.15 * whole


def test_a_full_disk_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def seek(self, *_: int) -> int:
            return 0

        def write(self, _: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tiles.tempfile, "TemporaryFile", lambda **_: Full())
    cells = np.stack([np.arange(20)] * 3, axis=1).astype(np.int32)
    with pytest.raises(PurifyError, match=r"No space left on device.*TMPDIR"):
        tiled_affinity(cells, 4, _even, limit=8)


def test_no_folder_for_temporary_files_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(**_: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tiles.tempfile, "TemporaryFile", nowhere)
    with pytest.raises(PurifyError, match=r"No usable temporary directory found.*TMPDIR"):
        tiles.TiledAffinity(20, 4)


@pytest.mark.parametrize("count", [1, 2])
def test_one_voxel_and_two_far_apart_take_any_memory(count: int) -> None:
    points, features = floor(0, lonely=count)
    config = PurifyConfig(affinity="geometric", memory=0.001)
    voxels, heard = affinity(points, features, config)
    expected = pool_features(features, *affinity(points, features, replace(config, memory=math.inf)), 19)
    found = pool_features(features, voxels, heard, 19)
    assert float(expected.values.norm(dim=1).min()) > 0.01  # something is said of each
    torch.testing.assert_close(found.values, expected.values)


def test_large_temporary_files_go_to_a_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tiles.tempfile, "tempdir", None)
    assert tiles.scratch() == str(tmp_path)


def test_given_neighbours_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    points, features = floor(30)
    config = replace(PurifyConfig(), memory=0.001)
    near = grid_neighbors(voxelize(points.xyz, 0.02).index, 8)
    monkeypatch.setattr(building, "tile_size", lambda *_, **__: 100)
    assert isinstance(affinity(points, features, config, neighbor=near)[1], Affinity)


def estimated(points: int, floats: int, memory: float | None = None) -> Forecast:
    method = SegmentConfig(purify=PurifyConfig(memory=memory))
    return of_segmentation(points, points, method, floats=floats)


def test_an_estimate_says_what_it_takes_and_what_to_do() -> None:
    small = estimated(300_000, 28)
    assert small.line(8e9) == small.line(None) == "about 1.1 GB"
    large = estimated(5_000_000, 28)
    assert large.memory > 7.4e9  # measured, all in all
    said = large.line(6e9)
    assert re.match(r"about \d+\.\d GB; 6\.0 GB are free, so .* in tiles on disk.* GB$", said), said
    assert large.line(3e9).endswith("do not fit either: give a larger --voxel")
    wide = estimated(5_000_000, 512)
    assert 11.4e9 < wide.memory < 13e9  # measured: 11.4, while it lifts
    assert wide.tiled == wide.memory  # tiles do not help there, nor do larger voxels of a cloud that is given
    assert wide.line(8e9).endswith("give fewer points (a larger --voxel; with --onto, a thinner cloud)")
    assert estimated(5_000_000, 0).memory == large.memory  # lifted before
    assert estimated(5_000_000, 512, memory=1).memory == wide.memory
    tight = estimated(5_000_000, 28, memory=4)
    assert tight.memory == pytest.approx(large.memory - affinity_bytes(5_000_000, 96) + 4e9)


def test_what_lifting_takes_depends_on_what_is_kept_of_the_views() -> None:
    def floats(kind: str, fusion: str, channels: int | None = None) -> int:
        facts = Facts(kind, "", 0, "", "", channels)
        backbone = SimpleNamespace(facts=facts, space=FeatureSpace("test", 512, 1.0))
        return lifted_floats(backbone, LiftConfig(fusion=fusion))

    assert floats("dense", "mean") == 512
    assert floats("dense", "consensus") == 4 * 512  # the best views, and what they become
    assert floats("mask-type", "consensus") == 512
    assert floats("dense", "mean", channels=28) == 28


def test_tiles_are_used_where_it_would_not_fit_and_fill_what_is_allowed() -> None:
    assert tile_size(1_000_000, 96, None) is None
    assert tile_size(1_000_000, 96, affinity_bytes(1_000_000, 96)) is None
    sizes = [tile_size(10_000_000, 96, gigabytes * 1e9) for gigabytes in (5, 8, 12)]
    assert 20_000 <= (sizes[0] or 0) < (sizes[1] or 0) < (sizes[2] or 0) < 10_000_000
    free = free_memory()
    assert free is None or 1e6 < free < 1e14


def test_a_container_leaves_less_than_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    limit.write_text("3000000\n")
    used.write_text("2000000\n")
    (tmp_path / "memory.stat").write_text("anon 1200000\ninactive_file 500000\n")
    monkeypatch.setattr("purify3d.base.memory._CONTAINERS", ((limit, used),))
    assert free_memory() == 1_500_000
    limit.write_text("max\n")
    assert (free_memory() or 0) > 1_500_000


def test_a_rooms_estimate_is_within_a_factor_of_two(tmp_path: Path) -> None:
    """Of the peak of a process of its own, before and after its frames are fused."""
    small = "'synthetic:3?frames=6', 'chair, table', affinity='geometric', rounds=2"
    here = job("synthetic:3?frames=6", "chair, table", affinity="geometric", rounds=2)
    before = forecast(here.capture.open(), here.method, load_backbone(here.backbone), Geometric())
    script = (
        "import json, sys; from purify3d.runs.job import job; from purify3d.pipeline import run_job\n"
        "said = []\n"
        f"run_job(job({small}), {str(tmp_path / 'run')!r}, check=False, report=said.append)\n"
        "print(json.dumps(said))"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    said = json.loads(ran.stdout)
    assert len(said) == 2  # guessed, counted
    stages = json.loads((tmp_path / "run" / "metrics.json").read_text())["stages"]
    peak = max(stage["peak_gb"] for stage in stages.values())
    for line in said:
        found = re.match(r"estimate: about (\d+\.\d) GB", line)
        assert found, line
        assert peak / 2 <= float(found[1]) <= peak * 2
    assert peak / 2 <= before.memory / 1e9 <= peak * 2
