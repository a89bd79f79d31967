"""A GPU that is not there: real code runs on the CPU while torch answers "cuda:0" for what would be on the device.

Which device a tensor is on is noted on its storage. Within `pretend_gpu()` torch's factories, copies and `torch.cuda`
answer for a machine with one GPU, and every operation is checked as CUDA would check it: tensors of two devices in one
operation, a generator of another device, a value of the device as a numpy array, an operation that has no CUDA kernel.
Not imitated: CUDA's own arithmetic, streams, torch.compile, memory.
"""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # before anything is replaced: it lists the functions of torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")

# Tensors may be of two devices: copies, and where the index of a tensor on the GPU is on the CPU.
_COPIES = {"aten::_to_copy", "aten::copy_", "aten::_copy_from", "aten::_foreach_copy_"}
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
# A scalar on the CPU may be a parameter of these although they do not work point by point.
_SCALAR_PARAMETER = {"aten::masked_fill", "aten::masked_fill_", "aten::fill", "aten::fill_", "aten::where",
                     "aten::_foreach_mul_", "aten::_foreach_div_", "aten::_foreach_add_", "aten::_foreach_mul",
                     "aten::_foreach_div", "aten::_foreach_add", "aten::index_fill_", "aten::clamp"}  # fmt: skip
_FACTORIES = (
    "zeros", "ones", "empty", "full", "arange", "linspace", "logspace", "rand", "randn", "randint", "randperm",
    "tensor", "as_tensor", "asarray", "eye", "tril_indices", "triu_indices", "from_numpy", "empty_strided", "normal",
    "hann_window", "scalar_tensor",
)  # fmt: skip
_LIKE = ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like")
_NEW = ("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor")


class WrongDevice(RuntimeError):
    """What a real GPU would have refused."""


def place_of(tensor: torch.Tensor) -> str | None:
    """ "cuda", "cpu", or None for what C++ made within an operation, which goes with either."""
    if tensor.layout is not torch.strided:
        return "cpu"
    return getattr(_storage(tensor), "pretended", "cpu")


def put(tensor: torch.Tensor, place: str | None) -> torch.Tensor:
    """Note where the storage of `tensor` is to be."""
    if tensor.layout is torch.strided:
        _storage(tensor).pretended = place
    return tensor


def _storage(tensor: torch.Tensor) -> Any:
    return _ORIGINALS.untyped_storage(tensor)


_ORIGINALS = SimpleNamespace(
    **{name: getattr(torch.Tensor, name) for name in ("untyped_storage", "to", "clone", "numpy")},
    generator=torch.Generator,
)


def _waited(what: str) -> None:
    mode = torch.utils._python_dispatch._get_current_dispatch_mode()
    if isinstance(mode, _Checks):
        mode.waits[what] += 1


def _wanted(device: Any) -> str | None:
    if device is None:
        return None
    if isinstance(device, int):
        return "cuda"
    return torch.device(device).type


class _Generator(torch.Generator):
    """torch.Generator on the CPU that says that it is on `device`."""

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        made = super().__new__(cls, "cpu")
        made.place = _wanted(device)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return GPU if self.place == "cuda" else CPU


