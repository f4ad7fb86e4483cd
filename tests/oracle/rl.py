"""An independent PyTorch version of the RL agent, to compare with (crates/torch/src/rl/training/parity_tests.rs calls it).

usage: rl.py FOLDER...

Each folder holds case.json (sizes, genotype, optimiser) and inputs.safetensors; outputs.safetensors is written.
Written from the description of the networks and of DrQ-v2's update with PyTorch's own modules: nn.Conv2d, nn.Linear,
nn.LayerNorm, torch.nn.utils.parametrizations.spectral_norm, torch.optim.AdamW, F.grid_sample.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.nn.utils.parametrizations import spectral_norm

CHANNELS = 32
FEATURES = CHANNELS * 41 * 41
PAD = 4
ACTIVATIONS = {"identity": lambda x: x, "tanh": torch.tanh, "relu": F.relu, "swish": F.silu}


def normed(layer, on):
    """With spectral norm, or without it but with its vectors at hand, so that both have the same tensors."""
    if on:
        return spectral_norm(layer)
    matrix = layer.weight.flatten(1)
    layer.register_buffer("u", torch.zeros(matrix.shape[0]))
    layer.register_buffer("v", torch.zeros(matrix.shape[1]))
    return layer


class Convolution(nn.Conv2d):
    """A convolution that keeps the size, and an activation."""

    def __init__(self, kernel, activation, **more):
        more = {"padding": kernel // 2} | more
        super().__init__(more.pop("inputs", CHANNELS), CHANNELS, kernel, **more)
        self.activation = activation

    def forward(self, x):
        return self.activation(super().forward(x))


class ResidualConvolutions(nn.Module):
    def __init__(self, kernel, activation, norm):
        super().__init__()
        self.conv1 = normed(Convolution(kernel, activation), norm)
        self.conv2 = normed(Convolution(kernel, ACTIVATIONS["identity"]), norm)
        self.activation = activation

    def forward(self, x):
        return self.activation(x + self.conv2(self.conv1(x)))


class SeparableConvolution(nn.Module):
    def __init__(self, kernel, activation, norm):
        super().__init__()
        self.depthwise = normed(Convolution(kernel, ACTIVATIONS["identity"], groups=CHANNELS), norm)
        self.pointwise = normed(Convolution(1, activation), norm)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class Linear(nn.Linear):
    """A linear layer and an activation."""

    def __init__(self, inputs, outputs, activation):
        super().__init__(inputs, outputs)
        self.activation = activation

    def forward(self, x):
        return self.activation(super().forward(x))


class ResidualLinears(nn.Module):
    def __init__(self, hidden, multiplier, activation, norm):
        super().__init__()
        inner = int(multiplier * hidden)
        self.norm = nn.LayerNorm(hidden)
        self.linear1 = normed(Linear(hidden, inner, activation), norm)
        self.linear2 = normed(Linear(inner, hidden, ACTIVATIONS["identity"]), norm)

    def forward(self, x):
        return x + self.linear2(self.linear1(self.norm(x)))


class Trunk(nn.Linear):
    def __init__(self, outputs, activation):
        super().__init__(FEATURES, outputs)
        self.norm = nn.LayerNorm(outputs)
        self.activation = activation

    def forward(self, x):
        return self.activation(self.norm(super().forward(x)))


class Layers(nn.Module):
    """layer0, and the three that are searched."""

    def through_layers(self, x):
        for i in range(4):
            x = getattr(self, f"layer{i}")(x)
        return x

    def choose(self, genotype, name):
        """What the genotype says of the network: its activations, and whether it has a spectral norm."""
        self.activations = [ACTIVATIONS[genotype[f"{name}/activation{i}"]] for i in range(4)]
        self.spectral = genotype[f"{name}/spectral_norm"] == "yes"

    def add_linear_layers(self, genotype, name, inputs, hidden):
        self.choose(genotype, name)
        self.layer0 = normed(Linear(inputs, hidden, self.activations[0]), self.spectral)
        for i in range(1, 4):
            kind, _, multiplier = genotype[f"{name}/layer{i}"].partition("_")
            activation = self.activations[i]
            if kind == "identity":
                layer = nn.Identity()
            elif kind == "linear":
                layer = normed(Linear(hidden, hidden, activation), self.spectral)
            elif kind == "residual":
                layer = ResidualLinears(hidden, float(multiplier), activation, self.spectral)
            setattr(self, f"layer{i}", layer)


class Encoder(Layers):
    def __init__(self, genotype):
        super().__init__()
        self.choose(genotype, "encoder")
        first = Convolution(3, self.activations[0], inputs=9, stride=2, padding=0)
        self.layer0 = normed(first, self.spectral)
        for i in range(1, 4):
            kind, _, size = genotype[f"encoder/layer{i}"].partition("_")
            kernel = int(size[:1] or 0)
            activation = self.activations[i]
            if kind == "identity":
                layer = nn.Identity()
            elif kind == "conv":
                layer = normed(Convolution(kernel, activation), self.spectral)
            elif kind == "residual":
                layer = ResidualConvolutions(kernel, activation, self.spectral)
            elif kind == "separable":
                layer = SeparableConvolution(kernel, activation, self.spectral)
            setattr(self, f"layer{i}", layer)

    def forward(self, pixels):
        return self.through_layers(pixels / 255 - 0.5).flatten(1)


class Actor(Layers):
    """The mean of the actions' distribution."""

    def __init__(self, case):
        super().__init__()
        genotype, hidden = case["genotype"], case["hidden"]
        representation = int(genotype["actor/representation"])
        self.trunk = Trunk(representation, ACTIVATIONS[genotype["actor/trunk_activation"]])
        self.add_linear_layers(genotype, "actor", representation, hidden)
        self.head = nn.Linear(hidden, case["action_size"])

    def forward(self, encoding):
        return torch.tanh(self.head(self.through_layers(self.trunk(encoding))))


