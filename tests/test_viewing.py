"""What a page shows of a run: colours, legend, clicks, detail, who may see it; without a browser."""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fakes import LABELS

from purify3d.backbones import embed_vocabulary, load_backbone
from purify3d.base.errors import LabelError, PurifyError, RunError
from purify3d.clouds.ply import read_written
from purify3d.labels.questions import answer as answer_of
from purify3d.labels.questions import classify, scores
from purify3d.pictures.palettes import NO_LABEL_COLOR, RIGHT, UNLABELLED, WRONG, heat_colors, label_colors
from purify3d.runs import Run, artefacts
from purify3d.runs.folder import Folder
from purify3d.types import PointCloud, Scene, Vocabulary
from purify3d.viewing import state
from purify3d.viewing.authentication import answer_instead
from purify3d.viewing.boxes import boxes
from purify3d.viewing.detail import Eye, chosen, fair_order, left_out
from purify3d.viewing.names import harmless
from purify3d.viewing.photos import photos
from purify3d.viewing.picks import pick
from purify3d.viewing.scene import ViewedScene
from purify3d.viewing.state import Look
from purify3d.viewing.words import Words


@pytest.fixture(scope="module")
def words(finished: Path) -> Words:
    return Words(load_backbone(Folder(finished).job.backbone))


@pytest.fixture(scope="module")
def viewed(finished: Path, words: Words) -> ViewedScene:
    return ViewedScene.of(Run.open(finished), words)


@pytest.fixture
def everything(viewed: ViewedScene) -> np.ndarray:
    return np.arange(len(viewed))


# ------------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize("purified", [True, False])
def test_heat_is_that_of_query(
    finished: Path, viewed: ViewedScene, words: Words, everything: np.ndarray, purified: bool
) -> None:
    run = Folder(finished)
    name = artefacts.PURIFIED if purified else artefacts.FEATURES
    points = artefacts.read_scene(run).cloud()
    features = artefacts.read_features(run, name, points).within(run.job.method.purify.fill)
    answer = answer_of(points, features, "chair|stool", load_backbone(run.job.backbone))
    look = Look("heat", purified=purified, question=words.embed("chair|stool"))
    expected = heat_colors(answer.heat.numpy())
    assert len(np.unique(expected, axis=0)) > 20
    assert np.array_equal(state.colors(viewed, look, everything), expected)
    some = everything[::7]
    assert np.array_equal(state.colors(viewed, look, some), expected[::7])
    said = state.verdict(viewed, look, words)
    assert f"peak {answer.peak:.3f}, {answer.better:.0%} of common words" in said
    assert said.startswith("found" if answer.found else "nothing like this here")


def test_what_is_not_here_is_said(viewed: ViewedScene, words: Words) -> None:
    assert state.verdict(viewed, Look(question=words.embed("airplane")), words).startswith(
        "nothing like this"
    )
    assert state.verdict(viewed, Look(), words) == ""


def test_raw_is_lifted_and_purified_is_pooled(
    finished: Path, viewed: ViewedScene, words: Words, everything: np.ndarray
) -> None:
    run = Folder(finished)
    written = read_written(finished / "labels.ply").points.label.numpy()
    text_embeddings = embed_vocabulary(words, Vocabulary.parse(LABELS))
    features = artefacts.read_features(run, artefacts.FEATURES, artefacts.read_scene(run).cloud())
    features = features.within(run.job.method.purify.fill)
    lifted = classify(scores(features, text_embeddings), text_embeddings).numpy()
    assert np.array_equal(state.assigned(viewed, Look(purified=True)), written)
    assert np.array_equal(state.assigned(viewed, Look(purified=False)), lifted)
    assert (written != lifted).mean() > 0.001
    table = np.vstack([label_colors(viewed.vocabulary.names), [NO_LABEL_COLOR]])
    assert np.array_equal(state.colors(viewed, Look(purified=False), everything), table[lifted])


def test_colder_points_are_gray(viewed: ViewedScene, words: Words, everything: np.ndarray) -> None:
    text_embeddings = words.embed("chair")
    assert text_embeddings is not None
    warmth = viewed.warmth(text_embeddings, True)[1].numpy()
    shown = state.colors(viewed, Look("heat", question=text_embeddings, least_heat=0.5), everything)
    assert 0 < (warmth >= 0.5).sum() < len(warmth)
    assert (shown[warmth < 0.5].max(1) == shown[warmth < 0.5].min(1)).all()
    assert np.array_equal(shown[warmth >= 0.5], heat_colors(warmth[warmth >= 0.5]))


