"""Published weights: read without running code, filled in strictly, fetched whole."""

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from purify3d.affinities.config import StudentConfig
from purify3d.affinities.student import Student
from purify3d.base import checkpoints
from purify3d.base.checkpoints import (
    download,
    is_hub_id,
    load_strictly,
    read_checkpoint,
    split_revision,
    stand_in,
    state_dict_in,
)
from purify3d.base.errors import CheckpointError
from purify3d.training.teachers.sonata.weights import find

STATE = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}


class Trap:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("trapped",)


class Settings(dict):
    """What a training library may store beside the weights."""


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_files_are_read_by_what_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save_file(STATE, path) if path.suffix == ".safetensors" else torch.save(STATE, path)
    found = read_checkpoint(path, advice="")
    assert {key: value.tolist() for key, value in found.items()} == {
        key: value.tolist() for key, value in STATE.items()
    }
    whole = path.read_bytes()
    for content in (b"", b"<html>not found</html>", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(
            CheckpointError, match=rf"{name} cannot be read.*is the download complete\? Get X"
        ):
            read_checkpoint(path, advice="Get X")
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(path, advice="")


def test_objects_are_refused_by_name_and_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": STATE, "trap": Trap()}, "t.pt")
    with pytest.raises(CheckpointError, match=r"unknown object \w+\.mkdir; expected tensors.*Get X$"):
        read_checkpoint(Path("t.pt"), advice="Get X")
    assert not Path("trapped").exists()


def test_a_stand_in_takes_the_place_of_a_class(tmp_path: Path) -> None:
    path, settings = tmp_path / "t.pt", Settings(rate=0.1)
    settings.note = "kept as an attribute"  # type: ignore[attr-defined]
    torch.save({"settings": settings, "kinds": {Settings: 1}}, path)
    name = f"{__name__}.Settings"
    with pytest.raises(CheckpointError, match=rf"unknown object {name}"):
        read_checkpoint(path, advice="")
    found = read_checkpoint(path, advice="", allowed=[stand_in(name)])["settings"]
    assert found == {"rate": 0.1}
    assert not isinstance(found, Settings)
    with pytest.raises(CheckpointError, match="unknown object"):
        read_checkpoint(path, advice="")  # what was allowed once is not allowed for good


def test_the_state_dict_is_found() -> None:
    assert state_dict_in(STATE, "f", expected="") is STATE
    assert state_dict_in({"epoch": 3, "state_dict": STATE}, "f", expected="") is STATE
    for content, found in (
        ([1], "a list"),
        ({"epoch": 3, "model": STATE}, "epoch, model"),
        ({"state_dict": {"a": 1}}, "state_dict"),
        ({}, None),
    ):
        if found is None:
            assert state_dict_in(content, "f", expected="") == {}
            continue
        with pytest.raises(CheckpointError, match=f"f holds {found}; expected names"):
            state_dict_in(content, "f", expected="names")


def network() -> nn.Module:
    return nn.ModuleDict({"linear": nn.Linear(2, 3), "norm": nn.BatchNorm1d(3)})


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return network().state_dict()


def test_filling_keeps_the_networks_dtypes() -> None:
    state = weights()
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    filled = load_strictly(network, half, "f", model="M", advice="")
    assert not filled.training
    for key, value in filled.state_dict().items():
        assert (value.dtype, value.device.type) == (state[key].dtype, "cpu")
        torch.testing.assert_close(value, state[key], atol=1e-3, rtol=0)


def test_only_the_unused_may_be_left_over() -> None:
    state = weights() | {"head.bias": torch.ones(1), "scale": torch.ones(1)}
    load_strictly(network, state, "f", model="M", advice="", unused=("head.", "scale", "absent"))
    with pytest.raises(CheckpointError, match=r"2 unexpected \(head\.bias, scale\)"):
        load_strictly(
            network, state, "f", model="M", advice="", unused=("head", "sca")
        )  # beginnings end in a stop


def test_all_that_does_not_fit_is_named() -> None:
    state = weights() | {"extra": torch.ones(1), "linear.weight": torch.ones(3, 4)}
    del state["norm.bias"]
    with pytest.raises(CheckpointError) as error:
        load_strictly(network, state, "f.pt", model="the M", advice="Use f")
    assert str(error.value) == (
        "f.pt does not fit the M: of 7 expected weights, 1 missing (norm.bias); 1 unexpected (extra); "
        "1 of another shape (linear.weight (3, 4) instead of (3, 2)). Use f"
    )
    many = weights() | {f"x{i}": torch.ones(1) for i in range(9)}
    with pytest.raises(CheckpointError, match=r"9 unexpected \(x0, .*x7, \.\.\.\)"):
        load_strictly(network, many, "f", model="M", advice="")


def test_hub_ids_are_not_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("facebook/sonata")
    assert is_hub_id("some-one/a.b_c")
    for name in ("sonata", "./sonata", "../x/y", "a/b/c", "~/x", "/abs/x", "a/", str(tmp_path / "x")):
        assert not is_hub_id(name), name
    (tmp_path / "facebook").mkdir()
    assert not is_hub_id("facebook/sonata")  # a file was mistyped


def test_names_and_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_revision("owner/name") == ("owner/name", None)
    assert split_revision("owner/name@main") == ("owner/name", "main")
    assert split_revision("gpt2@refs/pr/3") == ("gpt2", "refs/pr/3")
    for name in ("owner/name@", "@main"):
        with pytest.raises(CheckpointError, match=f"found '{name}'; expected NAME@REVISION"):
            split_revision(name)
    (tmp_path / "a@b").mkdir()
    assert split_revision("a@b") == ("a@b", None)
    assert split_revision(str(tmp_path / "a@b")) == (str(tmp_path / "a@b"), None)
    with pytest.raises(CheckpointError, match=r"revision 'v1' of a@b, which is here on disk.*Name a@b alone"):
        split_revision("a@b@v1")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_advice_to_run_a_files_code_is_not_passed_on(tmp_path: Path) -> None:
    """Python's own pickle of protocol 4: torch refuses it without naming an object, and gives that advice."""
    path = tmp_path / "w.pt"
    for content in (pickle.dumps(STATE, protocol=4), pickle.dumps([b"x" * 300], protocol=5)):
        path.write_bytes(content)
        with pytest.raises(pickle.UnpicklingError, match="weights_only"):
            torch.load(path, weights_only=True)
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(path, advice="Get X")
        assert "weights_only" not in str(error.value)
        assert "Get X" in str(error.value)


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot_download(name: str, *, revision: str = "main", allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        if name == "no/body":
            raise OSError("404")
        return str(tmp_path)

    monkeypatch.setattr(
        checkpoints, "require", lambda *_: SimpleNamespace(snapshot_download=snapshot_download)
    )
    (tmp_path / "w.pt").touch()
    assert download("some/one", ["w.pt"]) == tmp_path
    assert download("some/one@v1.0", ["w.pt"]) == tmp_path
    assert asked == [("some/one", "main", ["w.pt"]), ("some/one", "v1.0", ["w.pt"])]
    with pytest.raises(CheckpointError, match=r"some/one has no c\.json; expected w\.pt and c\.json"):
        download("some/one", ["w.pt", "c.json"])
    with pytest.raises(CheckpointError, match=r"no such repository: the hub gave no w\.pt of it \(404\)"):
        download("no/body", ["w.pt"])
    with pytest.raises(
        CheckpointError, match=r"no folder no/body@v2 .* \(404\); check the name, the revision"
    ):
        download("no/body@v2", ["w.pt"])


def test_students_and_teachers_take_a_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot_download(name: str, *, revision: str = "main", allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        return str(tmp_path)

    monkeypatch.setattr(
        checkpoints, "require", lambda *_: SimpleNamespace(snapshot_download=snapshot_download)
    )
    Student(StudentConfig(width=4, blocks=1, out_channels=2)).save_pretrained(tmp_path)
    (tmp_path / "sonata.pth").touch()
    newest, tagged = Student.from_pretrained("some/one"), Student.from_pretrained("some/one@v2")
    assert newest.digest() == tagged.digest()  # a run knows a student by its weights
    assert find("facebook/sonata@abc123") == tmp_path / "sonata.pth"
    assert asked == [("some/one", "main"), ("some/one", "v2"), ("facebook/sonata", "abc123")]
    with pytest.raises(CheckpointError, match="NAME@REVISION"):
        Student.from_pretrained("some/one@")


def test_the_real_hub_client_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("nobody/nothing", "nobody/nothing@v2"):
        with pytest.raises(CheckpointError, match=f"found no folder {name} and no such repository"):
            download(name, ["w.pt"])
