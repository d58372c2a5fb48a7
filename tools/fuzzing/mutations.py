"""What can happen to a file: bytes, cuts, splices, numbers, types and nesting of JSON, counts in headers."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

Changes = dict[str, bytes | None]  # files by name; None: the file is gone

#: A name that leads to a file which no reader may open (`pool.py` watches it).
OUTSIDE = "../outside/secret"
NUMBERS = (
    *("0", "-1", "1", "-2", "0.5", "nan", "inf", "-inf", "1e7", "1e24", "1e30", "1e308", "-1e308", "1e400"),
    *("1e-320", "65536", "2147483648", "4294967295", "9223372036854775808", "18446744073709551616"),
    *("1" + "0" * 400, "", "x", "1,5", "0x10", "--1", "\u0661"),
)
_INTEGERS = (
    0,
    1,
    -1,
    -2,
    127,
    255,
    2**15,
    2**16 - 1,
    2**20,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63,
    2**64 - 1,
)
_FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e-30, 1e7, 1e24, 1e30, 3e38)
_DEEP = "deep" * 4  # stands for 100,000 brackets, which `json` itself could not write
_VALUES: tuple[Any, ...] = (
    *(None, True, "", "x", [], {}, [[]], {"a": 1}, 0, -1, -2, 0.5, 1e7, 1e24, 1e30, 1e308, -1e308),
    *(2**31, 2**63, 2**64, 10**400, float("nan"), float("inf"), "x" * 1000, "a\0b", "\ud800", "1e400", "nan"),
    *(OUTSIDE, ".", "/", "..", _DEEP, "\u0661", [None], [1e308] * 3, [0, 0, 0], ["x"] * 4),
)
_NAMES = (OUTSIDE, "../" + OUTSIDE, "x" * 1000, "", "a\0b", "\ud800", "/", "..", ".", "file:" + OUTSIDE)
_LIKE_NUMBERS = tuple(value for value in _VALUES if isinstance(value, float | int))
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def mutated(files: Mapping[str, bytes], rng: random.Random) -> tuple[Changes, list[str]]:
    """One file changed, sometimes two, and what was done to them.

    Files of every suffix are as likely, however many there are of one.
    """
    changes: Changes = {}
    told = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        suffixes = sorted({_suffix(name) for name in files})
        suffix = rng.choice(suffixes)
        name = rng.choice(sorted(each for each in files if _suffix(each) == suffix))
        chance = rng.random()
        if chance < 0.03:
            changes[name], what = None, "removed"
        elif chance < 0.06:
            other = rng.choice(sorted(files))
            changes[name], what = files[other], f"put {other} in its place"
        else:
            changes[name], what = _changed(files[name], rng)
        told.append(f"{name}: {what}")
    return changes, told


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2]


def _changed(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    own = _own_way(data)
    change = own if own is not None and rng.random() < 0.75 else rng.choice((_bytes, _binary, _cut, _splice))
    try:
        return change(data, rng), change.__name__.strip("_")
    except (ValueError, KeyError, IndexError, OSError, struct.error, zlib.error, zipfile.BadZipFile):
        return _bytes(data, rng), "bytes"  # it is no longer what its first bytes say


def _own_way(data: bytes) -> Callable[[bytes, random.Random], bytes] | None:
    """How a file of this kind is damaged and still looks like one."""
    for head, change in _BY_HEAD.items():
        if data.startswith(head):
            return change
    if len(data) > 16 and data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < len(data):
        return _safetensors
    if data.lstrip()[:1] in (b"{", b"["):
        return _json
    return _binary if b"\0" in data[:1000] else _text


# ---- any bytes


def _bytes(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(min(len(out), 200) if rng.random() < 0.5 else len(out))
        out[at] = rng.choice((0, 255, out[at] ^ 1 << rng.randrange(8), rng.randrange(256)))
    return bytes(out)


def _binary(data: bytes, rng: random.Random) -> bytes:
    """A number, as headers and tables have them, somewhere."""
    order, kind = rng.choice("<>"), rng.choice("BHIIQfd")
    number: float = rng.choice(_FLOATS)
    if kind not in "fd":
        number = rng.choice(_INTEGERS) % 2 ** (8 * struct.calcsize(kind))
    new = struct.pack(order + kind, number)
    at = rng.randrange(max(1, min(len(data), 200) if rng.random() < 0.6 else len(data)))
    at -= at % rng.choice((1, len(new)))
    return data[:at] + new + data[at + len(new) :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((0, len(data) - 1, rng.randrange(len(data) + 1)))]


def _splice(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    part = data[start:end]
    at = rng.randrange(len(data) + 1)
    return rng.choice((data[:start] + data[end:], data[:at] + part + data[at:], data + part, part))


# ---- text


def _text(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    found = list(_NUMBER.finditer(lines[at]))
    chance = rng.random()
    if chance < 0.6 and found:
        spot = rng.choice(found)
        lines[at] = lines[at][: spot.start()] + rng.choice(NUMBERS) + lines[at][spot.end() :]
    elif chance < 0.7:
        new = rng.choice(NUMBERS)
        lines[at] = _NUMBER.sub(lambda _: new, lines[at])
    elif chance < 0.8:
        words = lines[at].split(" ")
        words[rng.randrange(len(words))] = rng.choice((OUTSIDE, "x" * 1000, "", "\0", "\ufeff", "(", '"'))
        lines[at] = " ".join(words)
    elif chance < 0.9:
        lines[at] = rng.choice(("", "\n", lines[at] * 2, rng.choice(lines)))
    else:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(("\0", "\n", "'", "\u0661", "(", " ", "\udcff")) + text[at + 1 :]
        return text.encode("utf-8", "surrogateescape")
    return "".join(lines).encode("utf-8", "surrogateescape")


# ---- JSON, alone or as a header


def _json(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.1:
        return _text(data, rng)
    root = [json.loads(data)]
    inner, key = rng.choice(list(_places(root)))
    chance = rng.random()
    if chance < 0.75:
        like = _NAMES if isinstance(inner[key], str) else _LIKE_NUMBERS
        inner[key] = rng.choice(
            like if isinstance(inner[key], str | float | int) and chance < 0.4 else _VALUES
        )
    elif chance < 0.85:
        del inner[key]
    elif isinstance(inner[key], list) and inner[key]:
        inner[key] = rng.choice((inner[key][:-1], inner[key] + inner[key][-1:], inner[key] * 50))
    else:
        inner[key] = rng.choice(([inner[key]], {"x": inner[key]}, str(inner[key])))
    text = json.dumps(root[0] if root else None)
    return text.replace(f'"{_DEEP}"', "[" * 100_000 + "]" * 100_000).encode()


def _places(value: Any) -> Any:
    """Every (container, key) of a tree; of a long list the ends."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys if len(keys) < 12 else [*keys[:6], *keys[-2:]]:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return _binary(data, rng)
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    meta = header.get("__metadata__", {})
    packed = [key for key, value in meta.items() if value.lstrip()[:1] in ("{", "[")]
    if packed and rng.random() < 0.4:
        key = rng.choice(packed)
        meta[key] = _json(meta[key].encode(), rng).decode("utf-8", "replace")
        text = json.dumps(header).encode()
    else:
        text = _json(data[8 : 8 + size], rng)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _glb(data: bytes, rng: random.Random) -> bytes:
    (size,) = struct.unpack("<I", data[12:16])
    text = _json(data[20 : 20 + size], rng)
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    return data[:8] + struct.pack("<II", 20 + len(text) + len(rest), len(text)) + b"JSON" + text + rest


