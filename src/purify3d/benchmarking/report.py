"""The page of a benchmark: one HTML file without links to anything."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from purify3d.benchmarking.scene import RAW, dense
from purify3d.benchmarking.table import ENOUGH
from purify3d.pictures.encoding import encoded

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:76em;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}th,td{padding:.25em .7em;border-bottom:1px solid #ddd}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}small{color:#666}
pre{background:#f4f4f4;padding:.7em;white-space:pre-wrap;word-break:break-word}
img,svg{max-width:100%;height:auto}.bad{color:#a00}
"""
_WIDE = 1400  # pixels of a picture
_MATRIX = 40  # classes of a confusion matrix that can be read
_BAR, _ROW = 460, 16  # pixels: of a whole bar, of its height
_COLORS = ("#9aa4ad", "#1f77b4")

#: The means that are shown, and their titles; of a result those that it has.
MEANS = {
    "miou": "mIoU",
    "macc": "mAcc",
    "fmiou": "f-mIoU",
    "fmacc": "f-mAcc",
    "base_miou": "base mIoU",
    "novel_miou": "novel mIoU",
    "hiou": "hIoU",
    "head_miou": "head mIoU",
    "common_miou": "common mIoU",
    "tail_miou": "tail mIoU",
}

#: What becomes of absent classes.
ABSENT = {"skip": "in no mean", "zero": "0 in every mean"}

#: Of each method, scores and the ends of their intervals, None where there is none.
MeanScores = dict[str, list[tuple[float | None, list[float] | None]]]


def page(results: Mapping[str, Any], scenes: Path, *, pictures: int = 12) -> str:
    """The page of `benchmark`'s results.

    Args:
        scenes: folder of the run folders, whose pictures go into the page.
        pictures: of how many scenes, worst first.
    """
    count, (together, apart) = len(results["scenes"]), mean_scores(results)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>purify3d benchmark</title>",
        f"<style>{_STYLE}</style><h1>{count} scenes, {len(results['labels'])} classes</h1>",
        f"<p>Label set: {escape(results['label_set'] or 'own labels')}. Shown below and in pictures: "
        f"<b>{escape(results['shown'])}</b>. Made by purify3d {escape(results['purify3d'])}:</p>",
        f"<pre>{escape(shlex.join(results['command']))}</pre>",
        _failed(results["failed"]),
        "<h2>All scenes together</h2>",
        _means(results, "overall", together),
        "<p><small>Percent, over the confusion matrix of all scenes; in brackets 95 % of "
        f"{results['resamples']} draws of as many scenes with replacement{caution(count)}. A class without "
        f"a true point is absent and {ABSENT[results['absent']]}.</small></p>",
        "<h2>Mean over scenes</h2>",
        _means(results, "scene-means", apart),
        *_differences(results),
        "<h2>Classes</h2>",
        _bars(results),
        _classes(results),
        f"<h2>What is taken for what: {escape(results['shown'])}</h2>",
        _confusions(results),
        "<h2>Scenes, worst first</h2>",
        _scenes(results),
        *_pictures(results, scenes, pictures),
        "</html>\n",
    ]
    return "\n".join(parts)


