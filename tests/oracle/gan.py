"""An independent PyTorch version of the GANs, to compare with (crates/torch/src/gan/training/parity_tests.rs calls it).

usage: gan.py FOLDER...

Each folder holds case.json (sizes, genotype, optimiser) and inputs.safetensors; outputs.safetensors is written.
Written from the description of the architectures with PyTorch's own modules: nn.Conv2d, nn.BatchNorm2d,
torch.nn.utils.spectral_norm, torch.optim.AdamW.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.nn.utils import spectral_norm

KERNELS = {
    "conv_1x1": (1, 1),
    "conv_3x3": (3, 1),
    "conv_5x5": (5, 1),
    "dilated_3x3": (3, 2),
    "dilated_5x5": (5, 2),
}


def convolution(option, inputs, outputs, stride=1):
    kernel, dilation = KERNELS[option]
    return nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation)


def xavier(module):
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
    if isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Dropout(nn.Module):
    """Dropout whose random numbers are given."""

    numbers = None  # an iterator, set for each pass

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if self.p == 0 or not self.training:
            return x
        return x * (next(Dropout.numbers) >= self.p).to(x.dtype) / (1 - self.p)


class Projection(nn.Module):
    def __init__(self, case, cell, genotype):
        super().__init__()
        hard = case["space"] == "gan-hard"
        count = 3 if hard else case["projections"]
        name = f"generator/projection{cell + 1}"
        what = genotype.get(f"{name}/linear", "third_target")
        reads, makes = what.split("_")
        latent, bottom = case["latent"], case["bottom_width"]
        self.target = bottom * 2**cell
        self.side = {"bottom": bottom, "previous": max(self.target // 2, 1), "target": self.target}[makes]
        third = latent // count
        self.columns = slice(0, latent) if reads == "whole" else slice(cell * third, (cell + 1) * third)
        self.width = case["generator_width"]
        self.linear = nn.Linear(latent if reads == "whole" else third, self.width * self.side**2)
        self.mode = genotype.get(f"{name}/upsampling", "nearest")
        self.dropout = Dropout(float(genotype.get(f"{name}/dropout", "0")))
        self.enabled = genotype.get(f"{name}/enabled", "yes") == "yes"

    def forward(self, z):
        x = self.linear(z[:, self.columns]).reshape(-1, self.width, self.side, self.side)
        if self.side != self.target:
            x = F.interpolate(x, size=(self.target, self.target), mode=self.mode)
        return self.dropout(x)


class Upsample(nn.Module):
    def __init__(self, option, width):
        super().__init__()
        self.option = option
        if option == "transposed":
            self.depthwise = nn.ConvTranspose2d(width, width, 3, 2, 1, 1, groups=width, bias=False)
            self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        else:
            self.conv = nn.Conv2d(width, width, 1)

    def forward(self, x):
        if self.option == "transposed":
            return self.pointwise(self.depthwise(F.relu(x)))
        return self.conv(F.relu(F.interpolate(x, scale_factor=2, mode=self.option)))


class Edge(nn.Module):
    def __init__(self, option, inputs, outputs, norm=lambda layer: layer, activation=True):
        super().__init__()
        self.option, self.activation = option, activation
        if option in KERNELS:
            self.conv = norm(convolution(option, inputs, outputs))

    def forward(self, x):
        if self.option == "skip":
            return x
        return self.conv(F.relu(x) if self.activation else x)


def add(terms):
    terms = [term for term in terms if term is not None]
    return sum(terms[1:], terms[0]) if terms else None


class GeneratorCell(nn.Module):
    def __init__(self, number, width, genotype):
        super().__init__()
        name = f"generator/cell{number}"
        for i in range(2):
            setattr(self, f"up{i}", Upsample(genotype[f"{name}/up{i}"], width))
        for i in range(5):
            setattr(self, f"c{i}", Edge(genotype[f"{name}/c{i}"], width, width))
        for i in range(1, number):
            setattr(self, f"skip{i}", nn.Conv2d(width, width, 1))
        self.mode = "bilinear" if number == 2 else "nearest"

    def edge(self, i, x):
        layer = getattr(self, f"c{i}")
        return None if layer.option == "none" else layer(x)

    def forward(self, x, earlier):
        node0, node1 = self.up0(x), self.up1(x)
        node2 = add([self.edge(0, node0), self.edge(1, node1)])
        if node2 is None:
            node2 = node0 + node1
        # The published code adds in place, so the cell's skip output contains the earlier ones.
        for i, other in enumerate(earlier, 1):
            other = F.interpolate(other, size=node2.shape[2:], mode=self.mode)
            node2 = node2 + getattr(self, f"skip{i}")(other)
        node3 = add([self.edge(2, node0), self.edge(3, node1), self.edge(4, node2)])
        return node2, node2 if node3 is None else node3


class Generator(nn.Module):
    def __init__(self, case, genotype):
        super().__init__()
        width = case["generator_width"]
        self.count = 3 if case["space"] == "gan-hard" else case["projections"]
        for i in range(self.count):
            setattr(self, f"projection{i + 1}", Projection(case, i, genotype))
        for i in range(3):
            setattr(self, f"cell{i + 1}", GeneratorCell(i + 1, width, genotype))
        self.norm = nn.BatchNorm2d(width)
        self.to_image = nn.Conv2d(width, case["channels"], 3, 1, 1)
        self.apply(xavier)

    def forward(self, z):
        skips, x = [], None
        for i in range(3):
            if i < self.count:
                projection = getattr(self, f"projection{i + 1}")
                if projection.enabled or i == 0:
                    x = add([x, projection(z)])
            skip, x = getattr(self, f"cell{i + 1}")(x, skips)
            skips.append(skip)
        return torch.tanh(self.to_image(F.relu(self.norm(x))))


class AutoGanBlock(nn.Module):
    def __init__(self, number, inputs, width):
        super().__init__()
        self.number = number
        self.conv1 = spectral_norm(nn.Conv2d(inputs, width, 3, 1, 1))
        self.conv2 = spectral_norm(nn.Conv2d(width, width, 3, 1, 1))
        if number <= 2:
            self.shortcut = spectral_norm(nn.Conv2d(inputs, width, 1))

    def forward(self, x):
        residual = self.conv2(F.relu(self.conv1(x if self.number == 1 else F.relu(x))))
        if self.number > 2:
            return residual + x
        shortcut = (
            self.shortcut(F.avg_pool2d(x, 2)) if self.number == 1 else F.avg_pool2d(self.shortcut(x), 2)
        )
        return F.avg_pool2d(residual, 2) + shortcut


class DiscriminatorCell(nn.Module):
    def __init__(self, number, channels, width, genotype):
        super().__init__()
        name = f"discriminator/cell{number}"
        for i in range(7):
            on_image = number == 1 and i < 3
            option = genotype[f"{name}/c{i}"]
            edge = Edge(option, channels if on_image else width, width, spectral_norm, not on_image)
            setattr(self, f"c{i}", edge)
        for i in range(2):
            option = genotype[f"{name}/down{i}"]
            down = nn.Module()
            down.option = option
            if option in KERNELS:
                down.conv = spectral_norm(convolution(option, width, width, stride=2))
            setattr(self, f"down{i}", down)
        self.downsample = genotype[f"{name}/downsample"] == "yes"

    def has(self, i):
        return getattr(self, f"c{i}").option != "none"

    def pool(self, down, x, place):
        kind, _, where = down.option.partition("_")
        if where != place:
            return x
        return (F.avg_pool2d if kind == "average" else F.max_pool2d)(x, 2, ceil_mode=True)

    def forward(self, x):
        node0, node1, node2 = (getattr(self, f"c{i}")(x) if self.has(i) else None for i in range(3))
        if node0 is None and node1 is None and node2 is None:
            return x
        results = []
        for node, from0, last, down in [(node1, 3, 5, self.down0), (node2, 4, 6, self.down1)]:
            if node is None:
                continue
            start = (lambda x: self.pool(down, x, "start")) if self.downsample else (lambda x: x)
            node = start(node)
            if node0 is not None and self.has(from0):
                node = node + start(getattr(self, f"c{from0}")(node0))
            if self.has(last):
                node = getattr(self, f"c{last}")(node)
            if self.downsample:
                node = down.conv(F.relu(node)) if down.option in KERNELS else self.pool(down, node, "end")
            results.append(node)
        return sum(results) if results else node0


class Discriminator(nn.Module):
    def __init__(self, case, genotype):
        super().__init__()
        width, channels = case["discriminator_width"], case["channels"]
        self.hard = case["space"] == "gan-hard"
        for i in range(1, 5):
            if self.hard:
                setattr(self, f"cell{i}", DiscriminatorCell(i, channels if i == 1 else width, width, genotype))
            else:
                setattr(self, f"block{i}", AutoGanBlock(i, channels if i == 1 else width, width))
        self.linear = spectral_norm(nn.Linear(width, 1, bias=False))
        self.apply(xavier)

    def forward(self, x):
        for i in range(1, 5):
            x = getattr(self, f"cell{i}" if self.hard else f"block{i}")(x)
        return self.linear(F.relu(x).sum((2, 3)))


class Gan(nn.Module):
    def __init__(self, case):
        super().__init__()
        self.generator = Generator(case, case["genotype"])
        self.discriminator = Discriminator(case, case["genotype"])

    def names(self):
        """Tensors under the names that checkpoints use."""
        short = {"weight_orig": "weight", "weight_u": "u", "weight_v": "v"}
        for name, tensor in self.state_dict(keep_vars=True).items():
            *path, last = name.split(".")
            if last != "num_batches_tracked":
                yield "/".join([*path, short.get(last, last)]), tensor

    def load(self, values):
        with torch.no_grad():
            mine = dict(self.names())
            assert mine.keys() == values.keys(), mine.keys() ^ values.keys()
            for name, tensor in mine.items():
                assert tensor.shape == values[name].shape, (name, tensor.shape, values[name].shape)
                tensor.copy_(values[name])


def part(tensors, prefix):
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def numbers(inputs, prefix):
    """The numbers of all dropouts of a pass, in order."""
    drawn = part(inputs, prefix)
    return iter([drawn[str(i)] for i in range(len(drawn))])


def forward_backward(case, inputs):
    gan = Gan(case).double()
    gan.load(part(inputs, "model/"))
    Dropout.numbers = numbers(inputs, "uniform/")
    images = gan.generator(inputs["latents"])
    scores = gan.discriminator(images)
    loss = (images * inputs["image_weights"]).sum() + (scores * inputs["score_weights"]).sum()
    trained = {name: tensor for name, tensor in gan.names() if tensor.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    outputs = {"images": images, "scores": scores}
    for name, gradient in zip(trained, gradients):
        if gradient is not None:
            outputs[f"gradient/{name}"] = gradient
    outputs |= {f"after/{name}": tensor for name, tensor in gan.names()}
    gan.eval()
    outputs["evaluated/images"] = gan.generator(inputs["latents"])
    outputs["evaluated/scores"] = gan.discriminator(inputs["real"])
    return outputs


def training_cycle(case, inputs):
    """The trained tensors; and under "exact/", those of a training in double precision from the same numbers.

    With channels last, as pbtnas computes: oneDNN's kernels for it round ten times as much as the usual ones.
    """
    exact = trained(case, {name: tensor.double() for name, tensor in inputs.items()}, Gan(case).double())
    last = {
        name: tensor.contiguous(memory_format=torch.channels_last) if name.endswith("/real") else tensor
        for name, tensor in inputs.items()
    }
    gan = Gan(case).to(memory_format=torch.channels_last)
    return trained(case, last, gan) | {f"exact/{name}": tensor for name, tensor in exact.items()}


def trained(case, inputs, gan):
    gan.load(part(inputs, "model/"))
    average = {name: tensor.detach().clone() for name, tensor in gan.generator.named_parameters()}
    adam = {
        network: torch.optim.AdamW(
            getattr(gan, network).parameters(),
            lr=case["learning_rate"],
            betas=(case["beta1"], case["beta2"]),
            eps=case["epsilon"],
            weight_decay=case["weight_decay"],
        )
        for network in ["generator", "discriminator"]
    }

    def generate(prefix):
        Dropout.numbers = numbers(inputs, f"{prefix}/uniform/")
        return gan.generator(inputs[f"{prefix}/latents"])

    def step(network, loss):
        adam[network].zero_grad()
        loss.backward()
        adam[network].step()

    for index in range(case["steps"]):
        fake = generate(f"{index}/discriminator").detach()
        real = gan.discriminator(inputs[f"{index}/real"])
        step("discriminator", F.relu(1 - real).mean() + F.relu(1 + gan.discriminator(fake)).mean())
        if index % case["discriminator_steps"] == 0:
            step("generator", -gan.discriminator(generate(f"{index}/generator")).mean())
            for name, tensor in gan.generator.named_parameters():
                average[name].mul_(case["average_decay"]).add_(
                    tensor.detach(), alpha=1 - case["average_decay"]
                )
    outputs = {f"model/{name}": tensor for name, tensor in gan.names()}
    outputs |= {f"average/generator/{name.replace('.', '/')}": tensor for name, tensor in average.items()}
    return outputs


def first_values(case, inputs):
    """Mean and standard deviation of each tensor over many fresh networks."""
    torch.manual_seed(1)
    sums = {}
    for _ in range(case["networks"]):
        for name, tensor in Gan(case).names():
            tensor = tensor.detach().double().flatten()
            count, total, square, low, high = sums.get(name, (0, 0.0, 0.0, float("inf"), -float("inf")))
            sums[name] = (
                count + len(tensor),
                total + tensor.sum(),
                square + (tensor**2).sum(),
                min(low, tensor.min().item()),
                max(high, tensor.max().item()),
            )
    return {
        name: torch.tensor([count, total / count, (square / count - (total / count) ** 2).clamp(min=0) ** 0.5, low, high])
        for name, (count, total, square, low, high) in sums.items()
    }


def main():
    torch.set_num_threads(1)
    for folder in map(Path, sys.argv[1:]):
        case = json.loads((folder / "case.json").read_text())
        path = folder / "inputs.safetensors"
        inputs = load_file(path) if path.exists() else {}
        run = {"forward": forward_backward, "cycle": training_cycle, "first": first_values}[case["kind"]]
        outputs = run(case, inputs)
        save_file(
            {name: tensor.detach().clone().contiguous() for name, tensor in outputs.items()},
            folder / "outputs.safetensors",
        )


if __name__ == "__main__":
    main()