# ---- arrays, clouds, archives, images


def _npy(data: bytes, rng: random.Random) -> bytes:
    if data[6] > 1 or rng.random() < 0.2:
        return _binary(data, rng)
    (size,) = struct.unpack("<H", data[8:10])
    header = _text(data[10 : 10 + size].rstrip() + b"\n", rng)
    return data[:8] + struct.pack("<H", len(header)) + header + data[10 + size :]


def _ply(data: bytes, rng: random.Random) -> bytes:
    """A word of the header, or a value in a vertex or face."""
    end = data.index(b"end_header") + len(b"end_header\n")
    head, body = data[:end], data[end:]
    if b"ascii" in head[:40]:
        return _text(data, rng)
    if rng.random() < 0.4:
        return _text(head, rng) + body
    names = ["char", "uchar", "short", "ushort", "int", "uint", "float", "double"]
    kinds = [
        "bBhHiIfd"[names.index(word)]
        for word in re.findall(rf"property ({'|'.join(names)}) ", head.decode("latin-1"))
    ]
    rows = int(re.findall(rb"element vertex (\d+)", head)[0])
    column = rng.randrange(len(kinds))
    kind, row = kinds[column], struct.calcsize("<" + "".join(kinds))
    width = struct.calcsize("<" + kind)
    whole = rng.choice((-1, -2, 0, 2 ** (8 * width - 1), 1000)) % 2 ** (8 * width)
    new = struct.pack("<" + kind, rng.choice(_FLOATS)) if kind in "fd" else whole.to_bytes(width, "little")
    offset = struct.calcsize("<" + "".join(kinds[:column]))
    out = bytearray(body)
    for i in range(rows) if rng.random() < 0.3 else [rng.randrange(max(rows, 1))]:
        out[i * row + offset : i * row + offset + width] = new
    return head + bytes(out[: len(body)])


def _zip(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.15:
        return _binary(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    changes, _ = mutated(members, rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (members | changes).items():
            if content is not None:
                archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def _image(data: bytes, rng: random.Random) -> bytes:
    """Another size or mode, or a PNG that says it is larger than it is."""
    if rng.random() < 0.3:
        return _binary(data, rng)
    if data[:4] == b"\x89PNG" and rng.random() < 0.4:
        size = [rng.choice((0, 1, 7, 60_000, 2**31 - 1)), rng.choice((0, 1, 7, 60_000))]
        chunk = b"IHDR" + struct.pack(">II", *size) + data[24:29]
        return data[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    image: Image.Image = Image.open(io.BytesIO(data))
    kind = str(image.format)
    mode = rng.choice(("1", "L", "RGB", "RGBA", "P", "I;16", "I", "CMYK"))
    size_ = rng.choice((image.size, (1, 1), (image.width + 1, image.height), image.size[::-1]))
    buffer = io.BytesIO()
    image = (
        Image.new(mode, size_, 1)
        if mode in ("I;16", "I")
        else image.convert("RGB").convert(mode).resize(size_)
    )
    image.save(buffer, kind)
    return buffer.getvalue()


_BY_HEAD: dict[bytes, Callable[[bytes, random.Random], bytes]] = {
    b"\x93NUMPY": _npy,
    b"glTF": _glb,
    b"ply": _ply,
    b"PK": _zip,
    b"\x89PNG": _image,
    b"\xff\xd8": _image,
}
