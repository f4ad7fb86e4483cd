"""Turns a training script into a task of pbtnas.

    import pbtnas, torch

    @pbtnas.task
    def main(job: pbtnas.Job) -> float:
        net = Net(job.genotype).to(job.device)
        optimizer = torch.optim.Adam(net.parameters(), lr=job.genotype["learning_rate"])
        job.restore(net, optimizer)
        for epoch in job.epochs():
            for images, labels in job.batches(loader):
                ...                             # one training step
                job.log(loss=loss.item())
        return accuracy(net)

    main()

pbtnas runs the script once for each action. `init` ends in `restore`, which saves the fresh state. `train` ends after
the last epoch. `evaluate` loads the weights, has no epochs, and returns the fitness (higher is better) or a dict that
contains it: `{"fitness": 0.9, "loss": 0.3}`. docs/command-task.md of pbtnas specifies the contract. This file depends
only on Python and uses PyTorch and NumPy if the script imports them.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import math
import operator
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any, BinaryIO, Callable, TypeVar, Union

__version__ = "0.1.0"
__all__ = ["CONTRACT", "Error", "Job", "task"]

CONTRACT = 1
"""The version of the contract between pbtnas and a script."""

Item = TypeVar("Item")
Fitness = Union[float, Mapping[str, float]]

# Types of PyTorch and NumPy: the name in safetensors and the size of an element in bytes.
_TYPES = {
    "bool": ("BOOL", 1), "uint8": ("U8", 1), "int8": ("I8", 1), "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e5m2": ("F8_E5M2", 1), "uint16": ("U16", 2), "int16": ("I16", 2), "float16": ("F16", 2),
    "bfloat16": ("BF16", 2), "uint32": ("U32", 4), "int32": ("I32", 4), "float32": ("F32", 4), "uint64": ("U64", 8),
    "int64": ("I64", 8), "float64": ("F64", 8),
}  # fmt: skip
_DTYPES = {stored: dtype for dtype, (stored, _) in _TYPES.items()}
# Python numbers in an optimizer's state: suffix of the moment's name, type, size and struct format.
_NUMBERS = {int: ("#int", "I64", 8, "<q"), float: ("#float", "F64", 8, "<d"), bool: ("#bool", "BOOL", 1, "<?")}
_FORMATS = {mark: form for mark, _, _, form in _NUMBERS.values()}


class Error(RuntimeError):
    """The script violates the contract or does not match its checkpoint."""


class _End(BaseException):
    """Ends the script after an action. Not an Exception, so that handlers in the script do not catch it."""


# --- safetensors -----------------------------------------------------------------------------------------------
# Not the safetensors package, which writes metadata in random order: equal states must have equal bytes. One tensor is
# in memory at a time.


def _torch() -> Any:
    return sys.modules.get("torch")


def _describe(name: str, value: Any) -> tuple[str, list[int], int]:
    """The type, shape and size in bytes of a tensor, an array or a number."""
    if type(value) in _NUMBERS:
        _, stored, size, _ = _NUMBERS[type(value)]
        return stored, [], size
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        raise Error(f"{name} cannot be stored: it is a {type(value).__name__}, not a tensor")
    stored, size = _TYPES.get(str(dtype).replace("torch.", ""), ("", 0))
    if not stored or "sparse" in str(getattr(value, "layout", "")):
        raise Error(f"{name} cannot be stored: unsupported tensor type {dtype}, {getattr(value, 'layout', '')}")
    return stored, list(value.shape), math.prod(value.shape) * size


def _put(file: BinaryIO, value: Any) -> None:
    if type(value) in _NUMBERS:
        file.write(struct.pack(_NUMBERS[type(value)][3], value))
    elif hasattr(value, "data_ptr"):
        value = value.detach().cpu().contiguous()
        size = value.numel() * value.element_size()
        if size:
            file.write((ctypes.c_char * size).from_address(value.data_ptr()))
    else:
        file.write(value.tobytes())


def _write(path: str, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    """Writes a checkpoint atomically. Its bytes depend only on the arguments."""
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name in sorted(tensors):
        stored, shape, size = _describe(name, tensors[name])
        header[name] = {"dtype": stored, "shape": shape, "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{path}.new", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            _put(file, tensors[name])
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


class _Stored:
    """Reads a checkpoint."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "rb")
        (length,) = struct.unpack("<Q", self.file.read(8))
        self.entries: dict[str, Any] = json.loads(self.file.read(length))
        self.entries.pop("__metadata__", None)
        self.start = 8 + length

    def bytes(self, name: str) -> bytearray:
        begin, end = self.entries[name]["data_offsets"]
        content = bytearray(end - begin)
        self.file.seek(self.start + begin)
        if self.file.readinto(content) != len(content):
            raise Error(f"the checkpoint is truncated: it ends within {name}")
        return content

    def tensor(self, name: str) -> Any:
        """Reads a new PyTorch tensor."""
        torch, entry = _torch(), self.entries[name]
        content, dtype = self.bytes(name), getattr(torch, _DTYPES[entry["dtype"]])
        flat = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return flat.reshape(entry["shape"])

    def load(self, name: str, target: Any) -> None:
        """Reads into a tensor or an array of the same type and shape."""
        entry = self.entries[name]
        stored, shape, _ = _describe(name, target)
        if entry["shape"] != shape or entry["dtype"] != stored:
            raise Error(
                f"{name} is {entry['dtype']} {entry['shape']} in the checkpoint, but {stored} {shape} in the script. "
                "The type and shape of a tensor may depend only on the variable that owns it: list its prefix in "
                "`owns` of that variable, or give it the same shape for all values"
            )
        if hasattr(target, "data_ptr"):
            with _torch().no_grad():
                target.copy_(self.tensor(name))
        else:
            target[...] = sys.modules["numpy"].frombuffer(self.bytes(name), target.dtype).reshape(target.shape)


