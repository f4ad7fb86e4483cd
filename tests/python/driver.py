"""Runs a script as pbtnas does: writes the requests, starts the actions, reads their files.

To run an example without the Rust program (random architectures, no selection):

    python tests/python/driver.py examples/spirals-numpy [MEMBERS [EPOCHS]]
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Optional

ROOT = Path(__file__).resolve().parents[2]
HELPER = ROOT / "crates/engine/src/python"
PATIENCE = 120


class Failed(Exception):
    """An action failed; the text is its output."""


class Member:
    """A network with its own folder."""

    def __init__(
        self,
        folder: Path,
        command: list[str],
        genotype: dict[str, Any],
        directory: Path,
        environment: Optional[dict[str, str]] = None,
        snapshot_seconds: float = 600,
        seed: int = 1,
    ) -> None:
        self.folder, self.command, self.genotype, self.directory = folder, command, genotype, directory
        self.environment, self.snapshot_seconds, self.seed = environment or {}, snapshot_seconds, seed
        self.checkpoint: Optional[Path] = None
        self.printed = ""
        folder.mkdir(parents=True, exist_ok=True)

    def init(self) -> bytes:
        self._run("init", output="init.safetensors")
        self.checkpoint = self.folder / "init.safetensors"
        return self.checkpoint.read_bytes()

    def train(
        self,
        until: int,
        stop: Optional[Callable[[dict[str, Any]], bool]] = None,
        interrupt: Optional[Callable[[subprocess.Popen[str]], None]] = None,
    ) -> bytes:
        """Trains from the present checkpoint. At the first progress line for which `stop` is true, `interrupt` is
        called (default: SIGTERM to the process)."""
        name = f"until{until}.safetensors"
        self._run("train", output=name, until=until, stop=stop, interrupt=interrupt or (lambda p: p.terminate()))
        self.checkpoint = self.folder / name
        return self.checkpoint.read_bytes()

    def evaluate(self, samples: Optional[int] = None) -> dict[str, Any]:
        self._run("evaluate", result="result.json", samples=samples)
        result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return result

    def position(self) -> tuple[int, int]:
        """Epoch and step of the current checkpoint."""
        if self.checkpoint is None:
            return 0, 0
        metadata = header(self.checkpoint.read_bytes())["__metadata__"]
        return int(metadata["epoch"]), int(metadata["step"])

    def progress(self) -> list[dict[str, Any]]:
        path = self.folder / "progress.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def request(self, action: str, **given: Any) -> dict[str, Any]:
        def path(name: Optional[str]) -> Optional[str]:
            return str(self.folder / name) if name else None

        epoch, step = (0, 0) if action == "init" else self.position()
        return {
            "contract": 1,
            "action": action,
            "genotype": self.genotype,
            "seed": self.seed,
            "device": "cpu",
            "threads": 1,
            "checkpoint": None if action == "init" else str(self.checkpoint),
            "output": path(given.get("output")),
            "snapshot": path("snapshot.safetensors") if action == "train" else None,
            "result": path(given.get("result")),
            "progress": path("progress.jsonl"),
            "epoch": epoch,
            "step": step,
            "until": given.get("until"),
            "snapshot_seconds": self.snapshot_seconds,
            "samples": given.get("samples"),
            "metadata": {"format": "1", "genotype": json.dumps(self.genotype, separators=(",", ":"))},
            "member": {"run": "7b3ceabf", "generation": 0, "id": 3},
        }

    def _run(
        self,
        action: str,
        stop: Optional[Callable[[dict[str, Any]], bool]] = None,
        interrupt: Optional[Callable[[subprocess.Popen[str]], None]] = None,
        **given: Any,
    ) -> None:
        request = self.folder / "request.json"
        request.write_text(json.dumps(self.request(action, **given)))
        (self.folder / "progress.jsonl").unlink(missing_ok=True)
        environment = {
            **os.environ,
            **self.environment,
            "PYTHONPATH": os.pathsep.join([str(HELPER), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "PBTNAS_ACTION": action,
            "PBTNAS_REQUEST": str(request),
            "PBTNAS_CONTRACT": "1",
        }
        with open(self.folder / "printed", "w+", encoding="utf-8") as printed:
            process = subprocess.Popen(
                self.command, cwd=self.directory, env=environment, stdout=printed, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, text=True, start_new_session=True,
            )  # fmt: skip
            try:
                if stop is not None and interrupt is not None:
                    while process.poll() is None and not any(stop(line) for line in self.progress()):
                        time.sleep(0.01)
                    if process.poll() is None:
                        interrupt(process)
                code = process.wait(PATIENCE)
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            printed.seek(0)
            self.printed = printed.read()
        if code:
            raise Failed(f"{action} ended with {code}: {self.printed}")


def header(checkpoint: bytes) -> dict[str, Any]:
    """The header of a safetensors file."""
    length = int.from_bytes(checkpoint[:8], "little")
    entries: dict[str, Any] = json.loads(checkpoint[8 : 8 + length])
    return entries


def draw(variables: list[dict[str, Any]], forbidden: list[dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    """A random architecture of the space in a search.toml."""
    while True:
        genotype: dict[str, Any] = {}
        for variable in variables:
            if "options" in variable:
                genotype[variable["name"]] = rng.choice(variable["options"])
                continue
            span = variable["range"]
            log = span.get("scale") == "log"
            low, high = span["low"], span["high"]
            value = low * (high / low) ** rng.random() if log else low + (high - low) * rng.random()
            genotype[variable["name"]] = round(value) if span.get("integer") else value
        rules = [{name: [v] if isinstance(v, str) else v for name, v in rule.items()} for rule in forbidden]
        if not any(all(genotype[name] in values for name, values in rule.items()) for rule in rules):
            return genotype


def main() -> None:
    import tempfile
    import tomllib

    folder = Path(sys.argv[1]).resolve()
    members = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    config = tomllib.loads((folder / "search.toml").read_text())
    epochs = int(sys.argv[3]) if len(sys.argv) > 3 else config["search"]["epochs"]
    section = config["command"]
    environment = {
        name: str((folder / value).resolve()) if value.startswith("..") else value
        for name, value in section.get("environment", {}).items()
    }
    command = [sys.executable if part == "python3" else part for part in section["command"]]
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(members):
            genotype = draw(section["variables"], section.get("forbid", []), rng)
            member = Member(Path(scratch) / str(index), command, genotype, folder, environment, seed=index)
            times = [time.monotonic()]
            member.init()
            times.append(time.monotonic())
            member.train(epochs)
            times.append(time.monotonic())
            result = member.evaluate()
            times.append(time.monotonic())
            member.evaluate(samples=10000)
            spent = ", ".join(f"{b - a:.1f}" for a, b in zip(times, times[1:]))
            size = member.checkpoint.stat().st_size if member.checkpoint else 0
            print(f"{genotype}: {result}; init, train, evaluate took {spent} s; {size} bytes", flush=True)


if __name__ == "__main__":
    main()
