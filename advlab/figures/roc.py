"""ROC curves of a detector, one for each attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib

from advlab.figures.style import CLEAN, INK, MEAN, ROBUST, STYLE, WIDTH, Figure, remove_frame
from advlab.formatting import number

if TYPE_CHECKING:
    from advlab.evaluation.detection import Detection

_COLOURS = (ROBUST, "#3d9a78", "#9a6cc9", "#c08a2b", CLEAN)


def roc(detection: Detection) -> Figure:
    """Detected adversarial images over refused clean ones; the attack that knows the detector in red."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.8 * WIDTH), layout="constrained")
        axis = figure.subplots()
        axis.plot([0, 100], [0, 100], color=INK, lw=0.6, ls=":")
        for place, attack in enumerate(detection.attacks):
            colour = MEAN if attack is detection.attacks[-1] else _COLOURS[place % len(_COLOURS)]
            label = f"{attack.attack}, AUC {number(attack.auc, '.3f')}"
            axis.step(
                100 * attack.roc.false_positives, 100 * attack.roc.detected, where="post", color=colour, label=label
            )
        axis.axvline(100 * detection.false_positives.value, color=INK, lw=0.6)
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter("{x:.0f}%")
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 100)
        axis.set_xlabel("clean images refused")
        axis.set_ylabel(f"adversarial images detected by {detection.detector}")
        axis.legend(loc="lower right", frameon=False, handlelength=1.4)
        remove_frame(axis)
    return figure
