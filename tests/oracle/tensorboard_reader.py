"""Reads event files with TensorBoard's own reader, and prints what is in them as JSON.

For each run below the folder: scalars {tag: [[step, value], ...]}, texts {tag: [[step, text], ...]} and images {tag:
[[step, width, height], ...]}.
"""

import json
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

everything = {"scalars": 0, "tensors": 0, "images": 0, "compressedHistograms": 0, "histograms": 0, "audio": 0}
runs = {}
for folder in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
    events = EventAccumulator(str(folder), size_guidance=everything)
    events.Reload()
    tags = events.Tags()
    runs[folder.name] = {
        "scalars": {tag: [[one.step, one.value] for one in events.Scalars(tag)] for tag in tags["scalars"]},
        "texts": {
            tag: [[one.step, one.tensor_proto.string_val[0].decode()] for one in events.Tensors(tag)]
            for tag in tags["tensors"]
        },
        "images": {tag: [[one.step, one.width, one.height] for one in events.Images(tag)] for tag in tags["images"]},
    }
json.dump(runs, sys.stdout)
