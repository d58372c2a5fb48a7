"""Where a model computes, and in what number type its image side does."""

from __future__ import annotations

import torch

from purify3d.errors import BackboneError


def autocast(device: torch.device, dtype: torch.dtype | None = None) -> torch.autocast:
    """A context whose matrix products are taken in `dtype`.

    Args:
        dtype: None: bfloat16 on a GPU that has it, float32 elsewhere. A CPU takes bfloat16 too, but was not
            faster for it where tried (AVX-512 BF16).
    """
    if dtype is None:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        dtype = torch.bfloat16 if fast else torch.float32
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def check_device(name: str) -> torch.device:
    """A device that this machine has, such as `cpu`, `cuda` or `cuda:1`.

    Raises:
        BackboneError: no such device, or this PyTorch was built without it.
    """
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
