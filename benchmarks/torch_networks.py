"""A Keras network of dense and convolutional layers in PyTorch, for the peers that run without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "gelu": torch.nn.GELU}


class ChannelsLast(torch.nn.Module):
    """Flattens in the order of Keras."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, c, h, w)`` to ``(n, h * w * c)``."""
        return x.permute(0, 2, 3, 1).flatten(1)


def ported(layers: list[dict[str, Any]], weights: Iterator[np.ndarray]) -> torch.nn.Module:
    """The same network in PyTorch, channels first."""
    modules: list[torch.nn.Module] = []
    for layer in layers:
        if layer["type"] == "Flatten":
            modules.append(ChannelsLast())
        elif layer["type"] == "MaxPooling2D":
            modules.append(torch.nn.MaxPool2d(2))
        else:
            kernel, bias = next(weights), next(weights)
            module: torch.nn.Linear | torch.nn.Conv2d
            if layer["type"] == "Dense":
                module = torch.nn.Linear(*kernel.shape)
                module.weight.data = torch.from_numpy(kernel.T.copy())
            else:
                stride = int(layer.get("stride", 1))
                padding = "same" if stride == 1 else (kernel.shape[0] - stride) // 2  # of sizes that stride divides
                module = torch.nn.Conv2d(*kernel.shape[2:], kernel.shape[0], stride, padding)
                module.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
            module.bias.data = torch.from_numpy(bias)
            modules.append(module)
            if layer["activation"] != "linear":
                modules.append(ACTIVATIONS[layer["activation"]]())
    return torch.nn.Sequential(*modules).eval().requires_grad_(False)