class _Checks(TorchDispatchMode):
    """Checks each operation and notes where its results are."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = function._schema.name
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = CPU
        kwargs.pop("pin_memory", None)
        given = list(tree_iter((args, {key: value for key, value in kwargs.items() if key != "device"})))
        tensors = [value for value in given if isinstance(value, torch.Tensor)]
        places = [place_of(tensor) for tensor in tensors]
        place = self._common(function, name, args, tensors, places)
        if asked is not None and torch.device(asked).type == "cuda":
            place = "cuda"
        elif name == "aten::_to_copy" or not tensors:
            place = places[0] if tensors else None
        self._check_generator(name, given, place)
        result = function(*args, **kwargs)
        if place == "cuda":
            self._check_kernel(function)
            self.operations[name] += 1
            if name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"):
                self.waits[name] += 1
        old = {_storage(tensor)._cdata for tensor in tensors}
        for made in tree_iter(result):
            if isinstance(made, torch.Tensor) and made.layout is torch.strided and _storage(made)._cdata not in old:
                put(made, place)
        return result

    def _common(self, function: Any, name: str, args: Any, tensors: list[Any], places: list[Any]) -> str | None:
        if name in _COPIES:
            return places[0]
        if name in _INDEXING:
            if places[0] == "cpu" and "cuda" in places:
                raise WrongDevice(f"{name}: a tensor on the CPU with an index or values on cuda:0")
            if name.startswith("aten::index_put") and len(args) > 2 and isinstance(args[2], torch.Tensor):
                values = place_of(args[2])
                if places[0] == "cuda" and values == "cpu" and args[2].dim() > 0:
                    raise WrongDevice(f"{name}: values on the CPU for a tensor on cuda:0")
            return places[0]
        if "cuda" not in places:
            return "cpu" if "cpu" in places or not places else None
        lenient = torch.Tag.pointwise in function.tags or name in _SCALAR_PARAMETER
        for position, (tensor, place) in enumerate(zip(tensors, places, strict=True)):
            if place == "cpu" and not (lenient and tensor.dim() == 0):
                shapes = ", ".join(f"{tuple(one.shape)} on {where}" for one, where in zip(tensors, places, strict=True))
                raise WrongDevice(f"{name}: expected all tensors to be on the same device, got {shapes}")
            if place == "cpu" and position == 0 and function._schema.is_mutable:
                raise WrongDevice(f"{name}: a scalar on the CPU is changed by a tensor on cuda:0")
        return "cuda"

    @staticmethod
    def _check_generator(name: str, given: list[Any], place: str | None) -> None:
        for value in given:
            if isinstance(value, torch._C.Generator):
                of = getattr(value, "place", "cpu")
                if place is not None and of != place:
                    raise WrongDevice(f"{name}: expected a generator on {place}, got one on {of}")

    @staticmethod
    def _check_kernel(function: Any) -> None:
        if not _has_cuda_kernel(function):
            raise WrongDevice(f"{function} has no CUDA kernel")


@functools.cache
def _has_cuda_kernel(function: Any) -> bool:
    if torch.version.cuda is None:
        return True  # a build for the CPU cannot tell
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    keys = ("CUDA", "CompositeExplicitAutograd", "CompositeImplicitAutograd", "CompositeExplicitAutogradNonFunctional")
    return any(has(function.name(), key) for key in keys)


# ------------------------------------------------------------------------------------------------ what Python calls


def _factory(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def made(*args: Any, **kwargs: Any) -> Any:
        place = _wanted(kwargs.pop("device", None))
        pinned = kwargs.pop("pin_memory", False)
        source = args[0] if args and name in ("as_tensor", "asarray", "tensor") else None
        if isinstance(source, torch.Tensor) and name != "tensor":
            return source.to(place) if place else source
        parts = [one for one in tree_iter(source) if isinstance(one, torch.Tensor)]
        rng = kwargs.get("generator")
        if rng is not None and getattr(rng, "place", "cpu") != (place or "cpu"):
            raise WrongDevice(f"torch.{name}: a generator on {rng.place} draws for {place or 'cpu'}")
        result = original(*args, **kwargs)
        if name == "normal" and place is None and isinstance(args[0], torch.Tensor):
            return result
        if parts and place is None:
            place = place_of(parts[0]) if isinstance(source, torch.Tensor) else "cpu"
        put(result, place or "cpu")
        if place == "cuda" and name == "tensor":
            _waited("copy to the device")
        if pinned:
            _storage(result).pinned = True
        return result

    return made


def _like(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def made(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        place = _wanted(kwargs.pop("device", None)) or place_of(self)
        return put(original(self, *args, **kwargs), place)

    return made


def _to(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    place, dtype = place_of(self), kwargs.pop("dtype", None)
    flags = [value for value in args if isinstance(value, bool)]  # non_blocking, copy
    for value in (*args, kwargs.pop("device", None), kwargs.pop("other", None)):
        if isinstance(value, torch.Tensor):
            place, dtype = place_of(value), value.dtype
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, str | torch.device | int) and not isinstance(value, bool):
            place = _wanted(value)
    non_blocking = kwargs.pop("non_blocking", False) or flags[:1] == [True]
    kwargs["copy"] = kwargs.get("copy", False) or flags[1:] == [True]
    if non_blocking and place_of(self) == "cuda" and place == "cpu":
        raise WrongDevice("a copy to the CPU that does not block may be read before it is there")
    if place == "cuda" != place_of(self) and not non_blocking:
        _waited("copy to the device")
    result = _ORIGINALS.to(self, dtype or self.dtype, **kwargs)
    if place != place_of(self):
        if _storage(result)._cdata == _storage(self)._cdata:
            result = _ORIGINALS.clone(result)
        put(result, place)
    return result


def _numpy(self: torch.Tensor, **kwargs: Any) -> Any:
    if place_of(self) == "cuda":
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
    return _ORIGINALS.numpy(self, **kwargs)


def _deepcopy(original: Callable[..., Any]) -> Callable[..., Any]:
    def copied(self: torch.Tensor, memo: Any) -> Any:
        return put(original(self, memo), place_of(self))

    return copied


def _device(self: torch.Tensor) -> torch.device:
    real = _real_device.__get__(self)
    return GPU if real.type == "cpu" and place_of(self) == "cuda" else real


_real_device: Any = torch._C.TensorBase.device


class _Autocast(torch.autocast):
    """autocast of cuda is autocast of the CPU, which is where the arithmetic is done."""

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: Any = None) -> None:
        if device_type == "cuda" and dtype is None:
            dtype = torch.float16  # CUDA's default
        super().__init__("cpu" if device_type == "cuda" else device_type, dtype, enabled, cache_enabled)


def _groups(original: Callable[..., Any]) -> Any:
    """An optimiser's tensors by device and type, which C++ tells it."""

    def grouped(tensors: Any, with_indices: bool = False) -> Any:
        found = original(tensors, with_indices)
        return {(next(iter(lists[0])).device, kind): (lists, indices) for (_, kind), (lists, indices) in found.items()}

    return staticmethod(grouped)


