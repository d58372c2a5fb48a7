"""The shared page of a run: what its file holds, how large it is, and where it may be written; no browser."""

import base64
import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import NAMES

from purify3d.backbones import load_backbone
from purify3d.base.errors import LabelError, RunError
from purify3d.labels.questions import COMMON_WORDS
from purify3d.labels.questions import answer as answer_of
from purify3d.labels.regions import heat, heat_range
from purify3d.labels.segmentation import Segmentation
from purify3d.runs import Run, artefacts
from purify3d.runs.folder import Folder
from purify3d.types import PointCloud, Vocabulary
from purify3d.viewing import state
from purify3d.viewing.boxes import boxes
from purify3d.viewing.scene import Version, ViewedScene
from purify3d.viewing.share.single_file import questions, share, write_page
from purify3d.viewing.state import Look
from purify3d.viewing.words import Words


@pytest.fixture(scope="module")
def words(finished: Path) -> Words:
    return Words(load_backbone(Folder(finished).job.backbone))


@pytest.fixture(scope="module")
def viewed(finished: Path, words: Words) -> ViewedScene:
    return ViewedScene.of(Run.open(finished), words)


class Scripts(HTMLParser):
    """The script elements of a page as a browser sees them: attributes and text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.policy = ""
        self._inside = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script":
            self.found.append((values, ""))
        self._inside = tag == "script"
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(values["content"])

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            attrs, text = self.found[-1]
            self.found[-1] = (attrs, text + data)


def opened(page: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and arrays, read as the page's script reads them."""
    parts = {attrs.get("id"): text for attrs, text in Scripts(page).found}
    facts = json.loads(parts["facts"])
    raw = zlib.decompress(base64.b64decode(parts["data"]))
    arrays, start = {}, 0
    for name, kind, count in facts["arrays"]:
        kind = np.dtype(kind).newbyteorder("<")
        arrays[name] = np.frombuffer(raw, kind, count, start)
        start += count * kind.itemsize
    assert start == len(raw)
    return facts, arrays


def grown(viewed: ViewedScene, count: int, **changes: Any) -> ViewedScene:
    """A cloud of so many points in random order, near those of another."""
    rng = np.random.default_rng(0)
    index = torch.from_numpy(rng.integers(len(viewed), size=count))
    points = viewed.scene.cloud()
    near = points.xyz[index] + torch.from_numpy(rng.normal(0, 0.01, (count, 3)).astype(np.float32))
    cloud = PointCloud(near, points.rgb[index], points.normal[index], points.label[index])

    def load(purified: bool) -> Version:
        version = viewed.version(purified)
        old, said = version.features, version.labels
        features = old.at(index)
        return Version(features, Segmentation(said.label[index], said.score[index], said.vocabulary))

    scene = replace(viewed.scene, points=cloud, **changes)
    return ViewedScene(scene, viewed.vocabulary, viewed.views[index.numpy()], load)


# ------------------------------------------------------------------------------------------------- content


@pytest.fixture(scope="module")
def shared_page(viewed: ViewedScene, words: Words) -> bytes:
    return share(viewed, words, questions(viewed, words, ["chair|stool", "airplane"]))


def test_positions_are_those_of_the_capture(viewed: ViewedScene, words: Words) -> None:
    far = grown(viewed, 5000, origin=np.array([4_000_000.0, -500_000.0, 120.0]))
    facts, arrays = opened(share(far, words, []))
    place = np.stack([arrays[axis] for axis in "xyz"], axis=1).astype(float) * facts["step"] + facts["middle"]
    expected = far.scene.cloud().xyz.double().numpy() + far.scene.origin
    extent = np.ptp(expected, axis=0)
    assert np.allclose(facts["step"], extent / 65534, rtol=1e-5)
    error = np.abs(place - expected)
    assert (error <= extent / 65534 / 2 + 2e-6).all()
    assert error.max() > extent.min() / 65534 / 8  # they are rounded, not something else


def test_colours_labels_truth_and_counts(viewed: ViewedScene, shared_page: bytes) -> None:
    facts, arrays = opened(shared_page)
    rgb = np.stack([arrays[name] for name in ("red", "green", "blue")], axis=1)
    assert np.array_equal(rgb, viewed.scene.cloud().rgb.numpy())
    assert facts["names"] == [*NAMES, "(no label)"]
    looks = {"label purified": Look(), "label raw": Look(purified=False), "truth": Look("truth")}
    for name, look in looks.items():
        expected = state.assigned(viewed, look)
        assert np.array_equal(np.where(arrays[name] == len(NAMES), -1, arrays[name].astype(int)), expected), (
            name
        )
        counts = {index: (arrays[name] == index).sum() for index in range(len(NAMES) + 1)}
        legend = facts["legends"][name.removeprefix("label ")]
        assert dict(map(tuple, legend)) == {i: n for i, n in counts.items() if n}
    assert (arrays["label purified"] != arrays["label raw"]).any()
    assert facts["points"] == len(viewed) == len(arrays["x"])
    score = viewed.version(True).labels.score.numpy()
    low, high = np.quantile(score[score != 0], [0.01, 0.99])
    share_of = np.where(score == 0, 0, np.clip((score - low) / (high - low), 0, 1))
    assert np.abs(arrays["score purified"] / 255 - share_of).max() <= 0.5 / 255 + 1e-4


