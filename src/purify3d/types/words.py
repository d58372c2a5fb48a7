"""Labels, and what a model makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from purify3d.base.devices import Movable
from purify3d.base.errors import LabelError, SpaceMismatchError
from purify3d.types.checks import check
from purify3d.types.features import FeatureSpace
from purify3d.types.labelfiles import spelled_out


@dataclass(frozen=True)
class Vocabulary:
    """The labels that were asked for.

    Attributes:
        names: (C,) what each label is called; the position is the label's index everywhere.
        synonyms: (C,) all wordings of each label, its name first.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        first = tuple(words[0] if words else None for words in self.synonyms)
        check(first == self.names, "the first wording of each label must be its name")

    @classmethod
    def parse(cls, labels: Labels) -> Vocabulary:
        """From `"sofa|couch, table"`, `["sofa|couch", "table"]` or `"@labels.txt"`, a file with one label a
        line; a bar joins synonyms of one label. In a list each is taken as it is.

        Raises:
            LabelError: no label, an empty one, a wording given twice, or a file that cannot be read.
        """
        if isinstance(labels, Vocabulary):
            return labels
        items = _texts(labels)
        if not "".join(items).strip():
            raise LabelError('found no label; expected names such as "chair, table, sofa|couch"')
        synonyms = tuple(tuple(" ".join(word.split()) for word in item.split("|")) for item in items)
        seen: set[str] = set()
        for position, words in enumerate(synonyms):
            for word in words:
                if not word:
                    raise LabelError(
                        f"label {position + 1} of {len(items)} is empty (found {items[position]!r}); "
                        "remove the extra comma or bar"
                    )
                if any("\ud800" <= letter <= "\udfff" for letter in word):
                    raise LabelError(f"label {word!a} is no text that can be written; type it again")
                if word.lower() in seen:
                    raise LabelError(f"label {word!r} was given twice; every wording may stand once")
                seen.add(word.lower())
        return cls(tuple(words[0] for words in synonyms), synonyms)

    def __len__(self) -> int:
        return len(self.names)


def _texts(labels: object) -> list[str]:
    """The labels one by one.

    Raises:
        LabelError: something that is no text.
    """
    if isinstance(labels, str):
        labels = spelled_out(labels)
    if isinstance(labels, str):
        return labels.split(",")
    items = list(labels) if isinstance(labels, Iterable) and not isinstance(labels, bytes) else [labels]
    if strange := [item for item in items if not isinstance(item, str)]:
        raise LabelError(f"found {strange[0]!r} for a label; expected text, or a list of texts")
    return [str(item) for item in items]


#: What a list of labels may be given as.
Labels = str | Sequence[str] | Vocabulary


@dataclass(frozen=True, eq=False, repr=False)
class TextEmbeddings(Movable):
    """A vocabulary in the words of one model.

    Attributes:
        vocabulary: C labels.
        embedding: (T, D) float32, unit rows, one per wording.
        owner: (T,) int64, the label of each wording.
        space: what the embeddings may be compared with.
    """

    vocabulary: Vocabulary
    embedding: Tensor
    owner: Tensor
    space: FeatureSpace

    def __post_init__(self) -> None:
        wanted = (len(self.owner), self.space.dim)
        check(
            tuple(self.embedding.shape) == wanted, f"embedding must be {wanted}, found {self.embedding.shape}"
        )

    def __repr__(self) -> str:
        return f"TextEmbeddings({len(self.vocabulary)} labels, {len(self.owner)} wordings, {self.space.id!r})"

    def check_space(self, space: FeatureSpace) -> None:
        """
        Raises:
            SpaceMismatchError: features of this space cannot be compared with these words.
        """
        if space.id != self.space.id:
            raise SpaceMismatchError(
                f"found features of {space.id!r} and text embeddings of {self.space.id!r}, expected one "
                "model for both; use the backbone that the features were lifted with, or lift again"
            )

    def best(self, scores: Tensor) -> Tensor:
        """(..., T) scores per wording -> (..., C): a label is as good as its best wording."""
        if len(self.owner) == len(self.vocabulary):
            return scores
        owner = self.owner.to(scores.device)
        columns = [scores[..., owner == c].amax(-1) for c in range(len(self.vocabulary))]
        return torch.stack(columns, -1)
