"""Features computed elsewhere, read from a folder.

A folder holds `space.json`, features in one of two layouts, and what tells words apart in their space:

* maps: `FRAME.npy`, `FRAME.npz` (one array) or `FRAME.pt` (one tensor) for each frame, named like it, with a
  (D, h, w) feature map that covers the whole image as the capture stores it, at any resolution. A capture
  with lens distortion is undistorted when read: make the maps of its undistorted images.
* points: `SCENE.pt`, or `SCENE_0.pt`, `SCENE_1.pt`, ... as OpenScene writes them (Peng et al., CVPR 2023): a
  dict of `feat` (M, D) and `mask_full` (N,) bool, the M of the N points of the scene's cloud that have a
  feature, in its order. Several files of a scene hold different parts of its points.
* `space.json`: {"id": ..., "dim": D, "logit_scale": from cosine to logit, "text": optional, a backbone whose
  words are compared with the features, "length_is_confidence": optional, true where an average of these
  features is long if views are sure and agree, as for unit vectors per pixel; false without}. For OpenScene's
  OpenSeg features (D = 768) the text side is "clip:openai/clip-vit-large-patch14-336".
* `text.npz` or `text.safetensors`, needed without "text": `embeddings` (T, D) and their `names`, in the
  former an array of strings, in the latter metadata, a JSON list.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from purify3d.backbones.facts import Facts, disk_size
from purify3d.backbones.features.files import read_array, read_points, read_torch
from purify3d.backbones.features.text import TABLES, StoredText, read_table
from purify3d.base.errors import BackboneError, CaptureError
from purify3d.base.files import read_text
from purify3d.grid.neighbors import nearest_known
from purify3d.types import DenseFeatures, FeatureSpace, Frame, PointCloud, PointFeatures, TextEmbeddings

_SUFFIXES = (".npy", ".npz", ".pt")


class _Stored:
    """
    Attributes:
        space: as `space.json` says.
        facts: about the folder.
        fingerprint: of names, sizes and times of its files; features of many scenes are too large to be read
            for it.
    """

    _kind: Literal["dense", "points"]

    def __init__(self, folder: Path, files: Sequence[Path], space: FeatureSpace, text: StoredText) -> None:
        self.space = space
        self.reads_words = False
        self.device, self.dtype = torch.device("cpu"), torch.float32  # files are read, nothing computed
        self.facts = Facts(
            kind=self._kind,
            licence="that of the model which made the features",
            disk_bytes=disk_size(*files),
            input_size="none: images are not looked at",
            source=str(folder),
        )
        words = [path for name in ("space.json", *TABLES) if (path := folder / name).is_file()]
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (*words, *files)]
        self.fingerprint = hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
        self._files = {path.stem: path for path in files}
        self._text = text

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(T,) names -> (T, D) float32 unit rows, see `StoredText`."""
        return self._text(texts)


class StoredMaps(_Stored):
    """A feature map per frame, as a backbone that looks at nothing."""

    _kind = "dense"

    def observe(self, frames: Sequence[Frame], text_embeddings: TextEmbeddings) -> list[DenseFeatures]:
        """The stored (D, h, w) of each frame as float32, turned as the frame's images are.

        Raises:
            BackboneError: a frame has no map, or its file is not one.
        """
        return [DenseFeatures(self._map(frame)) for frame in frames]

    def _map(self, frame: Frame) -> Tensor:
        path = self._files.get(frame.name)
        if path is None:
            raise BackboneError(
                f"found no feature map of frame {frame.name!r} among {_listed(self._files)}; expected "
                f"{frame.name}.npy, .npz or .pt. Name the maps like the frames of the capture"
            )
        values = read_array(path)
        if values.ndim != 3 or values.shape[0] != self.space.dim or 0 in values.shape:
            raise BackboneError(
                f"{path}: found an array of {tuple(values.shape)}; expected ({self.space.dim}, h, w), "
                "channels first and as many as space.json says"
            )
        return torch.rot90(values.float(), frame.turns, (1, 2)).contiguous()


class StoredPoints(_Stored):
    """Features of points, fused elsewhere. There is nothing to lift: `point_features` stands in its place."""

    _kind = "points"

    def point_features(self, points: PointCloud, scene_name: str) -> PointFeatures:
        """Features of the points of the scene of this name, see `load_point_features`.

        Raises:
            BackboneError: no file is named after the scene, or the files do not fit the points.
        """
        named = re.compile(re.escape(scene_name) + r"(_\d+)?")
        ours = [path for stem, path in self._files.items() if named.fullmatch(stem)]
        if not ours:
            raise BackboneError(
                f"found no features of scene {scene_name!r} among {_listed(self._files)}; expected "
                f"{scene_name}.pt or {scene_name}_0.pt. Name the files like the capture's folder"
            )
        return load_point_features(ours, points, self.space)


