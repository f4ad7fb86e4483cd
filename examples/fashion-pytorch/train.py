"""A classifier of Fashion-MNIST whose blocks, activation, dropout, learning rate and weight decay are searched.

FASHION_MNIST is the folder with the four IDX files, gzipped or not; IMAGES is the number of images per epoch.
"""

import gzip
import os
from pathlib import Path

import pbtnas
import torch
from torch import nn
from torch.nn import functional as F

WIDTH = 16  # channels, the same everywhere, so that a block's shapes depend only on the block
BATCH = 64
HELD_OUT = 5000  # of the training images, to compare networks during the search


def idx(name: str) -> torch.Tensor:
    """An IDX file of bytes."""
    path = Path(os.environ["FASHION_MNIST"]) / name
    content = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{name}.gz").read_bytes())
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, 4 + 4 * content[3], 4)]
    return torch.frombuffer(bytearray(content[4 + 4 * content[3] :]), dtype=torch.uint8).reshape(shape)


def images(part: str, chosen: slice) -> torch.utils.data.TensorDataset:
    pixels = idx(f"{part}-images-idx3-ubyte")[chosen].unsqueeze(1).float() / 255
    return torch.utils.data.TensorDataset((pixels - 0.286) / 0.353, idx(f"{part}-labels-idx1-ubyte")[chosen].long())


ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


def convolution(size: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, size, padding="same", groups=groups, bias=False)


def normal(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.BatchNorm2d(WIDTH))


class Residual(nn.Module):
    def __init__(self, activation: type) -> None:
        super().__init__()
        self.inner = nn.Sequential(normal(convolution(3)), activation(), normal(convolution(3)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.inner(features)


def block(kind: str, activation: type) -> nn.Module:
    if kind == "identity":
        return nn.Identity()
    layers = {
        "conv3": lambda: normal(convolution(3)),
        "conv5": lambda: normal(convolution(5)),
        "separable": lambda: normal(convolution(5, groups=WIDTH), convolution(1)),
        "residual": lambda: Residual(activation),
    }
    return nn.Sequential(layers[kind](), activation())


class Net(nn.Module):
    def __init__(self, genotype: dict) -> None:
        super().__init__()
        activation = ACTIVATIONS[genotype["activation"]]
        self.stem = nn.Sequential(nn.Conv2d(1, WIDTH, 3, stride=2, padding=1), activation())
        self.block1, self.block2, self.block3, self.block4 = (
            block(genotype[f"block{number}"], activation) for number in (1, 2, 3, 4)
        )
        self.dropout = nn.Dropout({"none": 0.0, "light": 0.1, "heavy": 0.3}[genotype["dropout"]])
        self.head = nn.Linear(WIDTH * 9, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = F.max_pool2d(self.block2(self.block1(self.stem(images))), 2)
        features = F.max_pool2d(self.block4(self.block3(features)), 2)
        return self.head(self.dropout(features.flatten(1)))


@pbtnas.task
def main(job: pbtnas.Job) -> float:
    net = Net(job.genotype).to(job.device)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=job.genotype["learning_rate"], weight_decay=job.genotype["weight_decay"]
    )
    job.restore(net, optimizer)

    if job.action == "train":
        chosen = images("train", slice(int(os.environ["IMAGES"])))
        loader = torch.utils.data.DataLoader(chosen, BATCH, shuffle=True, drop_last=True)
        for _ in job.epochs():
            for pixels, labels in job.batches(loader):
                loss = F.cross_entropy(net(pixels.to(job.device)), labels.to(job.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                job.log(loss=loss.item())

    # The test images are only for final evaluations: the search selects on the others.
    measured = images("t10k", slice(None)) if job.final else images("train", slice(-HELD_OUT, None))
    net.eval()
    right = 0
    with torch.no_grad():
        for pixels, labels in torch.utils.data.DataLoader(measured, 500):
            right += (net(pixels.to(job.device)).argmax(1).cpu() == labels).sum().item()
    return right / len(measured)


main()
