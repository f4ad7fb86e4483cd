"""pytorch-fid's network with random weights, in both files that pbtnas reads, and what it makes of a few images.

Writes to FOLDER:
    weights.pth             its state dict
    inception.pt            TorchScript with the signature of NVIDIA's file
    images.safetensors      8-bit images, by their names
    expected.safetensors    IMAGES/input, IMAGES/features, IMAGES/probabilities
"""

import argparse
import pathlib
from unittest import mock

import numpy as np
import torch
from pytorch_fid import inception
from safetensors.torch import save_file
from torch import Tensor, nn


def random_network():
    """pytorch-fid's own network; only the download of its weights is left out."""
    torch.manual_seed(20151205)
    with mock.patch.object(inception, "load_state_dict_from_url", return_value={}), \
            mock.patch.object(nn.Module, "load_state_dict"):
        network = inception.fid_inception_v3()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=(2 / fan_in) ** 0.5)
    nn.init.normal_(network.fc.bias)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.7, 1.3)
        nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = None
    # Statistics of real activations, so that nothing vanishes or explodes, then moved away from them, so that the
    # normalisation does not undo the convolutions.
    network.train()
    with torch.no_grad():
        network(torch.cat([torch.rand(2, 3, 299, 299) * 2 - 1, smooth(2, 299).float() / 128 - 1]))
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
    return network.eval()


def smooth(count, height, width=None, channels=3):
    """8-bit images of a few blobs."""
    coarse = torch.rand(count, channels, 5, 5)
    fine = nn.functional.interpolate(coarse, (height, width or height), mode="bicubic", align_corners=False)
    return (fine.clamp(0, 1) * 255).round().to(torch.uint8)


def legacy_resize(images):
    """TensorFlow's bilinear resize of 2015 to 299x299 by its definition, a row at a time, in double precision."""
    count, channels, height, width = images.shape
    source = images.astype(np.float64)
    u = np.arange(299) * (width / 299)
    left = np.floor(u).astype(int)
    right, u = np.minimum(left + 1, width - 1), u - left
    result = np.empty((count, channels, 299, 299))
    for y in range(299):
        v = y * (height / 299)
        top = source[:, :, int(v)]
        bottom = source[:, :, min(int(v) + 1, height - 1)]
        v -= int(v)
        result[:, :, y] = (1 - v) * ((1 - u) * top[..., left] + u * top[..., right]) \
            + v * ((1 - u) * bottom[..., left] + u * bottom[..., right])
    return result


class Script(nn.Module):
    """The network behind the interface of inception-2015-12-05.pt."""

    def __init__(self, network):
        super().__init__()
        names = [name for name, _ in network.named_children() if name not in ("avgpool", "dropout", "fc")]
        self.layers = nn.Sequential(*[getattr(network, name) for name in names], nn.AvgPool2d(8))
        self.output = network.fc

    def forward(self, img: Tensor, return_features: bool = False, use_fp16: bool = False,
                no_output_bias: bool = False) -> Tensor:
        count, channels, height, width = img.shape
        theta = torch.eye(2, 3, device=img.device)
        theta[0, 2] += 1 / width - 1 / 299
        theta[1, 2] += 1 / height - 1 / 299
        grid = nn.functional.affine_grid(theta.unsqueeze(0).repeat(count, 1, 1), [count, channels, 299, 299],
                                         align_corners=False)
        x = nn.functional.grid_sample(img.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        features = self.layers((x - 128) / 128).reshape(-1, 2048)
        if return_features:
            return features
        logits = features @ self.output.weight.t()
        if not no_output_bias:
            logits = logits + self.output.bias
        return logits.softmax(dim=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--files-only", action="store_true", help="leave out expected.safetensors")
    arguments = parser.parse_args()
    folder = arguments.folder
    torch.set_num_threads(2)
    network = random_network()
    torch.save(network.state_dict(), folder / "weights.pth")
    torch.jit.script(Script(network)).save(folder / "inception.pt")

    noise = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    images = {
        "small": torch.cat([noise, smooth(3, 32), torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)]),
        "larger": smooth(2, 48),
        "wide": smooth(1, 21, 50),
        "native": smooth(1, 299),
        "huge": smooth(1, 320),
        "grey": smooth(2, 28, channels=1),
    }
    save_file({name: batch.contiguous() for name, batch in images.items()}, folder / "images.safetensors")
    if arguments.files_only:
        return
    with mock.patch.object(inception, "fid_inception_v3", return_value=network):
        features_of = inception.InceptionV3(resize_input=False, normalize_input=False).eval()
    expected = {}
    with torch.no_grad():
        for name, batch in images.items():
            colours = batch.numpy().repeat(3 // batch.shape[1], axis=1)
            expected[f"{name}/input"] = torch.from_numpy((legacy_resize(colours) - 128) / 128)
            features = features_of(expected[f"{name}/input"].float())[0].flatten(1)
            logits = (features.double() @ network.fc.weight.double().t()).numpy()
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
            expected[f"{name}/features"] = features.clone()
            expected[f"{name}/probabilities"] = torch.from_numpy(exponentials / exponentials.sum(axis=1, keepdims=True))
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    main()
