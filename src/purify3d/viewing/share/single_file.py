"""A run as one HTML file that opens without a server and without a network.

The file holds a small renderer (`share.html`, `share*.js`), facts as JSON, and the arrays of all points: one
after the other, little-endian, deflated (RFC 1950), base64. What each is and how long stands in the facts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from purify3d.backbones import embed_vocabulary
from purify3d.base.errors import LabelError, RunError
from purify3d.base.files import write_whole
from purify3d.labels.questions import COMMON_WORDS
from purify3d.labels.regions import heat_range
from purify3d.pictures.palettes import NO_LABEL_COLOR, RIGHT, UNLABELLED, WRONG, heat_colors, label_colors
from purify3d.types import TextEmbeddings
from purify3d.viewing import state
from purify3d.viewing.boxes import Box
from purify3d.viewing.detail import BUDGET
from purify3d.viewing.scene import ViewedScene
from purify3d.viewing.state import Look
from purify3d.viewing.words import Words

_MARK = b"<!doctype html>\n<!-- purify3d share -->"  # how files begin that may be replaced
_STEPS = 32767  # positions are whole numbers from -_STEPS to _STEPS along each axis
_LABELS, _COMMON = 12, 4  # words that are asked where none are given
_SIDES = {"purified": True, "raw": False}


def questions(viewed: ViewedScene, words: Words, texts: Sequence[str] = ()) -> list[TextEmbeddings]:
    """The words to ask; without any the labels that most points have, and a few common words besides.

    Args:
        texts: a bar joins synonyms; repeated ones are asked once.

    Raises:
        LabelError: no words, or words that the model does not know.
        BackboneError: see `embed_vocabulary`.
    """
    if texts:
        return [embed_vocabulary(words, [text]) for text in dict.fromkeys(texts)]
    vocabulary = viewed.vocabulary
    found = [row.index for row in state.legend(viewed, Look()) if row.index >= 0][:_LABELS]
    asked = [embed_vocabulary(words, ["|".join(vocabulary.synonyms[index])]) for index in found]
    known = {word.casefold() for group in vocabulary.synonyms for word in group}
    others = [word for word in COMMON_WORDS if word not in known][:_COMMON]
    with suppress(LabelError):  # stored features may know the words of a closed table and no others
        asked += [embed_vocabulary(words, [word]) for word in others]
    return asked


def check_place(path: Path) -> None:
    """Whether a page may be written there; before the work.

    Raises:
        RunError: it is no name of a page, or something else than an earlier page is there.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise RunError(f"found the name {path.name!r} for a page; expected one that ends in .html")
    if not path.exists():
        return
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_MARK)) == _MARK:
                return
    raise RunError(f"{path} exists already and is no page of this program; name another file, or remove it")


def write_page(path: Path, page: bytes) -> Path:
    """Write a page, whole or not at all; an earlier page is replaced.

    Raises:
        RunError: see `check_place`, or it cannot be written.
    """
    check_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_whole(path, lambda place: place.write_bytes(page))
    except OSError as error:
        raise RunError(
            f"cannot write {path} ({error}); nothing of it was kept. Free some space or name another file"
        ) from error


