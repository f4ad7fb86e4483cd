"""The synthetic task without noise, once more: the same tensors, the same arithmetic, the same fitness.

STEP_SECONDS makes a step slow, EVALUATION_SECONDS an evaluation without training. PIDS is a folder in which each process leaves a file of its number.
"""

import os
import time

import numpy as np
import pbtnas

STEPS = 5
single = np.float32


def option(job: pbtnas.Job, name: str) -> int:
    return int(job.genotype[name][1:])


@pbtnas.task
def main(job: pbtnas.Job) -> dict:
    if "PIDS" in os.environ:
        open(os.path.join(os.environ["PIDS"], str(os.getpid())), "w").close()
    layers = sorted(name for name in job.genotype if name.startswith("layer"))
    net = {"head": np.zeros(3, single)}
    for name in layers:
        net[f"{name}/weight"] = np.zeros((option(job, name) + 1, 3), single)
        net[f"{name}/steps"] = np.zeros((), np.int64)
    weights = {name: value for name, value in net.items() if value.dtype == single}
    average = {name: value.copy() for name, value in weights.items()}
    moment = {name: value.copy() for name, value in weights.items()}
    job.restore({"net": net}, {"net": {"exp_avg": moment}}, {"net": average})

    rate = single(job.genotype["rate"])
    for _ in job.epochs():
        for _ in job.batches(range(STEPS)):
            time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
            for name in weights:
                moment[name][...] = single(0.9) * moment[name] + single(0.1) * (single(1) - weights[name])
                weights[name] += rate * moment[name]
                average[name] += single(0.01) * (weights[name] - average[name])
            for name in layers:
                net[f"{name}/steps"] += 1

    if job.action == "evaluate":
        time.sleep(float(os.environ.get("EVALUATION_SECONDS", "0")))
    quality = sum(option(job, name) for name in [*layers, "activation"])
    distance, count = 0.0, 0
    for value in average.values():
        for element in value.ravel():
            distance += abs(float(element - single(1)))
            count += 1
    return {"fitness": quality - distance / count, "quality": quality}


main()
