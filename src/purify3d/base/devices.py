"""Where numbers are computed: finding a device, moving there, and crossing to numpy and back.

Points, features, affinities and pooling live on the device of what they are made from. Only what has no other
home than numpy (trees, sorted keys) crosses, through `crossing`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from purify3d.base.errors import BackboneError, PurifyWarning

P = ParamSpec("P")
T = TypeVar("T")
#: What `find_device` takes for the fastest there is.
AUTO = "auto"
_told: set[str] = set()  # what has fallen back already


def find_device(name: str | torch.device) -> torch.device:
    """A device that this machine has.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` is cuda where there is one, else mps, else cpu.

    Raises:
        BackboneError: no such device, or this PyTorch was built without it.
    """
    if name == AUTO:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it computes nothing")
        torch.empty(1, device=device)  # the only question that every kind of device answers
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as error:
        # The first sentence: what follows is for people who build PyTorch.
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0].rstrip(".")
        raise BackboneError(
            f"found device {name!r}, which cannot be used ({reason}); expected one that this machine has for "
            f"PyTorch {torch.__version__}: {', '.join(_devices())}. Name one of these (--device)"
        ) from error
    return device


def _devices() -> list[str]:
    found = ["cpu"]
    found += [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 natively; others do so slowly, by way of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch knows it of x86 only, and does not promise these names.
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in asked)


class Movable:
    """Base of frozen dataclasses of tensors."""

    def to(self, device: torch.device | str) -> Self:
        """The same with all tensors on a device."""
        assert is_dataclass(self)
        there = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: v.to(device) for n, v in there.items() if isinstance(v, Tensor)})


def crossing(look_up: Callable[..., tuple[np.ndarray, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
    """Do in numpy what has no home on a device.

    Args:
        look_up: takes an array for each tensor and gives arrays.

    Returns:
        What it gave, on the device of the first tensor.
    """
    found = look_up(*(tensor.detach().cpu().numpy() for tensor in tensors))
    return tuple(torch.from_numpy(each).to(tensors[0].device) for each in found)


def falling_back(stage: Callable[P, T]) -> Callable[P, T]:
    """A stage that is computed on the CPU where an MPS device has no such operation; it says so once.

    The stage must change nothing it is given: what failed half-way is done again.

    Warns:
        PurifyWarning: it was computed on the CPU.
    """

    @wraps(stage)
    def computed(*given: P.args, **named: P.kwargs) -> T:
        device = next((d for each in (*given, *named.values()) if (d := _home(each)) is not None), None)
        if device is None or device.type != "mps":
            return stage(*given, **named)
        try:
            return stage(*given, **named)
        except (NotImplementedError, RuntimeError, TypeError) as error:
            if "MPS" not in str(error):
                raise
            if stage.__name__ not in _told:
                _told.add(stage.__name__)
                warnings.warn(
                    f"{stage.__name__} is computed on the CPU, since MPS lacks an operation of it "
                    f"({str(error).splitlines()[0]}); the result stands",
                    PurifyWarning,
                    stacklevel=2,
                )
        moved: Any = stage(
            *(_moved(each, "cpu") for each in given),
            **{name: _moved(each, "cpu") for name, each in named.items()},
        )
        result: T = _moved(moved, device)
        return result

    return computed


def _home(value: Any) -> torch.device | None:
    """Where a tensor, or the first tensor of a dataclass, lies."""
    if isinstance(value, Tensor):
        return value.device
    if isinstance(value, Movable) and is_dataclass(value):
        return next((d for f in fields(value) if (d := _home(getattr(value, f.name))) is not None), None)
    return None


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor | Movable):
        return value.to(device)
    return tuple(_moved(each, device) for each in value) if isinstance(value, tuple) else value