def load_point_features(paths: Sequence[Path], points: PointCloud, space: FeatureSpace) -> PointFeatures:
    """One feature per point from files in OpenScene's layout.

    Args:
        paths: files of one scene; where several have a point the last one counts (OpenScene draws the points
            of each file from one fusion, so they agree).
        points: the very cloud the features were made for, N points in its order.

    Returns:
        `views` is 1 where a file has the point, and 0 where it takes the feature of the nearest that has one:
        how many frames saw it is not stored.

    Raises:
        BackboneError: not such a file, of another cloud, of another dimension, or without any point.
    """
    values, known = torch.zeros(len(points), space.dim), torch.zeros(len(points), dtype=torch.bool)
    for path in paths:
        feature, mask = read_points(path)
        if len(mask) != len(points):
            raise BackboneError(
                f"{path} is of a cloud of {len(mask)} points; expected the {len(points)} of this scene. The "
                "features belong to the cloud they were made for, such as ScanNet's *_vh_clean_2.ply: name "
                "it with --onto"
            )
        if feature.shape != (count := int(mask.sum()), space.dim):
            raise BackboneError(
                f"{path}: found 'feat' of {tuple(feature.shape)}; expected ({count}, {space.dim}), a row for "
                "each point in 'mask_full' and as many channels as space.json says"
            )
        values[mask], known[mask] = feature.float(), True
    if not known.any():
        raise BackboneError(
            f"no point has a feature in {', '.join(map(str, paths))}; expected some in 'mask_full'"
        )
    source, gap = nearest_known(known, points.xyz)
    return PointFeatures(values[source], known.int(), space, gap=gap)


def load(argument: str, *, device: str = "cpu") -> StoredMaps | StoredPoints:
    """`features:FOLDER`; the layout is recognised by what the files hold.

    Raises:
        BackboneError: no such folder, or it does not hold what the head of this file says.
    """
    folder = Path(argument).expanduser()
    if not folder.is_dir():
        raise BackboneError(f"found no folder {folder}; expected features:FOLDER with stored features")
    space, encoder = _read_space(folder / "space.json")
    tables = [folder / name for name in TABLES if (folder / name).is_file()]
    if encoder is None and not tables:
        raise BackboneError(
            f"found nothing in {folder} that tells what words mean; expected {' or '.join(TABLES)}, or a "
            'text encoder in space.json, as in "text": "clip:HUB_ID"'
        )
    text = StoredText(read_table(tables[0], space.dim) if tables else {}, encoder, space.dim, device)
    files = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and p.name not in TABLES)
    if not files:
        raise BackboneError(
            f"found no features in {folder}; expected a map per frame (FRAME.npy, .npz or .pt), or features "
            "of points (SCENE.pt)"
        )
    if files[0].suffix == ".pt" and isinstance(read_torch(files[0]), dict):
        return StoredPoints(folder, files, space, text)
    return StoredMaps(folder, files, space, text)


def _read_space(path: Path) -> tuple[FeatureSpace, str | None]:
    """The space, and the backbone that encodes text where one is named."""
    expected = (
        'expected {"id": "openseg", "dim": 768, "logit_scale": 100}, optionally "text": "clip:HUB_ID" and '
        '"length_is_confidence": true or false'
    )
    if not path.is_file():
        raise BackboneError(f"found no {path}; {expected}: features must say what they may be compared with")
    try:
        text = read_text(path)
        content = dict(json.loads(text))
        encoder = content.pop("text", None)
        confident = content.pop("length_is_confidence", False)
        space = FeatureSpace(
            str(content.pop("id")), int(content.pop("dim")), float(content.pop("logit_scale")), confident
        )
    except (CaptureError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BackboneError(f"{path} cannot be used ({error!r}); {expected}") from error
    sound = isinstance(confident, bool) and space.dim > 0 and 0 < space.logit_scale < np.inf
    if content or not sound or not isinstance(encoder, str | None):
        raise BackboneError(f"found {text.strip()[:300]} in {path}; {expected}")
    if encoder is not None and encoder.startswith("features:"):
        raise BackboneError(f"{path} names {encoder!r} as text encoder; expected a model, as clip:HUB_ID")
    return space, encoder


def _listed(names: Iterable[str]) -> str:
    some = list(names)
    return f"{len(some)} files ({', '.join(some[:6])}{', ...' if len(some) > 6 else ''})"