class Q(Layers):
    def __init__(self, case, name, inputs):
        super().__init__()
        self.add_linear_layers(case["genotype"], f"critic/{name}", inputs, case["hidden"])
        self.head = nn.Linear(case["hidden"], 1)

    def forward(self, x):
        return self.head(self.through_layers(x))


class Critic(nn.Module):
    def __init__(self, case):
        super().__init__()
        representation = int(case["genotype"]["critic/representation"])
        self.trunk = Trunk(representation, ACTIVATIONS[case["genotype"]["critic/trunk_activation"]])
        self.q1 = Q(case, "q1", representation + case["action_size"])
        self.q2 = Q(case, "q2", representation + case["action_size"])

    def forward(self, encoding, action):
        x = torch.cat([self.trunk(encoding), action], 1)
        return self.q1(x), self.q2(x)


class Agent(nn.Module):
    def __init__(self, case, inputs):
        super().__init__()
        self.encoder, self.actor = Encoder(case["genotype"]), Actor(case)
        self.critic, self.target = Critic(case), Critic(case)
        if case["double"]:
            self.double()
        with torch.no_grad():
            mine, given = dict(self.names()), part(inputs, "model/") | keep(inputs, "average/")
            assert mine.keys() == given.keys(), mine.keys() ^ given.keys()
            for name, tensor in mine.items():
                assert tensor.shape == given[name].shape, (name, tensor.shape, given[name].shape)
                tensor.copy_(given[name])

    def names(self, networks=("encoder", "actor", "critic", "target")):
        """Tensors under the names that checkpoints use, those of the target as averages."""
        short = {"parametrizations/weight/original": "weight"}
        short |= {"parametrizations/weight/0/_u": "u", "parametrizations/weight/0/_v": "v"}
        for network in networks:
            for name, tensor in getattr(self, network).state_dict(keep_vars=True).items():
                name = name.replace(".", "/")
                for long, name_of_it in short.items():
                    name = name.replace(long, name_of_it)
                yield f"average/critic/{name}" if network == "target" else f"{network}/{name}", tensor

    def outputs(self):
        """All tensors as a checkpoint has them."""
        return {name if name.startswith("average/") else f"model/{name}": x for name, x in self.names()}


def part(tensors, prefix):
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def keep(tensors, prefix):
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def straight_through(x, limit):
    """Clamped, with the gradient of what was not."""
    return x + (x.clamp(-limit, limit) - x).detach()


def sample(mean, noise, deviation, clip):
    """An action out of standard normal noise."""
    noise = noise * deviation
    if clip is not None:
        noise = noise.clamp(-clip, clip)
    return straight_through(mean + noise, 1 - 1e-6)


def forward_backward(case, inputs):
    """All networks, in training and in evaluation; gradients of a weighted sum of what the trained ones say."""
    agent = Agent(case, inputs)

    def forward(mode):
        encoding = agent.encoder(inputs["pixels"])
        outputs = {"encoding": encoding, "mean": agent.actor(encoding)}
        outputs["q1"], outputs["q2"] = agent.critic(encoding, inputs["action"])
        with torch.no_grad():
            outputs["target1"], outputs["target2"] = agent.target(encoding, inputs["action"])
        return {f"{mode}/{name}": tensor for name, tensor in outputs.items()}

    outputs = forward("training")
    weights = part(inputs, "weights/")
    loss = sum((weight * outputs[f"training/{name}"]).sum() for name, weight in weights.items())
    trained = {
        name: tensor for name, tensor in agent.names(["encoder", "actor", "critic"]) if tensor.requires_grad
    }
    gradients = torch.autograd.grad(loss, list(trained.values()))
    outputs |= {f"gradient/{name}": gradient for name, gradient in zip(trained, gradients)}
    vectors = {name: tensor for name, tensor in agent.outputs().items() if name.endswith(("/u", "/v"))}
    outputs |= {f"after/{name}": tensor.clone() for name, tensor in vectors.items()}
    agent.eval()
    return outputs | forward("evaluation")


