"""2D models that give features the words can be compared with.

A backbone is named `family:argument`, e.g. `segmenter:lite`, and is one of two kinds, told apart by what
`observe` returns: dense (a feature per pixel) or mask-type (a feature per mask). Lifting knows no model
by name. A third kind looks at nothing and brings features of points that were made elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from purify3d.backbones.facts import Facts
from purify3d.base.devices import find_device
from purify3d.base.errors import BackboneError, PurifyError
from purify3d.types import (
    DenseFeatures,
    FeatureSpace,
    Frame,
    Labels,
    MaskFeatures,
    PointCloud,
    PointFeatures,
    TextEmbeddings,
    Vocabulary,
)


class TextEncoder(Protocol):
    """What every backbone has.

    Attributes:
        space: what its features may be compared with.
        facts: what it is, for people.
    """

    space: FeatureSpace
    facts: Facts

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(T,) names such as "chair" -> (T, D) float32 unit rows; the model adds its own prompt."""


class ImageBackbone(TextEncoder, Protocol):
    """A frozen 2D vision-language model.

    Attributes:
        reads_words: what `observe` says depends on its text embeddings, so that features lifted for some
            labels do not serve others.
        device: where it computes; what it gives may lie anywhere, and is brought to the points.
        dtype: of the products of its image side, such as float32 or bfloat16.
    """

    reads_words: bool
    device: torch.device
    dtype: torch.dtype

    def observe(
        self, frames: Sequence[Frame], text_embeddings: TextEmbeddings
    ) -> Sequence[DenseFeatures | MaskFeatures]:
        """Features of what each frame of a batch shows; sizes of images may differ within a batch.

        A model looks at `frame.color()`, (H, W, 3) uint8 RGB. `text_embeddings` are those of the labels:
        dense models ignore them; mask-type models score their masks with them.
        """


@runtime_checkable
class PointBackbone(TextEncoder, Protocol):
    """Features of points that were made elsewhere: they take the place of lifting."""

    def point_features(self, points: PointCloud, scene_name: str) -> PointFeatures:
        """One feature for each point of the scene of this name."""


@runtime_checkable
class StoredBackbone(Protocol):
    """A backbone that answers from files its space does not tell apart.

    Attributes:
        fingerprint: changes when one of the files does, so that finished stages are not reused.
    """

    fingerprint: str


Backbone = ImageBackbone | PointBackbone


#: family -> "module:function"; the function takes what stands behind the colon and a device. `simulated` is
#: registered from its own room, by an entry point as those of other packages are.
FAMILIES = {
    "segmenter": "purify3d.backbones.segmenter:load",
    "clip": "purify3d.backbones.clip:load_clip",
    "siglip": "purify3d.backbones.clip:load_siglip",
    "xdecoder": "purify3d.backbones.xdecoder:load",
    "lseg": "purify3d.backbones.lseg:load",
    "features": "purify3d.backbones.features:load",
}


def families() -> dict[str, str]:
    """All families by name: ours, and those of installed packages, which cannot take the place of ours."""
    return {name: entry.value for name, entry in _installed().items()} | FAMILIES


def load_backbone(name: str, *, device: str = "auto") -> Backbone:
    """`family:argument` -> a model ready to look at images.

    Args:
        device: see `find_device`.

    Raises:
        BackboneError: no such family or device, its argument names nothing that can be loaded, or the package
            that brings the family is broken.
        CheckpointError: weights are damaged or of another model.
        MissingPackageError: the family needs an optional package; the message has the pip line.
    """
    family, _, argument = name.partition(":")
    installed = _installed()
    if family not in FAMILIES | installed or not argument:
        choices = ", ".join(f"{key}:..." for key in FAMILIES | installed)
        raise BackboneError(f"found backbone {name!r}; expected one of {choices} (try segmenter:lite)")
    device = str(find_device(device))  # before minutes of loading
    if family not in FAMILIES:
        return _load_installed(installed[family], argument, device)
    module, function = FAMILIES[family].split(":")
    return getattr(import_module(module), function)(argument, device=device)


def _installed() -> dict[str, EntryPoint]:
    """Families of installed packages (entry points `purify3d.backbones`) by name."""
    return {
        entry.name: entry for entry in entry_points(group="purify3d.backbones") if entry.name not in FAMILIES
    }


