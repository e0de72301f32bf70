"""The bounds of auto_LiRPA on a network, for ``certification.py``: a process without TensorFlow.

    python benchmarks/torch_certification.py TASK.npz ANSWER.npz

The task holds images ``x``, labels ``y``, ``epsilon`` (Linf), the layers as JSON and their weights, ``weight_0`` and
so on; the answer of each method the lowest margin of each image, ``ibp``, ``crown`` and ``alpha``, the seconds of each,
and the logits of the clean images. The release of the package index, 0.3, is of 2022: two functions that PyTorch has
dropped since are given back to it first.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

import numpy as np
import torch
from torch.onnx._internal.torchscript_exporter._globals import GLOBALS
from torch_networks import ported

vars(importlib.import_module("torch.onnx.symbolic_helper"))["_set_opset_version"] = lambda version: setattr(
    GLOBALS, "export_onnx_opset_version", version
)
torch._C.Node.__getitem__ = lambda node, name: getattr(node, node.kindOf(name))(name)

from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm  # noqa: E402

METHODS = {"ibp": "IBP", "crown": "CROWN", "alpha": "CROWN-Optimized"}
OPTIONS = {  # slopes of hidden bounds are optimised as well, as alpha-beta-CROWN does; the sparse ones fail here
    "sparse_features_alpha": False,
    "sparse_spec_alpha": False,
    "optimize_bound_args": {"iteration": 20, "fix_intermediate_layer_bounds": False},
}
ROWS = 250  # at a time


def main() -> None:
    """Bound the margins by each method, the first few rows once before anything is timed."""
    with np.load(sys.argv[1]) as task:
        count = sum(name.startswith("weight_") for name in task)
        model = ported(json.loads(str(task["layers"])), (task[f"weight_{number}"] for number in range(count)))
        x, y = torch.from_numpy(task["x"].transpose(0, 3, 1, 2).copy()), torch.from_numpy(task["y"].astype(np.int64))
        epsilon = float(task["epsilon"])
    clean = model(x)
    eye = torch.eye(clean.shape[1])
    answer = {"clean": clean.numpy()}
    for method, name in METHODS.items():
        margins = np.zeros(len(x), np.float32)
        for start, is_timed in ((0, False), *((start, True) for start in range(0, len(x), ROWS))):
            began = time.perf_counter()
            images, labels = x[start : start + ROWS], y[start : start + ROWS]
            others = torch.stack([eye[torch.arange(len(eye)) != label] for label in labels])
            ball = PerturbationLpNorm(
                norm=np.inf, eps=epsilon, x_L=(images - epsilon).clamp(0, 1), x_U=(images + epsilon).clamp(0, 1)
            )
            bounded = BoundedModule(model, torch.empty_like(images), bound_opts=OPTIONS, verbose=False)
            low, _ = bounded.compute_bounds(
                x=(BoundedTensor(images, ball),), C=eye[labels][:, None] - others, method=name, bound_upper=False
            )
            if is_timed:
                margins[start : start + ROWS] = low.detach().amin(1).numpy()
                answer[f"{method}_seconds"] = answer.get(f"{method}_seconds", 0.0) + time.perf_counter() - began
        answer[method] = margins
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
