"""Trains one network of the search. pbtnas starts this script for each network; search.toml has the search space."""

import pbtnas
import torch
from torch import nn
from torch.nn import functional as F

WIDTH = 16  # the same for all: a tensor's shape may depend only on the variable that owns the tensor
EPOCH_STEPS, BATCH = 50, 64


def data(count: int, seed: int) -> torch.utils.data.TensorDataset:
    """Replace with yours. Here: noisy 12x12 images of a bar, a cross, a frame or a disc, somewhere in the image."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=random)
    center = torch.rand(count, 2, 1, 1, generator=random) * 5 + 3
    place = torch.arange(12.0)
    y, x = (place.view(1, 12, 1) - center[:, 0]).abs(), (place.view(1, 1, 12) - center[:, 1]).abs()
    bar, cross = (x < 1) & (y < 3.5), ((x < 1) | (y < 1)) & (x < 3.5) & (y < 3.5)
    frame, disc = (torch.maximum(x, y) - 3).abs() < 0.6, x * x + y * y < 9
    shapes = torch.stack([bar, cross, frame, disc], 1)[torch.arange(count), labels].float()
    images = shapes + 0.5 * torch.randn(count, 12, 12, generator=random)
    return torch.utils.data.TensorDataset(images.unsqueeze(1), labels)


def block(kind: str) -> nn.Module:
    """A layer by its name in search.toml. All have WIDTH input and output channels, so they can be combined in any order."""
    if kind == "identity":
        return nn.Identity()
    size = {"conv3": 3, "conv5": 5}[kind]
    return nn.Sequential(nn.Conv2d(WIDTH, WIDTH, size, padding="same"), nn.BatchNorm2d(WIDTH), nn.ReLU())


class Net(nn.Module):
    def __init__(self, genotype: dict) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTH, 3, padding="same")
        self.block1 = block(genotype["block1"])  # its weights' names begin with block1. : see `owns` in search.toml
        self.block2 = block(genotype["block2"])
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = F.max_pool2d(self.block1(F.relu(self.stem(images))), 2)
        return self.head(self.block2(features).amax((2, 3)))


@pbtnas.task
def main(job: pbtnas.Job) -> dict:
    # 1. Build everything from the genotype. The helper has seeded all random numbers.
    net = Net(job.genotype).to(job.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=job.genotype["learning_rate"])

    # 2. Load the weights and the optimizer's state. (In the action `init` the script saves them and ends here.)
    job.restore(net, optimizer)

    # 3. Train. The helper saves, stops and resumes in the middle of an epoch.
    loader = torch.utils.data.DataLoader(data(EPOCH_STEPS * BATCH, seed=1), BATCH, shuffle=True)
    for epoch in job.epochs():
        net.train()
        for images, labels in job.batches(loader):
            loss = F.cross_entropy(net(images.to(job.device)), labels.to(job.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            job.log(loss=loss.item())

    # 4. Only the action `evaluate` gets here. Higher is better. A final evaluation uses other data.
    images, labels = data(2000, seed=3 if job.final else 2).tensors
    net.eval()
    with torch.no_grad():
        logits = net(images.to(job.device)).cpu()
    accuracy = (logits.argmax(1) == labels).float().mean()
    return {"fitness": accuracy, "loss": F.cross_entropy(logits, labels)}


main()
