"""The attacks of adversarial-library on a dense network, for ``nearest.py``: a process without TensorFlow.

    python benchmarks/torch_peers.py TASK.npz ANSWER.npz STEPS

The task holds images ``x``, labels ``y`` and the kernels and biases of the layers, ``weight_0`` and so on; the answer,
for each ``norm/attack``, the images it returned.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from adv_lib import attacks
from adv_lib.attacks.auto_pgd import minimal_apgd
from adv_lib.attacks.stochastic_sparse_attacks import vfga

Peer = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def ported(weights: list[np.ndarray]) -> torch.nn.Module:
    """The same dense network in PyTorch: relu between its layers, logits at the end, channels first."""
    layers: list[torch.nn.Module] = [torch.nn.Flatten()]
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        layer = torch.nn.Linear(*kernel.shape)
        layer.weight.data, layer.bias.data = torch.from_numpy(kernel.T.copy()), torch.from_numpy(bias.copy())
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


def peers(norm: str, steps: int) -> dict[str, Peer]:
    """The minimal attacks of adversarial-library under a norm, with its defaults but for the number of steps."""
    order = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}[norm]
    largest = {"linf": 1.0, "l2": 28.0, "l1": 784.0}
    found: dict[str, Peer] = {
        "FMN": partial(attacks.fmn, norm=order, steps=steps),
        "PDPGD": partial(attacks.pdpgd, norm=order, num_steps=steps, proximal_operator=23 if norm == "l0" else None),
    }
    if norm == "l0":
        found["sigma-zero"] = partial(attacks.sigma_zero, num_steps=steps)
        found["VFGA"] = partial(vfga, targeted=False)
        return found
    # Twenty bisections share the steps.
    found["APGD-min"] = partial(minimal_apgd, norm=order, max_eps=largest[norm] / 2, n_iter=steps // 20)
    if norm in ("l2", "l1"):
        start = {"l2": 0.1, "l1": 0.5}[norm]
        found["ALMA"] = partial(attacks.alma, distance=norm, num_steps=steps, init_lr_distance=start)
    if norm in ("linf", "l2"):
        found["TR"] = partial(attacks.tr, p=order, iter=steps, adaptive=True)
    if norm == "l2":
        found["DDN"] = partial(attacks.ddn, steps=steps, levels=None)
        found["PDGD"] = partial(attacks.pdgd, num_steps=steps)
    return found


def main() -> None:
    """Run every peer under every norm."""
    task, answer, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with np.load(task) as arrays:
        names = sorted((name for name in arrays if name.startswith("weight_")), key=lambda n: int(n.partition("_")[2]))
        model = ported([arrays[name] for name in names])
        x = torch.from_numpy(arrays["x"].transpose(0, 3, 1, 2).copy())
        labels = torch.from_numpy(arrays["y"].astype(np.int64))
    torch.manual_seed(0)
    found = {}
    for norm in ("linf", "l2", "l1", "l0"):
        for name, craft in peers(norm, steps).items():
            start_time = time.perf_counter()
            x_adv = craft(model, x, labels).detach().numpy().transpose(0, 2, 3, 1)
            found[f"{norm}/{name}"] = x_adv.clip(0, 1).astype(np.float32)
            print(f"{norm} {name}: {time.perf_counter() - start_time:.0f} s", file=sys.stderr, flush=True)
    np.savez(answer, **found)


if __name__ == "__main__":
    main()
