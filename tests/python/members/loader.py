"""A member in PyTorch with shuffling, augmentation and dropout; WORKERS load the data."""

import os
import random
import signal
import time
from pathlib import Path

import pbtnas
import torch
from torch import nn


class Data(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int):
        return torch.full((6,), float(index)) / 40 + torch.randn(6) * 0.1 + random.random(), index % 3


@pbtnas.task
def main(job: pbtnas.Job):
    net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(net.parameters(), lr=job.genotype["learning_rate"], amsgrad=True)
    average = nn.Sequential(*(type(layer)(*size) for layer, size in zip(net[:2], ((6, 16), (16,)))))
    average.load_state_dict(net[:2].state_dict())
    job.restore(net, optimizer, average)
    workers = int(os.environ.get("WORKERS", "0"))
    method = os.environ.get("METHOD") if workers else None
    loader = torch.utils.data.DataLoader(
        Data(), 8, shuffle=True, num_workers=workers, multiprocessing_context=method
    )
    for epoch in job.epochs():
        for inputs, labels in job.batches(loader):
            if os.environ.get("AT") == f"{epoch} {job.step}":
                if "READY" in os.environ:
                    Path(os.environ["READY"]).touch()
                    while not Path(os.environ["SENT"]).exists():
                        time.sleep(0.01)
                else:
                    os.kill(os.getpid(), signal.SIGTERM)
            loss = nn.functional.cross_entropy(net(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for mean, tensor in zip(average.parameters(), net[:2].parameters()):
                    mean.lerp_(tensor, 0.1)
    return 1.0


main()
