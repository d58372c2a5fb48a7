"""Depth files of every kind, written by other libraries or byte by byte from the format's description."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from purify3d.base.errors import CaptureError
from purify3d.captures.reading import images
from purify3d.captures.reading.depths import read_depth
from purify3d.types import Camera

CAMERA = Camera(5.0, 5.0, 1.0, 0.5, 3, 2)
UNITS = np.array([[0, 1000, 65535], [2500, 256, 1]], np.uint16)
METRES = [[0, 1.0, 0], [2.5, 0.256, 0.001]]
FLOATS = np.array([[0, 1.0, np.nan], [2.5, -1.0, np.inf]], np.float32)
OF_FLOATS = [[0, 1.0, 0], [2.5, 0, 0]]


def read(path: Path, unit: float = 0.001, **more: float) -> np.ndarray:
    depth = read_depth(path, CAMERA, unit, **more)
    assert depth.dtype == np.float32
    assert images.image_size(path) == (3, 2)
    return depth


@pytest.mark.parametrize("name", ["d.png", "d.tif", "d.TIFF", "d.npy", "d.npz"])
def test_whole_numbers(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "d.npy":
        np.save(path, UNITS[..., None])
    elif name == "d.npz":
        np.savez_compressed(path, depth=UNITS, confidence=np.zeros(3))
    else:
        Image.fromarray(UNITS).save(path)
    assert np.allclose(read(path), METRES)
    assert np.allclose(read(path, 0.002), np.multiply(METRES, 2))


@pytest.mark.parametrize("name", ["d.tif", "d.npy", "d.npz", "d.exr"])
def test_floats_are_metres_unless_a_unit_is_given(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "d.tif":
        Image.fromarray(FLOATS).save(path)
    elif name == "d.exr":
        import OpenEXR

        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"Z": FLOATS}).write(str(path))
    else:
        (np.save if name == "d.npy" else np.savez)(path, FLOATS.astype(np.float64))
    assert np.allclose(read(path), OF_FLOATS)
    assert np.allclose(read(path, metres_per_float=0.5), np.multiply(OF_FLOATS, 0.5))


def test_pgm_has_the_high_byte_first_and_is_not_stretched(tmp_path: Path) -> None:
    path = tmp_path / "d.pgm"
    path.write_bytes(b"P5\n# made by hand\n3 2\n5000\n" + struct.pack(">6H", *UNITS.ravel().tolist()))
    assert np.allclose(read(path), METRES)
    path.write_bytes(b"P2 3 2 65535\n0 1000 65535\n2500 256 1\n")
    assert np.allclose(read(path), METRES)
    path.write_bytes(b"P5 3 2 65535\n" + b"\0" * 11)
    with pytest.raises(CaptureError, match=r"5 of 3x2 pixels; the file is cut off"):
        read_depth(path, CAMERA, 0.001)
    path.write_bytes(b"P5 3 2 255\n" + b"\0" * 6)
    with pytest.raises(CaptureError, match=r"PGM image with values up to 255; expected 16 bits"):
        read_depth(path, CAMERA, 0.001)


def test_65535_in_more_than_16_bits_is_a_distance(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", UNITS.astype(np.int32))
    assert read(tmp_path / "d.npy")[0, 2] == pytest.approx(65.535)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS.*git lfs pull"),
        (b"<html>no such page</html>", "found a file that is no image"),
    ],
)
@pytest.mark.parametrize("name", ["d.png", "d.tif"])
def test_what_is_no_depth_says_the_cause(tmp_path: Path, content: bytes, message: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CaptureError, match=message):
        read_depth(tmp_path / name, CAMERA, 0.001)


def test_arrays_that_are_no_depth(tmp_path: Path) -> None:
    for values, message in (
        (np.zeros((2, 3), np.uint8), "found an array of uint8"),
        (np.zeros((2, 3), object), "found an array of object"),
        (np.zeros((2, 3, 3), np.float32), r"found an array of shape \(2, 3, 3\)"),
        (np.zeros((3, 2), np.float32), "found a depth image of 2x3 pixels; its camera has 3x2"),
    ):
        np.save(tmp_path / "d.npy", values, allow_pickle=True)
        with pytest.raises(CaptureError, match=message):
            read_depth(tmp_path / "d.npy", CAMERA, 0.001)
    np.savez(tmp_path / "d.npz", a=FLOATS, b=FLOATS)
    with pytest.raises(CaptureError, match="found a, b; expected one array, or one that is called depth"):
        read_depth(tmp_path / "d.npz", CAMERA, 0.001)


def test_nothing_is_opened_or_decoded_that_cannot_be_an_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, message in (("pipe", "found a named pipe"), ("folder", "found a folder"), ("no", "cannot be")):
        for function in (images.read_color, lambda path, camera: read_depth(path, camera, 1.0)):
            with pytest.raises(CaptureError, match=message):
                function(tmp_path / f"{name}.png", CAMERA)
    Image.new("L", (9000, 9000)).save(tmp_path / "large.png")
    with pytest.raises(CaptureError, match=r"9000x9000 pixels \(81 megapixels, 0\.2 GB as colour\)"):
        images.image_size(tmp_path / "large.png")
    header = np.lib.format
    with (tmp_path / "large.npy").open("wb") as file:
        header.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    with pytest.raises(CaptureError, match=r"float32 of shape \(1000000, 1000000\) in 128 bytes"):
        images.image_size(tmp_path / "large.npy")


def test_grey_of_16_bits_is_scaled_by_its_range(tmp_path: Path) -> None:
    camera = Camera(100, 100, 99.5, 49.5, 200, 100)
    ramp = (28000 + np.arange(20000).reshape(100, 200) / 10).astype(np.uint16)  # 280 to 300 K in 1/100
    Image.fromarray(ramp).save(tmp_path / "thermal.png")
    color = images.read_color(tmp_path / "thermal.png", camera)
    assert (color[..., 0] == color[..., 2]).all()
    assert (color.min(), color.max()) == (0, 255)
    assert abs(int(color[50, 0, 0]) - 127) <= 1  # the middle of the ramp
    assert (color == 255).mean() < 0.02


def test_other_kinds_of_colour(tmp_path: Path) -> None:
    red = np.zeros((2, 3, 4), np.uint8)
    red[..., 0], red[..., 3] = 200, 10
    Image.fromarray(red).save(tmp_path / "rgba.png")
    Image.fromarray(red[..., :3]).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    for name in ("rgba", "palette"):
        assert images.read_color(tmp_path / f"{name}.png", CAMERA).tolist() == red[..., :3].tolist()
    Image.fromarray(np.full((2, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    assert (images.read_color(tmp_path / "grey.png", CAMERA) == 90).all()
