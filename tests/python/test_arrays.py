"""Saves and restores NumPy arrays, in this process."""

from __future__ import annotations

import json
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from driver import HELPER, Member, header

sys.path.insert(0, str(HELPER))
import pbtnas  # noqa: E402

try:
    import numpy as np
except ImportError:
    raise unittest.SkipTest("needs NumPy") from None


class Arrays(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def member(self) -> Member:
        member = Member(self.folder, [], {}, self.folder)
        member.checkpoint = self.folder / "init"
        return member

    def init(self, *what: Any) -> bytes:
        with self.assertRaises(pbtnas._End):
            pbtnas.Job(self.member().request("init", output="init")).restore(*what)
        return (self.folder / "init").read_bytes()

    def restore(self, *what: Any) -> pbtnas.Job:
        job = pbtnas.Job(self.member().request("train", output="unused", until=1))
        job.restore(*what)
        return job

    def test_every_type(self) -> None:
        random = np.random.default_rng(1)
        for dtype in [name for name in pbtnas._TYPES if not name.startswith(("float8", "bfloat"))]:
            with self.subTest(dtype):
                values = random.integers(0, 2, (3, 4)).astype(dtype)
                arrays = {"all": values.copy(), "turned": values.T, "scalar": np.array(values[0, 0]), "none": values[:0]}
                self.init(arrays)
                fresh = {name: np.ones_like(array) for name, array in arrays.items()}
                self.restore(fresh)
                for name, array in arrays.items():
                    self.assertEqual((fresh[name].dtype, fresh[name].shape), (array.dtype, array.shape))
                    np.testing.assert_array_equal(fresh[name], array)

    def test_optimizers(self) -> None:
        net, state = {"w": np.ones(2)}, {"net": {"momentum": {"w": np.full(2, 3.0)}}}
        self.assertIn("optimizer/net/momentum/w", header(self.init(net, state)))
        fresh = {"net": {"momentum": {"w": np.zeros(2)}, "unknown": {"w": np.full(2, 5.0)}}}
        self.restore(net, fresh)
        np.testing.assert_array_equal(fresh["net"]["momentum"]["w"], [3, 3])
        np.testing.assert_array_equal(fresh["net"]["unknown"]["w"], [5, 5])
        with self.assertRaisesRegex(pbtnas.Error, "momentum has an array 'v', but network 'net' does not"):
            self.init(net, {"net": {"momentum": {"v": np.zeros(2)}}})

    def test_errors(self) -> None:
        for value, message in (
            (np.zeros(1, ">f4"), ">f4"),
            (np.zeros(1, complex), "complex128"),
            (np.array(["a"]), "<U1"),
            ([1.0], "it is a list, not a tensor"),
        ):
            with self.assertRaisesRegex(pbtnas.Error, f"model/net/a cannot be stored.*{message}"):
                self.init({"net": {"a": value}})
        self.init({"a": np.zeros(3)})
        with self.assertRaisesRegex(pbtnas.Error, r"model/net/a is F64 \[3\] .* F64 \[4\] in the script.*owns"):
            self.restore({"a": np.zeros(4)})
        content = (self.folder / "init").read_bytes()
        (self.folder / "init").write_bytes(content[:-1])
        with self.assertRaisesRegex(pbtnas.Error, "it ends within model/net/a"):
            self.restore({"a": np.zeros(3)})

    def test_another_contract(self) -> None:
        request = {**self.member().request("init", output="init"), "contract": 2}
        with self.assertRaisesRegex(pbtnas.Error, "contract 2, but this helper uses 1"):
            pbtnas._run(lambda job: 1.0, request)

    def test_returned_values(self) -> None:
        path = self.folder / "result.json"
        for returned, expected in (
            (float("nan"), {"fitness": None, "metrics": {}}),
            (np.float32(0.5), {"fitness": 0.5, "metrics": {}}),
            (True, {"fitness": 1.0, "metrics": {}}),
            ({"fitness": 1, "loss": -float("inf"), "error": np.array(2)}, {"fitness": 1.0, "metrics": {"error": 2.0}}),
        ):
            pbtnas._write_result(str(path), returned)
            self.assertEqual(json.loads(path.read_text()), expected)
        path.unlink()
        for returned in (None, "0.5", {"loss": 1}, np.zeros(2), {"fitness": None}, (1, 2)):
            with self.assertRaisesRegex(pbtnas.Error, "(the returned .* must be a number|a dict without 'fitness')"):
                pbtnas._write_result(str(path), returned)
            self.assertFalse(path.exists())


if __name__ == "__main__":
    unittest.main()
