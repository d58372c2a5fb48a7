"""The fuzzer: every reader has a valid seed, and whatever a reader may do wrong is found and named."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
import fuzz
from fuzzing import keeping
from fuzzing.mutations import OUTSIDE
from fuzzing.pool import Limits, Pool
from fuzzing.seeds import READERS, Reader, Seed

from purify3d.base.errors import CaptureError
from purify3d.captures.finding import FORMATS
from purify3d.clouds import _READERS as CLOUDS

SHORT = Limits(seconds=1, memory=300 << 20)


def test_every_format_has_a_seed() -> None:
    assert FORMATS.keys() <= {name.split()[0] for name in READERS}
    assert {f"cloud {suffix[1:]}" for suffix in CLOUDS} <= READERS.keys()


def test_seeds_are_valid() -> None:
    """In a process of its own, as in life: where other tests have used libraries, their threads are dead in a
    forked child, and LAZ and videos would wait for them for ever."""
    read = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from fuzzing.pool import Limits, Pool\n"
        "from fuzzing.seeds import READERS, seeds_of\n"
        "seeds = seeds_of(READERS)\n"
        "with Pool(READERS, seeds, Limits(seconds=60), 1) as pool:\n"
        "    found = dict(pool.run((name, (name, {})) for name in READERS))\n"
        "print({name: one.text for name, one in found.items() if one.verdict != 'ok'})\n"
        "print(max(sum(map(len, seed.files.values())) for seed in seeds.values()))"
    )
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        [sys.executable, "-c", read, str(here.parent / "tools"), str(here)],
        capture_output=True,
        text=True,
        check=True,
    )
    wrong, largest = done.stdout.splitlines()[-2:]
    assert wrong == "{}"
    assert int(largest) < 400_000


def planted(path: Path) -> None:
    """A reader with a fault for each first byte."""
    data = path.read_bytes()
    if data[:1] == b"h":
        time.sleep(60)
    if data[:1] == b"m":
        kept = [np.ones(1 << 20) for _ in range(200)]
        time.sleep(len(kept))
    if data[:1] == b"c":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data[:1] == b"o":
        open(path.parent / OUTSIDE).close()
    if data[:1] == b"w":
        np.float64(1e308) * 10
    if data[:1] == b"s":
        raise CaptureError((path.parent / OUTSIDE).read_text())
    if 255 in data:
        raise KeyError(f"byte 255 at {data.index(255)}")
    if len(data) != 400:
        raise CaptureError("found another size")


SEED = Seed({"a.bin": bytes(400), "b.txt": b"1 2\n"}, "a.bin")
PLANTED, SEEDS = {"planted": Reader(lambda folder: folder, planted)}, {"planted": SEED}


@pytest.fixture(scope="module")
def pool() -> Any:
    with Pool(PLANTED, SEEDS, SHORT, 2) as pool:
        yield pool


@pytest.mark.parametrize(
    ("first", "verdict"),
    [("h", "hang"), ("m", "memory"), ("c", "crash"), ("o", "outside"), ("s", "outside"), ("w", "warned")],
)
def test_what_a_reader_must_not_do_is_named(pool: Pool, first: str, verdict: str) -> None:
    outcome = pool.one(("planted", {"a.bin": first.encode() + bytes(399)}))
    assert outcome.verdict == verdict
    assert outcome.kind
    assert pool.one(("planted", {})).verdict == "ok"  # the pool goes on
    assert pool.one(("planted", {"a.bin": b""})).verdict == "ours"


def test_kinds_are_grouped_made_small_and_repeated(pool: Pool, tmp_path: Path) -> None:
    counts, faults = fuzz.round_of(pool, PLANTED, SEEDS, seed=1, count=200)
    assert sum(counts.values()) == 200
    fault = faults["KeyError nowhere in purify3d: …"]
    assert 1 < fault.count <= counts["foreign"]
    fault.changes = {"a.bin": bytes([255, 1, 2, *bytes(395), 255, 7]), "b.txt": b"3"}
    fault.changes = keeping.minimal(pool, fault, SEED)
    assert fault.changes.keys() == {"a.bin"}
    assert sorted(fault.changes["a.bin"] or b"")[-2:] == [0, 255]
    place = keeping.keep(tmp_path, fault, SEED)
    assert json.loads((place / "kind.json").read_text())["reader"] == "planted"
    assert pool.one(keeping.kept(place, SEEDS)).kind == fault.outcome.kind
    assert "KeyError" in fuzz.report(counts, faults, 1.0)


def test_a_case_is_always_the_same() -> None:
    seed = Seed(
        {"a.json": b'{"a": [1, {"b": "c"}]}', "b.txt": b"1.5 2\n3 4\n", "c.bin": bytes(range(256))}, ""
    )
    cases = [fuzz.case(seed, 3, number) for number in range(300)]
    random.seed(0)
    assert cases == [fuzz.case(seed, 3, number) for number in range(300)]
    assert len({repr(changes) for changes, _ in cases}) > 200
