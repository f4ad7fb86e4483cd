"""Classifies three spirals with NumPy only: layers, their activation and the learning rate are searched.

The network's arrays and the optimizer's are dicts, which the helper saves unchanged and loads in place.
"""

import numpy as np
import pbtnas

WIDTH, CLASSES, BATCH, STEPS = 24, 3, 50, 60  # STEPS of an epoch

# Each with its derivative, given the result.
ACTIVATIONS = {
    "tanh": (np.tanh, lambda y: 1 - y * y),
    "relu": (lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(y.dtype)),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda y: y * (1 - y)),
}


def spirals(count: int, seed: int):
    random = np.random.default_rng(seed)
    labels = random.integers(CLASSES, size=count)
    radius = random.random(count)
    angle = 2 * np.pi * (labels / CLASSES + radius) + random.normal(scale=0.15, size=count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), labels


def layer(inputs: int, outputs: int):
    return np.random.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)


class Net:
    """Two hidden blocks between an input and an output layer. Kinds of a block: `none`, `dense`, `residual`."""

    def __init__(self, genotype: dict) -> None:
        self.act, self.slope = ACTIVATIONS[genotype["activation"]]
        self.kinds = [genotype["block1"], genotype["block2"]]
        self.arrays = {"input.weight": layer(2, WIDTH), "input.bias": np.zeros(WIDTH)}
        for number, kind in enumerate(self.kinds, 1):
            if kind != "none":
                self.arrays[f"block{number}.weight"] = layer(WIDTH, WIDTH)
                self.arrays[f"block{number}.bias"] = np.zeros(WIDTH)
        self.arrays["output.weight"] = layer(WIDTH, CLASSES)
        self.arrays["output.bias"] = np.zeros(CLASSES)

    def forward(self, points):
        """The results of each layer; the last are the probabilities."""

        def dense(name, x):
            return x @ self.arrays[f"{name}.weight"] + self.arrays[f"{name}.bias"]

        results = [points, self.act(dense("input", points))]
        for number, kind in enumerate(self.kinds, 1):
            x = results[-1]
            results.append(x if kind == "none" else self.act(dense(f"block{number}", x)) + x * (kind == "residual"))
        logits = dense("output", results[-1])
        exp = np.exp(logits - logits.max(1, keepdims=True))
        return [*results, exp / exp.sum(1, keepdims=True)]

    def gradients(self, points, labels):
        """The mean cross-entropy and its gradient by every array."""
        points, *hidden, probabilities = self.forward(points)
        gradients = {}

        def back(name, x, slope):
            gradients[f"{name}.weight"], gradients[f"{name}.bias"] = x.T @ slope, slope.sum(0)
            return slope @ self.arrays[f"{name}.weight"].T

        rows = np.arange(len(labels))
        loss = -np.log(probabilities[rows, labels] + 1e-12).mean()
        slope = probabilities.copy()
        slope[rows, labels] -= 1
        slope = back("output", hidden[-1], slope / len(labels))
        for number in (2, 1):
            kind, x, y = self.kinds[number - 1], hidden[number - 1], hidden[number]
            if kind != "none":
                inner = y - x * (kind == "residual")
                slope = back(f"block{number}", x, slope * self.slope(inner)) + slope * (kind == "residual")
        back("input", points, slope * self.slope(hidden[0]))
        return loss, gradients


@pbtnas.task
def main(job: pbtnas.Job) -> dict:
    net = Net(job.genotype)
    momentum = {name: np.zeros_like(array) for name, array in net.arrays.items()}
    job.restore({"net": net.arrays}, {"net": {"momentum": momentum}})

    points, labels = spirals(BATCH * STEPS, seed=1)
    for _ in job.epochs():
        order = np.random.permutation(len(points))
        for batch in job.batches(order.reshape(STEPS, BATCH)):
            loss, gradients = net.gradients(points[batch], labels[batch])
            for name, gradient in gradients.items():
                momentum[name] *= 0.9
                momentum[name] += gradient
                net.arrays[name] -= job.genotype["learning_rate"] * momentum[name]
            job.log(loss=loss)

    points, labels = spirals(3000, seed=3 if job.final else 2)
    loss, _ = net.gradients(points, labels)
    accuracy = (net.forward(points)[-1].argmax(1) == labels).mean()
    return {"fitness": accuracy, "loss": loss}


main()
