"""pytorch-fid: the other side of benches/fid.rs, which calls it.

usage: fid.py FOLDER IMAGES THREADS DEVICE

Writes to FOLDER: inception.safetensors (the network, with random weights), images.bin (8-bit images 3 x 32 x 32) and the same
images as PNG files. For a line it takes the statistics of the PNG files as pytorch-fid does, and the distance from the
statistics that pbtnas has left in features.safetensors; it answers with seconds for either, and the distance.
"""

import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from pytorch_fid import fid_score, inception
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/oracle"))
from inception import random_network, smooth


def main():
    folder, count, threads, device = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(threads)
    network = random_network()
    state = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    save_file(state, folder / "inception.safetensors")
    images = torch.cat([smooth(min(500, count - start), 32) for start in range(0, count, 500)])
    (folder / "images.bin").write_bytes(images.numpy().tobytes())
    files = []
    for number, image in enumerate(images):
        files.append(folder / f"{number}.png")
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(files[-1])
    with mock.patch.object(inception, "fid_inception_v3", return_value=network):
        model = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).to(device)
    print("ready", flush=True)
    for _ in sys.stdin:
        real = load_file(folder / "features.safetensors")
        real = [real[f"statistics/{name}"].numpy() for name in ["mean", "covariance"]]
        began = time.perf_counter()
        # Its progress bar goes to the standard error.
        activations = fid_score.get_activations(files, model, 50, 2048, device, 1)
        middle = time.perf_counter()
        mean, covariance = activations.mean(axis=0), np.cov(activations, rowvar=False)
        distance = fid_score.calculate_frechet_distance(*real, mean, covariance)
        print(middle - began, time.perf_counter() - middle, distance, flush=True)


if __name__ == "__main__":
    main()
