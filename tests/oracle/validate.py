"""Validates JSON documents: arguments are pairs of a schema and a document (or, if its name ends in .jsonl, documents)."""

import json
import sys
from pathlib import Path

import fastjsonschema

for schema, file in zip(sys.argv[1::2], sys.argv[2::2]):
    validate = fastjsonschema.compile(json.loads(Path(schema).read_text()))
    text = Path(file).read_text()
    documents = text.splitlines() if file.endswith(".jsonl") else [text]
    assert documents, file
    for document in documents:
        try:
            validate(json.loads(document))
        except fastjsonschema.JsonSchemaException as error:
            sys.exit(f"{file} is not what {schema} says: {error}")
