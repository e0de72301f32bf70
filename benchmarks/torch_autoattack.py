"""The reference AutoAttack on a small network, for ``reference.py``: a process without TensorFlow.

    python benchmarks/torch_autoattack.py TASK.npz ANSWER.npz

The task holds images ``x``, labels ``y``, ``norm``, ``epsilon``, the layers as JSON and their weights, ``weight_0`` and
so on; the answer the images that it returned, its seconds, and the logits of the clean images.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from pyautoattack import AutoAttack
from torch_networks import ported


def main() -> None:
    """Run it."""
    with np.load(sys.argv[1]) as task:
        count = sum(name.startswith("weight_") for name in task)
        model = ported(json.loads(str(task["layers"])), (task[f"weight_{number}"] for number in range(count)))
        x, y = torch.from_numpy(task["x"].transpose(0, 3, 1, 2).copy()), torch.from_numpy(task["y"].astype(np.int64))
        norm, epsilon = str(task["norm"]), float(task["epsilon"])
    name = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    start_time = time.perf_counter()
    attack = AutoAttack(model, norm=name, eps=epsilon, version="standard", device="cpu", seed=0)
    x_adv, _ = attack.run_standard_evaluation(x, y, batch_size=500)
    seconds = time.perf_counter() - start_time
    np.savez(sys.argv[2], x_adv=x_adv.numpy().transpose(0, 2, 3, 1), seconds=seconds, clean=model(x).numpy())


if __name__ == "__main__":
    main()
