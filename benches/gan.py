"""A GAN of the task `gan` trained in PyTorch: the other side of benches/gan.rs, which calls it.

usage: gan.py CASE      (JSON: the task's settings, genotype, channels, tuned, device)

The networks are those of tests/oracle/gan.py, in PyTorch's own modules. The loop is the usual one: generated images are
detached, AdamW and the moving average as they come. With "tuned", what PyTorch's documentation recommends beyond that.
Reads a number of cycles from a line, answers with the seconds that they took.
"""

import gzip
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/oracle"))
import gan as networks


class Dropout(torch.nn.Dropout):
    """The oracle's takes its numbers from outside, for the comparison of values."""


networks.Dropout = Dropout


def pixels(case):
    """All training images in memory, 8 bits a pixel, padded as pbtnas does."""
    path = Path(case["data"]) / "train-images-idx3-ubyte.gz"
    data = gzip.decompress(path.read_bytes()) if path.exists() else path.with_suffix("").read_bytes()
    images = torch.frombuffer(bytearray(data[16:]), dtype=torch.uint8).reshape(-1, 1, 28, 28)
    side = (case["image_size"] - 28) // 2
    return F.pad(images, [side] * 4)


def main():
    case = json.loads(sys.argv[1])
    device, tuned = torch.device(case["device"]), case["tuned"]
    torch.set_num_threads(case["threads"])
    images = pixels(case)
    gan = networks.Gan(case).to(device)
    if tuned:
        gan = gan.to(memory_format=torch.channels_last)
    average = [parameter.detach().clone() for parameter in gan.generator.parameters()]
    adam = {
        network: torch.optim.AdamW(
            getattr(gan, network).parameters(),
            lr=2e-4,
            betas=(case["beta1"], case["beta2"]),
            eps=case["epsilon"],
            weight_decay=case["weight_decay"],
            fused=True if tuned else None,
        )
        for network in ["generator", "discriminator"]
    }
    order = torch.randperm(len(images))
    position = 0

    def real():
        nonlocal position
        if position + case["batch"] > len(order):
            position = 0
        chosen = order[position : position + case["batch"]]
        position += case["batch"]
        batch = images[chosen].to(device).float().div_(127.5).sub_(1)
        return batch.to(memory_format=torch.channels_last) if tuned else batch

    def latents(count):
        return torch.randn(count, case["latent"], device=device)

    def discriminator_step():
        batch = real()
        if tuned:
            with torch.no_grad():
                fake = gan.generator(latents(case["batch"]))
        else:
            fake = gan.generator(latents(case["batch"])).detach()
        loss = F.relu(1 - gan.discriminator(batch)).mean() + F.relu(1 + gan.discriminator(fake)).mean()
        adam["discriminator"].zero_grad()
        loss.backward()
        adam["discriminator"].step()

    def generator_step():
        gan.discriminator.requires_grad_(not tuned)
        loss = -gan.discriminator(gan.generator(latents(case["generator_batch"]))).mean()
        adam["generator"].zero_grad()
        loss.backward()
        adam["generator"].step()
        gan.discriminator.requires_grad_(True)
        with torch.no_grad():
            parameters = list(gan.generator.parameters())
            if tuned:
                torch._foreach_lerp_(average, parameters, 1 - case["average_decay"])
            else:
                for mean, parameter in zip(average, parameters):
                    mean.mul_(case["average_decay"]).add_(parameter, alpha=1 - case["average_decay"])

    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            for step in range(case["discriminator_steps"]):
                discriminator_step()
                if step == 0:
                    generator_step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
