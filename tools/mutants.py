"""Break one thing at a time, in memory, and require the tests that are there for it to fail.

    python tools/mutants.py [NAME ...]

Each mutant is one run of pytest over the tests named in its row of the table, every one of which must fail;
as the code is, all of them must pass. Nothing on disk is changed: pytest loads this file as a plugin, which
patches the package before any test imports it.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import math
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MUTANT, OUTCOMES = "PURIFY3D_MUTANT", "PURIFY3D_OUTCOMES"  # variables that a run under a mutant is told by
AT_ONCE = 2


def module(name: str) -> Any:
    return importlib.import_module(f"purify3d.{name}")


def swap(old: Any, new: Any) -> None:
    """Put `new` wherever a module of the package holds `old`, also where it was imported by name."""
    found = [
        (place, name)
        for key, place in sys.modules.items()
        if key.split(".")[0] == "purify3d"
        for name, value in vars(place).items()
        if value is old
    ]
    assert found, old
    for place, name in found:
        setattr(place, name, new)


def defaults(callee: Any, **values: Any) -> None:
    """Other default values for a function or a dataclass."""
    function = vars(callee)["__init__"] if isinstance(callee, type) else callee
    parameters = [p for p in inspect.signature(function).parameters.values() if p.default is not p.empty]
    assert values.keys() <= {p.name for p in parameters}
    function.__defaults__ = tuple(
        values.get(p.name, p.default) for p in parameters if p.kind is not p.KEYWORD_ONLY
    )
    if isinstance(callee, type):
        for name, value in values.items():
            setattr(callee, name, value)
            callee.__dataclass_fields__[name].default = value  # type: ignore[attr-defined]


def no_geometry() -> None:
    old = module("affinities.embeddings").geometric_embedding
    swap(old, lambda *arguments: old(*arguments) * 0)


def hardly_pooled() -> None:
    defaults(module("affinities.purifying").PurifyConfig, neighbors=4, rounds=2)


def anything_is_visible() -> None:
    defaults(module("features.lifting").LiftConfig, tolerance=0.5)


def truth_transposed() -> None:
    old = module("features.labels_from_frames").fuse_labels

    def transposed(frame: Any) -> Any:
        return replace(frame, label=lambda: frame.label().T.reshape(frame.label().shape))

    swap(old, lambda frames, *rest, **options: old([transposed(f) for f in frames], *rest, **options))


def one_camera_for_both() -> None:
    swap(module("grid.projection").map_pixels, lambda uv, source, target: uv)


def no_margin_in_depth() -> None:
    lifting = module("features.lifting")
    old = lifting.measured_points
    lifting.measured_points = lambda xyz, frame, tolerance, margin: old(xyz, frame, tolerance, 0)


def ties_to_the_last() -> None:
    old = module("grid.neighbors").grid_neighbors

    def backwards(index: Any, k: int, **options: Any) -> Any:
        return len(index) - 1 - old(index.flip(0), k, **options).flip(0)

    swap(old, backwards)


def always_filled() -> None:
    defaults(module("affinities.purifying").PurifyConfig, fill=math.inf)


def one_view_is_enough() -> None:
    defaults(module("features.lifting").LiftConfig, top_views=1)


def all_voices_equal() -> None:
    defaults(module("affinities.purifying").PurifyConfig, confidence=0.0)


def blunt() -> None:
    old = module("affinities.softmax").exponent_key
    swap(old, lambda embedding, sharpness, bias: old(embedding, 1.0, bias))


def corners_are_centres() -> None:
    old = module("grid.projection").resize_camera

    def shifted(camera: Any, width: int, height: int) -> Any:
        resized = old(camera, width, height)
        return replace(resized, cx=camera.cx * width / camera.width, cy=camera.cy * height / camera.height)

    swap(old, shifted)


def no_flip() -> None:
    old = module("grid.projection").OPENCV_FROM_OPENGL
    swap(old, old * 0 + [[float(i == j) for j in range(4)] for i in range(4)])


def unpaired_draws() -> None:
    old, seeds = module("benchmarking.table").resampled, itertools.count()
    module("benchmarking.table").resampled = lambda scenes, seed: old(scenes, next(seeds))


def only_faces_touch() -> None:
    old = module("grid.cells").touching

    def across_faces(cells: Any) -> Any:
        pairs = old(cells)
        return pairs[abs(cells[pairs[:, 0]] - cells[pairs[:, 1]]).sum(1) == 1]

    swap(old, across_faces)


def whole_lightness() -> None:
    embeddings, old = module("affinities.embeddings"), module("base.colors").rgb_to_lab
    embeddings.rgb_to_lab = lambda rgb: old(rgb) * rgb.new_tensor([2.0, 1.0, 1.0])


@dataclass(frozen=True)
class Mutant:
    """What is broken, and the tests that each must notice."""

    patch: Callable[[], None]
    tests: tuple[str, ...]


CLAIMS, CAMERAS = "tests/test_claims.py::", "tests/test_cameras.py::"
#: One room each that shows what the average of several shows; the average is needed only for what is subtle.
ROOM = f"{CLAIMS}test_purifying_helps_each_room[5]"
UNSEEN = f"{CLAIMS}test_points_that_no_camera_saw_get_no_label"

MUTANTS = {
    "neighbors 96 and rounds 19 are 4 and 2": Mutant(
        hardly_pooled, (f"{CLAIMS}test_purifying_helps_on_average",)
    ),
    "the geometric embedding is zero": Mutant(no_geometry, (f"{CLAIMS}test_normals_and_colours_alone_help",)),
    "softmax sharpness is 1": Mutant(
        blunt, (ROOM, "tests/test_pooling.py::test_affinity_of_unit_embeddings_is_softmax_of_cosines")
    ),
    "visibility tolerance is 50 %": Mutant(
        anything_is_visible, (UNSEEN, f"{CAMERAS}test_what_lies_behind_a_surface_is_not_seen")
    ),
    "fill is unlimited": Mutant(always_filled, (UNSEEN,)),
    "truth is read transposed": Mutant(
        truth_transposed, (f"{CAMERAS}test_truth_is_read_in_the_depth_image",)
    ),
    "colour and depth camera are confused": Mutant(
        one_camera_for_both,
        (
            f"{CAMERAS}test_a_feature_comes_from_the_pixel_that_shows_the_point",
            f"{CAMERAS}test_fused_colours_are_those_of_the_colour_image",
        ),
    ),
    "the depth image has no margin": Mutant(
        no_margin_in_depth, (f"{CAMERAS}test_margins_hold_in_both_images[10]",)
    ),
    "neighbours that tie come last first": Mutant(
        ties_to_the_last,
        (
            "tests/test_grid.py::test_grid_neighbors_are_brute_force_with_ties_by_index",
            "tests/test_grid.py::test_neighbors_complete_shells_wider_than_the_first_search",
        ),
    ),
    "consensus keeps 1 view": Mutant(
        one_view_is_enough, ("tests/test_lifting.py::test_consensus_listens_to_three_views_unless_told",)
    ),
    "confidence weighs nothing": Mutant(
        all_voices_equal,
        ("tests/test_pooling.py::test_a_sure_poster_keeps_its_own_on_a_wavering_wall_unless_told_otherwise",),
    ),
    "resized images are shifted by half a pixel": Mutant(
        corners_are_centres, (f"{CAMERAS}test_half_an_image_shows_the_same_rays",)
    ),
    "draws of compared methods are unpaired": Mutant(
        unpaired_draws, ("tests/test_benchmarking.py::test_a_result_against_itself_has_no_width",)
    ),
    "cells touch only across faces": Mutant(
        only_faces_touch,
        (
            "tests/test_objects.py::test_cells_that_share_an_edge_or_a_corner_are_one_thing[edge]",
            "tests/test_objects.py::test_cells_that_share_an_edge_or_a_corner_are_one_thing[corner]",
        ),
    ),
    "lightness is not halved": Mutant(
        whole_lightness,
        ("tests/test_pooling.py::test_lightness_counts_half",),
    ),
    "OpenGL poses are not flipped": Mutant(
        no_flip, (f"{CAMERAS}test_opengl_cameras_look_along_minus_z_with_y_up",)
    ),
}


# ---- as a plugin of pytest, in the process that is broken


def pytest_configure() -> None:
    if name := os.environ.get(MUTANT):
        package = importlib.import_module("purify3d")
        for found in pkgutil.iter_modules(package.__path__, "purify3d."):
            importlib.import_module(found.name)
        MUTANTS[name].patch()


_outcomes: dict[str, str] = {}


def pytest_runtest_logreport(report: Any) -> None:
    # A test that cannot even start says nothing about what it tests.
    if report.when == "call" or report.outcome != "passed":
        when = "" if report.when == "call" else f"{report.when} "
        _outcomes[report.nodeid] = when + report.outcome


def pytest_sessionfinish() -> None:
    if path := os.environ.get(OUTCOMES):
        Path(path).write_text(json.dumps(_outcomes))


# ---- as a program


def outcomes_of(tests: Sequence[str], mutant: str = "") -> tuple[dict[str, str], float, str]:
    """Test -> outcome, seconds, and what pytest said."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcomes.json"
        python_path = os.pathsep.join(filter(None, (str(ROOT / "tools"), os.environ.get("PYTHONPATH"))))
        # Runs stand side by side: threads of several would wait for each other.
        told = {MUTANT: mutant, OUTCOMES: str(path), "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "mutants", "-p", "no:cacheprovider", "--tb=short", *tests],
            cwd=ROOT,
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(path.read_text()) if path.exists() else {}
    return found, time.monotonic() - start, run.stdout + run.stderr


def main() -> None:
    names = sys.argv[1:] or list(MUTANTS)
    if unknown := [name for name in names if name not in MUTANTS]:
        sys.exit(f"no such mutant: {', '.join(unknown)}; there are: {', '.join(MUTANTS)}")
    every = list(dict.fromkeys(test for name in names for test in MUTANTS[name].tests))
    wrong = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        whole = pool.submit(outcomes_of, every)
        runs = {name: pool.submit(outcomes_of, MUTANTS[name].tests, name) for name in names}
        found, seconds, said = whole.result()
        failing = [test for test in every if found.get(test) != "passed"]
        print(f"{seconds:5.1f} s  {'as it is':45} {len(every) - len(failing)} of {len(every)} tests pass")
        if failing:
            wrong.append("fail or are missing without any mutant: " + ", ".join(failing))
            print(said)
        for name, run in runs.items():
            found, seconds, said = run.result()
            blind = [test for test in MUTANTS[name].tests if found.get(test) != "failed"]
            print(f"{seconds:5.1f} s  {name:45} {'SURVIVES' if blind else 'killed'}")
            if blind:
                wrong.append(f"{name}: survives {', '.join(blind)}")
                print(said)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