def test_other_colourings(viewed: ViewedScene, everything: np.ndarray) -> None:
    scene = viewed.scene
    assert np.array_equal(state.colors(viewed, Look("photo"), everything), scene.cloud().rgb.numpy())
    views = state.colors(viewed, Look("views"), everything)
    most = int(viewed.views.argmax())
    assert tuple(views[most]) == (240, 249, 33)
    assert (views[viewed.views == 0] == (13, 8, 135)).all()
    principal = state.colors(viewed, Look("features"), everything)
    assert principal.std(axis=0).min() > 10
    assert viewed.truth is not None
    truth = viewed.truth
    assert np.array_equal(
        state.colors(viewed, Look("truth"), everything)[truth >= 0],
        label_colors(viewed.vocabulary.names)[truth[truth >= 0]],
    )
    errors = state.colors(viewed, Look("errors"), everything)
    said = state.assigned(viewed, Look())
    assert (errors[(truth >= 0) & (truth == said)] == RIGHT).all()
    assert (errors[(truth >= 0) & (said >= 0) & (truth != said)] == WRONG).all()
    assert (errors[(truth >= 0) & (said < 0)] == UNLABELLED).all()
    assert (errors[truth < 0] == NO_LABEL_COLOR).all()
    assert f"right ({((truth >= 0) & (truth == said)).sum():,})" in state.meaning(viewed, Look("errors"))
    assert all(state.meaning(viewed, Look(kind)) for kind in state.COLORINGS)


def test_score_colours_run_from_low_to_high(viewed: ViewedScene, everything: np.ndarray) -> None:
    score = viewed.version(True).labels.score.numpy()
    shown = state.colors(viewed, Look("score"), everything).astype(int)
    low, high = np.quantile(score[score != 0], [0.01, 0.99])
    assert (shown[score >= high] == (240, 249, 33)).all()
    assert (shown[(score <= low)] == (13, 8, 135)).all()


# --------------------------------------------------------------------------------------------------- legend


def test_legend_counts_all_points(finished: Path, viewed: ViewedScene) -> None:
    written = json.loads((finished / "labels.json").read_text())
    counts = {row["index"]: row["points"] for row in written if row["points"]}
    rows = state.legend(viewed, Look())
    assert {row.index: row.points for row in rows} == counts
    assert rows[-1].index == -1
    assert [row.points for row in rows[:-1]] == sorted((row.points for row in rows[:-1]), reverse=True)


def test_hidden_and_isolated(viewed: ViewedScene) -> None:
    said = state.assigned(viewed, Look())
    assert state.kept(viewed, Look()).all()
    assert np.array_equal(state.kept(viewed, Look(hidden=frozenset({1}))), said != 1)
    alone = Look(hidden=frozenset(range(len(viewed.vocabulary))))
    assert np.array_equal(state.kept(viewed, alone), said == -1)
    assert state.legend(viewed, alone) == state.legend(viewed, Look())  # counts stay


def test_a_least_score_takes_labels_away(viewed: ViewedScene) -> None:
    score = viewed.version(True).labels.score.numpy()
    least = float(np.median(score))
    said = state.assigned(viewed, Look(least_score=least))
    assert (said[score < least] == -1).all()
    assert np.array_equal(said[score >= least], state.assigned(viewed, Look())[score >= least])


# --------------------------------------------------------------------------------------------------- detail