# --- networks --------------------------------------------------------------------------------------------------


def _named(networks: Any) -> dict[str, Any]:
    """Returns the networks by name; a single one is named "net"."""
    if networks is None:
        return {}
    alone = not isinstance(networks, Mapping) or any(hasattr(value, "dtype") for value in networks.values())
    named = {"net": networks} if alone else dict(networks)
    for name, network in named.items():
        if not name or "/" in name:
            raise Error(f"invalid network name {name!r}")
        if not isinstance(network, Mapping) and not hasattr(network, "state_dict"):
            raise Error(f"network {name!r} is neither a torch Module nor a dict of arrays")
    return named


def _tensors(network: Any) -> dict[str, Any]:
    """A network's tensors by name. A tied weight appears once, under its first name."""
    if isinstance(network, Mapping):
        return dict(network)
    state = network.state_dict(keep_vars=True)
    first: dict[int, str] = {}
    return {name: value for name, value in state.items() if first.setdefault(id(value), name) == name}


def _load(stored: _Stored, kind: str, networks: dict[str, Any]) -> None:
    """Loads the tensors of all networks. The names in the checkpoint and in the script must be the same."""
    wanted = {f"{kind}/{network}/{name}" for network in networks for name in _tensors(networks[network])}
    there = {name for name in stored.entries if name.startswith(f"{kind}/")}
    for names, what in ((wanted - there, "in the script but not in the checkpoint"),
                        (there - wanted, "in the checkpoint but not in the script")):  # fmt: skip
        if names:
            raise Error(
                f"{len(names)} tensor(s) are {what}, e.g. {min(names)}. The existence of a tensor may depend only on "
                "the variable that owns it: list its prefix in `owns` of that variable"
            )
    for key, network in networks.items():
        own = None
        if hasattr(network, "state_dict"):
            own = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
        rest = {}
        for name, tensor in _tensors(network).items():
            if own is None or id(tensor) in own:
                stored.load(f"{kind}/{key}/{name}", tensor)
            else:  # extra state, or created by a hook: only load_state_dict can restore it
                rest[name] = stored.tensor(f"{kind}/{key}/{name}")
        if rest:
            network.load_state_dict(rest, strict=False)


# --- the job ---------------------------------------------------------------------------------------------------


def _seed(*address: int) -> None:
    number = int.from_bytes(hashlib.sha256(repr(address).encode()).digest()[:8], "little")
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number % 2**32)
    if _torch():
        _torch().manual_seed(number)


