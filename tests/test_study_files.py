"""Studies: what a file declares."""

from __future__ import annotations

import pytest

from advlab.declarations.recipes import EarlyStopping, load_recipe
from advlab.declarations.studies import load_study
from advlab.errors import AdvlabError, InvalidValue, UnknownName
from tests.small_studies import write_study


class TestDeclaration:
    def test_a_row_changes_what_it_names_and_keeps_the_rest_of_the_base(self, tmp_path):
        base = load_recipe("digits")
        recipe = load_study(write_study(tmp_path)).recipes()[1]
        assert dict(recipe.architecture) == {**base.architecture, "activation": "linear"}
        assert (recipe.training.optimizer, recipe.training.epochs) == ("sgd", 1)
        assert recipe.training.batch_size == base.training.batch_size
        assert recipe.name == "small-linear"

    def test_another_architecture_replaces_all_settings_and_a_row_may_have_another_base(self, tmp_path):
        rows = """
        [[row]]
        name = "recurrent"
        architecture = { name = "rnn", units = 4 }
        [[row]]
        name = "E"
        recipe = "mnist-mlp-256"
        training = { early_stopping = { patience = 2, monitor = "loss" } }
        """
        first, second = load_study(write_study(tmp_path, rows)).recipes()
        assert dict(first.architecture) == {"name": "rnn", "units": 4}
        assert second.dataset == "mnist"
        assert second.training.early_stopping == EarlyStopping(2, "loss")

    def test_a_grid_has_a_row_for_each_combination_named_by_its_values(self, tmp_path):
        grid = '[grid]\n"architecture.hidden" = [[8, 8], [16]]\n"training.batch_size" = [32, 64]\n'
        study = load_study(write_study(tmp_path, grid))
        assert [row.name for row in study.rows] == [
            f"hidden {hidden} batch size {size}" for hidden in ("8-8", "16") for size in (32, 64)
        ]
        assert study.rows[2].recipe.architecture["hidden"] == [16]
        assert study.varied_settings() == ("architecture.hidden", "training.batch_size")

    def test_a_row_named_like_one_of_the_grid_keeps_what_it_does_not_name(self, tmp_path):
        row = '[[row]]\nname = "dropout 0.2"\narchitecture = { activation = "tanh" }\n'
        study = load_study(write_study(tmp_path, f'{row}[grid]\n"architecture.dropout" = [0.1, 0.2]\n'))
        assert study.recipes()[1].architecture["dropout"] == 0.2
        assert study.recipes()[1].architecture["activation"] == "tanh"
        with pytest.raises(InvalidValue, match=r"Got 'dropout 0\.2' twice"):
            load_study(write_study(tmp_path, f'{row}{row}[grid]\n"architecture.dropout" = [0.1, 0.2]\n'))

    def test_a_row_named_like_one_of_the_grid_adds_to_it(self, tmp_path):
        grid = '[[row]]\nname = "dropout 0.2"\nnote = "why"\n[grid]\n"architecture.dropout" = [0.1, 0.2]\n'
        study = load_study(write_study(tmp_path, grid))
        assert [(row.name, row.note) for row in study.rows] == [("dropout 0.1", ""), ("dropout 0.2", "why")]
        assert study.rows[1].recipe.architecture["dropout"] == 0.2

    def test_figures_of_the_base_are_printed_for_the_base_alone(self, tmp_path):
        rows = '[[row]]\nname = "E"\n[[row]]\nname = "wide"\narchitecture = { hidden = [1024] }\n'
        same, other = load_study(write_study(tmp_path, rows, 'title = "T"\nrecipe = "mnist-mlp-256"\n')).recipes()
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
            ('name = "a"\npublished = { test_accuracy = 98.5 }', ["row 1", "a float in the range [0, 1]", "98.5"]),
            ('name = "a, b"', ["row 1", "without commas"]),
            ('name = "a"\nrecipe = "digit"', ["row 1", "Did you mean 'digits'"]),
            ("note = 'no name'", ["row 1", "name must be a string"]),
            ('name = "a"\n[[row]]\nname = "a"', ["'a' twice"]),
            ('name = "a b"\n[[row]]\nname = "a-b"', ["'small-a-b' twice"]),
        ],
    )
    def test_a_wrong_row_is_refused_with_file_row_and_what_is_allowed(self, tmp_path, row, words):
        path = write_study(tmp_path, f"[[row]]\n{row}\n")
        with pytest.raises(AdvlabError) as caught:
            load_study(path)
        assert all(word in str(caught.value) for word in (str(path), *words)), caught.value

    @pytest.mark.parametrize(
        ("head", "words"),
        [
            ('title = "T"\nrecipe = "digits"\n', ["at least one [[row]]"]),
            ('title = "T"\nrecipie = "digits"\n', ["Did you mean 'recipe'"]),
            ('recipe = "digits"\n[[row]]\nname = "a"\n', ["title must be a string"]),
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
        path = write_study(tmp_path, "", head)
        with pytest.raises(AdvlabError) as caught:
            load_study(path)
        assert all(word in str(caught.value) for word in (str(path), *words)), caught.value

    def test_rows_are_selected_by_number_range_and_name(self, tmp_path):
        grid = '[grid]\n"architecture.dropout" = [0.1, 0.2, 0.3, 0.4, 0.5]\n'
        study = load_study(write_study(tmp_path, grid))
        selected = [row.name[-1] for row in study.select("5, 2-3,dropout 0.1")]
        assert selected == ["1", "2", "3", "5"]
        assert study.select(None) == study.select([1, "2-5"]) == study.rows
        for wrong in ("0", "6", "3-2"):
            with pytest.raises(InvalidValue, match="rows 1-5"):
                study.select(wrong)
        with pytest.raises(UnknownName, match=r"Did you mean 'dropout 0\.5'"):
            study.select("dropuot 0.5")
