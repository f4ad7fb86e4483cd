"""A TorchScript network with the signature of NVIDIA's Inception, but of another width.

    python other_script.py OUTPUT
"""

import argparse

import torch
from torch import Tensor, nn


class Other(nn.Module):
    def forward(self, img: Tensor, return_features: bool = False, use_fp16: bool = False,
                no_output_bias: bool = False) -> Tensor:
        return img.float().flatten(1)[:, :512]


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("output", metavar="OUTPUT")
torch.jit.script(Other()).save(parser.parse_args().output)
