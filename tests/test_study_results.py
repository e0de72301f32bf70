"""Studies: what tables, figures and the page of all studies show."""

from __future__ import annotations

from pathlib import Path

import pytest

from advlab import figures
from advlab.declarations.studies import load_study
from advlab.errors import InvalidValue
from advlab.evaluation.study import StudyResult, load_study_result
from tests.small_studies import HEAD, ROWS, measured, write_study

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "models" / "studies").glob("*.toml"))


class TestTables:
    @pytest.fixture
    def result(self, tmp_path):
        study = load_study(write_study(tmp_path, ROWS.replace('note = "because"\n', "")))
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
        study = load_study(write_study(tmp_path, ROWS.replace('note = "because"\n', "")))
        assert StudyResult(study).adding(measured(study, 0, 0.51)).notes() == []
        assert StudyResult(study).adding(measured(study, 0, 0.489)).notes() != []

    def test_equal_notes_are_written_once(self, tmp_path):
        rows = "".join(
            f'[[row]]\nname = "{n}"\narchitecture = {{ hidden = [{n}] }}\nnote = "Why."\n' for n in (1, 2, 3)
        )
        study = load_study(write_study(tmp_path, rows))
        result = StudyResult(study).adding(measured(study, 0, 0.9)).adding(measured(study, 2, 0.9))
        assert result.notes() == ["Rows 1, 3: Why."]
        assert "2 of 3 rows are finished." in result.table()

    def test_a_training_run_that_ended_early_is_noted(self, tmp_path):
        study = load_study(write_study(tmp_path))
        result = StudyResult(study).adding(measured(study, 1, 0.9, ended="The loss became nan."))
        assert result.notes() == ["Row 2: The loss became nan."]

    def test_a_row_of_other_settings_than_those_in_the_caption_is_noted(self, tmp_path):
        study = load_study(write_study(tmp_path))
        result = StudyResult(study.adjusted(samples=9)).adding(measured(study, 1, 0.9))
        assert [note.partition(";")[0] for note in result.notes()] == [
            "Row 2: measured with other settings than the study has now"
        ]

    def test_html_is_escaped(self, tmp_path):
        study = load_study(write_study(tmp_path, '[[row]]\nname = "<b>"\n', HEAD.replace("Small", "<i>")))
        page = StudyResult(study).adding(measured(study, 0, 0.9))._repr_html_()
        assert "<b>" not in page
        assert "<i>" not in page
        assert "&lt;b&gt;" in page


class TestFigure:
    def test_rows_are_dots_with_intervals_and_hollow_published_figures(self, tmp_path):
        study = load_study(write_study(tmp_path))
        result = StudyResult(study).adding(measured(study, 0, 0.52)).adding(measured(study, 1, 0.9, 25))
        axis = figures.study(result).axes[0]
        assert [text.get_text() for text in axis.get_yticklabels()] == ["1 base", "2 linear"]
        lines = {line.get_label(): line.get_xdata().tolist() for line in axis.get_lines()}
        assert lines["test accuracy"] == pytest.approx([52, 90])
        assert lines["published test accuracy"][0] == pytest.approx(50)
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
        study = load_study(write_study(tmp_path, f'[grid]\n"{key}" = {values}\n'))
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
            figures.study(StudyResult(load_study(write_study(tmp_path))))


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_study_is_complete(name):
    study = load_study(name)
    assert study.source
    assert study.varied_settings()
    stored = ROOT / "models" / "studies" / f"{name}.json"
    result = load_study_result(study, stored)
    assert [row.name for row in result.rows] == [row.name for row in study.rows], f"run: advlab study {name} --resume"
    assert all(row.is_of(study.select([row.name])[0], study) for row in result.rows), (
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
