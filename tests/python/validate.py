"""Validates recorded requests and results against docs/command-task.schema.json.

    validate.py [REQUEST...]

REQUEST: additional documents, e.g. of the Rust program.
"""

import copy
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable

import fastjsonschema  # type: ignore[import-untyped]
from driver import ROOT, Member

schema = json.loads((ROOT / "docs/command-task.schema.json").read_text())


def validator(kind: str) -> Callable[[Any], Any]:
    compiled: Callable[[Any], Any] = fastjsonschema.compile(
        {"definitions": schema["definitions"], "$ref": f"#/definitions/{kind}"}
    )
    return compiled


request, result, progress = validator("request"), validator("result"), validator("progress")


def refused(validate: Callable[[Any], Any], document: Any) -> None:
    try:
        validate(document)
    except fastjsonschema.JsonSchemaException:
        return
    sys.exit(f"the schema accepts {json.dumps(document)}")


def main() -> None:
    for path in sys.argv[1:]:
        request(json.loads(Path(path).read_text()))
    genotype = {"block1": "dense", "block2": "none", "activation": "tanh", "learning_rate": 0.05}
    with tempfile.TemporaryDirectory() as folder:
        member = Member(Path(folder), [sys.executable, "train.py"], genotype, ROOT / "examples/spirals-numpy")
        for action in (member.init, lambda: member.train(2), member.evaluate, lambda: member.evaluate(100)):
            action()
            document = json.loads((member.folder / "request.json").read_text())
            request(document)
            lines = member.progress()
            if document["action"] == "train" and not lines:
                sys.exit("train has reported nothing")
            for line in lines:
                progress(line)
            for key in document:
                broken = copy.deepcopy(document)
                del broken[key]
                refused(request, broken)
            refused(request, {**document, "seed": 2**32})
            refused(request, {**document, "result": None, "output": None})
        result(json.loads((member.folder / "result.json").read_text()))
    result({"fitness": None})
    refused(result, {"metrics": {}})
    refused(result, {"fitness": "0.5"})
    refused(progress, {"epoch": -1})
    print("the schema fits")


if __name__ == "__main__":
    main()