def update(case, inputs):
    """Updates in a row: losses, and every tensor, average and moment after the last."""
    agent = Agent(case, inputs)
    adam = {
        network: torch.optim.AdamW(
            getattr(agent, network).parameters(),
            lr=case["learning_rate"],
            betas=(case["beta1"], case["beta2"]),
            eps=case["epsilon"],
            weight_decay=case["weight_decay"],
        )
        for network in ["encoder", "actor", "critic"]
    }

    def step(loss, networks):
        for network in networks:
            adam[network].zero_grad()
        loss.backward()
        for network in networks:
            adam[network].step()

    outputs = {}
    for index in range(case["updates"]):
        given = part(inputs, f"{index}/")

        def act(encoding, noise):
            return sample(agent.actor(encoding), given[noise], case["deviation"], case["exploration_clip"])

        encoding = agent.encoder(given["observation"])
        with torch.no_grad():
            next_encoding = agent.encoder(given["next_observation"])
            next_q = torch.minimum(*agent.target(next_encoding, act(next_encoding, "target_noise")))
            target = given["reward"].reshape(-1, 1) + given["discount"].reshape(-1, 1) * next_q
        q1, q2 = agent.critic(encoding, given["action"])
        critic_loss = F.mse_loss(q1, target) + F.mse_loss(q2, target)
        step(critic_loss, ["critic", "encoder"])

        encoding = encoding.detach()
        actor_loss = -torch.minimum(*agent.critic(encoding, act(encoding, "actor_noise"))).mean()
        step(actor_loss, ["actor"])

        with torch.no_grad():
            for old, new in zip(agent.target.parameters(), agent.critic.parameters()):
                old.copy_(case["target_tau"] * new + (1 - case["target_tau"]) * old)
        outputs |= {f"{index}/critic_loss": critic_loss, f"{index}/actor_loss": actor_loss}

    for network, optimizer in adam.items():
        for name, tensor in agent.names([network]):
            for key, value in optimizer.state.get(tensor, {}).items():
                outputs[f"optimizer/{network}/{key}/{name.removeprefix(f'{network}/')}"] = value
    return outputs | agent.outputs()


def augmentation(case, inputs):
    """Random shifts: each picture, padded with its edge, is read anew at a grid that is moved by whole pixels."""
    pixels = inputs["pixels"].float()
    side = pixels.shape[-1]
    padded = side + 2 * PAD
    # In the coordinates of grid_sample, -1 and 1 are the outer edges of the first and last pixel.
    centres = (2 * torch.arange(side) + 1) / padded - 1
    shift = 2 * inputs["shift"].float() / padded  # of x and of y
    x, y = (centres + shift[:, i : i + 1] for i in range(2))
    grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], -1)
    pixels = F.pad(pixels, [PAD] * 4, mode="replicate")
    return {"pixels": F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)}


def truncated(case, inputs):
    mean = inputs["mean"].requires_grad_()
    action = sample(mean, inputs["noise"], case["deviation"], case["exploration_clip"])
    (gradient,) = torch.autograd.grad((action * inputs["weights"]).sum(), mean)
    return {"sample": action, "gradient": gradient}


def initial(case, inputs):
    """What orthogonal matrices have in common: rows (or columns) are orthogonal and of one length; and, over many
    draws, what characterizes their distribution: the mean and deviation of the first element, and of the trace."""
    torch.manual_seed(1)
    outputs = {}
    for name, (shape, gain, draws) in case["tensors"].items():
        drawn = torch.stack([nn.init.orthogonal_(torch.empty(shape), gain).flatten(1) for _ in range(draws)])
        wide = drawn if drawn.shape[1] <= drawn.shape[2] else drawn.mT
        square = wide @ wide.mT
        scale = square.diagonal(dim1=1, dim2=2).mean()
        error = (square - scale * torch.eye(square.shape[1])).abs().max()
        trace = drawn.diagonal(dim1=1, dim2=2).sum(1)
        first = drawn[:, 0, 0]
        outputs[name] = torch.tensor([scale, error, trace.mean(), trace.std(), first.mean(), first.std()])
    return outputs


KINDS = {
    "forward": forward_backward,
    "update": update,
    "augmentation": augmentation,
    "truncated": truncated,
    "initial": initial,
}


def main():
    torch.set_num_threads(1)
    for folder in map(Path, sys.argv[1:]):
        case = json.loads((folder / "case.json").read_text())
        path = folder / "inputs.safetensors"
        outputs = KINDS[case["kind"]](case, load_file(path) if path.exists() else {})
        save_file(
            {name: tensor.detach().clone().contiguous() for name, tensor in outputs.items()},
            folder / "outputs.safetensors",
        )


if __name__ == "__main__":
    main()
