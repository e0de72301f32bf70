"""How robust is a Keras image classifier, and can that number be believed?

The public names below are loaded on first use, so ``import advlab`` costs nothing; see the README for a first example.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Attack": "threat",
    "AttackResult": "archive",
    "Classifier": "classifier",
    "Dataset": "samples",
    "Evaluation": "evaluation",
    "Predictions": "predictions",
    "Recipe": "recipes",
    "SecurityCurve": "curves",
    "ThreatModel": "threat",
    "as_json": "objects",
    "attack": "engine",
    "attack_to_archive": "workflows.archives",
    "audit": "workflows.audit",
    "catalogue": "inventory",
    "compare": "comparison",
    "cross_findings": "crosschecks",
    "curve": "workflows.curve",
    "curve_of": "curves",
    "demo": "workflows.demo",
    "evaluate": "evaluation",
    "evaluate_noise": "workflows.noise",
    "export": "exports",
    "import_images": "workflows.imports",
    "load_classifier": "classifier",
    "load_dataset": "datasets",
    "load_result": "archive",
    "predict": "workflows.predictions",
    "report": "reporting",
    "run": "workflows.suites",
    "selftest": "workflows.selftest",
    "study": "workflows.study",
    "summary": "workflows.summary",
    "table": "tables",
    "train": "workflows.models",
    "transfer": "workflows.transfer",
    "verify": "workflows.archives",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'advlab' has no attribute '{name}'. Public names: {', '.join(__all__)}.")
    value = getattr(import_module(f"advlab.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