@pytest.mark.parametrize(("side", "purified"), [("purified", True), ("raw", False)])
def test_heat_is_that_of_query(finished: Path, shared_page: bytes, side: str, purified: bool) -> None:
    facts, arrays = opened(shared_page)
    run = Folder(finished)
    points = artefacts.read_scene(run).cloud()
    name = artefacts.PURIFIED if purified else artefacts.FEATURES
    features = artefacts.read_features(run, name, points).within(run.job.method.purify.fill)
    for number, text in enumerate(["chair|stool", "airplane"]):
        answer = answer_of(points, features, text, load_backbone(run.job.backbone))
        expected = heat(answer.score).numpy()
        assert np.abs(arrays[f"heat {side} {number}"] / 255 - expected).max() <= 0.5 / 255 + 1e-5
        said = facts["words"][number]
        assert said["text"] == text.replace("|", " | ")
        assert (said[side]["low"], said[side]["high"]) == pytest.approx(heat_range(answer.score), abs=1e-5)
        start = "found" if answer.found else "nothing like this here"
        assert said[side]["verdict"].startswith(f"{start}: peak {answer.peak:.3f}")


def test_objects_are_where_they_are(run: Path, viewed: ViewedScene, words: Words) -> None:
    Run.open(run).objects()
    things = boxes(Run.open(run), viewed.center + viewed.scene.origin)
    facts, arrays = opened(share(viewed, words, [], things=things))
    assert len(facts["boxes"]) == len(things) > 0
    edges = arrays["edges"].reshape(-1, 12, 2, 3) + np.array(facts["middle"])
    written = json.loads((run / "objects.json").read_text())["detections"]
    for box, drawn, one in zip(facts["boxes"], edges, written, strict=True):
        center = [one["bbox"]["center"]["position"][axis] for axis in "xyz"]
        assert drawn.reshape(-1, 3).mean(axis=0) == pytest.approx(center, abs=1e-3)
        assert np.array(box["center"]) + facts["middle"] == pytest.approx(center, abs=1e-3)
        assert box["name"].startswith(one["results"][0]["hypothesis"]["class_id"])
        size = [one["bbox"]["size"][axis] for axis in "xyz"]
        lengths = np.linalg.norm(drawn[:, 0] - drawn[:, 1], axis=1)
        assert np.sort(lengths) == pytest.approx(np.sort(size * 4), abs=1e-3)


def test_many_points_are_a_fair_sample(viewed: ViewedScene, words: Words) -> None:
    facts, arrays = opened(share(viewed, words, [], budget=4000))
    assert len(arrays["x"]) == len(arrays["label purified"]) == len(arrays["truth"]) == 4000
    assert facts["points"] == len(viewed) > 4000
    all_of_them = np.bincount(state.assigned(viewed, Look()) % 8, minlength=8) / len(viewed)
    some = np.bincount(arrays["label purified"], minlength=8) / 4000
    assert np.abs(some - all_of_them).max() < 0.03
    assert dict(map(tuple, facts["legends"]["purified"]))[1] == (state.assigned(viewed, Look()) == 1).sum()
    assert share(viewed, words, [], budget=4000) == share(viewed, words, [], budget=4000)


def test_300_labels(viewed: ViewedScene, words: Words) -> None:
    vocabulary = Vocabulary.parse([f"thing {i}" for i in range(300)])
    label = torch.arange(600, dtype=torch.int32) % 301 - 1

    def load(purified: bool) -> Version:
        version = grown(viewed, 600).version(purified)
        return Version(version.features, Segmentation(label, version.labels.score, vocabulary))

    few = grown(viewed, 600, truth={})
    facts, arrays = opened(share(ViewedScene(few.scene, vocabulary, few.views, load), words, []))
    assert np.array_equal(np.where(arrays["label raw"] == 300, -1, arrays["label raw"].astype(int)), label)
    assert facts["names"][299:] == ["thing 299", "(no label)"]
    assert len(facts["colors"]) == 301


def test_no_truth_no_truth(viewed: ViewedScene, words: Words) -> None:
    facts, arrays = opened(share(grown(viewed, 500, truth={}), words, []))
    assert "truth" not in arrays
    assert set(facts["meanings"]) == {"photo", "label", "heat", "score"}
    assert set(facts["legends"]) == {"purified", "raw"}


