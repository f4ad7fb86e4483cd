"""Runs whole scripts as pbtnas does: actions, signals, resuming within an epoch."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

from driver import HELPER, ROOT, Failed, Member, header

MEMBERS = Path(__file__).parent / "members"
numpy = unittest.skipUnless(importlib.util.find_spec("numpy"), "needs NumPy")
torch = unittest.skipUnless(importlib.util.find_spec("torch"), "needs PyTorch")


class Process(unittest.TestCase):
    script = "arrays.py"

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.made = 0

    def member(self, seed: int = 1, snapshot_seconds: float = 600, **environment: str) -> Member:
        self.made += 1
        member = Member(
            self.folder / str(self.made), [sys.executable, str(MEMBERS / self.script)], {"learning_rate": 0.1},
            self.folder, {k: v for k, v in environment.items() if v}, snapshot_seconds, seed,
        )  # fmt: skip
        return member

    def handshake(self) -> dict[str, str]:
        return {"READY": str(self.folder / "ready"), "SENT": str(self.folder / "sent")}

    def kill_when_ready(self, member: Member, until: int, send: Any, go_on: bool = True) -> None:
        """Trains, and calls `send` when the script is ready."""

        def interrupt(process: subprocess.Popen[str]) -> None:
            while not (self.folder / "ready").exists() and process.poll() is None:
                time.sleep(0.01)
            send(process)
            if go_on:
                (self.folder / "sent").touch()

        member.train(until, stop=lambda line: True, interrupt=interrupt)


@numpy
class Actions(Process):
    def test_init_depends_only_on_the_seed(self) -> None:
        first = self.member().init()
        self.assertEqual(first, self.member().init())
        self.assertNotEqual(first, self.member(seed=2).init())
        self.assertEqual(header(first)["__metadata__"],
                         {"format": "1", "genotype": '{"learning_rate":0.1}', "epoch": "0", "step": "0"})  # fmt: skip
        self.assertEqual(sorted(header(first)),
                         ["__metadata__", "model/net/count", "model/net/w", "optimizer/net/momentum/w"])  # fmt: skip

    def test_train_and_evaluate(self) -> None:
        member = self.member()
        member.init()
        member.train(2)
        self.assertEqual(member.position(), (2, 0))
        self.assertIn("after main", member.printed)
        last = member.progress()[-1]
        self.assertEqual((last["epoch"], last["step"], last["steps"], list(last["metrics"])), (2, 0, 5, ["item"]))
        self.assertEqual(member.evaluate(), {"fitness": 10.0, "metrics": {"final": 0.0}})
        self.assertEqual(member.evaluate(samples=100)["metrics"], {"final": 1.0})

    def test_a_script_that_ends_too_early_fails(self) -> None:
        for script, action, expected in (
            (_BREAKS, "train", "Error: the script ended in epoch 0"),
            (_FORGETS, "init", "Error: the script ended without calling job.restore"),
        ):
            member = self.member()
            member.command = [sys.executable, "-c", script]
            with self.assertRaisesRegex(Failed, f"(?s)^{action} ended with 1.*{expected}"):
                member.init()
                member.train(2)

    def test_a_write_error_has_its_own_exit_code(self) -> None:
        member = self.member()
        member.init()
        # A directory blocks the path of the file.
        (member.folder / "until2.safetensors").mkdir()
        with self.assertRaisesRegex(Failed, "(?s)^train ended with 74.*failed to write"):
            member.train(2)
        (member.folder / "result.json").mkdir()
        with self.assertRaisesRegex(Failed, "(?s)^evaluate ended with 74.*failed to write"):
            member.evaluate()
        # A snapshot that cannot be saved does not end the training.
        (member.folder / "snapshot.safetensors").mkdir()
        member.snapshot_seconds = 0
        member.train(3)
        self.assertEqual(member.position(), (3, 0))

    def test_without_pbtnas(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PBTNAS")}
        environment["PYTHONPATH"] = os.pathsep.join([str(HELPER), environment.get("PYTHONPATH", "")])
        ended = subprocess.run(
            [sys.executable, str(MEMBERS / "arrays.py")], env=environment, capture_output=True, text=True
        )
        self.assertEqual(ended.returncode, 1)
        self.assertIn("pbtnas run --config search.toml", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)


_BREAKS = """
import numpy, pbtnas
@pbtnas.task
def main(job):
    job.restore({"w": numpy.zeros(1)})
    for epoch in job.epochs():
        break
    return 1.0
