"""Procedural rooms: exact truth, plausible furniture, and hard enough."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from contacts import contacts

from purify3d import rooms
from purify3d.grid.projection import backproject, project
from purify3d.rooms import CLASSES, synthetic_scene
from purify3d.rooms import room as layout

SEEDS = range(0, 8)
furnish = cache(layout.furnish)  # a room takes a fifth of a second


@pytest.fixture(scope="module")
def exact():
    return synthetic_scene(3, noise=False)


@pytest.fixture(scope="module")
def noisy():
    return synthetic_scene(3)


def test_scene_says_what_it_is(exact):
    assert exact.truth == dict(enumerate(CLASSES))
    assert exact.up.tolist() == [0, 0, 1]
    assert len(exact.frames) == 48
    frame = exact.frames[7]
    color, depth, label = frame.color(), frame.depth(), frame.label()
    assert (color.shape, color.dtype) == ((240, 320, 3), np.uint8)
    assert (depth.shape, depth.dtype) == ((240, 320), np.float32)
    assert (label.shape, label.dtype) == ((240, 320), np.int32)
    assert label.min() >= 0
    assert label.max() < len(CLASSES)
    assert (depth > 0).all()


def test_same_seed_same_frames_in_any_order():
    a, b = synthetic_scene(5, width=80, height=60), synthetic_scene(5, width=80, height=60)
    later = [b.frames[i].color() for i in (9, 2)]
    assert np.array_equal(a.frames[2].depth(), b.frames[2].depth())
    assert np.array_equal(a.frames[2].color(), later[1])
    assert not np.array_equal(synthetic_scene(6, width=80, height=60).frames[2].color(), later[1])


def test_points_of_one_frame_lie_on_the_surfaces_of_the_next(exact):
    here, there = exact.frames[10], exact.frames[11]
    pose = here.world_from_camera
    world = backproject(here.depth(), here.camera).reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
    uv, z = project(torch.from_numpy(world), there.camera, there.world_from_camera)
    u, v = uv.round().long().numpy().T
    inside = (z.numpy() > 0) & (u >= 0) & (u < 320) & (v >= 0) & (v < 240)
    assert inside.mean() > 0.4
    u, v, z = u[inside], v[inside], z.numpy()[inside]
    seen = np.abs(there.depth()[v, u] - z) < 0.03 * z
    assert seen.mean() > 0.9
    assert np.median(np.abs(there.depth()[v, u] - z)[seen]) < 0.003
    agree = there.label()[v, u][seen] == here.label().ravel()[inside][seen]
    assert agree.mean() > 0.98


def test_depth_noise_grows_with_the_square_of_the_distance(exact, noisy):
    truth = np.concatenate([f.depth().ravel() for f in exact.frames[::6]])
    found = np.concatenate([f.depth().ravel() for f in noisy.frames[::6]])
    assert np.allclose(found * 1000, np.round(found * 1000), atol=1e-2)
    assert 0.01 < (found == 0).mean() < 0.35
    known = found > 0
    error = np.abs(found - truth)[known]
    for low, high, least, most in ((0.9, 1.2, 0.0007, 0.0025), (2.6, 3.2, 0.005, 0.016)):
        near = (truth[known] > low) & (truth[known] < high)
        assert least < 1.48 * np.median(error[near]) < most  # a robust deviation


def test_labels_are_those_of_the_exact_room_whatever_the_sensor_sees(exact, noisy):
    assert np.array_equal(exact.frames[4].label(), noisy.frames[4].label())


def test_memory_does_not_grow_with_the_frames():
    film = rooms._Film(3, 20, 8, 6, False, False)
    first = film._cast(0)
    assert film._cast(0) is first
    for i in range(20):
        film.depth(i)
    known = film._cast.cache_info()
    assert known.currsize == rooms._KEPT
    assert known.misses == 20


def test_camera_is_hand_held_in_free_space():
    for seed in SEEDS[:5]:
        scene = synthetic_scene(seed, width=64, height=48, noise=False)
        room = furnish(seed)
        poses = np.stack([f.world_from_camera for f in scene.frames])
        assert np.allclose(poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1), np.eye(3), atol=1e-9)
        assert np.allclose(np.linalg.det(poses[:, :3, :3]), 1)
        position = poses[:, :3, 3]
        assert ((position[:, 2] >= 1.2) & (position[:, 2] <= 1.7)).all()
        assert all(room.inside(p[:2], p[:2], 0.1) for p in position)
        for item in room.items:
            if item.label not in ("wall", "floor", "ceiling"):
                low, high = item.bounds()
                assert not ((position > low) & (position < high)).all(axis=1).any(), (seed, item.label)
        assert min(frame.depth().min() for frame in scene.frames[::8]) > 0.1


def test_big_furniture_does_not_interpenetrate():
    solid = {"bed", "sofa", "cabinet", "bookshelf", "refrigerator", "counter", "desk", "nightstand", "door"}
    for seed in SEEDS:
        items = [(item.label, item.bounds()) for item in furnish(seed).items if item.label in solid]
        for (name, a), (other, b) in combinations(items, 2):
            overlap = np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])
            assert overlap.min() < 0.005, (seed, name, other, overlap)


def test_rooms_of_the_stress_set_hold_more_of_what_pooling_fails_on():
    def counted(stress: bool) -> dict[str, float]:
        rooms = [furnish(seed, stress=stress) for seed in range(700, 704)]
        labels = [item.label for room in rooms for item in room.items]
        flat = sum(label in ("picture", "window", "rug") for label in labels)
        small = sum(label in ("book", "cup", "box", "lamp") for label in labels)
        return {"flat": flat / len(rooms), "small": small / len(rooms)}

    usual, stress = counted(False), counted(True)
    assert stress["flat"] > 1.5 * usual["flat"]
    assert stress["small"] > 1.5 * usual["small"]
    assert synthetic_scene(700, frames=1, stress=True).name == "synthetic-700-stress"


def test_rooms_differ_and_together_show_every_class():
    rooms = [furnish(seed) for seed in range(16)]
    assert {item.label for room in rooms for item in room.items} == set(CLASSES)
    assert len({len(room.items) for room in rooms}) > 8
    assert 2 <= sum(bool(room.notch.any()) for room in rooms) <= 13
    chairs = {len(item.parts) for room in rooms for item in room.items if item.label == "chair"}
    assert len(chairs) > 4


def test_doors_windows_and_posters_are_flush_with_their_wall():
    for seed in SEEDS:
        room = furnish(seed)
        corner = room.size[:2] - room.notch
        planes = [(0, 0.0), (0, room.size[0]), (0, corner[0]), (1, 0.0), (1, room.size[1]), (1, corner[1])]
        for item in room.items:
            if item.label in ("door", "window"):
                leaf = item.parts[0].mesh.vertices
                thick = min(np.abs(leaf[:, axis] - place).max() for axis, place in planes)
                assert thick < 0.005, (seed, item.label, thick)


def test_colour_and_normals_alone_cannot_solve_a_room():
    measured = contacts(0)
    assert len(measured.pair) > 15
    assert measured.share >= 0.30
