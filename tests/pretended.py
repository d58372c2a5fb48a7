"""A device that this machine does not have: it computes on the CPU, and as strictly as a real one.

Its tensors say that they lie on it. Within `pretending`, every call of torch is looked at: operands on two
devices, numpy of what lies there, and new tensors made without saying where raise as they would (or, where a
real device would let it pass by copying, would be slow). Nothing is read from the tensors' real home.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

FACTORIES = {
    torch.arange, torch.as_tensor, torch.empty, torch.eye, torch.full, torch.linspace, torch.ones, torch.rand,
    torch.randint, torch.randn, torch.randperm, torch.tensor, torch.zeros, torch.sparse_csr_tensor,
}  # fmt: skip
MOVES = {Tensor.to, Tensor.cpu, Tensor.new_tensor, Tensor.new_zeros, Tensor.new_ones, Tensor.new_full}
MOVES |= {Tensor.new_empty}
TO_NUMPY = {Tensor.numpy, Tensor.__array__}
CPU = torch.device("cpu")
#: What a device of these kinds does not compute, so that falling back can be tried.
LACKS = {"mps": {"float64", "csr"}}


class MixedDevices(RuntimeError):
    """Operands, or a new tensor, on the wrong device."""


class Pretended(Tensor):
    """A tensor that says it lies elsewhere."""

    home: torch.device


class PretendedRows:
    """A sparse matrix there, which torch makes no subclass of; all it does is to multiply."""

    def __init__(self, rows: Tensor, home: torch.device) -> None:
        self._rows, self._home = rows, home

    def __matmul__(self, dense: Tensor) -> Tensor:
        if _home(dense) != self._home:
            raise MixedDevices(f"matmul: expected all tensors on {self._home}, found {_home(dense)}")
        with torch._C.DisableTorchFunction():
            return there(self._rows @ _plain(dense), self._home)


def there(value: Tensor, home: torch.device) -> Tensor:
    """The same numbers, on the pretended device."""
    moved = value.as_subclass(Pretended)
    moved.home = home
    return moved


def _home(value: Tensor) -> torch.device:
    return value.home if isinstance(value, Pretended) else CPU


def _plain(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, Pretended) else value


class _Strict(TorchFunctionMode):
    def __init__(self, home: torch.device) -> None:
        super().__init__()
        self.home, self.lacks = home, LACKS.get(home.type, set())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        with torch._C.DisableTorchFunction():
            return self._call(func, args, kwargs)

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = getattr(func, "__name__", str(func))
        tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        first = _home(tensors[0]) if tensors else CPU
        if func == Tensor.device.__get__:
            return first
        if func in TO_NUMPY and first != CPU:
            raise TypeError(f"can't convert a {first} tensor to numpy; use Tensor.cpu() first")
        if func in (Tensor.to, Tensor.cpu):
            target = self._target(func, args, kwargs, first)
            args = tuple(a for i, a in enumerate(args) if i == 0 or not self._names_device(a))
            kwargs.pop("device", None)
            if len(args) > 1 and isinstance(args[1], Tensor):
                args = (args[0], args[1].dtype, *args[2:])
            if func is Tensor.cpu or len(args) + len(kwargs) == 1:
                found = _plain(args[0]).view_as(_plain(args[0])) if target != first else _plain(args[0])
            else:
                found = func(*tree_map(_plain, args), **kwargs)
            return self._checked(found, target)
        if func in FACTORIES or func in MOVES:
            if (
                func in FACTORIES
                and "device" not in kwargs
                and not (func is torch.sparse_csr_tensor and tensors)
            ):
                raise MixedDevices(f"{name} makes a tensor without saying on which device")
            target = torch.device(kwargs.pop("device", first))
            if func is torch.sparse_csr_tensor and "csr" in self.lacks and target == self.home:
                raise NotImplementedError("sparse CSR is not implemented for the MPS device")
            if len({_home(t) for t in tensors}) > 1:
                raise MixedDevices(f"{name} is given tensors on several devices")
            return self._checked(func(*tree_map(_plain, args), **kwargs), target)
        homes = {_home(each) for each in tensors}
        if len(homes) > 1:
            raise MixedDevices(f"{name}: expected all tensors on one device, found {sorted(map(str, homes))}")
        return self._checked(func(*tree_map(_plain, args), **kwargs), first)

    @staticmethod
    def _names_device(value: Any) -> bool:
        return isinstance(value, str | torch.device)

    def _target(self, func: Any, args: Any, kwargs: Any, first: torch.device) -> torch.device:
        if func is Tensor.cpu:
            return CPU
        named = [a for a in (*args[1:], kwargs.get("device")) if self._names_device(a)]
        if named:
            return torch.device(named[0])
        return _home(args[1]) if len(args) > 1 and isinstance(args[1], Tensor) else first

    def _checked(self, found: Any, target: torch.device) -> Any:
        """Results, marked as lying where they were computed."""
        if target == CPU:
            return tree_map(_plain, found)
        assert target == self.home, f"nobody pretends {target}"

        def marked(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if value.layout == torch.sparse_csr:
                return PretendedRows(value, self.home)
            if "float64" in self.lacks and value.dtype == torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
            return there(value, self.home)

        return tree_map(marked, found)


@contextmanager
def pretending(kind: str = "cuda") -> Iterator[torch.device]:
    """Within, the device of this kind is there, whatever the machine has."""
    home = torch.device(kind)
    with _Strict(home):
        yield home


def back(value: Tensor) -> Tensor:
    """What lies on a pretended device, outside of it, as an ordinary tensor."""
    return value.as_subclass(Tensor)
