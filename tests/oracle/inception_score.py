"""Inception Scores by NumPy, as the published code computes them: exp of the mean KL of each part's own rows.

Writes OUTPUT (safetensors): CASE/probabilities (64-bit), CASE/parts, CASE/score (mean, standard deviation).
"""

import argparse

import numpy as np
from safetensors.numpy import save_file
from scipy.special import rel_entr, softmax

rng = np.random.default_rng(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="OUTPUT")
    result = {}
    for name, images, classes, parts, sharpness in (
            ("soft", 500, 1008, 10, 1.0), ("sharp", 500, 1008, 10, 8.0), ("uneven", 97, 30, 10, 3.0),
            ("one part", 50, 10, 1, 2.0), ("certain", 60, 12, 5, 1e4), ("nearly uniform", 200, 1008, 10, 1e-3),
            ("one image each", 7, 5, 7, 2.0)):
        p = softmax(sharpness * rng.standard_normal((images, classes)), axis=1)
        scores = []
        for i in range(parts):
            part = p[i * images // parts:(i + 1) * images // parts]
            divergence = rel_entr(part, np.broadcast_to(part.mean(axis=0), part.shape)).sum(axis=1)
            scores.append(np.exp(divergence.mean()))
        result[f"{name}/probabilities"] = p
        result[f"{name}/parts"] = np.array([parts])
        result[f"{name}/score"] = np.array([np.mean(scores), np.std(scores)])
    save_file(result, parser.parse_args().output)


main()
