"""Fréchet distances of Gaussians, by pytorch-fid and by an independent closed form, both in double precision.

Writes OUTPUT (safetensors): for each case CASE/mean1, /covariance1, /mean2, /covariance2, /pytorch_fid and /exact.
Covariances are F F^T, so that tr((C1 C2)^(1/2)) is the sum of the singular values of F1^T F2, exactly also where C1 C2
is singular; pytorch-fid takes SciPy's matrix square root, which then is good to 1e-7 at best, of the covariances'
traces.
"""

import argparse
import contextlib
import io

import numpy as np
from pytorch_fid.fid_score import calculate_frechet_distance
from safetensors.numpy import save_file

rng = np.random.default_rng(1)


def factor(dimension, rank, decay=0.0):
    """F (dimension, rank): that of random samples, with standard deviations that fall off."""
    return np.exp(-decay * np.arange(dimension))[:, None] * rng.standard_normal((dimension, rank)) / max(rank, 1) ** 0.5


def cases():
    """name, F1, F2, distance of the means"""
    for dimension in (64, 128, 256):
        for rank1, rank2 in ((2 * dimension, 3 * dimension), (dimension // 4, dimension // 2), (1, 2 * dimension),
                             (dimension - 1, dimension - 1)):
            yield f"{dimension} of ranks {rank1} and {rank2}", factor(dimension, rank1), factor(dimension, rank2), 0.5
    yield "falling off", factor(192, 400, 0.05), factor(192, 300, 0.06), 0.1
    yield "falling off, singular", factor(192, 50, 0.05), factor(192, 80, 0.06), 0.1
    yield "zero and full", factor(64, 0), factor(64, 200), 1.0
    yield "zero and zero", factor(64, 0), factor(64, 0), 1.0
    near = factor(128, 300)
    yield "nearly the same", near, near + 0.02 * factor(128, 300), 0.0
    near = factor(128, 40)
    yield "nearly the same, singular", near, near @ (np.eye(40) + 0.02 * factor(40, 40)), 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="OUTPUT")
    result = {}
    for name, f1, f2, shift in cases():
        dimension = len(f1)
        mean1, mean2 = rng.standard_normal(dimension), rng.standard_normal(dimension)
        mean2 = mean1 + shift * (mean2 - mean1)
        c1, c2 = f1 @ f1.T, f2 @ f2.T
        root = np.linalg.svd(f1.T @ f2, compute_uv=False).sum() if min(f1.shape[1], f2.shape[1]) else 0.0
        exact = ((mean1 - mean2) ** 2).sum() + (f1 ** 2).sum() + (f2 ** 2).sum() - 2 * root
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                theirs = float(np.real(calculate_frechet_distance(mean1, c1, mean2, c2)))
        except ValueError:  # it finds its own root too inexact ("Imaginary component")
            theirs = np.nan
        for key, value in (("mean1", mean1), ("covariance1", c1), ("mean2", mean2), ("covariance2", c2),
                           ("pytorch_fid", np.array([theirs])), ("exact", np.array([exact]))):
            result[f"{name}/{key}"] = np.ascontiguousarray(value)
    save_file(result, parser.parse_args().output)


main()