main()
"""
_FORGETS = """
import pbtnas
@pbtnas.task
def main(job):
    return 1.0
main()
"""


@numpy
class Signals(Process):
    def undisturbed(self, until: int = 3, **environment: str) -> bytes:
        member = self.member(**environment)
        member.init()
        return member.train(until)

    def interrupted(self, at: str, expected: tuple[int, int], do: str = "SIGTERM", **environment: str) -> bytes:
        member = self.member(AT=at, DO=do, **environment)
        member.init()
        member.train(3)
        self.assertEqual(member.position(), expected)
        self.assertNotIn("swallowed", member.printed)
        member.environment.pop("AT")
        return member.train(3)

    def test_an_interruption_changes_nothing(self) -> None:
        whole = self.undisturbed()
        for at, position in (
            ("step 0 0", (0, 1)),
            ("step 1 2", (1, 3)),
            ("step 1 4", (1, 5)),
            ("fetch 1 0", (1, 0)),
            ("fetch 2 3", (2, 3)),
            ("epoch 1", (1, 0)),
            ("end 0", (1, 0)),
            ("end 2", (3, 0)),
        ):
            with self.subTest(at=at):
                self.assertEqual(self.interrupted(at, position), whole)

    def test_an_interruption_of_other_loops(self) -> None:
        for loop, at, position in (("own", "step 1 2", (1, 3)), ("epochs", "step 1 0", (2, 0))):
            with self.subTest(loop=loop):
                self.assertEqual(self.interrupted(at, position, LOOP=loop), self.undisturbed(LOOP=loop))

    def test_repeated_and_other_signals(self) -> None:
        whole = self.undisturbed()
        self.assertEqual(self.interrupted("step 1 1", (1, 2), "SIGUSR1 SIGTERM SIGTERM SIGUSR1"), whole)
        self.assertEqual(self.interrupted("step 1 1", (1, 2), "SIGUSR1"), whole)

    def test_a_loader_that_fails_when_all_processes_are_stopped(self) -> None:
        self.assertEqual(self.interrupted("fetch 1 2", (1, 2), "SIGTERM fail"), self.undisturbed())
        with self.assertRaisesRegex(Failed, "worker is gone"):  # a failure without a signal to the script
            self.interrupted("fetch 1 2", (1, 2), "fail")

    def test_signals_until_it_ends(self) -> None:
        member = self.member(AT="step 1 2", DO="wait", **self.handshake())
        member.init()

        def send(process: subprocess.Popen[str]) -> None:
            (self.folder / "sent").touch()
            while process.poll() is None:
                process.terminate()
                time.sleep(0.001)

        self.kill_when_ready(member, 3, send)
        self.assertEqual(member.position(), (1, 3))

    def test_a_signal_ends_the_script_at_once_if_there_is_nothing_to_save(self) -> None:
        for at, action in (("start init", "init"), ("start train", "train"), ("start evaluate", "evaluate"),
                           ("restored evaluate", "evaluate")):  # fmt: skip
            for number in ("SIGTERM", "SIGUSR1"):
                member = self.member(DO=number)
                member.init()
                member.environment["AT"] = at
                with self.assertRaisesRegex(Failed, "ended with 143"):
                    {"init": member.init, "train": lambda: member.train(2), "evaluate": member.evaluate}[action]()

    def test_a_signal_to_a_forked_worker_kills_only_the_worker(self) -> None:
        member = self.member(AT="step 0 1", DO="child")
        member.init()
        self.assertEqual(member.train(3), self.undisturbed())
        self.assertIn(f"child {-signal.SIGTERM}", member.printed)

    def test_snapshots_survive_a_kill(self) -> None:
        member = self.member(snapshot_seconds=0, AT="step 1 3", DO="wait", **self.handshake())
        member.init()
        with self.assertRaisesRegex(Failed, f"ended with {-signal.SIGKILL}"):
            self.kill_when_ready(member, 3, lambda process: process.kill())
        member.checkpoint = member.folder / "snapshot.safetensors"
        self.assertEqual(member.position(), (1, 3))
        self.assertEqual([path.name for path in member.folder.glob("*.new")], [])
        member.environment.pop("AT")
        self.assertEqual(member.train(3), self.undisturbed())


@torch
class Loaders(Process):
    script = "loader.py"
    start = b""

    def begin(self, **environment: str) -> Member:
        """Returns a member with the same first checkpoint as the others."""
        member = self.member(**environment)
        if not Loaders.start:
            Loaders.start = member.init()
        member.checkpoint = member.folder / "start"
        member.checkpoint.write_bytes(Loaders.start)
        return member

    def test_an_interrupted_loader(self) -> None:
        whole = self.begin().train(2)
        stopped = self.begin()
        for at, position in (("0 2", (0, 3)), ("1 4", (1, 5)), ("", (2, 0))):
            stopped.environment["AT"] = at
            end = stopped.train(2)
            self.assertEqual(stopped.position(), position)
        self.assertEqual(end, whole)

    def test_signals_to_the_workers_too(self) -> None:
        whole = self.begin(WORKERS="2").train(2)
        stopped = self.begin(WORKERS="2", AT="1 1", **self.handshake())

        # The workers die first: the scheduler's signals arrive in any order.
        def send(process: subprocess.Popen[str]) -> None:
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGTERM)
            time.sleep(0.2)
            process.terminate()

        self.kill_when_ready(stopped, 2, send)
        self.assertEqual(stopped.position(), (1, 2))
        stopped.environment.pop("AT")
        self.assertEqual(stopped.train(2), whole)

    def test_workers_that_import_the_script(self) -> None:
        spawned = self.begin(WORKERS="1", METHOD="spawn").train(1)
        self.assertEqual(self.begin(WORKERS="1", METHOD="fork").train(1), spawned)


class Examples(unittest.TestCase):
    def run_example(self, name: str, genotype: dict[str, Any], epochs: int, **environment: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            member = Member(
                Path(folder), [sys.executable, "train.py"], genotype, ROOT / "examples" / name, environment
            )
            member.init()
            member.train(epochs)
            fitness: float = member.evaluate()["fitness"]
            return fitness

    @numpy
    def test_spirals(self) -> None:
        genotype = {"block1": "dense", "block2": "residual", "activation": "relu", "learning_rate": 0.05}
        self.assertGreater(self.run_example("spirals-numpy", genotype, 12), 0.9)

    @torch
    def test_template(self) -> None:
        genotype = {"block1": "identity", "block2": "conv3", "learning_rate": 0.01}
        self.assertGreater(self.run_example("template-pytorch", genotype, 2), 0.8)

    @torch
    @unittest.skipUnless((ROOT / ".deps/data/fashion-mnist").exists(), "needs Fashion-MNIST: scripts/setup data")
    def test_fashion(self) -> None:
        genotype = {"block1": "separable", "block2": "residual", "block3": "conv3", "block4": "identity",
                    "activation": "silu", "dropout": "light", "learning_rate": 0.01, "weight_decay": 0.01}  # fmt: skip
        data = str(ROOT / ".deps/data/fashion-mnist")
        self.assertGreater(self.run_example("fashion-pytorch", genotype, 1, FASHION_MNIST=data, IMAGES="4000"), 0.5)


if __name__ == "__main__":
    unittest.main()
