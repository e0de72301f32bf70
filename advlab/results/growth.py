"""An archive that has more, or fewer, of the first images of a data set than are asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from advlab.lazy import Images, fits_in_memory, join, select
from advlab.results.attributions import Attributions
from advlab.results.combine import concatenate
from advlab.results.diagnostics import Diagnostics
from advlab.results.result import ROWS, AttackResult


def first(result: AttackResult, n: int, dataset_digest: str) -> AttackResult:
    """The first ``n`` images of a result; ``dataset_digest`` is theirs.

    ``seconds`` are the part of the whole that their forward and backward passes are.
    """
    rows = slice(n)
    diagnostics = result.diagnostics.arrays()
    return replace(
        result,
        x=_in_memory(select(result.x, rows)),
        x_adv=_in_memory(select(result.x_adv, rows)),
        **{name: getattr(result, name)[rows] for name in ROWS},
        dataset_digest=dataset_digest,
        seconds=round(result.seconds * _passes(result, rows) / max(_passes(result, slice(None)), 1), 3),
        per_image=result.per_image.take(rows),
        diagnostics=Diagnostics(**{k: v if k == "trace_steps" else v[rows] for k, v in diagnostics.items()}),
        attributions=_explained(result.attributions, n),
    )


def extended(kept: AttackResult, missing: AttackResult, dataset_digest: str, x: Images) -> AttackResult:
    """What an archive has of the first images, and what was crafted of those behind them, as one result.

    ``x`` and ``dataset_digest`` are those of all images. Passes are those of each image and ``seconds`` the sum;
    versions, device and compilation name both where they differ, and the command is that of the images crafted last.
    """
    steps: list[Any] = [result.diagnostics.trace_steps for result in (kept, missing)]
    if not np.array_equal(steps[0], steps[1]):  # losses of other queries do not fit together
        kept = replace(kept, diagnostics=replace(kept.diagnostics, loss_trace=None, trace_steps=None))
    whole = concatenate([kept, missing], dataset_digest, x, join(kept.x_adv, missing.x_adv))
    earlier, later = kept.execution, missing.execution
    return replace(
        whole,
        versions={name: _both(kept.versions.get(name, ""), text) for name, text in missing.versions.items()},
        command=missing.command,
        provenance=missing.provenance,
        execution=replace(
            whole.execution,
            compile=_both(earlier.compile, later.compile),
            device=_both(earlier.device, later.device),
            model=later.model,
            workers=max(earlier.workers, later.workers),
        ),
    )


def _passes(result: AttackResult, rows: slice) -> int:
    return int(result.forward_passes[rows].sum(dtype=np.int64) + result.backward_passes[rows].sum(dtype=np.int64))


def _in_memory(x: Images) -> Images:
    return np.asarray(x) if fits_in_memory(x.shape) else x


def _explained(attributions: Attributions | None, n: int) -> Attributions | None:
    if attributions is None:
        return None
    method, *arrays = attributions
    count = int(np.searchsorted(attributions.rows, n))
    return Attributions(method, *(array[:count] for array in arrays)) if count else None


def _both(earlier: str, later: str) -> str:
    """Each text once, in the order in which they came."""
    return ", ".join(dict.fromkeys(filter(None, [*earlier.split(", "), later])))
