"""A 2D model that knows the truth of procedural rooms and errs as a real one was measured to.

Benchmarks on procedural rooms need errors of more than one making: those of the bundled segmenter, which was
trained on such rooms, and these, whose kinds are known. How often and how a model errs is measured by
`tools/calibrate_errors.py` and lies in `data/errors.json`.

A *mask* is what one frame shows of one object. Its answer is drawn in two steps, each by a random number that
changes smoothly with the view: is the object missed, so that it takes the name of the neighbour it has the
longest border with (small ones are missed more often), and if not, which class is it taken for. The whole
mask gets the answer; then borders are shifted by a random field that is smooth over rays in the world.

Nothing is drawn in order and no state is kept: every random number is a smooth function, fixed by a hash of
the seed and the object, of where the camera stands, how it looks, and where the object is. A frame gives
the same answer alone or among others, in any order, and near views err alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from purify3d.backbones.facts import Facts, disk_size
from purify3d.backbones.sentences import load_sentence_encoder
from purify3d.base.checkpoints import file_digest
from purify3d.base.errors import BackboneError
from purify3d.rooms import CLASSES
from purify3d.types import DenseFeatures, FeatureSpace, Frame, TextEmbeddings

ERRORS = Path(__file__).resolve().parents[1] / "data" / "errors.json"

_WAVES = 64  # of a smooth random function
_HOME = 1.5  # metres: objects whose visible parts are nearer than this share their lasting luck
_TURN = 0.5  # radians of the viewing direction that change as much as a metre of the camera's position
_RAY = 0.06  # radians over which a border's shift changes
_MOST = 0.95  # no error is surer than this
_LEAST = 0.5  # the answer of a mask is never less sure: it stays the likeliest class
_SPREAD = 1.0  # deviation over views of how hard a mask is, in deviations of the draw itself


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """How a 2D model errs on C classes.

    Attributes:
        confusion: (C, C) rows sum to 1: what a mask of this class that is neither right nor missed is taken
            for; the diagonal is 0.
        wrong: (C,) share of masks not missed that are taken for something else, before `strength`.
        area, missed: (A,) share of the image, ascending, and share of masks of this size that are missed,
            before `strength`; in between, linear in the logarithm of the area.
        border: deviation of the shift of a border, as a share of the image's width.
        lasting: share of a draw's variance that belongs to the object and not to the view, 0..1.
        reach: metres, of the camera or of `_TURN` radians a metre, over which the rest changes.
        strength: factor on all rates of errors.
    """

    confusion: np.ndarray
    wrong: np.ndarray
    area: np.ndarray
    missed: np.ndarray
    border: float
    lasting: float
    reach: float
    strength: float

    @classmethod
    def of(cls, facts: dict[str, Any]) -> ErrorModel:
        """From the values of `errors.json`."""
        tables, rates = ("confusion", "wrong", "area", "missed"), ("border", "lasting", "reach", "strength")
        values: dict[str, Any] = {name: np.array(facts[name], float) for name in tables}
        return cls(**values | {name: float(facts[name]) for name in rates})

    def miss_rate(self, area: np.ndarray) -> np.ndarray:
        """Share of masks of these shares of the image that are missed."""
        rate = np.interp(np.log(area), np.log(self.area), self.missed)
        return np.minimum(self.strength * rate, _MOST)


@dataclass(frozen=True, eq=False)
class Masks:
    """What one frame shows of M objects.

    Attributes:
        of: (H, W) which mask a pixel belongs to.
        label, instance: (M,) truth.
        area: (M,) share of the image.
        center: (M, 3) median world position of what is seen, metres.
        neighbor: (M,) the mask of another class with the longest common border; itself where there is none.
    """

    of: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    area: np.ndarray
    center: np.ndarray
    neighbor: np.ndarray


def masks_of(frame: Frame) -> Masks:
    """The objects in a frame of a procedural room.

    Raises:
        BackboneError: the frame is of something else, or has no truth.
    """
    if frame.label is None or frame.instance is None or frame.files:
        lacks = "made from files" if frame.files else "without images of true labels and objects"
        raise BackboneError(
            f"found frame {frame.name} {lacks}; simulated: errs about the truth of procedural rooms alone. "
            "Use it with synthetic:SEED, and a model that looks at images, such as segmenter:lite, with scans"
        )
    label, instance, depth = frame.label(), frame.instance(), frame.depth()
    height, width = frame.camera.height, frame.camera.width
    shapes = {label.shape, instance.shape, depth.shape, (height, width)}
    if len(shapes) > 1 or label.min() < 0 or label.max() >= len(CLASSES):
        raise BackboneError(
            f"found frame {frame.name} with images of {sorted(shapes)} and labels {label.min()} to "
            f"{label.max()}; expected one size, and labels 0 to {len(CLASSES) - 1}, as of procedural "
            "rooms. Use simulated: with synthetic:SEED"
        )
    ids, first, of = np.unique(instance, return_index=True, return_inverse=True)
    of = of.reshape(instance.shape)
    label = label.ravel()[first]
    return Masks(
        of,
        label,
        ids,
        np.bincount(of.ravel()) / of.size,
        _centers(frame, of, depth, len(ids)),
        _neighbors(of, label),
    )


def _rays(frame: Frame) -> np.ndarray:
    """(H, W, 3) directions of pixels in the world, of length 1 along the camera's axis."""
    camera = frame.camera
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    return np.stack([x, y, np.ones_like(x)], axis=-1) @ frame.world_from_camera[:3, :3].T