class _Mark:
    """torch.cuda.Event and torch.cuda.Stream."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.device, self.device_index = GPU, 0

    def elapsed_time(self, other: Any) -> float:
        return 1.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: None


def _answers() -> dict[str, Any]:
    nothing = lambda *args, **kwargs: None  # noqa: E731
    properties = SimpleNamespace(name="Pretended GPU", total_memory=80 * 2**30, major=9, minor=0)
    gib = lambda *args, **kwargs: 2**30  # noqa: E731
    return {
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        **dict.fromkeys(("is_available", "is_initialized"), lambda: True),
        "is_current_stream_capturing": lambda: False,  # an optimizer asks; torch 2.11 asks the driver
        "get_device_name": lambda *args: properties.name,
        "get_device_properties": lambda *args: properties,
        "get_device_capability": lambda *args: (9, 0),
        "is_bf16_supported": lambda *args, **kwargs: True,
        "mem_get_info": lambda *args: (70 * 2**30, 80 * 2**30),
        "memory_allocated": gib,
        "max_memory_allocated": gib,
        "memory_reserved": gib,
        "max_memory_reserved": gib,
        "memory_stats": lambda *args: {},
        "get_rng_state": lambda *args: torch.zeros(16, dtype=torch.uint8),
        "get_rng_state_all": lambda: [torch.zeros(16, dtype=torch.uint8)],
        "current_stream": _Mark,
        "default_stream": _Mark,
        "Stream": _Mark,
        "Event": _Mark,
        "stream": lambda *args: contextlib.nullcontext(),
        "device": lambda *args: contextlib.nullcontext(),
        **dict.fromkeys(
            ("_lazy_init", "synchronize", "empty_cache", "reset_peak_memory_stats", "set_device", "manual_seed",
             "manual_seed_all", "set_rng_state", "set_rng_state_all", "init", "ipc_collect"),
            nothing,
        ),
    }  # fmt: skip


def _of_accelerator() -> dict[str, Any]:
    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_accelerator": lambda *args, **kwargs: GPU,
        "current_device_index": lambda: 0,
        "current_stream": _Mark,
        "synchronize": lambda *args: None,
    }


def _location(storage: Any) -> str | None:
    return "cuda:0" if getattr(storage, "pretended", None) == "cuda" else None


def _restored(storage: Any, location: str) -> Any:
    if not location.startswith("cuda"):
        return None
    if not torch.cuda.is_available():
        raise RuntimeError("Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False")
    storage.pretended = "cuda"
    return storage


@contextlib.contextmanager
def pretend_gpu() -> Iterator[_Checks]:
    """A block in which there is a GPU. Gives the operations that it was asked to do, and those that waited for it."""
    tensor, optimizer, grouping = torch.Tensor, torch.optim.Optimizer, "_group_tensors_by_device_and_dtype"
    replaced: list[tuple[Any, str, Any]] = [
        *((torch, name, _factory(name, getattr(torch, name))) for name in _FACTORIES),
        *((torch, name, _like(name, getattr(torch, name))) for name in _LIKE),
        *((tensor, name, _like(name, getattr(tensor, name))) for name in _NEW),
        *((torch.cuda, name, answer) for name, answer in _answers().items()),
        *((torch.accelerator, name, answer) for name, answer in _of_accelerator().items()),
        (tensor, "to", _to),
        (tensor, "cuda", lambda self, device=None, non_blocking=False: _to(self, GPU, non_blocking)),
        (tensor, "cpu", lambda self, **kwargs: _to(self, "cpu")),
        (tensor, "numpy", _numpy),
        (tensor, "is_pinned", lambda self, *args: getattr(_storage(self), "pinned", False)),
        (tensor, "device", property(_device)),
        (tensor, "is_cuda", property(lambda self: place_of(self) == "cuda")),
        (tensor, "is_cpu", property(lambda self: place_of(self) != "cuda")),
        (tensor, "get_device", lambda self: 0 if place_of(self) == "cuda" else -1),
        (tensor, "__deepcopy__", _deepcopy(tensor.__deepcopy__)),
        (optimizer, grouping, _groups(getattr(optimizer, grouping))),
        (torch, "Generator", _Generator),
        (torch, "autocast", _Autocast),
        (torch.amp, "autocast", _Autocast),
        (torch.amp.autocast_mode, "autocast", _Autocast),
        (torch, "is_autocast_enabled", _autocast_state(torch.is_autocast_enabled)),
        (torch, "get_autocast_dtype", _autocast_state(torch.get_autocast_dtype)),
    ]  # fmt: skip
    registry = [(-1, _location, _restored), *torch.serialization._package_registry]
    with contextlib.ExitStack() as stack:
        for owner, name, value in replaced:
            stack.enter_context(mock.patch.object(owner, name, value))
        stack.enter_context(mock.patch.object(torch.serialization, "_package_registry", registry))
        checks = stack.enter_context(_Checks())
        yield checks


def _autocast_state(original: Callable[..., Any]) -> Callable[..., Any]:
    def answer(device_type: str = "cpu") -> Any:
        return original("cpu" if device_type == "cuda" else device_type)

    return answer
