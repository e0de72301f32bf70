"""How robust is a Keras image classifier, and can that number be believed?

The public names below are loaded on first use, so ``import advlab`` costs nothing; see the README for a first example.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOM = {
    "Attack": "threat",
    "AttackResult": "results.result",
    "Certificate": "results.certificate",
    "Classifier": "classifiers.classifier",
    "Dataset": "data.dataset",
    "Evaluation": "evaluation.evaluation",
    "Predictions": "evaluation.predictions",
    "Recipe": "declarations.recipes",
    "SecurityCurve": "evaluation.curve",
    "ThreatModel": "threat",
    "to_records": "evaluation.records",
    "attack": "engine.attack",
    "attack_to_archive": "workflows.attack",
    "audit": "workflows.audit",
    "available": "workflows.listing",
    "certify": "workflows.certify",
    "compare": "evaluation.compare",
    "cross_findings": "evaluation.findings.cross",
    "curve": "workflows.curve",
    "demo": "workflows.demo",
    "evaluate": "evaluation.evaluation",
    "evaluate_noise": "workflows.noise",
    "export": "workflows.export",
    "import_images": "workflows.import_images",
    "load_classifier": "classifiers.classifier",
    "load_dataset": "data.loading",
    "load_result": "results.result",
    "predict": "workflows.predict",
    "report": "reporting.report",
    "run": "workflows.run_suite",
    "selftest": "workflows.selftest",
    "study": "workflows.study",
    "summary": "workflows.summary",
    "table": "evaluation.table",
    "train": "workflows.train",
    "transfer": "workflows.transfer",
    "verify": "workflows.verify",
}

__all__ = sorted([*_ROOM, "figures"])


def __getattr__(name: str) -> Any:
    if name == "figures":
        return import_module("advlab.figures")
    if name not in _ROOM:
        raise AttributeError(f"module 'advlab' has no attribute '{name}'. Public names: {', '.join(__all__)}.")
    value = getattr(import_module(f"advlab.{_ROOM[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