def share(
    viewed: ViewedScene,
    words: Words,
    asked: Sequence[TextEmbeddings],
    *,
    things: Sequence[Box] = (),
    budget: int = BUDGET,
) -> bytes:
    """The page as UTF-8 HTML.

    Args:
        asked: words whose heat is on the page, see `questions`.
        things: objects, in the coordinates of the viewed's view.
        budget: points at most; of more a fair sample is taken.
    """
    index = np.sort(viewed.order[:budget])  # in the order of the cloud, which deflates better
    place, middle, step = quantised(viewed.xyz[index])
    arrays = dict(zip(("x", "y", "z"), place.T, strict=True))
    arrays |= dict(zip(("red", "green", "blue"), viewed.scene.cloud().rgb.numpy()[index].T, strict=True))
    for side, purified in _SIDES.items():
        version = viewed.version(purified)
        arrays[f"label {side}"] = _numbered(version.labels.numpy()[index], len(viewed.vocabulary))
        arrays[f"score {side}"] = _bytes(state.score_shares(version)[index])
        for number, question in enumerate(asked):
            warmth = viewed.warmth(question, purified)[1].numpy()
            arrays[f"heat {side} {number}"] = _bytes(warmth[index])
    if viewed.truth is not None:
        arrays["truth"] = _numbered(viewed.truth[index], len(viewed.vocabulary))
    edges = np.array([box.segments for box in things], dtype=np.float32).reshape(-1, 3)
    arrays["edges"] = (edges - middle.astype(np.float32)).ravel()
    stored = {name: np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")) for name, a in arrays.items()}
    facts = {
        "name": viewed.scene.name,
        "points": len(viewed),
        "arrays": [[name, a.dtype.name, len(a)] for name, a in stored.items()],
        "step": step.tolist(),
        "middle": viewed.users(middle).tolist(),
        "spacing": viewed.spacing,
        "frame": _frame(viewed.scene.up).tolist(),
        "names": [*viewed.vocabulary.names, "(no label)"],
        "colors": [*label_colors(viewed.vocabulary.names).tolist(), list(NO_LABEL_COLOR)],
        "hot": heat_colors(np.arange(256) / 255).tolist(),
        "right": RIGHT,
        "wrong": WRONG,
        "unlabelled": UNLABELLED,
        "legends": _legends(viewed),
        "meanings": _meanings(viewed),
        "words": [_asked(viewed, words, question) for question in asked],
        "boxes": _boxes(things, middle),
    }
    return _page(facts, b"".join(a.tobytes() for a in stored.values()))


def quantised(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 3) metres -> (N, 3) int16, and middle and step (3,) float64: a position is middle + step * number.

    It is off by half a step at most, a 65534th of the extent along the axis: 0.08 mm in a room of 10 m.
    """
    if not len(xyz):
        return np.zeros((0, 3), np.int16), np.zeros(3), np.ones(3)
    low, high = xyz.min(axis=0).astype(np.float64), xyz.max(axis=0).astype(np.float64)
    middle, step = (low + high) / 2, np.maximum((high - low) / (2 * _STEPS), 1e-9)
    return np.rint((xyz - middle) / step).clip(-_STEPS, _STEPS).astype(np.int16), middle, step


def _numbered(label: np.ndarray, count: int) -> np.ndarray:
    """(N,) labels, -1 = none -> index into the page's `names`, where none is the last."""
    return np.where(label < 0, count, label).astype(np.uint8 if count < 256 else np.uint16)


def _bytes(share: np.ndarray) -> np.ndarray:
    """(N,) 0..1 -> (N,) uint8 0..255."""
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def _frame(up: np.ndarray) -> np.ndarray:
    """(3, 3) rows: east, north and up of the camera that turns around the scene."""
    up = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    east = np.cross([0.0, 1.0, 0.0] if abs(up[1]) < 0.9 else [0.0, 0.0, -1.0], up)
    east /= np.linalg.norm(east)
    return np.stack([east, np.cross(up, east), up])


def _legends(viewed: ViewedScene) -> dict[str, list[tuple[int, int]]]:
    """Of either version and of the truth: index into `names` and number of points, most first; all count."""
    none = len(viewed.vocabulary)
    looks = {side: Look(purified=purified) for side, purified in _SIDES.items()}
    if viewed.truth is not None:
        looks["truth"] = Look("truth")
    return {
        name: [(row.index if row.index >= 0 else none, row.points) for row in state.legend(viewed, look)]
        for name, look in looks.items()
    }


def _meanings(viewed: ViewedScene) -> dict[str, dict[str, str]]:
    """What the colours of each colouring stand for, in either version."""
    colorings = ["photo", "label", "heat", "score"]
    colorings += ["truth", "errors"] if viewed.truth is not None else []
    return {
        coloring: {
            side: state.meaning(viewed, Look(coloring, purified=purified))
            for side, purified in _SIDES.items()
        }
        for coloring in colorings
    }


def _asked(viewed: ViewedScene, words: Words, question: TextEmbeddings) -> dict[str, Any]:
    """A question: its text, and of either version the cosines of heat 0 and 1 and the answer."""
    said: dict[str, Any] = {"text": " | ".join(question.vocabulary.synonyms[0])}
    for side, purified in _SIDES.items():
        look = Look("heat", purified=purified, question=question)
        low, high = heat_range(viewed.warmth(question, purified)[0])
        said[side] = {"low": low, "high": high, "verdict": state.verdict(viewed, look, words)}
    return said


def _boxes(things: Sequence[Box], middle: np.ndarray) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(box.label for box in things))
    color = dict(zip(names, label_colors(names).tolist(), strict=True))
    return [
        {
            "name": f"{box.label} {box.score:.2f}",
            "center": (box.center - middle).tolist(),
            "color": color[box.label],
        }
        for box in things
    ]


def _page(facts: dict[str, Any], data: bytes) -> bytes:
    """The template with everything in its place; nothing but the page's own script may run."""
    room = resources.files("purify3d.viewing.share")
    page, *scripts = (
        room.joinpath(name).read_text(encoding="utf-8")
        for name in ("share.html", "share_scene.js", "share.js")
    )
    script = "".join(scripts)
    # "<" could end the element that holds the facts; what is not ASCII is escaped by json itself.
    said = json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "SCRIPT": script,
        "DIGEST": f"sha256-{digest}",
        "FACTS": said,
        "DATA": base64.b64encode(zlib.compress(data, 6)).decode(),
    }
    # In one pass, so that nothing in a part is taken for the place of another.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], page).encode()
