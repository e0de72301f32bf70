"""Numbers, parameters, findings and pages as runs of a tracking server that people already use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advlab.errors import AdvlabError, unknown
from advlab.evaluation.comparison import Comparison
from advlab.evaluation.table import as_evaluations, label

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation

SINKS = ("mlflow",)
_LONGEST = 500  # characters of a parameter that MLflow takes


def track(
    results: Evaluation | Iterable[Evaluation] | Comparison,
    to: str = "mlflow",
    *,
    artifacts: Sequence[str | os.PathLike[str]] = (),
) -> None:
    """Record results as runs: of evaluations one each, of a comparison one for each score inside one for all.

    A run has what was attacked and with what as parameters, the numbers as metrics, findings as a tag, and
    ``artifacts``, files or folders such as a report. MLflow itself says where, with ``MLFLOW_TRACKING_URI`` and
    ``MLFLOW_EXPERIMENT_NAME``. Raises ``UnknownName`` for another sink, ``AdvlabError`` where MLflow is not installed
    or does not take them.
    """
    if to not in SINKS:
        raise unknown("tracking", to, SINKS)
    mlflow = _mlflow()
    try:
        if isinstance(results, Comparison):
            with mlflow.start_run(run_name=results.title):
                _keep(mlflow, artifacts)
                for score in results.scores:
                    name = f"{score.model.name} {score.column.attack} {score.column.budget} seed {score.seed}"
                    with mlflow.start_run(run_name=name, nested=True):
                        _log(mlflow, *_of_score(score))
            return
        for evaluation in as_evaluations(results):
            with mlflow.start_run(run_name=f"{evaluation.classifier} {label(evaluation)}"):
                _log(mlflow, *_of_evaluation(evaluation))
                _keep(mlflow, artifacts)
    except mlflow.exceptions.MlflowException as error:
        raise AdvlabError(f"MLflow at '{mlflow.get_tracking_uri()}' did not take the results: {error}.") from error


def _mlflow() -> Any:
    try:
        import mlflow
        import mlflow.exceptions
    except ImportError as error:
        raise AdvlabError("MLflow is not installed. Install it: pip install 'advlab[mlflow]'.") from error
    return mlflow


def _log(mlflow: Any, parameters: dict[str, Any], metrics: dict[str, float], findings: Iterable[str]) -> None:
    mlflow.log_params({name: str(value)[:_LONGEST] for name, value in parameters.items()})
    mlflow.log_metrics({name: float(value) for name, value in metrics.items() if value == value})
    mlflow.set_tag("advlab.findings", " ".join(findings))


def _keep(mlflow: Any, artifacts: Sequence[str | os.PathLike[str]]) -> None:
    for artifact in map(Path, artifacts):
        if artifact.is_dir():
            mlflow.log_artifacts(str(artifact))
        else:
            mlflow.log_artifact(str(artifact))


def _of_evaluation(evaluation: Evaluation) -> tuple[dict[str, Any], dict[str, float], list[str]]:
    result, attack = evaluation.result, evaluation.attack
    parameters = {name: value for name, value in attack.to_dict().items() if name not in ("parameters", "overrides")}
    parameters |= {f"parameters.{name}": value for name, value in attack.parameters.items()}
    parameters |= {"classifier": result.classifier, "classifier_digest": result.classifier_digest}
    parameters |= {"dataset": result.dataset, "dataset_digest": result.dataset_digest, "samples": len(result)}
    parameters |= {f"versions.{name}": version for name, version in result.versions.items()}
    robust = evaluation.robust_accuracy
    metrics = {
        "clean_accuracy": evaluation.clean_accuracy.value,
        "robust_accuracy": robust.value,
        "robust_low": robust.low,
        "robust_high": robust.high,
        "success_rate": evaluation.success_rate.value,
        "forward_passes": evaluation.forward_passes,
        "backward_passes": evaluation.backward_passes,
        "seconds": result.seconds,
    }
    return parameters, metrics, [finding.code for finding in evaluation.findings]


def _of_score(score: Any) -> tuple[dict[str, Any], dict[str, float], tuple[str, ...]]:
    parameters = {"classifier": score.model.name, "classifier_digest": score.model.digest, **score.column._asdict()}
    parameters |= {"seed": score.seed, "samples": len(score.robust), "archive_digest": score.archive_digest}
    parameters |= {"command": score.command}
    robust = score.accuracy
    metrics = {
        "clean_accuracy": float(score.correct.mean()),
        "robust_accuracy": robust.value,
        "robust_low": robust.low,
        "robust_high": robust.high,
        "passes": score.passes,
        "seconds": score.seconds,
    }
    return parameters, metrics, score.findings
