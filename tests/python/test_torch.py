"""Saves and restores PyTorch networks and optimizers, in this process."""

from __future__ import annotations

import copy
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, Callable

from driver import HELPER, Member, header

sys.path.insert(0, str(HELPER))
import pbtnas  # noqa: E402

try:
    import torch
    from safetensors.torch import load_file, save_file
except ImportError:
    raise unittest.SkipTest("needs PyTorch and safetensors") from None
from torch import nn  # noqa: E402


class Tied(nn.Module):
    """An embedding tied to the output layer, normalisations with counters, and a convolution."""

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.convolution = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.output = nn.Linear(4, 7, bias=False)
        self.output.weight = self.embedding.weight
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features = self.embedding(tokens).permute(0, 3, 1, 2)
        return self.output(self.norm(self.convolution(features)).permute(0, 2, 3, 1))


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1),
    "SGD, momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, 0.01),
    "Adam, fused": lambda p: torch.optim.Adam(p, 0.01, fused=True),
    "AdamW, amsgrad": lambda p: torch.optim.AdamW(p, 0.01, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.01, initial_accumulator_value=0.5),
    "Adadelta": lambda p: torch.optim.Adadelta(p),
    "Adamax": lambda p: torch.optim.Adamax(p),
    "NAdam": lambda p: torch.optim.NAdam(p),
    "RAdam": lambda p: torch.optim.RAdam(p),
    "ASGD": lambda p: torch.optim.ASGD(p),
    "Rprop": lambda p: torch.optim.Rprop(p),
    "Adafactor": lambda p: torch.optim.Adafactor(p),
}


