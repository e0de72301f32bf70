"""Attacks, budgets and rates as text for readers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from advlab.evaluation.evaluation import Evaluation
from advlab.evaluation.table import epsilon_text, target_text
from advlab.threat import ThreatModel

NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0", "none": "box only"}


def attack_name(evaluation: Evaluation) -> str:
    """The method as papers write it: ``PGD``, ``DeepFool``, ``carlini wagner``."""
    method = evaluation.attack.method
    return {"deepfool": "DeepFool"}.get(method, method.upper() if len(method) <= 4 else method.replace("_", " "))


def budget(evaluation: Evaluation) -> str:
    """The threat model in short: ``L∞ 0.1``, ``smallest L2``, with the target's name."""
    threat = evaluation.attack.threat
    text = " or ".join(_ball(ball, ball.epsilon_text) for ball in threat.any_of)
    text = text or _ball(threat, epsilon_text(evaluation))
    if threat.targeted:
        text = f"{text}, towards {target_text(evaluation)}"
    if threat.top > 1:
        text = f"{text}, out of the top {threat.top}"
    return text if evaluation.result.per_image.mask is None else f"{text}, in a mask"


def _ball(threat: ThreatModel, size: str) -> str:
    if math.isfinite(threat.epsilon):
        return f"{NORMS[threat.norm]} {size}"
    return NORMS[threat.norm] if threat.norm == "none" else f"smallest {NORMS[threat.norm]}"


def allowance(threat: ThreatModel, vocabulary: Sequence[str] = ()) -> str:
    """What an attacker may do under a threat model, for readers who know no norms; to texts with a vocabulary."""
    if vocabulary:
        return f"may replace at most {threat.epsilon_text} words"
    if threat.any_of:
        return f"chooses for each image: it {', or '.join(map(allowance, threat.any_of))}"
    if threat.norm == "none":
        return "may change the pixels at will"
    if not math.isfinite(threat.epsilon):
        return "may change the pixels at will, and looks for the smallest change that succeeds"
    size = threat.epsilon_text
    if threat.norm == "linf":
        return f"may change each pixel by at most {size}, where black is 0 and white is 1"
    if threat.norm == "l0":
        return f"may change at most {size} pixels, and those at will"
    measure = {"l2": "root of the sum of squares", "l1": "sum"}[threat.norm]
    return f"may change the pixels (black is 0, white is 1) by at most {size} in all, measured as the {measure}"


def measure(norm: str, vocabulary: Sequence[str] = ()) -> str:
    """What stands before a size: ``L∞``; of texts, which have a vocabulary, ``changed words ≤``."""
    return "changed words ≤" if vocabulary else NORMS[norm]


def percent(fraction: float, digits: int = 1) -> str:
    """``25.0 %``; ``unknown`` for NaN."""
    return "unknown" if math.isnan(fraction) else f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%"