def test_five_million_points_stay_within_the_budget() -> None:
    n = 5_000_000
    order = fair_order(n)
    keep = np.ones(n, dtype=bool)
    index = chosen(order, keep)
    assert len(index) == len(np.unique(index)) == 500_000
    assert np.bincount(index // 500_000) == pytest.approx(50_000, rel=0.03)  # each tenth a tenth
    assert np.bincount(index[:5000] // 500_000) == pytest.approx(500, rel=0.25)  # so in any prefix
    keep[1_000_000:] = False
    assert (chosen(order, keep) < 1_000_000).all()
    keep[400_000:] = False
    assert len(chosen(order, keep)) == 400_000  # all of them fit
    said = left_out(500_000, 4_000_000, n)
    assert "500,000 of 5,000,000" in said
    assert "1,000,000 are hidden" in said
    assert "3,500,000 are left out" in said
    assert left_out(7, 7, 7) == "7 of 7 points are shown."


def test_more_is_sent_of_what_is_before_a_camera_that_rests() -> None:
    n = 100_000
    xyz = np.random.default_rng(1).uniform(-5, 5, (n, 3)).astype(np.float32)
    order, keep = fair_order(n), np.ones(n, dtype=bool)
    eye = Eye(np.array([0.0, 0, 0]), np.array([1.0, 0, 0]), np.radians(30))
    index = chosen(order, keep, budget=10_000, xyz=xyz, eye=eye)
    assert len(index) == len(np.unique(index)) == 10_000
    distance = np.linalg.norm(xyz, axis=1)
    inside = xyz[:, 0] >= distance * np.cos(np.radians(30))
    sent = np.isin(np.arange(n), index)
    assert inside.sum() < 5000  # of half of the budget
    assert sent[inside].all()
    rest = (10_000 - inside.sum()) / (~inside).sum()
    assert sent[xyz[:, 0] < 0].mean() == pytest.approx(rest, rel=0.06)  # a fair sample of all else
    few = chosen(order, keep, budget=1000, xyz=xyz, eye=eye)
    nearest = np.nonzero(inside)[0][np.argsort(distance[inside])][:500]
    assert np.isin(nearest, few).all()


def test_positions_are_centred_float32(viewed: ViewedScene) -> None:
    assert viewed.xyz.dtype == np.float32
    assert np.abs(viewed.xyz.max(0) + viewed.xyz.min(0)).max() < 1e-3


# ------------------------------------------------------------------------------------------- clicked points


def test_the_nearest_surface_is_picked() -> None:
    xyz = np.array([[0, 0, 5], [0.004, 0, 2], [0.001, 0, 2.01], [0, 0, -1], [1, 0, 1]], dtype=np.float32)
    ray = np.zeros(3), np.array([0, 0, 3.0])
    assert pick(xyz, *ray, radius=0.01) == 2
    assert pick(xyz[:1], *ray, radius=0.01) == 0
    assert pick(xyz[3:], *ray, radius=0.01) is None
    assert pick(xyz[:0], *ray, radius=0.01) is None


def test_facts_and_distance_are_in_users_coordinates(viewed: ViewedScene) -> None:
    known = state.facts(viewed, Look(), 11)
    place = viewed.scene.cloud().xyz[11].numpy() + viewed.scene.origin
    assert [float(value) for value in known["place"].split()[:3]] == pytest.approx(place, abs=2e-3)
    label = int(viewed.version(True).labels.label[11])
    assert known["label"] == (*viewed.vocabulary.names, "(no label)")[label]
    a, b = viewed.scene.cloud().xyz[[11, 400]].numpy()
    assert state.distance(viewed, 11, 400) == pytest.approx(float(np.linalg.norm(a - b)), abs=1e-5)


def test_far_origins_are_added(viewed: ViewedScene) -> None:
    far = replace(viewed.scene, origin=np.array([500_000.0, 5_400_000.0, 0.0]))
    moved = ViewedScene(far, viewed.vocabulary, viewed.views, viewed.version)
    place = moved.users(moved.xyz[3])
    assert place - far.origin == pytest.approx(viewed.scene.cloud().xyz[3].numpy(), abs=1e-5)


def test_more_like_this(viewed: ViewedScene) -> None:
    score = viewed.version(True).labels.score.numpy()
    point = int(score.argmax())
    text_embeddings = state.like(viewed, Look(), point)
    assert text_embeddings is not None
    warmth = viewed.warmth(text_embeddings, True)[1].numpy()
    said = state.assigned(viewed, Look())
    assert warmth[point] > 0.9
    assert warmth[said == said[point]].mean() > warmth[said != said[point]].mean() + 0.3
    unknown = np.nonzero(viewed.views == 0)[0]
    assert all(state.like(viewed, Look(), int(i)) is None for i in unknown[:1])


def test_what_is_shown_is_exported(viewed: ViewedScene, words: Words, tmp_path: Path) -> None:
    others = frozenset(range(-1, len(viewed.vocabulary))) - {1}
    look = Look(hidden=others, coloring="heat", question=words.embed("floor"))
    (tmp_path / "shown.ply").write_bytes(state.as_ply(viewed, look))
    written = read_written(tmp_path / "shown.ply")
    rows = np.nonzero(state.assigned(viewed, look) == 1)[0]
    assert np.array_equal(written.points.xyz.numpy(), viewed.scene.cloud().xyz.numpy()[rows])
    assert np.array_equal(written.points.rgb.numpy(), state.colors(viewed, look, rows))
    assert look.question is not None
    assert written.score is not None
    assert torch.equal(written.score, viewed.warmth(look.question, True)[0][rows])


# --------------------------------------------------------------------------------------------- what is there


def test_boxes_lie_around_their_objects(run: Path, viewed: ViewedScene) -> None:
    offset = viewed.center + viewed.scene.origin
    assert boxes(Run.open(run), offset) == []
    found = Run.open(run).objects()
    shown = boxes(Run.open(run), offset)
    assert [box.id for box in shown] == [one.id for one in found]
    corners = np.unique(shown[0].segments.reshape(-1, 3), axis=0).astype(float) + offset
    expected = found[0].thing.corners()
    assert np.sort(corners, axis=0) == pytest.approx(np.sort(expected, axis=0), abs=1e-3)
    assert shown[0].segments.shape == (12, 2, 3)
    (run / "objects.json").write_text('{"detections": [{"bbox": 3}]}')
    with pytest.raises(RunError, match=r"objects\.json cannot be used .* repeat 'purify3d objects'"):
        boxes(Run.open(run), offset)


def test_photos_stand_where_they_were_taken(finished: Path, viewed: ViewedScene, room: Scene) -> None:
    offset = viewed.center + viewed.scene.origin
    seen = photos(Run.open(finished), offset)
    assert len(seen.frames) == 8
    place = seen.frames[0].world_from_camera[:3, 3] + seen.shift + offset
    assert place == pytest.approx(room.frames[0].world_from_camera[:3, 3], abs=1e-4)


def test_a_capture_that_has_moved(run: Path, viewed: ViewedScene, tmp_path: Path) -> None:
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace(Folder(run).job.capture.path, str(tmp_path / "gone")))
    seen = photos(Run.open(run), viewed.center)
    assert seen.frames == ()
    assert "cannot be opened" in seen.missing
    assert "gone" in seen.missing


# -------------------------------------------------------------------------------------------------- safety


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "![x](/etc/passwd)", "[a](javascript:b)"],
)
def test_names_are_text_and_nothing_else(text: str) -> None:
    shown = harmless(text)
    assert not set(shown) & set("<>\"'![]()`*_")
    assert unescape(shown) == text


