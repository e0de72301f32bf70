"""Studies: which results a run keeps, and which it computes again."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import advlab
from advlab import workspace
from advlab.cli import main
from advlab.declarations.studies import load_study
from advlab.errors import AdvlabError, FileExists, InvalidFile, InvalidValue
from advlab.evaluation.metrics import Rate, wilson
from advlab.evaluation.study import StudyResult, load_study_result
from tests.small_studies import HEAD, ROWS, measured, write_study

ROOT = Path(__file__).parent.parent


def run(path: Path, **options) -> StudyResult:
    return advlab.study(path, progress=False, **options)


@pytest.fixture(autouse=True)
def nothing_to_free(monkeypatch):
    """A row frees its memory: here that would mean to search all that earlier tests have left in it."""
    monkeypatch.setattr("advlab.workflows.study._clear_session", lambda: None)


@pytest.fixture
def cheap(tmp_path):
    """The study with a suite of two attacks that cost next to nothing."""
    suite = tmp_path / "cheap.toml"
    attacks = "".join(f'[[attack]]\nmethod = "{method}"\nearly_stop = false\n' for method in ("noise", "fgsm"))
    suite.write_text(f'title = "Cheap"\n{attacks}', "utf-8")
    return write_study(tmp_path, ROWS, HEAD.replace("quick", str(suite)))


class TestRun:
    def test_every_row_is_trained_attacked_and_stored(self, cheap):
        result = run(cheap)
        assert [row.name for row in result.rows] == ["base", "linear"]
        for row in result.rows:
            assert row.error is None
            assert (row.parameters, row.epochs_run, row.robust_accuracy.total) == (50890, 1, 8)
            assert row.robust_accuracy.value <= row.clean_accuracy.value
        stored = json.loads(workspace.study_path("small", ".json").read_text("utf-8"))
        assert stored == json.loads(json.dumps(result.to_dict()))
        assert load_study_result(result.study, workspace.study_path("small", ".json")) == result
        assert workspace.study_path("small", ".md").read_text("utf-8") == result.markdown()
        assert "</svg>" in workspace.study_path("small", ".svg").read_text("utf-8")

    @pytest.mark.thorough
    def test_a_suite_without_one_worst_case_is_refused_before_anything_is_trained(self, tmp_path):
        suite = tmp_path / "mixed.toml"
        suite.write_text('title = "Mixed"\n[[attack]]\nmethod = "fgsm"\n[[attack]]\nmethod = "deepfool"\nnorm = "l2"\n')
        with pytest.raises(InvalidValue, match=r"one worst case.*bounded.*minimal.*such as 'standard'"):
            load_study(write_study(tmp_path, ROWS, HEAD.replace("quick", str(suite))))

    def test_the_robust_column_is_the_worst_case_of_the_suite_on_the_trained_network(self, cheap):
        result = run(cheap, rows="2", save=False)
        recipe = load_study(cheap).recipes()[1]
        classifier = advlab.train(recipe, save=False, progress=False)
        suite = load_study(cheap).suite
        evaluations = advlab.run(classifier, suite=suite, norm="linf", epsilon=0.1, samples=8, progress=False)
        robust = sum(all(e.robust[image] for e in evaluations) for image in range(8))
        assert result.rows[0].robust_accuracy == Rate(robust / 8, *wilson(robust, 8), robust, 8)
        assert result.rows[0].test_accuracy == classifier.card["test_accuracy"]
        assert not workspace.study_path("small", ".json").exists()


class Counted:
    """Replaces training and attacking: records the requested rows, and raises the errors in ``raising``."""

    def __init__(self, monkeypatch):
        self.names: list[str] = []
        self.raising: dict[str, BaseException] = {}
        monkeypatch.setattr("advlab.workflows.study._measure", self)

    def __call__(self, row, study, force, progress):
        self.names.append(row.name)
        if row.name in self.raising:
            raise self.raising[row.name]
        return measured(study, [r.name for r in study.rows].index(row.name), 0.9)


@pytest.fixture
def counted(monkeypatch):
    return Counted(monkeypatch)


class TestResume:
    def test_existing_results_are_refused_without_resume_or_force(self, tmp_path, counted):
        run(write_study(tmp_path))
        with pytest.raises(FileExists, match=r"--resume .* --force"):
            run(write_study(tmp_path))
        assert counted.names == ["base", "linear"]

    def test_resume_computes_what_is_missing(self, tmp_path, counted):
        run(write_study(tmp_path), rows="2")
        result = run(write_study(tmp_path), resume=True)
        assert counted.names == ["linear", "base"]
        assert [row.name for row in result.rows] == ["base", "linear"]

    @pytest.mark.parametrize("change", [("epochs = 1 }", "epochs = 2 }"), ("samples = 8", "samples = 9")])
    def test_resume_computes_again_what_has_changed(self, tmp_path, counted, change, capsys):
        path = write_study(tmp_path)
        advlab.study(path)
        counted.names.clear()
        write_study(tmp_path, ROWS.replace(*change, 1), HEAD.replace(*change))
        advlab.study(path, resume=True)
        assert counted.names == (["base"] if "epochs" in change[0] else ["base", "linear"])
        assert "base: its settings have changed" in capsys.readouterr().err

    def test_other_epochs_do_not_replace_finished_rows_without_force(self, tmp_path, counted):
        run(write_study(tmp_path))
        for other in ({"epochs": 3}, {"samples": 3}):
            with pytest.raises(FileExists, match=r"other epochs or samples would replace.*--force"):
                run(write_study(tmp_path), resume=True, **other)
        assert counted.names == ["base", "linear"]

    def test_notes_and_published_figures_are_no_reason_to_compute_again(self, tmp_path, counted):
        run(write_study(tmp_path))
        path = write_study(tmp_path, ROWS.replace("because", "since").replace("0.5", "0.6"))
        result = run(path, resume=True)
        assert counted.names == ["base", "linear"]
        assert "(60.00)" in result.markdown()
        assert "since" in workspace.study_path("small", ".md").read_text("utf-8")

    def test_force_computes_the_requested_rows_again_and_keeps_the_others(self, tmp_path, counted):
        run(write_study(tmp_path))
        result = run(write_study(tmp_path), rows="base", force=True)
        assert counted.names == ["base", "linear", "base"]
        assert len(result.rows) == 2

    @pytest.mark.thorough
    def test_a_classifier_of_the_same_settings_is_not_trained_again_unless_forced(self, cheap, monkeypatch):
        existing = advlab.train("digits", epochs=1)
        trained = []

        def counting(recipe, *, train=advlab.train, **options):
            trained.append(recipe.title)
            return train(recipe, **options)

        monkeypatch.setattr("advlab.workflows.study.train", counting)
        (workspace.root() / "models" / "damaged.h5").write_bytes(b"no classifier")
        result = run(cheap)
        assert trained == ["linear"]
        assert result.row("base").test_accuracy == existing.card["test_accuracy"]
        assert result.row("base").train_seconds == existing.card["seconds"]
        forced = run(cheap, rows="base", force=True)
        assert trained == ["linear", "base"]
        assert forced.row("base").test_accuracy == existing.card["test_accuracy"]

    def test_an_error_in_a_row_is_its_result_and_resume_tries_it_again(self, tmp_path, monkeypatch):
        def failing(*arguments, **options):
            raise AdvlabError("the loss became nan")

        with monkeypatch.context() as patch:
            patch.setattr("advlab.workflows.study.train", failing)
            result = run(write_study(tmp_path))
        assert [row.error for row in result.rows] == ["the loss became nan"] * 2
        assert "failed" in result.table()
        assert "Rows 1-2: the loss became nan" in workspace.study_path("small", ".md").read_text("utf-8")
        assert not workspace.study_path("small", ".svg").exists()
        counted = Counted(monkeypatch)
        assert run(write_study(tmp_path), rows="2", resume=True).row("linear").error is None
        assert counted.names == ["linear"]

    def test_an_interruption_leaves_the_finished_rows(self, tmp_path, counted):
        counted.raising["linear"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt, match=r"1 of 2 rows .* --resume"):
            run(write_study(tmp_path))
        stored = load_study_result(load_study(write_study(tmp_path)), workspace.study_path("small", ".json"))
        assert [row.name for row in stored.rows] == ["base"]

    def test_rows_that_another_process_finishes_meanwhile_are_kept(self, tmp_path, counted, monkeypatch):
        path = write_study(tmp_path)

        def slowly(row, *arguments):
            if row.name == "base":
                run(path, rows="linear")
            return counted(row, *arguments)

        monkeypatch.setattr("advlab.workflows.study._measure", slowly)
        assert [row.name for row in run(path, rows="base").rows] == ["base", "linear"]

    def test_a_full_disk_is_reported_and_leaves_the_old_files(self, tmp_path, counted, monkeypatch):
        path = write_study(tmp_path)
        run(path, rows="1")
        before = workspace.study_path("small", ".json").read_bytes()

        def full(*arguments):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.write_text", full)
            with pytest.raises(AdvlabError, match="No space left on device"):
                run(path, resume=True)
        assert workspace.study_path("small", ".json").read_bytes() == before

    @pytest.mark.parametrize("damage", ["{", "[]", '{"schema": 9}', '{"schema": 1, "versions": {}, "rows": [{}]}'])
    def test_a_damaged_result_is_refused_with_the_fix(self, tmp_path, counted, damage):
        path = workspace.study_path("small", ".json")
        path.parent.mkdir(parents=True)
        path.write_text(damage)
        with pytest.raises(InvalidFile, match=r"small\.json"):
            run(write_study(tmp_path), resume=True)
        assert counted.names == []

    def test_a_missing_data_set_is_reported_before_any_row(self, tmp_path, counted):
        (tmp_path / "own.toml").write_text(
            Path(ROOT / "models" / "digits.toml").read_text("utf-8").replace('"digits"', '"nowhere.npz"'), "utf-8"
        )
        rows = f'[[row]]\nname = "own"\nrecipe = "{tmp_path / "own.toml"}"\n'
        with pytest.raises(AdvlabError, match="nowhere"):
            run(write_study(tmp_path, rows))
        assert counted.names == []


def test_the_command_prints_the_table_and_the_next_step(tmp_path, counted):
    completed = CliRunner().invoke(main, ["study", str(write_study(tmp_path)), "--rows", "1"])
    assert completed.exit_code == 0, completed.output
    assert "1 base" in completed.stdout
    assert "--resume" in completed.stderr
    assert "Row 1: because" in completed.stderr
    wrong = CliRunner().invoke(main, ["study", "mnist-mpl"])
    assert "Did you mean 'mnist-mlp'" in wrong.stderr