def _load_installed(entry: EntryPoint, argument: str, device: str) -> Backbone:
    """A backbone of somebody else's package.

    Raises:
        BackboneError: its function cannot be imported, raises, or returns something that is no backbone.
        PurifyError: as the function raises it.
    """
    package = f"the package {entry.dist.name!r}" if entry.dist else "an installed package"
    whose = f"the backbone family {entry.name!r} of {package} ({entry.value})"
    advice = "Correct or update the package, or uninstall it; set PURIFY3D_DEBUG=1 to see where"
    with _renamed(f"{whose} cannot be imported", f"; expected `module:function`. {advice}", passing=()):
        load = entry.load()
    with _renamed(f"{whose} failed to load {argument!r}", f". {advice}"):
        found = load(argument, device=device)
    if absent := _absent(found):
        raise BackboneError(
            f"{whose} gave a {type(found).__name__} without {', '.join(absent)}; expected a backbone as in "
            f"docs/backbones.md. {advice}"
        )
    return cast(Backbone, found)


def _absent(found: Any) -> list[str]:
    """What an object lacks of a backbone."""
    looks, knows = (callable(getattr(found, name, None)) for name in ("observe", "point_features"))
    there = {
        "space (a FeatureSpace)": isinstance(getattr(found, "space", None), FeatureSpace),
        "facts (a Facts)": isinstance(getattr(found, "facts", None), Facts),
        "encode()": callable(getattr(found, "encode", None)),
        "observe() or point_features()": looks or knows,
        "reads_words (a bool)": isinstance(getattr(found, "reads_words", None), bool) or not looks,
        "device (a torch.device)": isinstance(getattr(found, "device", None), torch.device) or not looks,
        "dtype (a torch.dtype)": isinstance(getattr(found, "dtype", None), torch.dtype) or not looks,
    }
    return [what for what, is_there in there.items() if not is_there]


def embed_vocabulary(backbone: TextEncoder, labels: Labels | TextEmbeddings) -> TextEmbeddings:
    """All wordings of a vocabulary in the words of one model; a text_embeddings passes as it is.

    Raises:
        LabelError: see `Vocabulary.parse`.
        BackboneError: the model failed, or gave something else than finite rows of its space.
    """
    if isinstance(labels, TextEmbeddings):
        return labels
    vocabulary = Vocabulary.parse(labels)
    words = [word for words in vocabulary.synonyms for word in words]
    owner = [label for label, words in enumerate(vocabulary.synonyms) for _ in words]
    with failures_named(backbone, "at the labels"):
        embedding = backbone.encode(words)
    if tuple(embedding.shape) != (len(words), backbone.space.dim) or not embedding.isfinite().all():
        raise BackboneError(
            f"the text side of {backbone.space.id} gave {tuple(embedding.shape)} numbers for {len(words)} "
            f"wordings, or some that are not finite; expected {backbone.space.dim} finite ones for each"
        )
    return TextEmbeddings(vocabulary, embedding, torch.tensor(owner, device=embedding.device), backbone.space)


def no_words(backbone: TextEncoder) -> TextEmbeddings:
    """The text_embeddings of a question that has not been asked yet."""
    empty = torch.empty(0, backbone.space.dim, device="cpu")
    return TextEmbeddings(Vocabulary((), ()), empty, empty[:, 0].long(), backbone.space)


@contextmanager
def failures_named(backbone: TextEncoder, where: str) -> Iterator[None]:
    """Whatever a model raises inside becomes one error that names the model; errors of this package pass.

    Raises:
        BackboneError: the model raised something.
    """
    model = f"the 2D model {backbone.space.id} failed {where}"
    with _renamed(model, "; set PURIFY3D_DEBUG=1 to see where"):
        yield


@contextmanager
def _renamed(what: str, advice: str, passing: type[Exception] | tuple[()] = PurifyError) -> Iterator[None]:
    """Whatever is raised inside, but for `passing`, becomes an error that says of what it is."""
    try:
        yield
    except passing:
        raise
    except Exception as error:
        raise BackboneError(f"{what} ({type(error).__name__}: {error}){advice}") from error