def test_names_stay_readable() -> None:
    assert harmless("café 椅子\n\x00 x") == "café 椅子 x"
    assert len(unescape(harmless("a" * 500))) == 201


@pytest.mark.parametrize(
    ("path", "headers", "token", "status"),
    [
        ("/", {"Host": "localhost:8080"}, None, None),
        ("/", {"Host": "[::1]:8080"}, None, None),
        ("/", {"host": "127.0.0.1:9", "origin": "http://127.0.0.1:9"}, None, None),
        ("/", {"Host": "evil.example:8080"}, None, 403),
        ("/", {"Host": "localhost:8080", "Origin": "http://evil.example"}, None, 403),
        ("/", {"Host": "localhost:8080", "Origin": "null"}, None, 403),
        ("/", {}, None, 400),
        ("/", {"Host": "scan.local:8080"}, "secret", 403),
        ("/?token=wrong", {"Host": "scan.local:8080"}, "secret", 403),
        ("/?token=secret", {"Host": "scan.local:8080"}, "secret", 303),
        ("/", {"Host": "scan.local:8080", "Cookie": "a=b; purify3d-8080=secret"}, "secret", None),
        ("/", {"Host": "scan.local:8080", "Cookie": "purify3d-8081=secret"}, "secret", 403),
        ("/", {"Host": "scan.local:8080", "Cookie": "purify3d-8080=secre"}, "secret", 403),
        ("/", {"Host": "x:1", "Origin": "http://y:1", "Cookie": "purify3d-8080=secret"}, "secret", 403),
    ],
)
def test_who_may_see(path: str, headers: dict[str, str], token: str | None, status: int | None) -> None:
    reply = answer_instead(path, list(headers.items()), token=token, port=8080)
    assert (None if reply is None else reply.status) == status