def _centers(frame: Frame, of: np.ndarray, depth: np.ndarray, count: int) -> np.ndarray:
    """(M, 3) median positions. A mask without any measured depth counts as 3 m away."""
    z = np.where(depth > 0, depth, np.nan)
    rays = _rays(frame)
    centers = np.empty((count, 3))
    for mask in range(count):
        mine = of == mask
        inside = mine & np.isfinite(z)
        points = rays[inside] * z[inside][:, None] if inside.any() else 3.0 * rays[mine]
        centers[mask] = np.median(points, axis=0)
    return centers + frame.world_from_camera[:3, 3]


def _neighbors(of: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(M,) the mask of another class that shares most of the border."""
    shared = np.zeros((len(label), len(label)), int)
    for a, b in ((of[1:], of[:-1]), (of[:, 1:], of[:, :-1])):
        np.add.at(shared, (a.ravel(), b.ravel()), 1)
    shared = np.where(label[:, None] != label[None], shared + shared.T, 0)
    return np.where(shared.any(1), shared.argmax(1), np.arange(len(label)))


def view_point(frame: Frame) -> np.ndarray:
    """(6,) metres: where the camera stands and how it looks; near for views that see alike."""
    pose = frame.world_from_camera
    return np.concatenate([pose[:3, 3], pose[:3, 2] / _TURN])


def _generator(*key: Any) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(repr(key).encode()).digest()))


def smooth(x: np.ndarray, *key: Any) -> np.ndarray:
    """A random function of (..., d) that its key fixes: mean 0, deviation 1, correlation exp(-|dx|^2 / 2).

    A sum of waves (random Fourier features, Rahimi and Recht 2007): the same on every machine.
    """
    rng = _generator(*key)
    waves, phase = rng.normal(size=(x.shape[-1], _WAVES)), rng.uniform(0, 2 * np.pi, _WAVES)
    return np.asarray(np.sqrt(2 / _WAVES) * np.cos(x @ waves + phase).sum(-1))


def load(argument: str, *, device: str = "cpu") -> Simulated:
    """`mosaic`, or `mosaic?seed=3` for other draws of the same errors.

    Raises:
        BackboneError: the argument is something else, or the file of errors is damaged.
        MissingPackageError: the sentence encoder needs the extra `text`.
    """
    name, _, seed = argument.partition("?seed=")
    if name != "mosaic" or ("?" in argument and not seed.isdecimal()):
        raise BackboneError(
            f"found simulated:{argument}; expected simulated:mosaic or simulated:mosaic?seed=3"
        )
    try:
        model = ErrorModel.of(json.loads(ERRORS.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(
            f"cannot read the errors in {ERRORS} ({type(error).__name__}: {error}). Reinstall purify3d, or "
            "make them with: python tools/calibrate_errors.py"
        ) from error
    return Simulated(model, f"mosaic@{file_digest(ERRORS)}", seed=int(seed or 0))


class Simulated:
    """Posteriors of a model that errs, over the classes of procedural rooms; see the module.

    How sure an answer is, is no reading of the draw but comes before it: each mask gets a chance to be
    wrong that varies with the view about the rate of its class and size, it is wrong with this chance, and
    the rest of 1 is what the answer weighs. So among masks 80 % sure, 80 % are right; only below one half
    is the model surer than right, since its answer must stay the likeliest. What is left goes to the
    classes that are taken for the answer.

    Attributes:
        space: as of a segmenter; features of two of them should not be mixed.
        facts: for people.

    Args:
        id: of the errors.
        seed: other draws of the same errors.
    """

    reads_words = False
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, model: ErrorModel, id: str, *, seed: int = 0) -> None:
        self.model, self._seed = model, seed
        self._sentences = load_sentence_encoder()
        self._basis = self.encode(CLASSES)
        self.space = FeatureSpace(
            f"simulated:{id}?seed={seed}+{self._sentences.id}",
            self._basis.shape[1],
            logit_scale=20.0,
            length_is_confidence=True,
        )
        self.facts = Facts(
            kind="dense",
            licence="Apache-2.0",
            disk_bytes=disk_size(ERRORS),
            input_size="any; procedural rooms alone",
            source=str(ERRORS),
            channels=len(CLASSES),
        )

    def observe(self, frames: Sequence[Frame], text_embeddings: TextEmbeddings) -> list[DenseFeatures]:
        """Features at half the size of the images, R = 28 classes; `text_embeddings` is not used.

        Raises:
            BackboneError: a frame is not of a procedural room.
        """
        return [DenseFeatures(self.posterior(frame), self._basis) for frame in frames]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(T, D) unit rows of "a NAME", as segmenters have them."""
        return self._sentences([f"a {text}" for text in texts])

    def posterior(self, frame: Frame) -> Tensor:
        """(C, h, w) float32, sums to 1 over C."""
        masks = masks_of(frame)
        answer, sure = self.answers(frame, masks)
        table = self._posteriors(answer, sure)
        shown = table[torch.from_numpy(self._shifted(frame, masks.of))].permute(2, 0, 1)
        height, width = shown.shape[1:]
        return adaptive_avg_pool2d(shown, ((height + 1) // 2, (width + 1) // 2))

    def answers(self, frame: Frame, masks: Masks) -> tuple[np.ndarray, np.ndarray]:
        """What each of M masks is taken for, (M,) class, and (M,) how sure the model is of it, 0.5..1."""
        model = self.model
        wrong_rate = np.minimum(model.strength * model.wrong[masks.label], _MOST)
        miss_rate = np.where(masks.neighbor == np.arange(len(masks.label)), 0.0, model.miss_rate(masks.area))
        taken_for = masks.label.copy()
        wrong, missed = self._chance(frame, masks, wrong_rate), self._chance(frame, masks, miss_rate)
        u, v = (ndtr(self._draw(frame, masks, what)) for what in ("wrong", "missed"))  # uniform in 0..1
        for i in np.flatnonzero(u < wrong):
            # Which class follows from how far below the chance the draw is: near views choose alike.
            key = (self._seed, "order", int(masks.label[i]), int(masks.instance[i]))
            order = _generator(*key).permutation(len(CLASSES))
            share = model.confusion[masks.label[i]][order].cumsum()
            taken_for[i] = order[min(np.searchsorted(share, u[i] / wrong[i] * share[-1]), len(order) - 1)]
        answer = np.where(v < missed, taken_for[masks.neighbor], taken_for)
        return answer, np.clip((1 - wrong) * (1 - missed), _LEAST, 0.99)

    def _draw(self, frame: Frame, masks: Masks, what: str) -> np.ndarray:
        """(M,) standard normal, smooth over views; a share of it lasts for the object."""
        model, view = self.model, view_point(frame) / self.model.reach
        numbers = []
        for label, instance, center in zip(masks.label, masks.instance, masks.center, strict=True):
            key = (self._seed, what, int(label), int(instance))
            stays, moves = smooth(center / _HOME, *key, "object"), smooth(view, *key, "view")
            numbers.append(np.sqrt(model.lasting) * stays + np.sqrt(1 - model.lasting) * moves)
        return np.array(numbers)

    def _chance(self, frame: Frame, masks: Masks, rate: np.ndarray) -> np.ndarray:
        """(M,) chances that vary with the view and whose mean is the rate: with t normal, the mean of
        Phi(q sqrt(1 + s^2) + s t) is Phi(q)."""
        harder = _SPREAD * self._draw(frame, masks, "hard")
        shifted = ndtri(rate.clip(0, _MOST)) * np.sqrt(1 + _SPREAD**2)
        return np.minimum(ndtr(shifted + harder), _MOST)

    def _posteriors(self, answer: np.ndarray, sure: np.ndarray) -> Tensor:
        """(M, C): the answer, and the classes that are taken for it."""
        model = self.model
        mistaken = (model.strength * model.wrong[:, None] * model.confusion)[:, answer].T + 1e-4
        mistaken[np.arange(len(answer)), answer] = 0
        table = mistaken / mistaken.sum(1, keepdims=True) * (1 - sure)[:, None]
        table[np.arange(len(answer)), answer] = sure
        return torch.from_numpy(table).float()

    def _shifted(self, frame: Frame, of: np.ndarray) -> np.ndarray:
        """(H, W) masks with borders shifted by a field that is smooth over rays in the world and over views.

        The field is made at every fourth pixel, and pixels in between take the nearest: it is smoother.
        """
        height, width = of.shape
        rays = _rays(frame)[::4, ::4]
        rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) / _RAY
        place = np.broadcast_to(frame.world_from_camera[:3, 3] / self.model.reach, rays.shape)
        x = np.concatenate([rays, place], axis=-1)
        v, u = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        amount = self.model.border * width
        row, column = (
            np.round(at + amount * smooth(x, self._seed, "border", axis)[v // 4, u // 4]).astype(int)
            for axis, at in enumerate((v, u))
        )
        return of[row.clip(0, height - 1), column.clip(0, width - 1)]
