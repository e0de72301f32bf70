"""Benchmarks: what a file may declare, which cells it makes, and what a run leaves and takes up again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from advlab.declarations.benchmarks import load_benchmark
from advlab.errors import AdvlabError, FileExists, InvalidFile, InvalidValue, Mismatch, UnknownName
from advlab.evaluation.comparison import Comparison
from advlab.workflows.benchmark import benchmark
from advlab.workflows.benchmark_plan import plan_benchmark
from advlab.workflows.compare import compare_archives

SMALL = """title = "Two models"
classifiers = ["digits", "digits-robust"]
attacks = ["fgsm", "ddn"]
samples = 20
epsilons = { l2 = [0.5, 1.5] }
"""


def write(folder, text: str, name: str = "small"):
    path = folder / f"{name}.toml"
    path.write_text(text, "utf-8")
    return path


def test_cells_are_all_combinations_in_the_order_of_the_file(tmp_path):
    text = SMALL + "seeds = [0, 7]\n"
    cells = load_benchmark(write(tmp_path, text)).cells
    assert len(cells) == 2 * 2 * 2 * 2
    assert [str(cell) for cell in cells[:3]] == [
        "digits under fgsm, l2 0.5",
        "digits under fgsm, l2 0.5, seed 7",
        "digits under fgsm, l2 1.5",
    ]
    assert {spec.seed for cell in cells for spec in cell.attacks} == {0, 7}


def test_a_grid_replaces_some_keys_and_inherits_the_others(tmp_path):
    text = 'title = "T"\nattacks = ["pgd"]\nepsilons = { linf = [0.1] }\nclassifiers = ["digits"]\n'
    text += '[[grid]]\n[[grid]]\nclassifiers = ["mnist"]\nepsilons = { linf = ["8/255"] }\nsamples = 5\n'
    cells = load_benchmark(write(tmp_path, text)).cells
    assert [(cell.classifier, cell.budget, cell.samples) for cell in cells] == [
        ("digits", "linf 0.1", 1000),
        ("mnist", "linf 8/255", 5),
    ]


def test_a_minimal_attack_is_run_without_the_epsilon_that_its_images_are_judged_by(tmp_path):
    cells = load_benchmark(write(tmp_path, SMALL.replace('"ddn"', '"minimal"'))).cells
    nearest = [cell for cell in cells if cell.attack == "minimal"]
    assert {cell.given_epsilon for cell in nearest} == {None}
    assert len({cell.recipe for cell in nearest}) == 1
    assert all(not spec.early_stop for cell in nearest for spec in cell.attacks)


def test_a_suite_that_names_its_own_budgets_is_one_cell_for_each_model(tmp_path):
    text = 'title = "T"\nclassifiers = ["digits", "mnist"]\nattacks = ["union"]\n'
    assert [cell.budget for cell in load_benchmark(write(tmp_path, text)).cells] == ["union", "union"]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (("title", "titel"), UnknownName, "Did you mean 'title'"),
        (('"fgsm"', '"fgms"'), UnknownName, "Did you mean 'fgsm'"),
        (('"ddn"', '{ method = "pgd", epsilon = 0.1 }'), InvalidValue, "'epsilon' belongs to no attack"),
        (('"ddn"', '{ method = "pgd", parameters = { stepz = 3 } }'), UnknownName, "steps"),
        (("l2 =", "l7 ="), UnknownName, "l7"),
        (("0.5, 1.5", "0, 1.5"), InvalidValue, "a number above 0"),
        (("0.5, 1.5", "0.5, 0.5"), InvalidValue, "twice"),
        (("l2 = [0.5, 1.5]", "linf = [8]"), InvalidValue, "at most 1"),
        (("samples = 20", "samples = 0"), InvalidValue, "samples"),
        (("epsilons", "seeds = []\nepsilons"), InvalidValue, "at least one whole number"),
        (("epsilons = { l2 = [0.5, 1.5] }", ""), InvalidValue, "needs a norm and an epsilon"),
        (('"fgsm", "ddn"', '"jsma"'), InvalidValue, "digits under jsma, l2 0.5: Method 'jsma' does not cover"),
    ],
)
def test_a_mistake_in_the_file_is_refused_with_its_place(tmp_path, change, error, said):
    path = write(tmp_path, SMALL.replace(*change))
    with pytest.raises(error, match=r"small\.toml") as raised:
        load_benchmark(path)
    assert said in str(raised.value)


def test_a_cell_whose_model_does_not_fit_its_data_is_named_before_anything_runs(tmp_path, workspace):
    np.savez(tmp_path / "colours.npz", x=np.zeros((4, 32, 32, 3), np.float32), y=np.arange(4))
    text = SMALL + f'datasets = ["digits", "{tmp_path}/colours.npz"]\n'
    with pytest.raises(Mismatch, match=r"'digits on .*colours.npz under fgsm, l2 0.5'"):
        benchmark(write(tmp_path, text))
    assert not list(workspace.rglob("*.h5"))


def test_the_plan_says_what_each_cell_costs_and_runs_none(tmp_path, workspace):
    plan = plan_benchmark(write(tmp_path, SMALL))
    costs = {(planned.cell.classifier, planned.cell.attack): planned.passes for planned in plan.cells}
    assert costs["digits", "fgsm"] == 1 + 2  # one step, and the query of what it made
    assert costs["digits", "ddn"] > 100
    assert plan.seconds > 0
    assert "8 cells, at most" in plan.table()
    assert not list(workspace.rglob("*.h5"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workspace in which the small benchmark was run, its file and what it returned."""
    folder = tmp_path_factory.mktemp("benchmark")
    path = write(folder, SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVLAB_WORKSPACE", str(folder))
        return folder, path, benchmark(path, progress=False)


def test_a_run_leaves_scores_archives_tables_and_pages(finished):
    folder, _, result = finished
    left = {path.name for path in (folder / "attacks/benchmarks/small").iterdir()}
    pages = {"figure.svg", "leaderboard.html", "report.html", "results.json", "table.csv", "table.md", "table.tex"}
    assert left == pages | {"digits-20"}
    assert len(result.scores) == 8
    assert len(list(folder.rglob("digits-20/*/*.h5"))) == 2 * (2 + 1)  # ddn answers every epsilon with one archive
    assert {len(score.archive_digest) for score in result.scores} == {16}
    for model in result.models:
        values = [score.accuracy.value for score in result.of(model) if score.column.attack == "ddn"]
        assert values[0] >= values[1]


def test_the_command_of_a_number_makes_it_again(finished, workspace):
    import shlex

    from click.testing import CliRunner

    from advlab.cli import main

    for score in finished[2].scores[:3:2]:
        words = shlex.split(score.command)[1:]
        outcome = CliRunner().invoke(main, [*words, "--json"])
        assert outcome.exit_code == 0, outcome.output
        if score.column.attack == "fgsm":
            assert json.loads(outcome.stdout)[0]["robust_accuracy"]["count"] == score.accuracy.count


def test_results_are_refused_unless_they_are_resumed(finished, monkeypatch):
    folder, path, first = finished
    monkeypatch.setenv("ADVLAB_WORKSPACE", str(folder))
    with pytest.raises(FileExists, match="--resume"):
        benchmark(path)
    monkeypatch.setattr("advlab.workflows.benchmark._measure", lambda *_: pytest.fail("a finished cell ran again"))
    again = benchmark(path, resume=True, progress=False)
    assert again.to_dict() == first.to_dict()


def test_a_cell_that_fails_says_so_and_the_others_run(tmp_path, monkeypatch):
    from advlab.workflows import benchmark as module

    measure = module._measure

    def failing(planned, *rest):
        if planned.cell.classifier == "digits":
            raise AdvlabError("the disk is full")
        return measure(planned, *rest)

    monkeypatch.setattr(module, "_measure", failing)
    result = benchmark(write(tmp_path, SMALL.replace('"ddn"', '"noise"')), progress=False)
    assert {score.model.name for score in result.scores} == {"digits-robust"}
    assert result.failed["digits under fgsm, l2 0.5"] == "the disk is full"
    assert "failed: digits under fgsm, l2 0.5: the disk is full" in result.table()


def test_archives_at_hand_are_compared_in_the_same_way(finished, tmp_path):
    folder, _, result = finished
    archives = sorted(folder.rglob("digits-20/*/*.h5"))
    with pytest.raises(InvalidValue, match="--epsilon"):
        compare_archives(archives)
    compared = compare_archives(archives, epsilon=["0.5", 1.5], output=tmp_path / "out")
    assert {(s.model, s.column, s.accuracy) for s in compared.scores} == {
        (s.model, s.column, s.accuracy) for s in result.scores
    }
    assert Comparison.load(tmp_path / "out" / "results.json").to_dict() == compared.to_dict()
    with pytest.raises(InvalidValue, match="nothing to compare"):
        compare_archives([])


def test_a_damaged_result_is_refused(tmp_path):
    path = tmp_path / "results.json"
    for text in ("{", "[]", '{"schema": 9}', '{"schema": 1, "title": "t", "scores": [{}], "failed": {}}'):
        path.write_text(text)
        with pytest.raises(InvalidFile, match=r"results\.json"):
            Comparison.load(path)
