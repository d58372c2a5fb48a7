"""Backbones are found by name: on a device that is there, and from packages that keep their promise."""

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from purify3d import backbones
from purify3d.backbones import families, load_backbone
from purify3d.backbones.facts import Facts
from purify3d.base.devices import find_device
from purify3d.base.errors import BackboneError, LabelError
from purify3d.types import FeatureSpace


def test_a_device_that_is_here() -> None:
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:7777", "gpu", "cdua", "", "cpu:x", "meta"])
def test_a_device_that_is_not_here_is_said_before_anything_is_loaded(name: str) -> None:
    with pytest.raises(
        BackboneError,
        match=rf"found device '{name}', .*; expected one .*{re.escape(torch.__version__)}.*: cpu",
    ):
        load_backbone("lseg:no/such/file", device=name)


def test_cuda_where_it_is_and_an_error_where_it_is_not() -> None:
    if torch.cuda.is_available():
        assert find_device("cuda").type == "cuda"
        return
    with pytest.raises(BackboneError, match=r"found device 'cuda', .* \(.+\); expected .*: cpu\."):
        find_device("cuda")


def whole() -> SimpleNamespace:
    return SimpleNamespace(
        space=FeatureSpace("x", 1, 1.0),
        facts=Facts("dense", "none", 0, "any", "here"),
        reads_words=False,
        device=torch.device("cpu"),
        dtype=torch.float32,
        encode=lambda texts: None,
        observe=lambda frames, text_embeddings: None,
    )


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Make a package whose module is this text and whose entry point has this value."""

    def put(source: str, value: str = "theirs:load", name: str = "theirs") -> None:
        (tmp_path / "theirs.py").write_text(source)
        entry = EntryPoint(name, value, "purify3d.backbones")
        vars(entry).update(dist=SimpleNamespace(name="their-package"))
        monkeypatch.setattr(backbones, "entry_points", lambda group: [entry])
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(__import__("sys").modules, "theirs", raising=False)

    return put


@pytest.mark.parametrize(
    ("source", "value", "message"),
    [
        (
            "import no_such_library",
            "theirs:load",
            r"imported \(ModuleNotFoundError: .*no_such_library",
        ),
        ("1 / 0", "theirs:load", r"cannot be imported \(ZeroDivisionError"),
        ("", "theirs:load", r"cannot be imported \(AttributeError: .*'load'"),
        ("", "absent:load", "cannot be imported"),
        ("load = 3", "theirs:load", r"failed to load 'x' \(TypeError"),
        ("def load(argument): ...", "theirs:load", r"failed to load 'x' \(TypeError: .*device"),
        ("def load(argument, *, device): raise KeyError(argument)", "theirs:load", r"\(KeyError: 'x'\)"),
        (
            "def load(argument, *, device): ...",
            "theirs:load",
            r"a NoneType without space .*, encode\(\), ob",
        ),
        ("def load(argument, *, device): return 3", "theirs", r"failed to load 'x' \(TypeError: 'module'"),
    ],
)
def test_a_package_that_breaks_is_named(install, source: str, value: str, message: str) -> None:
    install(source, value)
    with pytest.raises(BackboneError, match=message) as error:
        load_backbone("theirs:x")
    assert f"the backbone family 'theirs' of the package 'their-package' ({value})" in str(error.value)


@pytest.mark.parametrize("absent", ["space", "facts", "reads_words", "device", "dtype", "encode", "observe"])
def test_what_a_backbone_lacks_is_named(install, absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = whole()
    install("def load(argument, *, device): return made")
    __import__("theirs").made = found
    assert load_backbone("theirs:x") is found
    delattr(found, absent)
    with pytest.raises(BackboneError, match=f"gave a SimpleNamespace without {absent}[^,]*; expected"):
        load_backbone("theirs:x")
    setattr(found, absent, 3)  # of the wrong kind
    with pytest.raises(BackboneError, match=f"without {absent}[^,]*; expected"):
        load_backbone("theirs:x")


def test_features_of_points_need_not_say_whether_they_read_words(install) -> None:
    install("def load(argument, *, device): return made")
    found = whole()
    del found.observe, found.reads_words, found.device, found.dtype
    found.point_features = lambda points, scene: None
    __import__("theirs").made = found
    assert load_backbone("theirs:x") is found


def test_their_own_errors_pass_and_no_family_of_ours_is_replaced(install) -> None:
    install(
        "from purify3d.base.errors import LabelError\ndef load(argument, *, device): raise LabelError('mine')"
    )
    with pytest.raises(LabelError, match=r"^mine$"):
        load_backbone("theirs:x")
    assert families()["theirs"] == "theirs:load"
    install("", name="lseg")
    assert families()["lseg"] == backbones.FAMILIES["lseg"]
    with pytest.raises(BackboneError, match="found no file"):
        load_backbone("lseg:nothing")
