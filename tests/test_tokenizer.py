"""CLIP token numbers against those that the official LSeg and X-Decoder tokenisers gave."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recorded import Recorded

from purify3d.backbones import tokenizer as module
from purify3d.backbones.tokenizer import CONTEXT, END, START, ClipTokenizer, clip_tokenizer
from purify3d.base.errors import BackboneError, CheckpointError, PurifyWarning

pytest.importorskip("tokenizers")


def load(name: str) -> tuple[Recorded, dict]:
    data = Recorded(name)
    return data, json.loads(bytes(data["meta_json"]))


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return clip_tokenizer()


def test_lseg_ids_are_golden_and_zero_padded(tokenizer: ClipTokenizer) -> None:
    data, meta = load("lseg_tiny")
    np.testing.assert_array_equal(tokenizer(meta["labels"], pad=0), data["case_a/text/ids"])
    np.testing.assert_array_equal(tokenizer(meta["ade20k_labels"], pad=0), data["text/ade20k_ids"])


def test_xdecoder_ids_are_golden_and_end_padded(tokenizer: ClipTokenizer) -> None:
    data, meta = load("xdecoder_tiny")
    ids = tokenizer(meta["prompts"], pad=END)
    np.testing.assert_array_equal(ids, data["text/prompt_ids"])
    first_end = (ids == END).int().argmax(1)
    np.testing.assert_array_equal(
        np.arange(CONTEXT) <= first_end[:, None].numpy(), data["text/prompt_attention_mask"]
    )
    for label, expected in zip(meta["labelset"], data["text/label_template_ids"], strict=True):
        prompts = [template.format(label) for template in meta["templates"]]
        np.testing.assert_array_equal(tokenizer(prompts, pad=END), expected)


def test_text_is_normalised(tokenizer: ClipTokenizer) -> None:
    ids = tokenizer(["Café  Sofa\t12", " cafe\u0301 sofa 12 "], pad=0)
    assert ids[0].equal(ids[1])
    # Digits stand alone, whatever their number: start, café, sofa, 1, 2, end.
    assert (ids[0] > 0).sum() == 6


def test_any_unicode_becomes_known_tokens(tokenizer: ClipTokenizer) -> None:
    ids = tokenizer(["日本 🪑 \x00 ümlaut"], pad=0)[0]
    assert ids[0] == START
    assert int((ids == END).sum()) == 1


def test_empty_text_and_no_text(tokenizer: ClipTokenizer) -> None:
    assert tokenizer([""], pad=0)[0, :3].tolist() == [START, END, 0]
    assert tokenizer([], pad=0).shape == (0, CONTEXT)


def test_long_text_keeps_its_end_token_and_says_so(tokenizer: ClipTokenizer) -> None:
    whole = tokenizer(["chair " * 75], pad=0)
    with pytest.warns(PurifyWarning, match="only 75 of the 80 tokens"):
        cut = tokenizer(["chair " * 80], pad=0)
    assert cut.equal(whole)
    assert cut[0, -1] == END


def test_named_file_wins_gzipped_or_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: ClipTokenizer
) -> None:
    named = tmp_path / "merges.txt"
    lines = gzip.decompress(module._BUNDLED.read_bytes()).decode().splitlines()
    expected = tokenizer(["shower curtain"], pad=0)
    text = "\n".join([*lines, "as published, there are more"])
    for content in (text.encode(), gzip.compress(text.encode())):
        named.write_bytes(content)
        monkeypatch.setenv(module.VARIABLE, str(named))
        monkeypatch.setattr(module, "_BUNDLED_SHA256", "")  # the bundled list is not needed then
        module._cached.cache_clear()
        assert clip_tokenizer()(["shower curtain"], pad=0).equal(expected)
    swapped = [lines[0], lines[2], lines[1], *lines[3:]]  # another order is another tokeniser
    named.write_text("\n".join(swapped))
    assert module._read_merges(named)[:2] == [tuple(line.split()) for line in swapped[1:3]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no file"),
        (b"#version: 0.2\ni n\nt h\n", "found 2 merges"),
        (b"\x1f\x8b not gzip", "cannot be read"),
        (gzip.compress(b"i n" * 999, mtime=0)[:-20], "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_wrong_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    path = tmp_path / "bpe.gz"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(module.VARIABLE, str(path))
    with pytest.raises(BackboneError, match=message):
        clip_tokenizer()


def test_the_bundled_list_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(module.VARIABLE, raising=False)
    changed = tmp_path / "changed.gz"
    whole = gzip.decompress(module._BUNDLED.read_bytes())
    changed.write_bytes(gzip.compress(whole.replace(b"\nt h\n", b"\nt z\n")))
    monkeypatch.setattr(module, "_BUNDLED", changed)
    with pytest.raises(CheckpointError, match=r"changed\.gz has sha256 .*, expected .*; reinstall"):
        clip_tokenizer()
    changed.unlink()
    with pytest.raises(CheckpointError, match=r"found no .*changed\.gz.*reinstall"):
        clip_tokenizer()


def test_the_bundled_list_is_what_clip_uses_and_says_its_licence() -> None:
    assert len(gzip.decompress(module._BUNDLED.read_bytes()).splitlines()) == 1 + 48_894
    licence = (module._BUNDLED.parent / "clip_merges.LICENSE.txt").read_text()
    assert "MIT License" in licence
    assert "Copyright (c) 2021 OpenAI" in licence


def test_no_package_of_that_name_is_looked_for(tmp_path: Path) -> None:
    """Several packages are called `clip`; whichever is there must not be touched."""
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "clip" / module._FILE).write_bytes(gzip.compress(b"x\n" + b"a b\n" * 50_000))
    code = "from purify3d.backbones.tokenizer import clip_tokenizer as c; print(c()(['sofa'], pad=0)[0, :3])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "tensor([49406, 15723, 49407])\n"