class Job:
    """A request of pbtnas to the script."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.action: str = request["action"]
        """`init`, `train` or `evaluate`."""
        self.genotype: dict[str, Any] = request["genotype"]
        """The values of the variables: strings for options, numbers for ranges."""
        self.seed: int = request["seed"]
        self.device: str = request["device"]
        """`cpu` or `cuda`."""
        self.threads: int = request["threads"]
        self.epoch: int = request["epoch"]
        """Number of completed epochs."""
        self.step: int = request["step"]
        """Number of completed steps of the epoch in progress."""
        self.until: int | None = request["until"]
        """`train`: the number of completed epochs to reach."""
        self.samples: int | None = request["samples"]
        """`evaluate`: the number of samples of a final evaluation; None during the search."""
        self.final: bool = self.samples is not None
        self.generation: int = request["member"]["generation"]
        self.member: int = request["member"]["id"]
        self._request = request
        self._networks: dict[str, Any] = {}
        self._averages: dict[str, Any] = {}
        self._optimizers: list[Any] = []
        self._arrays: Mapping[str, Any] = {}
        self._restored = self._stop = self._within = self._tried = False
        self._saved = time.monotonic()
        self._reported = -math.inf
        self._seen = 0
        self._steps: int | None = None
        self._metrics: dict[str, float] = {}
        self._pid = os.getpid()

    def restore(self, networks: Any, optimizers: Any = (), averages: Any = None) -> None:
        """Loads the checkpoint into networks and optimizers. In `init`, saves their fresh state and ends the script.

        networks: a torch Module, or a dict of arrays (or tensors) that are loaded in place, or a dict of these by name.
        optimizers: torch optimizers; for arrays `{network: {moment: {name: array}}}`. A parameter whose state is not
        in the checkpoint, or belongs to another class of optimizer, keeps its fresh state. `param_groups`, including
        the learning rate, stay as constructed from the genotype. Schedulers are not saved: use `job.epoch`.
        averages: copies of networks, as in `networks`, with the same names, types and shapes.
        """
        self._networks, self._averages = _named(networks), _named(averages)
        if isinstance(optimizers, Mapping):
            self._arrays = optimizers
        else:
            self._optimizers = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
        self._check()
        if self.action == "init":
            self._leave()
        stored = _Stored(self._request["checkpoint"])
        with stored.file:
            _load(stored, "model", self._networks)
            _load(stored, "average", self._averages)
            if self.action == "train":
                self._load_arrays(stored)
                self._load_optimizers(stored)
        self._restored = True
        self._report()

    def epochs(self) -> Iterator[int]:
        """Yields the remaining epochs. The random numbers of an epoch do not depend on earlier ones."""
        if self.action != "train":
            return
        if not self._restored:
            raise Error("job.epochs was called before job.restore")
        assert self.until is not None
        while self.epoch < self.until:
            _seed(self.seed, self.epoch)
            self._seen, self._steps, self._within = 0, None, True
            self._report()
            yield self.epoch
            self.epoch, self.step, self._within = self.epoch + 1, 0, False
            if self.epoch < self.until:
                self._turn()
        self._report(now=True)
        self._leave()

    def batches(self, iterable: Iterable[Item], total: int | None = None) -> Iterator[Item]:
        """Yields the items of an epoch, one for each step, except those of steps before an interruption.

        The random numbers of a step do not depend on earlier steps, so that an interruption does not change the result.
        A step that ends with `break` does not count. Use `job.step` for the number of a step, not `enumerate`.
        """
        if not self._within:
            raise Error("job.batches was called outside of the loop over job.epochs")
        self._steps = total or operator.length_hint(iterable) or None
        _seed(self.seed, self.epoch, self._seen)
        # PyTorch's SIGCHLD handler raises within a step when a worker dies, e.g. after a SIGTERM to all processes.
        # Without it the loader raises at the next item, between two steps.
        before = signal.getsignal(signal.SIGCHLD)
        iterator = iter(iterable)
        signal.signal(signal.SIGCHLD, before)
        while True:
            _seed(self.seed, self.epoch, self._seen)
            try:
                item = next(iterator)
            except StopIteration:
                return
            except Exception:
                if self._stop:
                    self._leave()
                raise
            self._turn()
            if self._seen >= self.step:
                yield item
                self.step = self._seen + 1
                self._turn()
            self._seen += 1

    def checkpoint(self, step: int, steps: int | None = None) -> None:
        """Reports that `step` steps of the epoch are complete, for loops that cannot use `batches`.

        Also call it with `job.step` before the loop, so that each step has its own random numbers, and skip completed
        steps: `for step in range(job.step, steps)`.
        """
        if not self._within:
            raise Error("job.checkpoint was called outside of the loop over job.epochs")
        self.step, self._steps = step, steps
        self._turn()
        _seed(self.seed, self.epoch, step)

    def log(self, **metrics: float) -> None:
        """Reports metrics. The latest value of each name is sent about once a second."""
        self._metrics.update({name: float(value) for name, value in metrics.items()})
        self._report()

    def _turn(self) -> None:
        """Called between two steps, where the state is consistent: exits or saves a snapshot if required."""
        self._report()
        if self._stop:
            self._leave()
        if not self._tried and (self.epoch, self.step) != (self._request["epoch"], self._request["step"]):
            self._everything()  # report what cannot be stored after the first step, not after hours
            self._tried = True
        if time.monotonic() - self._saved >= self._request["snapshot_seconds"]:
            try:
                self._save(self._request["snapshot"])
            except OSError as error:  # e.g. a full disk; the next snapshot may succeed
                print(
                    f"failed to save a snapshot to {self._request['snapshot']}: {error.strerror or error}",
                    file=sys.stderr,
                )
                self._saved = time.monotonic()

    def _leave(self) -> None:
        _surely(self._save, self._request["output"])
        raise _End

    def _report(self, now: bool = False) -> None:
        if not now and time.monotonic() - self._reported < 1:
            return
        self._reported = time.monotonic()
        line: dict[str, Any] = {"epoch": self.epoch, "step": self.step}
        if self._steps is not None:
            line["steps"] = self._steps
        line["metrics"] = {name: value for name, value in self._metrics.items() if math.isfinite(value)}
        try:
            with open(self._request["progress"], "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError:
            pass  # progress is optional; only a failure to save the result ends the script

    def _save(self, path: str) -> None:
        metadata = {**self._request["metadata"], "epoch": str(self.epoch), "step": str(self.step)}
        _write(path, self._everything(), metadata)
        self._saved = time.monotonic()

    def _parameters(self) -> dict[int, tuple[str, str]]:
        """The network and name of each tensor, by identity."""
        return {
            id(tensor): (network, name)
            for network in self._networks
            for name, tensor in _tensors(self._networks[network]).items()
        }

    def _check(self) -> None:
        """Checks before any training that the state can be saved and loaded."""
        known = self._parameters()
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) not in known:
                        raise Error(
                            f"{type(optimizer).__name__} has a parameter of shape {list(parameter.shape)} that is not "
                            "in any network: pass all networks to job.restore, and create optimizers after .to(device)"
                        )
        for network, average in self._averages.items():
            model = _tensors(self._networks.get(network, {}))
            for name, tensor in _tensors(average).items():
                full = f"average/{network}/{name}"
                if name not in model or _describe(full, tensor) != _describe(full, model[name]):
                    raise Error(f"{full} has no counterpart of the same name, type and shape in network {network!r}")
        self._everything()

    def _everything(self) -> dict[str, Any]:
        """The tensors of a checkpoint, by name."""
        everything: dict[str, Any] = {}

        def add(name: str, value: Any) -> None:
            _describe(name, value)
            if name in everything:
                raise Error(f"duplicate {name}: two optimizers of the same class have this parameter")
            everything[name] = value

        for kind, networks in (("model", self._networks), ("average", self._averages)):
            for network in networks:
                for name, tensor in _tensors(networks[network]).items():
                    add(f"{kind}/{network}/{name}", tensor)
        for name, array in self._each_array():
            add(name, array)
        known = self._parameters()
        for optimizer in self._optimizers:
            for parameter, state in optimizer.state.items():
                if id(parameter) not in known:
                    raise Error(f"{type(optimizer).__name__} has state without a parameter in the networks")
                network, name = known[id(parameter)]
                for moment, value in state.items():
                    if value is not None:
                        mark = _NUMBERS[type(value)][0] if type(value) in _NUMBERS else ""
                        add(f"optimizer/{network}/{type(optimizer).__name__}.{moment}{mark}/{name}", value)
        return everything

    def _each_array(self) -> Iterator[tuple[str, Any]]:
        for network, moments in self._arrays.items():
            for moment, arrays in moments.items():
                for name, array in arrays.items():
                    if name not in _tensors(self._networks.get(network, {})):
                        raise Error(f"{moment} has an array {name!r}, but network {network!r} does not")
                    yield f"optimizer/{network}/{moment}/{name}", array

    def _load_arrays(self, stored: _Stored) -> None:
        for name, array in self._each_array():
            if name in stored.entries:
                stored.load(name, array)

    def _load_optimizers(self, stored: _Stored) -> None:
        known = self._parameters()
        state: dict[tuple[str, str, str], dict[str, str]] = {}
        for full in stored.entries:
            if full.startswith("optimizer/"):
                _, network, moment, name = full.split("/", 3)
                kind, _, moment = moment.partition(".")
                state.setdefault((kind, network, name), {})[moment] = full
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    moments = state.get((type(optimizer).__name__, *known[id(parameter)]), {})
                    for moment, full in moments.items():
                        moment, mark, python = moment.partition("#")
                        value: Any
                        if mark:
                            (value,) = struct.unpack(_FORMATS[mark + python], stored.bytes(full))
                        else:
                            value = stored.tensor(full)
                            # PyTorch keeps step counters on the CPU unless capturable or fused is set.
                            if moment != "step" or group.get("capturable") or group.get("fused"):
                                value = _like(value, parameter)
                        optimizer.state[parameter][moment] = value


def _like(value: Any, parameter: Any) -> Any:
    """Moves a value to the parameter's device, with its memory layout if the shapes are equal."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    made = _torch().empty_like(parameter, dtype=value.dtype, requires_grad=False)
    return made.copy_(value)


