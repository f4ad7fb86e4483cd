"""An independent PyTorch version of AdversarialNAS' supernet, to compare with (crates/torch/src/gan/training/supernet_tests.rs calls it).

usage: supernet.py FOLDER...

Each folder holds case.json (sizes, optimisers) and inputs.safetensors; outputs.safetensors is written. Options are the
modules of gan.py; weights come from torch.nn.functional.gumbel_softmax, whose random numbers are given.
"""

import json
import math
import sys
from pathlib import Path
from unittest import mock

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.nn.utils import spectral_norm

sys.path.insert(0, str(Path(__file__).resolve().parent))
import gan

EDGES = ["none", "skip", "conv_1x1", "conv_3x3", "conv_5x5", "dilated_3x3", "dilated_5x5"]
UPS = ["nearest", "bilinear", "transposed"]
DOWNS = ["average", "max", "conv_3x3", "conv_5x5", "dilated_3x3", "dilated_5x5"]


class Draws:
    """The temperature, and the Gumbel numbers of all edges in the order in which they are passed."""

    temperature = 1.0
    gumbel = None


def weigh(alpha):
    # gumbel_softmax takes the negative logarithm of exponential numbers.
    exponential = torch.exp(-next(Draws.gumbel).to(alpha.dtype))
    with mock.patch.object(torch.Tensor, "exponential_", lambda _: exponential):
        return F.gumbel_softmax(F.softmax(alpha, dim=-1), tau=Draws.temperature, hard=False, dim=-1)


class Mixed(nn.Module):
    def __init__(self, options, make):
        super().__init__()
        self.options = options
        self.alpha = nn.Parameter(1e-3 * torch.randn(len(options)))
        for option in options:
            self.add_module(option, make(option))

    def forward(self, x):
        weights = weigh(self.alpha)
        outputs = [getattr(self, option)(x) for option in self.options if option != "none"]
        if "none" in self.options:
            outputs.insert(self.options.index("none"), torch.zeros_like(outputs[0]))
        return sum(weight * output for weight, output in zip(weights, outputs))


class Down(nn.Module):
    def __init__(self, option, width):
        super().__init__()
        self.option = option
        if option in gan.KERNELS:
            self.conv = spectral_norm(gan.convolution(option, width, width, stride=2))

    def forward(self, x):
        if self.option in gan.KERNELS:
            return self.conv(F.relu(x))
        return (F.avg_pool2d if self.option == "average" else F.max_pool2d)(x, 2)


class GeneratorCell(nn.Module):
    def __init__(self, number, width):
        super().__init__()
        for i in range(2):
            setattr(self, f"up{i}", Mixed(UPS, lambda option: gan.Upsample(option, width)))
        for i in range(5):
            setattr(self, f"c{i}", Mixed(EDGES, lambda option: gan.Edge(option, width, width)))
        for i in range(1, number):
            setattr(self, f"skip{i}", nn.Conv2d(width, width, 1))
        self.mode = "bilinear" if number == 2 else "nearest"

    def forward(self, x, earlier):
        node0 = self.up0(x)
        node1 = self.up1(x)
        node2 = self.c0(node0)
        node2 = node2 + self.c1(node1)
        for i, other in enumerate(earlier, 1):
            other = F.interpolate(other, size=node2.shape[2:], mode=self.mode)
            node2 = node2 + getattr(self, f"skip{i}")(other)
        node3 = self.c2(node0)
        node3 = node3 + self.c3(node1)
        return node2, node3 + self.c4(node2)


class Generator(gan.Generator):
    def __init__(self, case):
        nn.Module.__init__(self)
        width = case["generator_width"]
        self.count = case["projections"]
        for i in range(self.count):
            setattr(self, f"projection{i + 1}", gan.Projection(case, i, {}))
        for i in range(3):
            setattr(self, f"cell{i + 1}", GeneratorCell(i + 1, width))
        self.norm = nn.BatchNorm2d(width)
        self.to_image = nn.Conv2d(width, case["channels"], 3, 1, 1)


class DiscriminatorCell(nn.Module):
    def __init__(self, number, channels, width):
        super().__init__()
        for i in range(5):
            on_image = number == 1 and i < 3
            inputs = channels if on_image else width
            make = lambda option: gan.Edge(option, inputs, width, spectral_norm, not on_image)
            setattr(self, f"c{i}", Mixed(EDGES[2:] if on_image else EDGES, make))
        for i in range(2):
            setattr(self, f"down{i}", Mixed(DOWNS, lambda option: Down(option, width)))

    def forward(self, x):
        node0 = self.c0(x)
        node1 = self.c1(x)
        node1 = node1 + self.c3(node0)
        node2 = self.c2(x)
        node2 = node2 + self.c4(node0)
        half = self.down0(node1)
        return half + self.down1(node2)


class Discriminator(nn.Module):
    def __init__(self, case):
        super().__init__()
        width = case["discriminator_width"]
        for i in range(1, 5):
            setattr(self, f"cell{i}", DiscriminatorCell(i, case["channels"] if i == 1 else width, width))
        self.linear = spectral_norm(nn.Linear(width, 1, bias=False))

    def forward(self, x):
        for i in range(1, 5):
            x = getattr(self, f"cell{i}")(x)
        return self.linear(F.relu(x).sum((2, 3)))