@pytest.mark.parametrize("up", [[0, 0, 1], [0, 1, 0], [0, -1, 0], [1, 0, 0], [0.6, 0, -0.8]])
def test_the_camera_turns_around_up(viewed: ViewedScene, words: Words, up: list[float]) -> None:
    facts, _ = opened(share(grown(viewed, 50, up=np.array(up, dtype=float)), words, []))
    east, north, top = np.array(facts["frame"])
    assert top == pytest.approx(up)
    assert np.cross(east, north) == pytest.approx(top)
    assert np.linalg.norm([east, north], axis=1) == pytest.approx(1)


def test_200_000_points_in_random_order_stay_small(viewed: ViewedScene, words: Words) -> None:
    many = grown(viewed, 200_000)
    page = share(many, words, questions(many, words))
    facts, arrays = opened(page)
    assert len(arrays["x"]) == 200_000
    assert len(facts["words"]) >= 8
    assert len(page) < 10_000_000


# --------------------------------------------------------------------------------------------------- words


def test_words_are_the_labels_and_a_few_common_ones(viewed: ViewedScene, words: Words) -> None:
    asked = [" | ".join(question.vocabulary.synonyms[0]) for question in questions(viewed, words)]
    labels = {"wall", "floor", "chair | stool", "table", "sofa", "cabinet", "bed | mattress"}
    found = {viewed.vocabulary.names[row.index] for row in state.legend(viewed, Look()) if row.index >= 0}
    assert set(asked[:-4]) == {label for label in labels if label.split(" | ")[0] in found}
    assert set(asked[-4:]) <= set(COMMON_WORDS) - labels - {"chair"}
    once = questions(viewed, words, ["lamp", "a bed", "lamp"])
    assert [question.vocabulary.names[0] for question in once] == ["lamp", "a bed"]
    with pytest.raises(LabelError):
        questions(viewed, words, [" "])


# ------------------------------------------------------------------------------------------------- escaping


def test_names_stay_text(viewed: ViewedScene, words: Words) -> None:
    name = "</script><script>window.broken=1</script><!-- {{DATA}} {{SCRIPT}} \u2028 \U0001f4a3 & \\u003c"
    page = share(grown(viewed, 50, name=name), words, [])
    scripts = Scripts(page)
    assert [attrs.get("type") for attrs, _ in scripts.found] == ["application/json", "text/plain", None]
    assert opened(page)[0]["name"] == name
    code = scripts.found[2][1]
    assert "window.broken" not in code
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in scripts.policy
    assert scripts.policy.startswith("default-src 'none';")
    assert page.count(b"{{") == 2  # those of the name


def test_nothing_is_fetched_and_no_html_is_made_of_text(shared_page: bytes) -> None:
    for word in (b"http:", b"https:", b"innerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
        assert word not in shared_page


# --------------------------------------------------------------------------------------------------- files


def test_only_pages_are_replaced(tmp_path: Path, shared_page: bytes) -> None:
    file = write_page(tmp_path / "new" / "page.html", shared_page)
    assert file.read_bytes() == shared_page
    write_page(file, shared_page + b"\n")
    assert file.read_bytes() == shared_page + b"\n"
    other = tmp_path / "thesis.html"
    other.write_text("<!doctype html><p>mine")
    with pytest.raises(RunError, match="is no page of this program"):
        write_page(other, shared_page)
    assert other.read_text() == "<!doctype html><p>mine"
    with pytest.raises(RunError, match=r"ends in \.html"):
        write_page(tmp_path / "page.png", shared_page)
    with pytest.raises(RunError, match="cannot write"):
        write_page(other / "page.html", shared_page)
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(RunError, match="exists already"):
        write_page(tmp_path / "folder.html", shared_page)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.html", "new", "thesis.html"]


def test_the_command(finished: Path, tmp_path: Path, purify3d: Callable[..., tuple[int, str, str]]) -> None:
    file = tmp_path / "room.html"
    code, out, err = purify3d("view", finished, "--share", file, "--text", "chair", "--text", "a lamp")
    assert code == 0, err
    facts, arrays = opened(file.read_bytes())
    assert out == f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB, {len(arrays['x']):,} points)\n"
    assert [word["text"] for word in facts["words"]] == ["chair", "a lamp"]
    assert facts["name"] == "room"
    assert str(finished.parent).encode() not in file.read_bytes()  # no path of this machine
    file.write_text("something else")
    code, _, err = purify3d("view", finished, "--share", file)
    assert code == 1
    assert "is no page of this program" in err
    assert file.read_text() == "something else"
    assert (
        purify3d("view", finished, "--share", tmp_path / "a.html", "--screenshot", tmp_path / "a.png")[0] == 2
    )
    code, _, err = purify3d("view", finished, "--text", "chair", "--text", "lamp")
    assert code == 2
    assert "--share" in err