class Files(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        torch.manual_seed(1)

    def job(self, action: str, checkpoint: str | None = None, **given: Any) -> pbtnas.Job:
        member = Member(self.folder, [], {"a": "b"}, self.folder)
        member.checkpoint = self.folder / checkpoint if checkpoint else None
        return pbtnas.Job(member.request(action, **given))

    def init(self, *what: Any, output: str = "init") -> bytes:
        with self.assertRaises(pbtnas._End):
            self.job("init", output=output).restore(*what)
        return (self.folder / output).read_bytes()

    def train(self, checkpoint: str, work: Callable[[], None], *what: Any, output: str = "trained") -> bytes:
        """Runs three steps of an epoch, at any epoch of the checkpoint."""
        job = self.job("train", checkpoint, output=output)
        job.until = job.epoch + 1
        job.restore(*what)
        with self.assertRaises(pbtnas._End):
            for _ in job.epochs():
                for _ in job.batches(range(3)):
                    work()
        return (self.folder / output).read_bytes()

    def restore(self, checkpoint: str, *what: Any, action: str = "train") -> None:
        self.job(action, checkpoint, output="unused", until=9).restore(*what)

    def same(self, first: Any, second: Any) -> None:
        """Asserts equal values, types, shapes and memory layouts."""
        self.assertIs(type(first), type(second))
        if isinstance(first, torch.Tensor):
            self.assertEqual((first.dtype, first.stride(), first.device), (second.dtype, second.stride(), second.device))
            self.assertTrue(torch.equal(first, second))
        else:
            self.assertEqual(first, second)


class Optimizers(Files):
    def round_trip(self, make_net: Callable[[], nn.Module], make: Callable[[Any], Any]) -> bytes:
        tokens = torch.randint(7, (2, 3, 3))

        def step(net: nn.Module, optimizer: Any) -> None:
            optimizer.zero_grad()
            (net(tokens) ** 2).mean().backward()
            optimizer.step()

        first = make_net()
        optimizer = make(first.parameters())
        self.init(first, optimizer)
        trained = self.train("init", lambda: step(first, optimizer), first, optimizer)

        second = make_net()
        other = make(second.parameters())
        self.restore("trained", second, other)
        for (name, a), b in zip(first.state_dict().items(), second.state_dict().values()):
            self.same(a, b)
        for a, b in zip(first.parameters(), second.parameters()):
            state = {k: v for k, v in optimizer.state[a].items() if v is not None}
            self.assertEqual(set(state), set(other.state[b]))
            for moment, value in state.items():
                self.same(value, other.state[b][moment])
        self.assertEqual(self.train("trained", lambda: step(first, optimizer), first, optimizer, output="a"),
                         self.train("trained", lambda: step(second, other), second, other, output="b"))  # fmt: skip
        self.assertNotEqual(trained, (self.folder / "a").read_bytes())
        return trained

    def test_restored_optimizers_continue_exactly(self) -> None:
        for name, make in OPTIMIZERS.items():
            for channels_last in (False, True):
                with self.subTest(name, channels_last=channels_last):
                    self.round_trip(lambda: Tied(channels_last=channels_last), make)

    def test_bfloat16(self) -> None:
        self.round_trip(lambda: Tied().bfloat16(), OPTIMIZERS["AdamW, amsgrad"])

    def test_python_numbers(self) -> None:
        class Sparse(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(7, 4, sparse=True)

            def forward(self, tokens: torch.Tensor) -> torch.Tensor:
                return self.embedding(tokens)

        trained = self.round_trip(Sparse, lambda p: torch.optim.SparseAdam(list(p)))
        entry = header(trained)["optimizer/net/SparseAdam.step#int/embedding.weight"]
        self.assertEqual((entry["dtype"], entry["shape"]), ("I64", []))

        net = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        marked = {"int": -(2**60), "float": 0.1, "yes": True, "none": None}
        self.init(net, optimizer)
        self.train("init", lambda: optimizer.state[net.weight].update(marked), net, optimizer)
        other = torch.optim.SGD(net.parameters(), 0.1)
        self.restore("trained", net, other)
        for name in ("int", "float", "yes"):
            self.same(other.state[net.weight][name], marked[name])
        self.assertNotIn("none", other.state[net.weight])

    def test_missing_state(self) -> None:
        net = nn.Linear(2, 2)
        for name in ("Adam", "Adagrad"):
            optimizer = OPTIMIZERS[name](net.parameters())

            def step() -> None:
                net(torch.ones(1, 2)).sum().backward()
                optimizer.step()

            self.init(net, optimizer)
            self.train("init", step, net, optimizer)
            tensors = load_file(self.folder / "trained")
            kept = {k: v for k, v in tensors.items() if not (k.startswith("optimizer/") and k.endswith("/bias"))}
            self.assertLess(len(kept), len(tensors))
            save_file(kept, self.folder / "kept", {"epoch": "1", "step": "0"})
            optimizer = OPTIMIZERS[name](net.parameters())
            fresh = copy.deepcopy(dict(optimizer.state[net.bias]))
            self.restore("kept", net, optimizer)
            self.assertEqual(optimizer.state[net.weight]["step"], 3)
            self.assertEqual(set(optimizer.state[net.bias]), set(fresh))
            for moment, value in fresh.items():
                self.same(optimizer.state[net.bias][moment], value)
            step()

    def test_another_class_of_optimizer_keeps_its_fresh_state(self) -> None:
        net = nn.Linear(2, 2)
        first = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        self.init(net, first)
        work = lambda: (net(torch.ones(1, 2)).sum().backward(), first.step())  # noqa: E731
        self.train("init", work, net, first)  # type: ignore[arg-type]
        again = torch.optim.SGD(net.parameters(), 0.5, momentum=0.9)
        self.restore("trained", net, again)
        self.assertEqual(again.param_groups[0]["lr"], 0.5)
        self.assertTrue(again.state[net.weight])
        adam = torch.optim.Adam(net.parameters())
        self.restore("trained", net, adam)  # ignores the state of SGD
        self.assertFalse(adam.state[net.weight])

    def test_two_networks(self) -> None:
        generator, discriminator = nn.Linear(2, 3), nn.Linear(3, 1)
        optimizers = [torch.optim.Adam(net.parameters()) for net in (generator, discriminator)]
        everything = ({"generator": generator, "discriminator": discriminator}, optimizers)

        def step() -> None:
            discriminator(generator(torch.ones(1, 2))).sum().backward()
            for optimizer in optimizers:
                optimizer.step()

        self.init(*everything)
        names = set(header(self.train("init", step, *everything)))
        self.assertIn("model/discriminator/weight", names)
        self.assertIn("optimizer/generator/Adam.exp_avg/weight", names)
        self.assertEqual(len(names), 1 + 4 + 3 * 4)


class Networks(Files):
    def test_every_type(self) -> None:
        types = [t for name in pbtnas._TYPES if (t := getattr(torch, name)) is not None]
        net = nn.Module()
        for number, dtype in enumerate(types):
            values = torch.randint(0, 2, (3, 5)).to(dtype)
            net.register_buffer(f"t{number}", values)
            net.register_buffer(f"turned{number}", values.t())
            net.register_buffer(f"scalar{number}", values[0, 0].clone())
            net.register_buffer(f"empty{number}", values[:0])
        net.register_buffer("view", torch.arange(10.0)[3:9:2])
        expected = copy.deepcopy(net.state_dict())
        self.init(net)
        read = load_file(self.folder / "init")
        self.assertEqual(len(read), len(expected))
        for name, tensor in expected.items():
            self.assertEqual(read[f"model/net/{name}"].dtype, tensor.dtype)
            self.assertTrue(torch.equal(read[f"model/net/{name}"].double(), tensor.double()), name)
        for tensor in net.buffers():
            tensor.copy_(torch.ones_like(tensor, dtype=torch.float32).to(tensor.dtype))
        self.restore("init", net, action="evaluate")
        for name, tensor in net.state_dict().items():
            self.same(tensor, expected[name])

    def test_a_file_written_by_the_safetensors_package(self) -> None:
        net = Tied()
        tensors = {f"model/net/{name}": tensor.clone() + 1 for name, tensor in net.state_dict().items()}
        del tensors["model/net/output.weight"]
        save_file(tensors, self.folder / "theirs", {"epoch": "0", "step": "0"})
        self.restore("theirs", net)
        for name, tensor in net.state_dict().items():
            if name != "output.weight":
                self.assertTrue(torch.equal(tensor, tensors[f"model/net/{name}"]), name)
        self.assertIs(net.output.weight, net.embedding.weight)

    def test_a_tied_weight_is_stored_once(self) -> None:
        names = set(header(self.init(Tied())))
        self.assertIn("model/net/embedding.weight", names)
        self.assertIn("model/net/norm.num_batches_tracked", names)
        self.assertNotIn("model/net/output.weight", names)

    def test_bytes_depend_only_on_the_state(self) -> None:
        net = {"b": torch.ones(3), "a": torch.zeros(2), "é": torch.zeros(1)}
        turned = dict(reversed(net.items()))
        self.assertEqual(self.init({"net": net}), self.init({"net": turned}))
        content = self.init(net)
        self.assertEqual(int.from_bytes(content[:8], "little") % 8, 0)
        self.assertEqual(list(header(content))[1:], sorted(f"model/net/{name}" for name in net))
        self.assertEqual(list(header(content)["__metadata__"]), ["format", "genotype", "epoch", "step"])

    def test_averages(self) -> None:
        net, average = Tied(), Tied()
        content = self.init(net, (), average)
        self.assertEqual(sum(name.startswith("average/net/") for name in header(content)), 8)
        expected = copy.deepcopy(average.state_dict())
        for tensor in average.state_dict().values():
            tensor.zero_()
        self.restore("init", net, (), average)
        for name, tensor in average.state_dict().items():
            self.same(tensor, expected[name])
        with self.assertRaisesRegex(pbtnas.Error, "average/net/n_averaged has no counterpart of the same name"):
            self.init(net, (), torch.optim.swa_utils.AveragedModel(net))

    def test_extra_state(self) -> None:
        class Extra(nn.Module):
            state: Any = torch.ones(2)

            def get_extra_state(self) -> Any:
                return self.state

            def set_extra_state(self, state: Any) -> None:
                self.state = state

        net = Extra()
        net.state = torch.full((2,), 5.0)
        self.init(net)
        other = Extra()
        self.restore("init", other)
        self.same(other.state, net.state)
        net.state = {"a": 1}
        with self.assertRaisesRegex(pbtnas.Error, "model/net/_extra_state cannot be stored: it is a dict"):
            self.init(net)


class Errors(Files):
    def fails(self, message: str, call: Callable[..., Any], *what: Any) -> None:
        with self.assertRaisesRegex(pbtnas.Error, message):
            call(*what)

    def test_a_checkpoint_that_does_not_match_the_script(self) -> None:
        self.init(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
        self.fails(r"model/net/1.weight is F32 \[1, 3\] in the checkpoint, but F32 \[2, 3\] in the script.*owns",
                   self.restore, "init", nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)))  # fmt: skip
        self.fails(r"model/net/0.weight is F32 .* but F64", self.restore, "init",
                   nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).double())  # fmt: skip
        self.fails(r"2 tensor\(s\) are in the checkpoint but not in the script, e.g. model/net/1.bias.*owns",
                   self.restore, "init", nn.Sequential(nn.Linear(2, 3)))  # fmt: skip
        self.fails(r"2 tensor\(s\) are in the script but not in the checkpoint, e.g. model/net/2.bias", self.restore,
                   "init", nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(1, 1)))  # fmt: skip

    def test_unsupported_state(self) -> None:
        net = nn.Linear(2, 1)
        self.fails("torch.complex64", self.init, {"net": {"a": torch.zeros(1, dtype=torch.complex64)}})
        self.fails("sparse", self.init, {"net": {"a": torch.eye(3).to_sparse()}})
        self.fails("neither a torch Module nor a dict", self.init, {"net": [1]})
        self.fails("invalid network name 'a/b'", self.init, {"a/b": net})
        self.fails(r"SGD has a parameter of shape \[1, 2\] that is not in any network", self.init, {"net": nn.Linear(1, 1)},
                   torch.optim.SGD(net.parameters(), 0.1))  # fmt: skip
        lbfgs = torch.optim.LBFGS(net.parameters())
        self.init(net, lbfgs)

        def closure() -> torch.Tensor:
            lbfgs.zero_grad()
            loss = (net(torch.ones(1, 2)) ** 2).sum()
            loss.backward()
            return loss

        self.fails("optimizer/net/LBFGS.* cannot be stored: it is a list", self.train, "init",
                   lambda: lbfgs.step(closure), net, lbfgs)  # fmt: skip
        twice = [torch.optim.Adagrad(net.parameters()), torch.optim.Adagrad(net.parameters())]
        self.fails("duplicate optimizer/net/Adagrad", self.init, net, twice)

    def test_calls_in_the_wrong_order(self) -> None:
        net = nn.Linear(2, 1)
        self.init(net)
        job = self.job("train", "init", output="o", until=1)
        self.fails("job.epochs was called before job.restore", lambda: list(job.epochs()))
        job.restore(net)
        self.fails("job.batches was called outside", lambda: list(job.batches([1])))
        self.fails("job.checkpoint was called outside", job.checkpoint, 1)


if __name__ == "__main__":
    unittest.main()
