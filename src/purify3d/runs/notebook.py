"""A finished run in Python and in a notebook: what it holds, and a picture of it."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import replace
from pathlib import Path

from PIL import Image

from purify3d.backbones import Backbone, load_backbone, no_words
from purify3d.base.errors import RunError
from purify3d.base.progress import silent
from purify3d.labels.questions import Answer, query
from purify3d.labels.segmentation import Segmentation
from purify3d.runs import artefacts
from purify3d.runs.ask import need_features, purified_features
from purify3d.runs.folder import Run
from purify3d.types import PointFeatures, Scene

_PATIENCE = 30.0  # seconds to wait for another process that writes
_WIDTH = 900  # pixels of the picture in a notebook
_DARK = (90, 90, 90)  # of points without a label


class OpenRun(Run):
    """A finished run to look at and to ask. Notebooks show it with its picture."""

    _asked: tuple[Backbone, Scene, PointFeatures] | None = None

    def scene(self) -> Scene:
        """What is known of the capture without opening it: name, up, origin, truth names and the points.

        Raises:
            RunError: a file is missing or damaged.
        """
        return artefacts.read_scene(self)

    def labels(self) -> Segmentation:
        """Label and score of each point of `scene()`.

        Raises:
            RunError: a file is missing or damaged.
        """
        return artefacts.read_labels(self, self.scene())[0]

    def query(
        self,
        text: str,
        backbone: Backbone | None = None,
        *,
        limit: int = 5,
        threshold: float | None = None,
    ) -> Answer:
        """Heat of free text over the run, see `purify3d.query`.

        What is read for the first question stays in memory (at most 300 bytes a point), so that further ones
        only compare.

        Args:
            backbone: the one the run was lifted with; None: it is loaded by its name, once.

        Returns:
            The answer, its regions in the coordinates of the capture; nothing is written but the pooled
            features, where they are not there yet.

        Raises:
            LabelError: no words.
            SpaceMismatchError: another backbone.
            RunError: a file is missing or damaged, or the run keeps no features.
        """
        need_features(self)
        if self._asked is None:
            model = backbone or load_backbone(self.job.backbone, device=self.job.device)
            scene = self.scene()
            with self.writing(patience=_PATIENCE):
                features = purified_features(self, scene.cloud(), no_words(model), model, silent)
            self._asked = model, scene, features
        model, scene, features = self._asked
        answer = query(scene.cloud(), features, text, backbone or model, limit=limit, threshold=threshold)
        return replace(answer, regions=[region.moved(scene.origin) for region in answer.regions])

    def show(self) -> Image.Image:
        """picture.png of the run: photo, raw, purified, and truth if any.

        Raises:
            RunError: it is missing or damaged.
        """
        file = self.folder / artefacts.PICTURE
        try:
            with Image.open(file) as image:
                return image.convert("RGB")
        except OSError as error:
            raise RunError(f"cannot read {file} ({error}); repeat the run with --overwrite") from error

    def _repr_html_(self) -> str:
        """Capture, 2D model, how many points have each label, and the picture."""
        rows = "".join(
            f"<tr><td style='text-align:left'><span style='background:rgb{tuple(entry['color'] or _DARK)};"
            f"padding:0 .6em;margin-right:.5em'></span>{html.escape(str(entry['name']))}</td>"
            f"<td>{entry['points']:,}</td></tr>"
            for entry in self.read_json(artefacts.LEGEND)
        )
        image = self.show()
        image.thumbnail((_WIDTH, _WIDTH))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        data = base64.b64encode(buffer.getvalue()).decode()
        return (
            f"<b>{html.escape(str(self.folder))}</b>: {html.escape(self.job.capture.path)}, "
            f"{html.escape(self.job.backbone)}<br><img src='data:image/jpeg;base64,{data}'>"
            f"<details><summary>labels</summary><table>{rows}</table></details>"
        )


def open_run(folder: str | Path) -> OpenRun:
    """A finished run.

    Raises:
        RunError: no such folder, or its run is not finished.
    """
    return OpenRun.finished(Path(folder))
