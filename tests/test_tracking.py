"""Results as runs of MLflow: against a local file store where it is installed, and what is said where it is not."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner
from results import build
from test_comparison import score

from advlab.cli import main
from advlab.errors import AdvlabError, UnknownName
from advlab.evaluation.comparison import Comparison
from advlab.evaluation.evaluation import evaluate
from advlab.workflows.tracking import track


@pytest.fixture
def store(tmp_path, monkeypatch):
    """MLflow with an empty file store."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    yield mlflow
    mlflow.set_tracking_uri(before)


def test_an_evaluation_is_a_run_with_parameters_numbers_findings_and_artifacts(store, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("page")
    evaluation = evaluate(build([0, 1, 2, 0], [0, 1, 2, 1], [1, 1, 2, 1]))
    track(evaluation, artifacts=[page])
    (run,) = store.search_runs(output_format="list")
    assert run.data.metrics["robust_accuracy"] == 0.5
    assert run.data.metrics["clean_accuracy"] == 0.75
    assert (run.data.params["method"], run.data.params["epsilon"]) == ("pgd", "0.1")
    assert run.data.tags["advlab.findings"].split() == [finding.code for finding in evaluation.findings]
    assert [item.path for item in store.MlflowClient().list_artifacts(run.info.run_id)] == ["report.html"]


def test_a_comparison_is_a_run_with_one_inside_for_each_score(store):
    track(Comparison("two", (score("a", 50), score("b", 40, 3))))
    runs = store.search_runs(output_format="list")
    assert sorted(run.data.metrics.get("robust_accuracy", -1) for run in runs) == [-1, 0.4, 0.5]


def test_a_missing_mlflow_and_another_sink_are_refused_before_any_work(monkeypatch):
    with pytest.raises(UnknownName, match="mlflow"):
        track([], "wandb")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(AdvlabError, match=r"pip install 'advlab\[mlflow\]'"):
        track([])
    outcome = CliRunner().invoke(main, ["attack", "--model", "digits", "--track", "mlflow"])
    assert outcome.exit_code == 1
    assert "MLflow is not installed" in outcome.output
