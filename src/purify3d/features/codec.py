"""Features in at most 64 bytes a point, and back.

Features of 2D models crowd into few directions. Those kept are the leading ones of the second moment of the
unit features, in the metric of dot products with words; along them a point has a whole number in a range of
its own. Kept beside: lengths, so that what is cut off lowers cosines and does not turn them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from purify3d.types import FeatureSpace, PointFeatures, TextEmbeddings

BUDGET = 64  # bytes a point, all columns together
_SPARE = 3  # of them for the basis and the header, of 40,000 points and more
_SAMPLE = 50_000  # points that the directions are found from
_ROWS = 1 << 16  # points that are brought into them at a time
_FLAT = 1e-7  # of the strongest direction; what is weaker is rounding
_FINE, _COARSE = 32767, 127  # steps either side of zero, of two bytes and of one
_HALF = 65504.0  # the largest number of half precision


@dataclass(frozen=True, eq=False, repr=False)
class EncodedFeatures:
    """What is stored of features of N points.

    Attributes:
        fine: (N, h) int16 and `coarse` (N, r - h) int8: values along the directions, the strongest first, in
            steps of `scale` times `step`.
        scale: (N,) fp16, the range of each point.
        step: (r,) float32, per direction.
        basis: (r, D) float32 orthonormal rows, the directions.
        views: (N,) uint8, uint16 or int32.
        gap, length, agreement: (N,) fp16, see `PointFeatures`; None where the features have none.
        space: of the features.
        lost: share of the squared length of unit features that is cut off, 0..1.
    """

    fine: Tensor
    coarse: Tensor
    scale: Tensor
    step: Tensor
    basis: Tensor
    views: Tensor
    space: FeatureSpace
    gap: Tensor | None = None
    length: Tensor | None = None
    agreement: Tensor | None = None
    lost: float = 0.0

    def tensors(self) -> dict[str, Tensor]:
        """What is written, by name; `decode` takes it."""
        names = ("fine", "coarse", "scale", "step", "basis", "views", "gap", "length", "agreement")
        each = {name: getattr(self, name) for name in names}
        return {name: tensor.contiguous() for name, tensor in each.items() if tensor is not None}

    def features(self, some: slice = slice(None)) -> PointFeatures:
        """The features as anyone who reads them has them, of some of the points."""
        single = {name: tensor for name, tensor in self.tensors().items() if name in ("step", "basis")}
        rows = {name: tensor[some] for name, tensor in self.tensors().items() if name not in single}
        return decode(rows | single, self.space)


def encode(features: PointFeatures, *, budget: int = BUDGET) -> EncodedFeatures:
    """Bring features into at most `budget` bytes a point, beside the basis. Nothing in it is drawn by chance.

    Args:
        budget: at least 24 bytes.
    """
    if budget < 24:
        raise ValueError(f"found a budget of {budget} bytes a point; expected at least 24")
    turn, basis, power = _directions(features)
    unit = _power_of_two(features)
    views, gap, length, agreement = _narrow(features.views), features.gap, features.length, features.agreement
    if agreement is None and length is None and features.space.length_is_confidence:
        agreement = features.values.norm(dim=1)
    given = sum(column is not None for column in (gap, length, agreement))
    room = budget - _SPARE - 2 - views.element_size() - 2 * given
    if length is None and len(basis) > room:  # what is cut off stays in the length
        length, room = features.norm(), room - 2
    twice = _two_bytes(power, room)
    rank = min(len(basis), room - twice)
    lost = float(power[rank:].sum() / power.sum().clamp_min(1e-300))
    values = _rounded(features.values, turn[:, :rank] * unit, min(rank, twice))
    return EncodedFeatures(
        *values,
        basis[:rank],
        views,
        features.space,
        None if gap is None else _half(gap),
        None if length is None else _half(length * unit),
        None if agreement is None else _half(agreement * unit),
        lost,
    )


def decode(tensors: dict[str, Tensor], space: FeatureSpace) -> PointFeatures:
    """Features from what `EncodedFeatures.tensors` gave.

    Raises:
        KeyError, ValueError: something is missing, of a shape that does not fit, or not finite.
    """
    fine, coarse, step = tensors["fine"], tensors["coarse"], tensors["step"]
    count, h = fine.shape
    if coarse.shape[0] != count or h + coarse.shape[1] != len(step) or len(step) != len(tensors["basis"]):
        raise ValueError("found columns of other sizes than their steps; expected a step for each")
    for name, tensor in tensors.items():
        known = tensor.isfinite() if name != "gap" else ~tensor.isnan()  # to what no other point is near: inf
        if tensor.is_floating_point() and not bool(known.all()):
            raise ValueError(f"found values of {name} that are not finite; expected numbers")
    values = torch.empty(count, len(step))
    scale = tensors["scale"].float()[:, None]
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        values[rows, :h] = fine[rows]
        values[rows, h:] = coarse[rows]
        values[rows] *= step
        values[rows] *= scale[rows]
    single = {name: tensors.get(name) for name in ("gap", "length", "agreement")}
    single = {name: None if one is None else one.float() for name, one in single.items()}
    return PointFeatures(values, tensors["views"].int(), space, tensors["basis"], **single)


def only_words(features: PointFeatures, *text_embeddings: TextEmbeddings) -> PointFeatures:
    """Features of which nothing is left but what these T wordings see of them, in T channels.

    Their dot products with the words, their lengths and their agreement are those of the features; nothing
    else can be asked of them.

    Raises:
        SpaceMismatchError: features and words come from different models.
    """
    for each in text_embeddings:
        each.check_space(features.space)
    words = torch.cat([each.embedding for each in text_embeddings])
    return replace(
        features,
        values=features.dot(words),
        basis=words_basis(*text_embeddings).to(words.device),
        length=features.norm(),
        agreement=features.sure() if features.length is None else features.agreement,
    )


def words_basis(*text_embeddings: TextEmbeddings) -> Tensor:
    """(T, D) on the CPU: the basis in which dot products with T wordings are coordinates."""
    words = torch.cat([each.embedding for each in text_embeddings])
    return torch.linalg.pinv(words.cpu().double()).T.float()


def _directions(features: PointFeatures) -> tuple[Tensor, Tensor, Tensor]:
    """Directions of the features, the strongest first.

    Returns:
        (R, r) what turns values into coordinates along them, (r, D) the directions, orthonormal, and (r,)
        float64 the mean square of unit features along each.
    """
    values, basis = features.values, features.basis
    channels = values.shape[1]
    if basis is None:
        metric, back = torch.eye(channels, dtype=torch.float64), torch.eye(channels, dtype=torch.float64)
    else:
        gram, axes = torch.linalg.eigh(basis.double() @ basis.double().T)
        real = gram > _FLAT * gram.max().clamp_min(1e-300)
        real[-1] = True  # also where the basis is zero: no direction at all cannot be written
        root = gram[real].clamp_min(1e-300).sqrt()
        metric = axes[:, real] * root  # values @ metric has the lengths and angles of the features
        back = (axes[:, real] / root).T @ basis.double()
    sample = values[:: max(1, len(values) // _SAMPLE)] @ metric.float()
    sample = sample / sample.norm(dim=1, keepdim=True).clamp_min(1e-30)
    power, main = torch.linalg.eigh((sample.T @ sample).double() / max(1, len(sample)))
    power, main = power.flip(0).clamp_min(0), main.flip(1)
    main = main * torch.where(main.gather(0, main.abs().argmax(0, keepdim=True)) < 0, -1.0, 1.0)
    return (metric @ main).float(), (main.T @ back).float(), power


def _two_bytes(power: Tensor, room: int) -> int:
    """How many of the strongest directions take two of `room` bytes, so that least is lost in all.

    A second byte for a strong direction costs the weakest one; the steps of one byte are noise of
    step^2 / 12 where the range is four times the mean length either way.
    """
    noise = (4 / _COARSE) ** 2 / 12
    cost = [
        float(power[room - twice :].sum() + noise * power[twice : room - twice].sum())
        for twice in range(room // 2 + 1)
    ]
    return min(range(len(cost)), key=cost.__getitem__)


def _rounded(values: Tensor, turn: Tensor, h: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values along directions as whole numbers: the `h` first of two bytes, the others of one.

    Returns:
        (N, h) int16, (N, r - h) int8, (N,) fp16 range of each point, (r,) float32 step of each direction.
    """
    count, rank = len(values), turn.shape[1]
    most = torch.full((rank,), 1e-30)
    scale = torch.zeros(count, dtype=torch.float16)
    # Turned twice: wide features fill the memory, and what they become must not lie beside them as floats.
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        part = values[rows] @ turn
        scale[rows] = part.norm(dim=1).clamp_max(_HALF).half()
        safe = scale[rows].float().clamp_min(1e-30)[:, None]
        most = torch.maximum(most, torch.where(scale[rows, None] > 0, part / safe, 0).abs().amax(0))
    steps = torch.tensor([_FINE] * h + [_COARSE] * (rank - h), dtype=torch.float32)
    step = most / steps
    fine = torch.empty(count, h, dtype=torch.int16)
    coarse = torch.empty(count, rank - h, dtype=torch.int8)
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        range_ = scale[rows].float()[:, None]
        whole = torch.where(range_ > 0, values[rows] @ turn / range_.clamp_min(1e-30) / step, 0).round_()
        whole = whole.clamp_(-steps, steps)
        fine[rows], coarse[rows] = whole[:, :h].short(), whole[:, h:].to(torch.int8)
    return fine, coarse, scale, step


def _narrow(views: Tensor) -> Tensor:
    """Counts in as few bytes as they need."""
    most = int(views.max()) if len(views) else 0
    return views.to(torch.uint8 if most < 2**8 else torch.uint16 if most < 2**16 else torch.int32)


def _power_of_two(features: PointFeatures) -> float:
    """What brings features into the range of half precision: cosines and weights are about ratios alone."""
    peak = float(features.norm().max()) if len(features) else 0.0
    if not (peak > 2**13 or 0 < peak < 2**-5):
        return 1.0
    return float(2.0 ** (13 - torch.tensor(peak).log2().floor()))  # near its top: room for what is short


def _half(column: Tensor) -> Tensor:
    """Half precision; what is finite stays so."""
    return torch.where(column.isfinite(), column.clamp(-_HALF, _HALF), column).half()
