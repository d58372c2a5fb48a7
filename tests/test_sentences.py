"""Sentence encoders: the bundled one in plain PyTorch against the library it was made with, and any other."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from purify3d.backbones import minilm
from purify3d.backbones.minilm import FILES, LONGEST, MiniLMEncoder, packaged_folder
from purify3d.backbones.segmenter import load
from purify3d.backbones.sentences import load_sentence_encoder
from purify3d.base.errors import BackboneError, CheckpointError, MissingPackageError, PurifyWarning

TEXTS = [
    "a chair",
    "a Shower-Curtain, 30 × 40 cm",
    "",
    "Café  crème\tau lait\n",
    "日本 🪑 naïve",
    "somewhere to sit while one waits for the kettle, or to put a coat",
    "a chair",
    "word " * 100,
    "unbelievablyhyperspecialised furniture " * 20,
]


@pytest.fixture(scope="module")
def encoder() -> MiniLMEncoder:
    return MiniLMEncoder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(packaged_folder() / name, tmp_path)
    return tmp_path


def test_rows_are_those_of_sentence_transformers(encoder: MiniLMEncoder) -> None:
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(packaged_folder()), device="cpu", local_files_only=True)
    assert model.max_seq_length == LONGEST
    expected = model.encode(TEXTS, convert_to_tensor=True, normalize_embeddings=True)
    rows = encoder(TEXTS)
    assert (rows.dtype, rows.shape) == (torch.float32, (len(TEXTS), 384))
    torch.testing.assert_close(rows, expected.cpu(), atol=1e-5, rtol=0)


def test_long_texts_are_cut_where_the_library_cuts_them_and_say_so(encoder: MiniLMEncoder) -> None:
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(packaged_folder()), device="cpu", local_files_only=True)
    long = "chair table " * 200
    with pytest.warns(PurifyWarning, match=r"only 254 of the 400 tokens of 'chair .*\.\.\.' are read; use a"):
        rows = encoder([long])
    torch.testing.assert_close(rows, encoder(["chair table " * 127]))
    expected = model.encode([long], convert_to_tensor=True, normalize_embeddings=True)
    torch.testing.assert_close(rows, expected.cpu(), atol=1e-5, rtol=0)


def test_rows_are_unit_sensible_and_do_not_depend_on_their_company(encoder: MiniLMEncoder) -> None:
    rows = encoder(["a sofa", "a couch", "a tree"])
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    assert rows[0] @ rows[1] > 0.6 > rows[0] @ rows[2]
    crowd = encoder(["a sofa", *(f"thing number {i}" for i in range(150)), "x y z " * 30])
    torch.testing.assert_close(crowd[0], rows[0], atol=1e-6, rtol=0)
    assert encoder([]).shape == (0, 384)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_that_is_read_is_checked(folder: Path, name: str) -> None:
    MiniLMEncoder(folder)
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} .*has sha256 .*, expected {FILES[name]}\. Reinstall"):
        MiniLMEncoder(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=rf"cannot read .*{name} .*\(No such file.*\)\. Reinstall"):
        MiniLMEncoder(folder)


def test_nothing_else_of_the_package_is_read(folder: Path, encoder: MiniLMEncoder) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    torch.testing.assert_close(MiniLMEncoder(folder)(["a sofa"]), encoder(["a sofa"]), atol=0, rtol=0)


def test_a_missing_package_is_named_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_PACKAGE", "no-such-package")
    with pytest.raises(MissingPackageError, match=r"pip install 'purify3d\[text\]'"):
        packaged_folder()


def test_no_heavy_library_is_imported() -> None:
    code = (
        "import sys, purify3d\n"
        "backbone = purify3d.load_backbone('segmenter:lite')\n"
        "assert backbone.encode(['chair']).shape == (1, 384)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'tokenizers'" in done.stdout  # what is listed is what was imported
    assert not re.findall("'(transformers|sentence_transformers|huggingface_hub|sklearn)'", done.stdout)


def test_any_sentence_transformers_model_can_take_its_place(encoder: MiniLMEncoder) -> None:
    pytest.importorskip("sentence_transformers")
    folder = str(packaged_folder())
    other = load_sentence_encoder(folder)
    torch.testing.assert_close(other(["a sofa"]), encoder(["a sofa"]), atol=1e-5, rtol=0)
    backbone, bundled = load("lite", sentences=folder), load("lite")
    assert bundled.space.id.endswith("+minilm")
    assert backbone.space.id == bundled.space.id.removesuffix("minilm") + other.id
    assert re.fullmatch(rf"{re.escape(folder)}@[0-9a-f]{{12}}", other.id)


def test_a_revision_reaches_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("sentence_transformers")
    asked: list[tuple] = []

    def fake(name: str, **options: object) -> None:
        asked.append((name, options["revision"]))
        raise OSError("404")

    monkeypatch.setattr(library, "SentenceTransformer", fake)
    for name in ("some/one@v2", "some/one"):
        with pytest.raises(BackboneError, match=rf"sentence encoder '{name}' \(OSError: 404\)"):
            load_sentence_encoder(name)
    assert asked == [("some/one", "v2"), ("some/one", None)]


def test_damaged_weights_of_another(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    folder = Path(shutil.copytree(packaged_folder(), tmp_path / "damaged"))
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cannot load the weights of .*is the download complete\?"):
        load_sentence_encoder(str(folder))


def test_what_is_no_encoder_is_said(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BackboneError, match=r"cannot load the sentence.*Expected 'minilm', a folder"):
        load_sentence_encoder(str(tmp_path))
