"""Depth in EXR images, written by the OpenEXR package."""

from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from purify3d.base.errors import CaptureError
from purify3d.captures.reading.exr import exr_size, read_exr

METRES = np.array([[0.5, 1.25, 4.0], [2.0, 0.0, 65.5]], np.float32)


def written(path: Path, **channels: Any) -> Path:
    """A file of these channels; what begins with an underscore goes into the header."""
    options = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    options |= {key[1:]: channels.pop(key) for key in list(channels) if key.startswith("_")}
    OpenEXR.File(options, channels).write(str(path))
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("channel", ["R", "Z", "Y", "depth"])
def test_one_channel_of_any_name(tmp_path: Path, channel: str, dtype: type) -> None:
    file = written(tmp_path / "a.exr", **{channel: METRES.astype(dtype)})
    for source in (file, str(file), file.read_bytes()):
        depth = read_exr(source)
        assert depth.dtype == np.float32
        assert depth.tolist() == METRES.tolist()
        assert exr_size(source) == (3, 2)


def test_of_several_channels_z_is_depth_and_grey_is_one(tmp_path: Path) -> None:
    grey = written(tmp_path / "grey.exr", R=METRES, G=METRES, B=METRES)
    assert read_exr(grey).tolist() == METRES.tolist()
    both = written(tmp_path / "both.exr", R=METRES + 1, G=METRES + 2, B=METRES, Z=METRES)
    assert read_exr(both).tolist() == METRES.tolist()
    colors = written(tmp_path / "colors.exr", R=METRES, G=METRES + 1, B=METRES)
    with pytest.raises(CaptureError, match=r"colors\.exr: found channels B, G, R; expected one channel"):
        read_exr(colors)


def test_what_is_not_measured_is_zero(tmp_path: Path) -> None:
    file = written(tmp_path / "a.exr", R=np.array([[np.nan, np.inf, -np.inf, -1, 0, 2]], np.float32))
    assert read_exr(file).tolist() == [[0, 0, 0, 0, 0, 2]]


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "a.exr", Z=np.full((2, 3), 1500, np.uint32))
    with pytest.raises(CaptureError, match="whole numbers"):
        read_exr(file)


def test_a_cropped_image_is_refused(tmp_path: Path) -> None:
    window = (np.array([0, 0], np.int32), np.array([9, 9], np.int32))
    file = written(tmp_path / "a.exr", _displayWindow=window, Z=METRES)
    with pytest.raises(CaptureError, match="3x2 in an image of 10x10"):
        read_exr(file)


def test_broken_files_are_named(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.exr", R=np.random.default_rng(0).random((40, 50), np.float32)).read_bytes()
    for content in (b"", b"no image", whole[:20], whole[: len(whole) // 2], whole[:-9]):
        (tmp_path / "bad.exr").write_bytes(content)
        with pytest.raises(CaptureError, match=r"bad\.exr: cannot be read as an EXR image"):
            read_exr(tmp_path / "bad.exr")
        with pytest.raises(CaptureError, match=r"7\.exr in a\.zip: cannot be read"):
            read_exr(content, "7.exr in a.zip")
    with pytest.raises(CaptureError, match=r"none\.exr: cannot be read"):
        read_exr(tmp_path / "none.exr")