def _get(address: str, **headers: str) -> tuple[int, str]:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers.get("Set-Cookie", "")


def nobody(handle: Any) -> Any:
    """No browser connects in these tests."""
    raise AssertionError(handle)


def test_others_need_the_token(viewed: ViewedScene) -> None:
    from purify3d.viewing.page import Page

    page = Page(viewed.scene.up, nobody, host="0.0.0.0", port=0)
    try:
        here = f"http://127.0.0.1:{page.port}/"
        assert page.token is not None
        assert page.address.endswith(f":{page.port}/?token={page.token}")
        assert _get(here)[0] == 403
        assert _get(f"{here}assets/")[0] == 403
        assert _get(here, Upgrade="websocket", Connection="Upgrade")[0] == 403
        status, cookie = _get(f"{here}?token={page.token}")
        assert status == 303
        assert "HttpOnly" in cookie
        assert _get(here, Cookie=cookie.split(";")[0])[0] == 200
    finally:
        page.stop()


def test_a_host_that_is_not_ours(viewed: ViewedScene) -> None:
    from purify3d.viewing.page import Page

    with pytest.raises(PurifyError, match=r"--host '203\.0\.113\.7', which is no address of this machine"):
        Page(viewed.scene.up, nobody, host="203.0.113.7", port=0)


def test_a_scan_is_never_published(viewed: ViewedScene) -> None:
    from purify3d.viewing.page import Page

    page = Page(viewed.scene.up, nobody, port=0)
    try:
        assert page.token is None
        assert _get(page.address, Host="evil.example")[0] == 403
        assert page._server.request_share_url() is None
    finally:
        page.stop()


# ------------------------------------------------------------------------------------------------- clients


def test_only_the_last_of_what_is_typed_is_answered(words: Words) -> None:
    assert words.embed("chair", lambda: False) is None
    assert words.embed("chair") is words.embed("chair")
    with pytest.raises(LabelError):
        words.embed(" ")


def test_a_slow_question_does_not_hold_up_looks(
    viewed: ViewedScene, finished: Path, everything: np.ndarray
) -> None:
    started, release = threading.Event(), threading.Event()
    backbone = load_backbone(Folder(finished).job.backbone)

    def encode(texts: list[str]) -> torch.Tensor:
        started.set()
        assert release.wait(30)
        return backbone.encode(texts)

    slow = Words(SimpleNamespace(space=backbone.space, facts=backbone.facts, encode=encode))  # type: ignore[arg-type]
    asking = threading.Thread(target=lambda: slow.embed("lamp"))
    asking.start()
    assert started.wait(10)
    state.colors(viewed, Look("score"), everything)  # of another client
    release.set()
    asking.join(30)
    assert slow.embed("lamp") is not None


# ------------------------------------------------------------------------------------------------- command


def test_a_picture_without_a_browser(
    finished: Path, tmp_path: Path, purify3d: Callable[..., tuple[int, str, str]]
) -> None:
    from PIL import Image

    file = tmp_path / "view.png"
    code, out, _ = purify3d("view", finished, "--text", "chair", "--screenshot", file)
    assert (code, out.strip()) == (0, f"wrote {file}")
    assert Image.open(file).size[0] == 3 * 560


def test_no_run(tmp_path: Path, purify3d: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = purify3d("view", tmp_path / "nothing", "--no-open")
    assert (code, out) == (1, "")
    assert "found no run in" in err


def test_interrupting_leaves_nothing(finished: Path) -> None:
    command = [sys.executable, "-m", "purify3d.cli", "view", str(finished), "--no-open", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert _get(address)[0] == 200
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert time.monotonic() - began < 15
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=2)


def test_a_cloud_of_one_point() -> None:
    cloud = PointCloud.from_arrays([[1.0, 2.0, 3.0]])
    scene = Scene("one", (), np.array([0.0, 0, 1]), cloud)
    one = ViewedScene(scene, Vocabulary.parse("a"), np.zeros(1, np.int32), lambda _: None)  # type: ignore
    assert one.xyz.tolist() == [[0, 0, 0]]
    assert chosen(one.order, np.ones(1, dtype=bool)).tolist() == [0]
