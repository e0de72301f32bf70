"""Studies: what a file declares, what a run keeps and computes again, and what the tables say."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import advlab
from advlab import figures, workspace
from advlab.cli import main
from advlab.errors import AdvlabError, FileExists, InvalidFile, InvalidValue, UnknownName
from advlab.metrics import Rate, wilson
from advlab.recipes import EarlyStopping, load_recipe, settings
from advlab.studies import load_study
from advlab.studyresult import Measured, StudyResult, load_study_result

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "models" / "studies").glob("*.toml"))
HEAD = 'title = "Small"\nrecipe = "digits"\nsuite = "quick"\nepsilon = 0.1\nsamples = 8\n'
ROWS = """
[[row]]
name = "base"
training = { epochs = 1 }
published = { test_accuracy = 0.5 }
note = "because"

[[row]]
name = "linear"
architecture = { activation = "linear" }
training = { epochs = 1, optimizer = "sgd" }
"""


def declared(folder: Path, text: str = ROWS, head: str = HEAD, name: str = "small") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(head + text, "utf-8")
    return path


def measured(study, number: int, test: float, robust: int = 50, **fields) -> Measured:
    """A row as if it had been run; ``robust`` of 100 images stand."""
    row = study.rows[number]
    rates = {"clean_accuracy": rate(90), "robust_accuracy": rate(robust)}
    seconds = {"train_seconds": 12.3, "attack_seconds": 80.0}
    given = {"parameters": 50890, "train_accuracy": 0.9, "test_accuracy": test, "epochs_run": 1, **rates, **seconds}
    return Measured(row.name, settings(row.recipe), study.threat, **given, **fields)


def rate(count: int) -> Rate:
    return Rate(count / 100, *wilson(count, 100), count, 100)


def run(path: Path, **options) -> StudyResult:
    return advlab.study(path, progress=False, **options)


@pytest.fixture(autouse=True)
def nothing_to_free(monkeypatch):
    """A row frees what it leaves: here that would mean to look through all that earlier tests have left."""
    monkeypatch.setattr("advlab.workflows.study._forget", lambda: None)


class TestDeclaration:
    def test_a_row_changes_what_it_names_and_keeps_the_rest_of_the_base(self, tmp_path):
        base = load_recipe("digits")
        recipe = load_study(declared(tmp_path)).recipes()[1]
        assert dict(recipe.architecture) == {**base.architecture, "activation": "linear"}
        assert (recipe.training.optimizer, recipe.training.epochs) == ("sgd", 1)
        assert recipe.training.batch_size == base.training.batch_size
        assert recipe.name == "small-linear"

    def test_another_kind_of_architecture_replaces_the_whole_and_a_row_may_have_another_base(self, tmp_path):
        rows = """
        [[row]]
        name = "recurrent"
        architecture = { kind = "rnn", units = 4 }
        [[row]]
        name = "E"
        recipe = "mnist-mlp-256"
        training = { early_stopping = { patience = 2, monitor = "loss" } }
        """
        first, second = load_study(declared(tmp_path, rows)).recipes()
        assert dict(first.architecture) == {"kind": "rnn", "units": 4}
        assert second.dataset == "mnist"
        assert second.training.early_stopping == EarlyStopping(2, "loss")

    def test_a_grid_has_a_row_for_each_combination_named_by_its_values(self, tmp_path):
        grid = '[grid]\n"architecture.hidden" = [[8, 8], [16]]\n"training.batch_size" = [32, 64]\n'
        study = load_study(declared(tmp_path, grid))
        assert [row.name for row in study.rows] == [
            f"hidden {hidden} batch size {size}" for hidden in ("8-8", "16") for size in (32, 64)
        ]
        assert study.rows[2].recipe.architecture["hidden"] == [16]
        assert study.varied() == ("architecture.hidden", "training.batch_size")

    def test_a_row_named_like_one_of_the_grid_keeps_what_it_does_not_name(self, tmp_path):
        row = '[[row]]\nname = "dropout 0.2"\narchitecture = { activation = "tanh" }\n'
        study = load_study(declared(tmp_path, f'{row}[grid]\n"architecture.dropout" = [0.1, 0.2]\n'))
        assert study.recipes()[1].architecture["dropout"] == 0.2
        assert study.recipes()[1].architecture["activation"] == "tanh"
        with pytest.raises(InvalidValue, match=r"Got 'dropout 0\.2' twice"):
            load_study(declared(tmp_path, f'{row}{row}[grid]\n"architecture.dropout" = [0.1, 0.2]\n'))

    def test_a_row_named_like_one_of_the_grid_adds_to_it(self, tmp_path):
        grid = '[[row]]\nname = "dropout 0.2"\nnote = "why"\n[grid]\n"architecture.dropout" = [0.1, 0.2]\n'
        study = load_study(declared(tmp_path, grid))
        assert [(row.name, row.note) for row in study.rows] == [("dropout 0.1", ""), ("dropout 0.2", "why")]
        assert study.rows[1].recipe.architecture["dropout"] == 0.2

    def test_figures_of_the_base_are_printed_for_the_base_alone(self, tmp_path):
        rows = '[[row]]\nname = "E"\n[[row]]\nname = "wide"\narchitecture = { hidden = [1024] }\n'
        same, other = load_study(declared(tmp_path, rows, 'title = "T"\nrecipe = "mnist-mlp-256"\n')).recipes()
        assert same.published["test_accuracy"] == 0.985
        assert other.published == {}

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ('name = "a"\nactivaton = "relu"', ["row 1", "activaton", "Available: architecture"]),
            ('name = "a"\narchitecture = { activaton = "relu" }', ["row 1", "'a'", "Did you mean 'activation'"]),
            ('name = "a"\ntraining = { optimiser = "sgd" }', ["row 1", "Did you mean 'training.optimizer'"]),
            ('name = "a"\ntraining = { epochs = 0 }', ["row 1", "training.epochs", "Got 0"]),
            ('name = "a"\narchitecture = { dropout = 1.5 }', ["row 1", "architecture.dropout", "Got 1.5"]),
            ('name = "a"\npublished = { accuracy = 0.9 }', ["row 1", "[published]", "accuracy"]),
            ('name = "a"\npublished = { test_accuracy = 98.5 }', ["row 1", "a share in [0, 1]", "98.5"]),
            ('name = "a, b"', ["row 1", "without commas"]),
            ('name = "a"\nrecipe = "digit"', ["row 1", "Did you mean 'digits'"]),
            ("note = 'no name'", ["row 1", "name must be a text"]),
            ('name = "a"\n[[row]]\nname = "a"', ["'a' twice"]),
            ('name = "a b"\n[[row]]\nname = "a-b"', ["'small-a-b' twice"]),
        ],
    )
    def test_a_wrong_row_is_refused_with_file_row_and_what_is_allowed(self, tmp_path, row, words):
        path = declared(tmp_path, f"[[row]]\n{row}\n")
        with pytest.raises(AdvlabError) as told:
            load_study(path)
        assert all(word in str(told.value) for word in (str(path), *words)), told.value

    @pytest.mark.parametrize(
        ("head", "words"),
        [
            ('title = "T"\nrecipe = "digits"\n', ["at least one [[row]]"]),
            ('title = "T"\nrecipie = "digits"\n', ["Did you mean 'recipe'"]),
            ('recipe = "digits"\n[[row]]\nname = "a"\n', ["title must be a text"]),
            ('title = "T"\n[[row]]\nname = "a"\n', ["recipe must be the name of a recipe"]),
            ('title = "T"\nrecipe = "digits"\nsuite = "standrad"\n[[row]]\nname = "a"\n', ["Did you mean 'standard'"]),
            ('title = "T"\nrecipe = "digits"\nsuite = "minimal"\n[[row]]\nname = "a"\n', ["takes no epsilon"]),
            ('title = "T"\nrecipe = "digits"\nepsilon = 0\n[[row]]\nname = "a"\n', ["epsilon must be", "Got 0"]),
            ('title = "T"\nrecipe = "digits"\nnorm = "l3"\n[[row]]\nname = "a"\n', ["Unknown norm", "l3"]),
            ('title = "T"\nrecipe = "digits"\ncolumns = ["hidden"]\n[[row]]\nname = "a"\n', ["architecture.hidden"]),
            ('title = "T"\nrecipe = "digits"\n[grid]\narchitecture.dropout = [0.1]\n', ["in quotes"]),
            ('title = "T"\nrecipe = "digits"\n[grid]\n"dropout" = [0.1]\n', ["training.optimizer", "'dropout'"]),
        ],
    )
    def test_a_wrong_study_is_refused_with_the_file(self, tmp_path, head, words):
        path = declared(tmp_path, "", head)
        with pytest.raises(AdvlabError) as told:
            load_study(path)
        assert all(word in str(told.value) for word in (str(path), *words)), told.value

    def test_rows_are_chosen_by_number_range_and_name(self, tmp_path):
        grid = '[grid]\n"architecture.dropout" = [0.1, 0.2, 0.3, 0.4, 0.5]\n'
        study = load_study(declared(tmp_path, grid))
        chosen = [row.name[-1] for row in study.chosen("5, 2-3,dropout 0.1")]
        assert chosen == ["1", "2", "3", "5"]
        assert study.chosen(None) == study.chosen([1, "2-5"]) == study.rows
        for wrong in ("0", "6", "3-2"):
            with pytest.raises(InvalidValue, match="rows 1-5"):
                study.chosen(wrong)
        with pytest.raises(UnknownName, match=r"Did you mean 'dropout 0\.5'"):
            study.chosen("dropuot 0.5")


@pytest.fixture
def cheap(tmp_path):
    """The study with a suite of two attacks that cost next to nothing."""
    suite = tmp_path / "cheap.toml"
    attacks = "".join(f'[[attack]]\nmethod = "{method}"\nstop = "never"\n' for method in ("noise", "fgsm"))
    suite.write_text(f'title = "Cheap"\n{attacks}', "utf-8")
    return declared(tmp_path, ROWS, HEAD.replace("quick", str(suite)))


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
    def test_the_robust_column_is_the_worst_case_of_the_suite_on_the_trained_network(self, cheap):
        result = run(cheap, rows="2", save=False)
        recipe = load_study(cheap).recipes()[1]
        classifier = advlab.train(recipe, save=False, progress=False)
        evaluations = advlab.run(
            load_study(cheap).suite, classifier, norm="linf", epsilon=0.1, samples=8, progress=False
        )
        robust = sum(all(e.robust[image] for e in evaluations) for image in range(8))
        assert result.rows[0].robust_accuracy == Rate(robust / 8, *wilson(robust, 8), robust, 8)
        assert result.rows[0].test_accuracy == classifier.card["test_accuracy"]
        assert not workspace.study_path("small", ".json").exists()


class Counted:
    """Stands for training and attacking: it notes which rows were asked for, and fails where it is told to."""

    def __init__(self, monkeypatch):
        self.names: list[str] = []
        self.raising: dict[str, BaseException] = {}
        monkeypatch.setattr("advlab.workflows.study._measured", self)

    def __call__(self, row, study, force, progress):
        self.names.append(row.name)
        if row.name in self.raising:
            raise self.raising[row.name]
        return measured(study, [r.name for r in study.rows].index(row.name), 0.9)


@pytest.fixture
def counted(monkeypatch):
    return Counted(monkeypatch)


class TestResume:
    def test_results_that_are_there_are_refused_without_resume_or_force(self, tmp_path, counted):
        run(declared(tmp_path))
        with pytest.raises(FileExists, match=r"--resume .* --force"):
            run(declared(tmp_path))
        assert counted.names == ["base", "linear"]

    def test_resume_computes_what_is_missing(self, tmp_path, counted):
        run(declared(tmp_path), rows="2")
        result = run(declared(tmp_path), resume=True)
        assert counted.names == ["linear", "base"]
        assert [row.name for row in result.rows] == ["base", "linear"]

    @pytest.mark.parametrize("change", [("epochs = 1 }", "epochs = 2 }"), ("samples = 8", "samples = 9")])
    def test_resume_computes_again_what_has_changed(self, tmp_path, counted, change, capsys):
        path = declared(tmp_path)
        advlab.study(path)
        counted.names.clear()
        declared(tmp_path, ROWS.replace(*change, 1), HEAD.replace(*change))
        advlab.study(path, resume=True)
        assert counted.names == (["base"] if "epochs" in change[0] else ["base", "linear"])
        assert "base: its settings have changed" in capsys.readouterr().err

    def test_other_epochs_do_not_replace_finished_rows_unasked(self, tmp_path, counted):
        run(declared(tmp_path))
        for other in ({"epochs": 3}, {"samples": 3}):
            with pytest.raises(FileExists, match=r"other epochs or samples would replace.*--force"):
                run(declared(tmp_path), resume=True, **other)
        assert counted.names == ["base", "linear"]

    def test_notes_and_published_figures_are_no_reason_to_compute_again(self, tmp_path, counted):
        run(declared(tmp_path))
        path = declared(tmp_path, ROWS.replace("because", "since").replace("0.5", "0.6"))
        result = run(path, resume=True)
        assert counted.names == ["base", "linear"]
        assert "(60.00)" in result.markdown()
        assert "since" in workspace.study_path("small", ".md").read_text("utf-8")

    def test_force_computes_the_asked_rows_anew_and_keeps_the_others(self, tmp_path, counted):
        run(declared(tmp_path))
        result = run(declared(tmp_path), rows="base", force=True)
        assert counted.names == ["base", "linear", "base"]
        assert len(result.rows) == 2

    @pytest.mark.thorough
    def test_a_classifier_that_was_trained_just_so_is_not_trained_again_unless_forced(self, cheap, monkeypatch):
        ready = advlab.train("digits", epochs=1)
        trained = []

        def counting(recipe, *, train=advlab.train, **options):
            trained.append(recipe.title)
            return train(recipe, **options)

        monkeypatch.setattr("advlab.workflows.study.train", counting)
        (workspace.root() / "models" / "damaged.h5").write_bytes(b"no classifier")
        result = run(cheap)
        assert trained == ["linear"]
        assert result.row("base").test_accuracy == ready.card["test_accuracy"]
        assert result.row("base").train_seconds == ready.card["seconds"]
        again = run(cheap, rows="base", force=True)
        assert trained == ["linear", "base"]
        assert again.row("base").test_accuracy == ready.card["test_accuracy"]

    def test_an_error_in_a_row_is_its_result_and_resume_tries_it_again(self, tmp_path, monkeypatch):
        def failing(*arguments, **options):
            raise AdvlabError("the loss became nan")

        with monkeypatch.context() as patch:
            patch.setattr("advlab.workflows.study.train", failing)
            result = run(declared(tmp_path))
        assert [row.error for row in result.rows] == ["the loss became nan"] * 2
        assert "failed" in result.table()
        assert "Rows 1-2: the loss became nan" in workspace.study_path("small", ".md").read_text("utf-8")
        assert not workspace.study_path("small", ".svg").exists()
        counted = Counted(monkeypatch)
        assert run(declared(tmp_path), rows="2", resume=True).row("linear").error is None
        assert counted.names == ["linear"]

    def test_an_interruption_leaves_the_finished_rows(self, tmp_path, counted):
        counted.raising["linear"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt, match=r"1 of 2 rows .* --resume"):
            run(declared(tmp_path))
        stored = load_study_result(load_study(declared(tmp_path)), workspace.study_path("small", ".json"))
        assert [row.name for row in stored.rows] == ["base"]

    def test_rows_that_another_process_finishes_meanwhile_are_kept(self, tmp_path, counted, monkeypatch):
        path = declared(tmp_path)

        def slowly(row, *arguments):
            if row.name == "base":
                run(path, rows="linear")
            return counted(row, *arguments)

        monkeypatch.setattr("advlab.workflows.study._measured", slowly)
        assert [row.name for row in run(path, rows="base").rows] == ["base", "linear"]

    def test_a_full_disk_is_told_and_leaves_what_was_there(self, tmp_path, counted, monkeypatch):
        path = declared(tmp_path)
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
    def test_a_damaged_result_is_refused_with_what_to_do(self, tmp_path, counted, damage):
        path = workspace.study_path("small", ".json")
        path.parent.mkdir(parents=True)
        path.write_text(damage)
        with pytest.raises(InvalidFile, match=r"small\.json"):
            run(declared(tmp_path), resume=True)
        assert counted.names == []

    def test_a_data_set_that_is_not_there_is_told_before_any_row(self, tmp_path, counted):
        (tmp_path / "own.toml").write_text(
            Path(ROOT / "models" / "digits.toml").read_text("utf-8").replace('"digits"', '"nowhere.npz"'), "utf-8"
        )
        rows = f'[[row]]\nname = "own"\nrecipe = "{tmp_path / "own.toml"}"\n'
        with pytest.raises(AdvlabError, match="nowhere"):
            run(declared(tmp_path, rows))
        assert counted.names == []


class TestTables:
    @pytest.fixture
    def result(self, tmp_path):
        study = load_study(declared(tmp_path, ROWS.replace('note = "because"\n', "")))
        return StudyResult(study).adding(measured(study, 1, 0.8765, 25)).adding(measured(study, 0, 0.52))

    def test_text(self, result):
        lines = result.table().splitlines()
        assert lines[:3] == [
            "row       parameters  train %          test %     robust % [95%]  seconds",
            "1 base        50,890    90.00  52.00 (50.00)*  50.0 [40.4, 59.6]  12 + 80",
            "2 linear      50,890    90.00           87.65  25.0 [17.5, 34.3]  12 + 80",
        ]
        assert max(map(len, lines)) <= 100

    def test_markdown(self, result):
        lines = result.markdown().splitlines()
        assert lines[:4] == [
            "| row | optimizer | activation | parameters | train % | test % | robust % [95%] | seconds |",
            "| :-- | :-- | :-- | --: | --: | --: | --: | --: |",
            r"| 1 | adam |  | 50,890 | 90.00 | 52.00 (50.00)\* | 50.0 [40.4, 59.6] | 12 + 80 |",
            "| 2 | sgd | linear | 50,890 | 90.00 | 87.65 | 25.0 [17.5, 34.3] | 12 + 80 |",
        ]
        assert lines[-1] == "- Row 1: unexplained: test accuracy +2.00 points."

    def test_a_row_that_is_a_point_apart_and_no_more_needs_no_note(self, tmp_path):
        study = load_study(declared(tmp_path, ROWS.replace('note = "because"\n', "")))
        assert StudyResult(study).adding(measured(study, 0, 0.51)).notes() == []
        assert StudyResult(study).adding(measured(study, 0, 0.489)).notes() != []

    def test_equal_notes_are_said_once(self, tmp_path):
        rows = "".join(
            f'[[row]]\nname = "{n}"\narchitecture = {{ hidden = [{n}] }}\nnote = "Why."\n' for n in (1, 2, 3)
        )
        study = load_study(declared(tmp_path, rows))
        result = StudyResult(study).adding(measured(study, 0, 0.9)).adding(measured(study, 2, 0.9))
        assert result.notes() == ["Rows 1, 3: Why."]
        assert "2 of 3 rows are finished." in result.table()

    def test_a_training_that_ended_early_is_told(self, tmp_path):
        study = load_study(declared(tmp_path))
        result = StudyResult(study).adding(measured(study, 1, 0.9, ended="The loss became nan."))
        assert result.notes() == ["Row 2: The loss became nan."]

    def test_a_row_of_other_settings_than_those_in_the_caption_is_told(self, tmp_path):
        study = load_study(declared(tmp_path))
        result = StudyResult(study.adjusted(samples=9)).adding(measured(study, 1, 0.9))
        assert [note.partition(";")[0] for note in result.notes()] == [
            "Row 2: measured with other settings than the study has now"
        ]

    def test_html_is_escaped(self, tmp_path):
        study = load_study(declared(tmp_path, '[[row]]\nname = "<b>"\n', HEAD.replace("Small", "<i>")))
        page = StudyResult(study).adding(measured(study, 0, 0.9))._repr_html_()
        assert "<b>" not in page
        assert "<i>" not in page
        assert "&lt;b&gt;" in page


class TestFigure:
    def test_rows_are_dots_with_intervals_and_hollow_published_figures(self, tmp_path):
        study = load_study(declared(tmp_path))
        result = StudyResult(study).adding(measured(study, 0, 0.52)).adding(measured(study, 1, 0.9, 25))
        axis = figures.study(result).axes[0]
        assert [text.get_text() for text in axis.get_yticklabels()] == ["1 base", "2 linear"]
        drawn = {line.get_label(): line.get_xdata().tolist() for line in axis.get_lines()}
        assert drawn["test accuracy"] == pytest.approx([52, 90])
        assert drawn["published test accuracy"][0] == pytest.approx(50)
        assert [c.get_label() for c in axis.containers] == ["robust accuracy"]

    @pytest.mark.parametrize(
        ("key", "values", "scale", "label"),
        [
            ("architecture.dropout", [0.1, 0.2, 0.9], "linear", "dropout"),
            ("training.learning_rate", [0.1, 0.01, 0.001], "log", "learning rate"),
            ("architecture.hidden", [[32, 32], [64, 64], [128, 128]], "log", "units in each hidden layer"),
            ("training.epochs", [20, 200], "linear", "epochs"),
        ],
    )
    def test_one_number_that_varies_is_a_line_over_it(self, tmp_path, key, values, scale, label):
        study = load_study(declared(tmp_path, f'[grid]\n"{key}" = {values}\n'))
        result = StudyResult(study)
        for number in range(len(values)):
            result = result.adding(measured(study, number, 0.9))
        axis = figures.study(result).axes[0]
        assert (axis.get_xscale(), axis.get_xlabel()) == (scale, label)
        numbers = [value[0] if isinstance(value, list) else value for value in values]
        assert (
            next(line for line in axis.get_lines() if line.get_label() == "test accuracy").get_xdata().tolist()
            == numbers
        )

    def test_without_a_result_there_is_nothing_to_draw(self, tmp_path):
        with pytest.raises(InvalidValue, match="Run it first"):
            figures.study(StudyResult(load_study(declared(tmp_path))))


def test_the_command_prints_the_table_and_says_how_to_go_on(tmp_path, counted):
    done = CliRunner().invoke(main, ["study", str(declared(tmp_path)), "--rows", "1"])
    assert done.exit_code == 0, done.output
    assert "1 base" in done.stdout
    assert "--resume" in done.stderr
    assert "Row 1: because" in done.stderr
    wrong = CliRunner().invoke(main, ["study", "mnist-mpl"])
    assert "Did you mean 'mnist-mlp'" in wrong.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_study_is_whole(name):
    study = load_study(name)
    assert study.source
    assert study.varied()
    stored = ROOT / "models" / "studies" / f"{name}.json"
    result = load_study_result(study, stored)
    assert [row.name for row in result.rows] == [row.name for row in study.rows], f"run: advlab study {name} --resume"
    assert all(row.is_of(study.chosen([row.name])[0], study) for row in result.rows), (
        f"run: advlab study {name} --resume"
    )
    assert stored.with_suffix(".md").read_text("utf-8") == result.markdown(), "run: python benchmarks/studies.py"
    assert stored.with_suffix(".svg").exists()
    assert "unexplained" not in result.markdown()


def test_the_page_of_all_studies_is_what_is_generated(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import studies

    assert sorted(result.study.name for result in studies.results()) == NAMES
    assert studies.PAGE.read_text("utf-8") == studies.page(), "run: python benchmarks/studies.py"
