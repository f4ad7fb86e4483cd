"""A member in NumPy that performs DO at AT, which is a place, an epoch and a step."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pbtnas

PID = os.getpid()


def at(*place: object) -> None:
    if os.environ.get("AT") != " ".join(map(str, place)):
        return
    for what in os.environ["DO"].split():
        if what == "fail":
            raise RuntimeError("the loader's worker is gone")
        elif what == "wait":  # for the test, which signals this process
            Path(os.environ["READY"]).touch()
            while not Path(os.environ["SENT"]).exists():
                time.sleep(0.01)
        elif what == "child":  # only a forked worker gets the signal
            child = os.fork()
            if not child:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
                os._exit(0)
            print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        else:
            os.kill(PID, getattr(signal, what))


class Items:
    """An iterable with state, whose order and content are random."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 5

    def __iter__(self):
        for step, item in enumerate(np.random.permutation(5)):
            at("fetch", self.epoch, step)
            yield item + random.random()


@pbtnas.task
def main(job: pbtnas.Job):
    arrays = {"w": np.random.standard_normal(4), "count": np.zeros((), np.int64)}
    momentum = {"w": np.zeros(4)}
    at("start", job.action)
    job.restore(arrays, {"net": {"momentum": momentum}})
    at("restored", job.action)
    loop = os.environ.get("LOOP", "batches")
    try:
        for epoch in job.epochs():
            at("epoch", epoch)

            def work(step: int, item: float) -> None:
                at("step", epoch, step)
                momentum["w"] *= 0.9
                momentum["w"] += np.random.standard_normal(4) * item + random.random()
                arrays["w"] -= job.genotype["learning_rate"] * momentum["w"]
                arrays["count"] += 1

            if loop == "batches":
                for item in job.batches(Items(epoch)):
                    work(job.step, item)
                    job.log(item=item, bad=float("nan"))
            elif loop == "own":
                order = np.random.permutation(5)
                job.checkpoint(job.step, 5)
                for step in range(job.step, 5):
                    work(step, order[step])
                    job.checkpoint(step + 1, 5)
            else:
                work(0, 1.0)
            at("end", epoch)
    except Exception as error:
        print("swallowed", error)
        raise
    return {"fitness": arrays["count"], "final": job.final, "bad": float("inf")}


main()
print("after main")