# --- the script ------------------------------------------------------------------------------------------------


def _surely(write: Callable[..., None], *arguments: Any) -> None:
    """Writes; exits with code 74 if the filesystem fails, so that the failure does not count against the member."""
    try:
        write(*arguments)
    except OSError as error:
        print(f"failed to write {error.filename or arguments[0]}: {error.strerror or error}", file=sys.stderr)
        sys.exit(74)


def _measured(name: str, value: Any) -> float:
    try:
        if hasattr(value, "__float__"):
            return float(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise Error(f"{name} must be a number, not {value!r:.100}")


def _write_result(path: str, returned: Any) -> None:
    if isinstance(returned, Mapping) and "fitness" not in returned:
        raise Error(f"the script returned a dict without 'fitness': {list(returned)}")
    values = dict(returned) if isinstance(returned, Mapping) else {"fitness": returned}
    numbers = {str(name): _measured(f"the returned {name}", value) for name, value in values.items()}
    fitness = numbers.pop("fitness")
    result = {
        "fitness": fitness if math.isfinite(fitness) else None,
        "metrics": {name: value for name, value in numbers.items() if math.isfinite(value)},
    }
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(result, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


def _handle_signals(job: Job) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != job._pid:  # a forked worker gets the default behaviour
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif job.action == "train" and job._restored:
            job._stop = True
        else:  # nothing to save
            os._exit(143)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGUSR1, handle)


def _run(function: Callable[[Job], Any], request: Mapping[str, Any]) -> None:
    if request["contract"] != CONTRACT:
        raise Error(
            f"pbtnas uses contract {request['contract']}, but this helper uses {CONTRACT}: use the helper of this pbtnas"
        )
    job = Job(request)
    _handle_signals(job)
    _seed(job.seed)
    if _torch():
        _torch().set_num_threads(job.threads)
    try:
        returned = function(job)
    except _End:
        pass
    else:
        if not job._restored:
            raise Error("the script ended without calling job.restore")
        if job.action == "train":
            raise Error(f"the script ended in epoch {job.epoch}, before the loop over job.epochs was complete")
        _surely(_write_result, request["result"], returned)
    # Everything has been written: a late signal must not turn success into a failure.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def task(function: Callable[[Job], Fitness]) -> Callable[[], None]:
    """Decorates the script's main function. Call the result without arguments at the end of the script."""

    @functools.wraps(function)
    def main() -> None:
        if function.__module__ == "__mp_main__":
            return  # imported by a worker of a data loader
        if "PBTNAS_REQUEST" not in os.environ:
            sys.exit(
                "This script is a task of pbtnas and cannot be run directly. Start a search:\n\n"
                "    pbtnas run --config search.toml --state runs/first"
            )
        with open(os.environ["PBTNAS_REQUEST"], encoding="utf-8") as file:
            request = json.load(file)
        _run(function, request)

    return main
