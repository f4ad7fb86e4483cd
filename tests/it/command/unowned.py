"""A network whose head depends on the width of its body, which does not own it."""

import numpy as np
import pbtnas


@pbtnas.task
def main(job: pbtnas.Job) -> float:
    width = int(job.genotype["width"])
    net = {"body": np.random.standard_normal((3, width)), "head": np.random.standard_normal((width, 2))}
    job.restore(net)
    for _ in job.epochs():
        pass
    return width


main()