def percent(value: float | None) -> str:
    """A share as tables have it; "-" where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def plus_minus(mean: float | None, error: float | None) -> str:
    """A difference and its standard error in percentage points; "-" where there is none."""
    if mean is None:
        return "-"
    return f"{100 * mean:+.2f} ± " + ("-" if error is None else f"{100 * error:.2f}")


def difference_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """Of each two methods, the later minus the earlier: which, how much, on how many scenes it is better."""
    return [
        [
            f"{row['method']} - {row['against']}",
            plus_minus(row["mean"], row["error"]),
            f"{row['better']} of {row['scenes']}",
        ]
        for row in results["differences"]
    ]


def caution(scenes: int) -> str:
    """What is to be said beside intervals of so many scenes; empty for enough of them."""
    if scenes == 1:
        return "; one scene has none"
    return "" if scenes >= ENOUGH else f"; of {scenes}, fewer than {ENOUGH}, they are too narrow"


def shown_means(results: Mapping[str, Any]) -> dict[str, str]:
    """Those of `MEANS` that these results have."""
    overall = results["overall"][results["methods"][0]]
    return {key: title for key, title in MEANS.items() if key in overall}


def mean_scores(results: Mapping[str, Any]) -> tuple[MeanScores, MeanScores]:
    """Of all scenes together, and means over scenes: of each method the `shown_means` in their order."""
    keys, together, apart = shown_means(results), MeanScores(), MeanScores()
    for method in results["methods"]:
        found = results["overall"][method]
        own = found["scene_mean"]
        together[method] = [(found[key], found["interval"][key]) for key in keys]
        apart[method] = [(own[key]["mean"], own[key]["interval"]) for key in keys]
    return together, apart


def worst_first(results: Mapping[str, Any]) -> list[str]:
    """Scenes by mIoU of the shown method; those of equal ones by name."""
    shown = results["shown"]

    def value(name: str) -> tuple[float, str]:
        found = results["scenes"][name]["methods"][shown]["miou"]
        return (2.0 if found is None else found, name)

    return sorted(results["scenes"], key=value)


def total_counts(results: Mapping[str, Any], method: str) -> np.ndarray:
    """(C, C + 1) confusion matrix of a method over all scenes."""
    classes = len(results["labels"])
    each = (dense(scene["methods"][method]["counts"], classes) for scene in results["scenes"].values())
    return sum(each, np.zeros((classes, classes + 1), dtype=np.int64))


def cost(scene: Mapping[str, Any], methods: Sequence[str]) -> tuple[float, float]:
    """Seconds of a scene up to its features and through all methods, and the highest memory in GB."""
    before = [stage for name, stage in scene["stages"].items() if name not in ("purify", "picture")]
    spent = [*before, *(scene["methods"][method] for method in methods)]
    return sum(s["seconds"] for s in spent), max((s["peak_gb"] for s in spent), default=0.0)


def _table(name: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column is text, the others are numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["", *(" class=n" for _ in cells[1:])]
        inside = "".join(
            f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True)
        )
        return f"<tr>{inside}</tr>"

    return f'<table id="{name}">{line(head, "th")}{"".join(line(row, "td") for row in rows)}</table>'


def _with_interval(value: float | None, ends: Sequence[float] | None) -> str:
    return percent(value) if ends is None else f"{percent(value)} [{percent(ends[0])}, {percent(ends[1])}]"


def _means(results: Mapping[str, Any], name: str, scores: MeanScores) -> str:
    rows = [[method, *starmap(_with_interval, found)] for method, found in scores.items()]
    return _table(name, ["method", *shown_means(results).values()], rows)


def _differences(results: Mapping[str, Any]) -> Iterable[str]:
    if results["differences"]:
        yield "<h2>Differences, scene by scene</h2>"
        yield _table("differences", ["methods", "mIoU", "better on"], difference_rows(results))
        yield (
            "<p><small>Percentage points: the mean over scenes of the difference in a scene's mIoU, ± its "
            "standard error.</small></p>"
        )


def _classes(results: Mapping[str, Any]) -> str:
    rows = []
    truth = total_counts(results, results["methods"][0]).sum(1)
    for i, label in enumerate(results["labels"]):
        scores = [results["overall"][method]["iou"][i] for method in results["methods"]]
        rows.append([label, *map(percent, scores), str(truth[i])])
    heads = [f"{method} IoU" for method in results["methods"]]
    return _table("classes", ["class", *heads, "true points"], rows)


def _bars(results: Mapping[str, Any]) -> str:
    """IoU of each class that is there, raw (where it was asked for) above the shown method."""
    methods = [m for m in dict.fromkeys((RAW, results["shown"])) if m in results["methods"]]
    there = [i for i, value in enumerate(results["overall"][methods[-1]]["iou"]) if value is not None]
    step = _ROW * len(methods) + 8
    lines = []
    for row, i in enumerate(there):
        y = 24 + row * step
        lines.append(
            f'<text x="190" y="{y + step / 2:.0f}" text-anchor="end">'
            f"{escape(results['labels'][i][:26])}</text>"
        )
        for number, method in enumerate(methods):
            value = results["overall"][method]["iou"][i] or 0.0
            top = y + number * _ROW
            color = _COLORS[method != RAW]
            lines.append(
                f'<rect x="200" y="{top}" width="{_BAR * value:.1f}" height="{_ROW - 2}" fill="{color}"/>'
                f'<text x="{206 + _BAR * value:.1f}" y="{top + _ROW - 4}">{percent(value)}</text>'
            )
    key = "".join(
        f'<text x="{200 + 200 * n}" y="14" fill="{_COLORS[m != RAW]}">{escape(m)}</text>'
        for n, m in enumerate(methods)
    )
    high = 24 + len(there) * step
    return f'<svg width="740" height="{high}" font-size="12" role="img">{key}{"".join(lines)}</svg>'


def _confusions(results: Mapping[str, Any]) -> str:
    """Shares of the true points of a class by what they are taken for, and the largest mistakes."""
    counts = total_counts(results, results["shown"])
    names = [*results["labels"], "(no label)"]
    truth = counts.sum(1)
    order = [int(i) for i in np.argsort(-truth, kind="stable") if truth[i]][:_MATRIX]
    columns = [*order, len(names) - 1]
    edge, left, top = 18, 170, 130
    cells = []
    for y, i in enumerate(order):
        label = escape(names[i][:22])
        cells.append(f'<text x="{left - 6}" y="{top + y * edge + 13}" text-anchor="end">{label}</text>')
        for x, j in enumerate(columns):
            share = counts[i, j] / truth[i]
            if share < 0.0005 and i != j:
                continue
            shade = 255 - round(225 * share)
            cells.append(
                f'<rect x="{left + x * edge}" y="{top + y * edge}" width="{edge - 1}" height="{edge - 1}" '
                f'fill="rgb({shade},{shade},255)">'
                f"<title>{label} as {escape(names[j])}: {share:.1%}</title></rect>"
            )
    for x, j in enumerate(columns):
        at = f"{left + x * edge + 13},{top - 6}"
        cells.append(f'<text transform="translate({at}) rotate(-60)">{escape(names[j][:22])}</text>')
    wide, high = left + len(columns) * edge + 90, top + len(order) * edge + 4
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(-wrong, axis=None, kind="stable")[:12]
    rows = []
    for place in worst:
        i, j = divmod(int(place), counts.shape[1])
        if wrong[i, j]:
            rows.append(
                [f"{names[i]} as {names[j]}", str(wrong[i, j]), f"{100 * wrong[i, j] / truth[i]:.1f}"]
            )
    note = "" if (truth > 0).sum() <= _MATRIX else f"<p><small>The {_MATRIX} largest classes.</small></p>"
    return (
        f'<svg width="{wide}" height="{high}" font-size="12" role="img">{"".join(cells)}</svg>{note}'
        + _table("mistakes", ["truth, and taken for", "points", "% of the class"], rows)
    )


def _scenes(results: Mapping[str, Any]) -> str:
    methods = results["methods"]
    rows = []
    for name in worst_first(results):
        scene = results["scenes"][name]
        seconds, memory = cost(scene, methods)
        scores = [percent(scene["methods"][method]["miou"]) for method in methods]
        rows.append(
            [
                name,
                *scores,
                str(scene["frames"]),
                str(scene["labelled"]),
                percent(scene["seen"]),
                f"{seconds:.1f}",
                f"{memory:.2f}",
            ]
        )
    heads = [f"{method} mIoU" for method in methods]
    head = ["scene", *heads, "frames", "points with truth", "seen, %", "seconds", "peak GB"]
    said = "".join(
        f"<li>{escape(name)}: {escape(text)}</li>"
        for name, scene in results["scenes"].items()
        for text in scene.get("warnings", [])
    )
    return _table("scenes", head, rows) + (f"<p>Warnings:</p><ul>{said}</ul>" if said else "")


def _failed(failed: Mapping[str, str]) -> str:
    if not failed:
        return ""
    rows = "".join(f"<li><b>{escape(name)}</b>: {escape(why)}</li>" for name, why in failed.items())
    return f"<p class=bad>{len(failed)} scenes failed and are in no number:</p><ul id=failed>{rows}</ul>"


def _pictures(results: Mapping[str, Any], scenes: Path, count: int) -> Iterable[str]:
    for name in worst_first(results)[:count]:
        value = percent(results["scenes"][name]["methods"][results["shown"]]["miou"])
        source = _jpeg(scenes / name / "picture.png")
        image = "<p><small>no picture here</small></p>"
        if source is not None:
            image = (
                f'<img loading=lazy alt="photo, raw, purified, truth" src="data:image/jpeg;base64,{source}">'
            )
        yield f"<h3>{escape(name)}: {value}</h3>{image}"


def _jpeg(file: Path) -> str | None:
    """Base64 of a picture as JPEG; None: it is not there, as where another machine made it."""
    try:
        with Image.open(file) as image:
            image.thumbnail((_WIDE, 10 * _WIDE))
            return base64.b64encode(encoded(image.convert("RGB"), "JPEG", quality=80)).decode()
    except OSError:
        return None
