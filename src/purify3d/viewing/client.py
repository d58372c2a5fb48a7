"""One visitor of a page: widgets, and what they do to the look. Visitors share only the viewed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from purify3d.base.errors import PurifyError
from purify3d.pictures.palettes import label_colors
from purify3d.pictures.viewpoints import overview_camera
from purify3d.viewing import state
from purify3d.viewing.boxes import Box
from purify3d.viewing.detail import BUDGET, Eye, chosen, left_out
from purify3d.viewing.names import harmless
from purify3d.viewing.photos import Photos, thumbnail
from purify3d.viewing.picks import pick
from purify3d.viewing.scene import ViewedScene
from purify3d.viewing.state import COLORINGS, Look
from purify3d.viewing.words import Words

_RESTS = 0.6  # seconds without a movement after which the near region is refined
_NEARER = 0.62  # of the distance of a picture from outside, as a page sees a wider angle
_LINES = 60  # of the legend; the labels with fewest points have none
_ROUND = 1.5  # of the spacing, what a point covers


class Client:
    """The state of one connection.

    Attributes:
        look: what is shown now; index: (n,) the points that are sent; colors: (n, 3) uint8 theirs.
    """

    def __init__(
        self,
        client: Any,
        viewed: ViewedScene,
        words: Words,
        photos: Photos,
        boxes: Sequence[Box],
        *,
        notes: Sequence[str] = (),
        text: str = "",
        budget: int = BUDGET,
    ) -> None:
        """
        Args:
            client: viser's handle of the connection.
            notes: what is missing, for people.
            text: a question that is asked at once.
            budget: points that are sent at most.
        """
        self.client, self.viewed, self.words, self.photos = client, viewed, words, photos
        self.boxes, self._budget = boxes, budget
        self.look = Look()
        self._lock = threading.RLock()
        self._keep = np.zeros(0, dtype=bool)
        self._cloud: Any = None
        self._eye: Eye | None = None
        self._timer: threading.Timer | None = None
        self._left = False
        self._typed, self.chosen = "", -1
        self.points: list[int] = []  # clicked at, the last two
        self._boxes: dict[int, Any] = {}  # of the legend, by label
        self._listed: list[Any] = []  # all of the legend
        self._legend_of: tuple[Any, ...] = ()
        self._widgets(notes)
        self._cameras()
        self._objects()
        self._legend = client.gui.add_folder("Legend")
        with self._legend:
            everything = client.gui.add_button("Show all")
        everything.on_click(self._guarded(lambda _: self.change(hidden=frozenset())))
        self._stand()
        self.redraw()
        client.scene.on_click()(self._guarded(self._clicked))
        client.camera.on_update(lambda _: self._moved())
        if text:
            self._question.value = text
            self.ask(text)

    # ------------------------------------------------------------------------------------------- widgets

    def _widgets(self, notes: Sequence[str]) -> None:
        gui, viewed = self.client.gui, self.viewed
        gui.add_markdown(f"**{harmless(viewed.scene.name)}**, {len(viewed):,} points")
        for note in notes:
            gui.add_markdown(f"*{harmless(note, longest=600)}*")
        self._question = gui.add_text("Words", "", hint="Heat of these words; a bar joins synonyms")
        self._answer = gui.add_markdown("")
        offered = COLORINGS if viewed.truth is not None else COLORINGS[:-2]
        self._coloring = gui.add_dropdown("Colour by", offered, initial_value="label")
        self._purified = gui.add_checkbox("Purified", True, hint="Off: features as they were lifted")
        self._meaning = gui.add_markdown("")
        self._heat = gui.add_slider("Least heat", 0.0, 1.0, 0.01, 0.0, hint="What is colder is grey")
        self._score = gui.add_slider(
            "Least score", -1.0, 1.0, 0.01, -1.0, hint="Cosine below which a point has no label"
        )
        self._size = gui.add_slider("Point size", 0.2, 4.0, 0.1, 1.0)
        self._left_out = gui.add_markdown("")
        with gui.add_folder("Point"):
            self._fact = gui.add_markdown("Click at a point.")
            self._like = gui.add_button("More like this", disabled=True)
            self._measure = gui.add_checkbox("Measure", False, hint="Between two points that are clicked at")
        self._export = gui.add_button("Download as PLY", hint="What is shown, at full density")

        on = self._guarded
        self._question.on_update(on(lambda _: self.ask(self._question.value)))
        self._coloring.on_update(on(lambda _: self.change(coloring=self._coloring.value)))
        self._purified.on_update(on(lambda _: self.change(purified=self._purified.value)))
        self._heat.on_update(on(lambda _: self.change(least_heat=self._heat.value)))
        self._score.on_update(on(lambda _: self.change(least_score=self._score.value)))
        self._measure.on_update(on(lambda _: self.points.clear()))
        self._size.on_update(on(lambda _: self._resize()))
        self._like.on_click(on(lambda _: self.more_like(self.chosen)))
        self._export.on_click(on(lambda _: self._download()))

    def _guarded(self, action: Callable[[Any], None]) -> Callable[[Any], None]:
        """What went wrong stands on the page, and the page goes on."""

        def run(event: Any) -> None:
            try:
                action(event)
            except PurifyError as error:
                self._answer.content = harmless(str(error), longest=600)

        return run

    # -------------------------------------------------------------------------------------------- points

    def change(self, **what: Any) -> None:
        """Look differently; see `Look`."""
        with self._lock:
            self.look = replace(self.look, **what)
            self.redraw()

    def redraw(self) -> None:
        """Send what has changed: colours where the points stay, else both."""
        with self._lock:
            viewed, look = self.viewed, self.look
            keep = state.kept(viewed, look)
            same = self._cloud is not None and np.array_equal(keep, self._keep)
            if not same:
                self._keep = keep
                self.index = chosen(viewed.order, keep, budget=self._budget, xyz=viewed.xyz, eye=self._eye)
            self.colors = state.colors(viewed, look, self.index)
            if same:
                self._cloud.colors = self.colors
            else:
                self._send()
            self._meaning.content = harmless(state.meaning(viewed, look))
            self._left_out.content = left_out(len(self.index), int(keep.sum()), len(viewed))
            self._show_legend()

    def _send(self) -> None:
        self._cloud = self.client.scene.add_point_cloud(
            "/points",
            points=self.viewed.xyz[self.index],
            colors=self.colors,
            point_size=self._radius(),
            point_shape="circle",
            point_shading="flat",
            precision="float32",
        )

    def _radius(self) -> float:
        """Metres; where points are left out, those that are sent lie farther apart."""
        thinned = np.sqrt(max(1.0, self._keep.sum() / max(1, len(self.index))))
        return float(self.viewed.spacing * _ROUND * thinned * self._size.value)

    def _resize(self) -> None:
        with self._lock:
            self._cloud.point_size = self._radius()

    def _show_legend(self) -> None:
        """Rows are made again where their counts are others, else only ticked."""
        look = self.look
        of = (look.purified, look.coloring == "truth", look.least_score)
        if of != self._legend_of:
            for handle in self._listed:
                handle.remove()
            self._boxes, self._listed, self._legend_of = {}, [], of
            rows = state.legend(self.viewed, look)
            with self._legend:
                for row in rows[:_LINES]:
                    self._add_row(row)
                if left := rows[_LINES:]:
                    points = sum(row.points for row in left)
                    said = f"*{len(left)} more labels, {points:,} points in all, are not listed*"
                    self._listed.append(self.client.gui.add_markdown(said))
        for index, box in self._boxes.items():
            shown = index not in look.hidden
            if box.value != shown:
                box.value = shown

    def _add_row(self, row: state.Row) -> None:
        gui, index = self.client.gui, row.index
        box = gui.add_checkbox(row.name[:60], index not in self.look.hidden)
        only = gui.add_button(f"{row.points:,}", color=row.color, hint="Show only these")
        self._boxes[index] = box
        self._listed += [box, only]

        def tick(_: Any) -> None:
            if box.value == (index in self.look.hidden):  # set by the visitor, not by us
                self.change(hidden=self.look.hidden ^ {index})

        box.on_update(self._guarded(tick))
        others = frozenset(range(-1, len(self.viewed.vocabulary))) - {index}
        only.on_click(self._guarded(lambda _: self.change(hidden=others)))

    # --------------------------------------------------------------------------------------------- words

    def ask(self, text: str) -> None:
        """Show the heat of a question; of what is typed in the meantime only the last is answered."""
        self._typed = text
        if not text.strip():
            self._answer.content = ""
            return self.change(question=None)
        text_embeddings = self.words.embed(text, lambda: self._typed == text)
        if text_embeddings is None or self._typed != text or self._left:
            return
        self._show_heat(question=text_embeddings)
        said = state.verdict(self.viewed, self.look, self.words)
        self._answer.content = f"{harmless(text)}: {harmless(said)}"

    def more_like(self, point: int) -> None:
        """Show the heat of one point's feature."""
        text_embeddings = state.like(self.viewed, self.look, point)
        if text_embeddings is None:
            self._answer.content = "Nothing is known of this point: no camera saw it."
            return
        self._typed = ""
        self._show_heat(question=text_embeddings)
        self._answer.content = "What is like the point that was clicked at"

    def _show_heat(self, **what: Any) -> None:
        self.change(coloring="heat", **what)
        if self._coloring.value != "heat":
            self._coloring.value = "heat"

    # ------------------------------------------------------------------------------------------- pointer

    def _clicked(self, event: Any) -> None:
        with self._lock:
            row = pick(
                self.viewed.xyz[self.index],
                np.array(event.ray_origin),
                np.array(event.ray_direction),
                radius=self._radius() / 2,
            )
            if row is not None:
                self.select(int(self.index[row]))

    def select(self, point: int) -> None:
        """A point of the viewed was clicked at."""
        self.points = [*self.points, point][-2:]
        known = state.facts(self.viewed, self.look, point)
        lines = [f"**{name}** {harmless(value)}" for name, value in known.items()]
        scene, place = self.client.scene, self.viewed.xyz[self.points]
        scene.add_icosphere(
            "/picked", radius=3 * self.viewed.spacing, color=(255, 0, 0), position=place[-1].astype(float)
        )
        if self._measure.value and len(self.points) == 2:
            lines.append(f"**distance** {state.distance(self.viewed, *self.points):.3f} m")
            scene.add_line_segments(
                "/measured", place[None], (255, 0, 0), thickness=3, thickness_units="screen"
            )
            self.points = []
        self._fact.content = "  \n".join(lines)
        self.chosen = point
        self._like.disabled = False

    def _moved(self) -> None:
        """Where points are left out, send more of what is before the camera when it has come to rest."""
        if self._keep.sum() <= self._budget:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(_RESTS, self._refine)
        self._timer.daemon = True
        self._timer.start()

    def _refine(self) -> None:
        if self._left:
            return
        camera = self.client.camera
        forward = Rotation.from_quat(np.roll(camera.wxyz, -1)).apply([0.0, 0.0, 1.0])
        half = np.arctan(np.tan(camera.fov / 2) * np.hypot(1, camera.aspect))
        with self._lock:
            self._eye = Eye(np.asarray(camera.position), forward, float(half))
            self._cloud = None
            self.redraw()

    def _download(self) -> None:
        file = state.as_ply(self.viewed, self.look)
        self.client.send_file_download("shown.ply", file, save_immediately=True)

    def leave(self) -> None:
        """The connection is closed: what is still on its way to it is not sent."""
        self._left = True
        if self._timer is not None:
            self._timer.cancel()

    # ----------------------------------------------------------------------------- cameras, boxes, stance

    def _stand(self) -> None:
        """See the whole from outside."""
        scene, camera = self.viewed.scene, self.client.camera
        if not len(self.viewed):
            return
        _, pose = overview_camera(scene.cloud(), scene.up, 640, 480)
        camera.position = _NEARER * (pose[:3, 3] - self.viewed.center)
        camera.look_at = np.zeros(3)

    def _cameras(self) -> None:
        gui, photos = self.client.gui, self.photos
        self._folder = gui.add_folder("Photos", expand_by_default=bool(photos.frames))
        with self._folder:
            if photos.missing:
                gui.add_markdown(f"*{harmless(photos.missing, longest=600)}*")
            if not photos.frames:
                return
            shown = gui.add_checkbox("Cameras", False)
            self._photo_name = gui.add_markdown("Click at a camera to stand there and see its photo.")
            self._photo: Any = None
            handles: list[Any] = []
        for number, frame in enumerate(photos.frames):
            camera, pose = frame.camera, frame.world_from_camera
            handle = self.client.scene.add_camera_frustum(
                f"/cameras/{number}",
                fov=float(2 * np.arctan(camera.height / 2 / camera.fy)),
                aspect=camera.width / camera.height,
                scale=0.12,
                thickness=1.5,
                thickness_units="screen",
                color=(40, 90, 200),
                wxyz=np.roll(Rotation.from_matrix(pose[:3, :3]).as_quat(), 1),
                position=pose[:3, 3] + photos.shift,
                visible=False,
            )
            handle.on_click(self._guarded(partial(self.jump, number)))
            handles.append(handle)
        _shows(shown, handles)

    def jump(self, number: int, _: Any = None) -> None:
        """Stand where a frame was taken, and show its photo beside."""
        frame, shift = self.photos.frames[number], self.photos.shift
        pose, camera = frame.world_from_camera, self.client.camera
        with self.client.atomic():
            camera.position = pose[:3, 3] + shift
            camera.look_at = pose[:3, 3] + shift + 2.0 * pose[:3, 2]
            camera.up_direction = -pose[:3, 1]
        try:
            image = thumbnail(frame)
        except (PurifyError, OSError) as error:
            self._photo_name.content = f"{harmless(frame.name)}: {harmless(str(error), longest=600)}"
            return
        self._photo_name.content = harmless(frame.name)
        if self._photo is None:
            with self._folder:
                self._photo = self.client.gui.add_image(image, format="jpeg")
        else:
            self._photo.image = image

    def _objects(self) -> None:
        if not self.boxes:
            return
        names, scene = self.viewed.vocabulary.names, self.client.scene
        color = dict(zip(names, label_colors(names), strict=True))
        gray = np.full(3, 127, dtype=np.uint8)
        segments = np.concatenate([box.segments for box in self.boxes])
        shade = np.array([color.get(box.label, gray) for box in self.boxes])
        handles = [
            scene.add_line_segments(
                "/objects/boxes",
                segments,
                np.broadcast_to(shade.repeat(12, axis=0)[:, None], segments.shape),
                thickness=2,
                thickness_units="screen",
                visible=False,
            )
        ]
        for number, box in enumerate(self.boxes):
            name = f"{box.id} {box.score:.2f}"[:80]
            handles.append(scene.add_label(f"/objects/{number}", name, position=box.center, visible=False))
        _shows(self.client.gui.add_checkbox(f"Objects ({len(self.boxes)})", False), handles)


def _shows(box: Any, handles: Sequence[Any]) -> None:
    """Let a checkbox show and hide things."""

    def show(_: Any) -> None:
        for handle in handles:
            handle.visible = box.value

    box.on_update(show)
