"""CLIP token numbers against those that the official LSeg and X-Decoder tokenisers gave."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from purify3d.backbones import tokenizer as module
from purify3d.backbones.tokenizer import CONTEXT, END, START, ClipTokenizer, clip_tokenizer
from purify3d.errors import BackboneError, PurifyWarning

pytest.importorskip("tokenizers")


def load(shared: Path, name: str) -> tuple[dict[str, np.ndarray], dict]:
    data = np.load(shared / "golden" / name)
    return data, json.loads(bytes(data["meta_json"]))


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return clip_tokenizer()


def test_lseg_ids_are_golden_and_zero_padded(shared: Path, tokenizer: ClipTokenizer) -> None:
    data, meta = load(shared, "lseg_tiny.npz")
    np.testing.assert_array_equal(tokenizer(meta["labels"], pad=0), data["case_a/text/ids"])
    np.testing.assert_array_equal(tokenizer(meta["ade20k_labels"], pad=0), data["text/ade20k_ids"])


def test_xdecoder_ids_are_golden_and_end_padded(shared: Path, tokenizer: ClipTokenizer) -> None:
    data, meta = load(shared, "xdecoder_tiny.npz")
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
    plain = tmp_path / "merges.txt"
    plain.write_bytes(gzip.decompress(module._installed().read_bytes()))
    monkeypatch.setenv(module.VARIABLE, str(plain))
    monkeypatch.setattr(module, "find_spec", lambda name: None)  # the package is not needed then
    assert clip_tokenizer()(["shower curtain"], pad=0).equal(tokenizer(["shower curtain"], pad=0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no file"),
        (b"#version: 0.2\ni n\nt h\n", "found 2 merges"),
        (b"\x1f\x8b not gzip", "cannot be read"),
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


def test_missing_vocabulary_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.VARIABLE, raising=False)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match=r"pip install 'purify3d\[clip\]'.*PURIFY3D_CLIP_BPE"):
        clip_tokenizer()


def test_package_code_is_not_imported(tokenizer: ClipTokenizer) -> None:
    assert "clip" not in sys.modules