class Supernet(gan.Gan):
    def __init__(self, case):
        nn.Module.__init__(self)
        self.generator = Generator(case)
        self.discriminator = Discriminator(case)

    def names(self):
        for name, tensor in super().names():
            if name.endswith("/alpha"):
                network, rest = name.removesuffix("/alpha").split("/", 1)
                name = f"{network}_architecture/{rest}"
            yield name, tensor

    def parameters_of(self, network):
        return [tensor for name, tensor in self.names() if name.startswith(f"{network}/") and tensor.requires_grad]


def forward_backward(case, inputs):
    net = Supernet(case).double()
    net.load(gan.part(inputs, "model/"))
    Draws.temperature, Draws.gumbel = case["temperature"], gan.numbers(inputs, "gumbel/")
    images = net.generator(inputs["latents"])
    scores = net.discriminator(images)
    loss = (images * inputs["image_weights"]).sum() + (scores * inputs["score_weights"]).sum()
    trained = {name: tensor for name, tensor in net.names() if tensor.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values()))
    outputs = {"images": images, "scores": scores}
    outputs |= {f"gradient/{name}": gradient for name, gradient in zip(trained, gradients)}
    return outputs | {f"after/{name}": tensor for name, tensor in net.names()}


def training(case, inputs):
    """In double precision."""
    inputs = {name: tensor.double() for name, tensor in inputs.items()}
    net = Supernet(case).double()
    net.load(gan.part(inputs, "model/"))
    average = {name: tensor.detach().clone() for name, tensor in net.generator.named_parameters() if "alpha" not in name}
    settings = case["supernet"]
    weights = {
        network: torch.optim.AdamW(
            net.parameters_of(network),
            lr=case["learning_rate"],
            betas=(case["beta1"], case["beta2"]),
            eps=case["epsilon"],
            weight_decay=case["weight_decay"],
        )
        for network in ["generator", "discriminator"]
    }
    architecture = {
        network: torch.optim.Adam(
            net.parameters_of(f"{network}_architecture"),
            lr=settings["learning_rate"],
            betas=(settings["beta1"], settings["beta2"]),
            weight_decay=settings["weight_decay"],
        )
        for network in ["generator", "discriminator"]
    }

    def learn(optimizer, loss):
        net.zero_grad()
        loss.backward()
        optimizer.step()

    half = case["batch"] // 2
    for index in range(case["steps"]):
        Draws.temperature = case["temperatures"][index]
        Draws.gumbel = gan.numbers(inputs, f"{index}/gumbel/")
        latents = gan.numbers(inputs, f"{index}/latents/")
        real = inputs[f"{index}/real"]

        def discriminator_loss(real):
            fake = net.generator(next(latents)).detach()
            on_real = net.discriminator(real)
            return F.relu(1 - on_real).mean() + F.relu(1 + net.discriminator(fake)).mean()

        def generator_loss():
            return -net.discriminator(net.generator(next(latents))).mean()

        learn(architecture["discriminator"], discriminator_loss(real[half:]))
        learn(weights["discriminator"], discriminator_loss(real[:half]))
        if index % case["discriminator_steps"] == 0:
            learn(architecture["generator"], generator_loss())
            learn(weights["generator"], generator_loss())
            for name, tensor in net.generator.named_parameters():
                if name in average:
                    average[name].lerp_(tensor.detach(), 1 - case["average_decay"])
    outputs = {f"model/{name}": tensor for name, tensor in net.names()}
    return outputs | {f"average/generator/{name.replace('.', '/')}": tensor for name, tensor in average.items()}


def temperatures(case, inputs):
    first, last, epochs = case["first"], case["last"], case["epochs"]
    decay = math.log(first / last) / epochs
    values = [max(last, first * math.exp(-decay * epoch)) for epoch in range(epochs + 3)]
    return {"temperatures": torch.tensor(values, dtype=torch.float64)}


def derivations(case, inputs):
    """For each set of parameters (n, 3 cells, 5 edges, 7 options) and (n, 3, 2, 3): the options' numbers (n, 3, 7)."""
    edges, ups = F.softmax(inputs["edges"], dim=-1), F.softmax(inputs["ups"], dim=-1)
    genotypes = torch.zeros(len(edges), 3, 7, dtype=torch.int64)
    for n in range(len(edges)):
        for cell in range(3):
            chosen = edges[n, cell].argmax(-1)
            for into in [[0, 1], [2, 3, 4]]:
                if all(chosen[edge] == 0 for edge in into):
                    edge = min(into, key=lambda edge: edges[n, cell, edge, 0])
                    chosen[edge] = edges[n, cell, edge, 1:].argmax() + 1
            genotypes[n, cell] = torch.cat([ups[n, cell].argmax(-1), chosen])
    return {"genotypes": genotypes, "edges": edges, "ups": ups}


def main():
    torch.set_num_threads(1)
    kinds = {"forward": forward_backward, "training": training, "temperatures": temperatures, "derivations": derivations}
    for folder in map(Path, sys.argv[1:]):
        case = json.loads((folder / "case.json").read_text())
        path = folder / "inputs.safetensors"
        outputs = kinds[case["kind"]](case, load_file(path) if path.exists() else {})
        save_file(
            {name: tensor.detach().clone().contiguous() for name, tensor in outputs.items()},
            folder / "outputs.safetensors",
        )


if __name__ == "__main__":
    main()
