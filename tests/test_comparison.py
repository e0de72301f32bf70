"""A comparison: what its numbers mean, when the best is more than chance, and how it is shown."""

from __future__ import annotations

import csv
import io
import math
import re

import numpy as np
import pytest

from advlab.evaluation.comparison import Column, Comparison, Model, Score
from advlab.evaluation.comparison_tables import as_csv, latex, markdown
from advlab.figures.comparison import pareto_front
from advlab.reporting.leaderboard import leaderboard

LINF = Column("digits", "d" * 16, "pgd", "linf 0.1", "linf", 0.1)


def score(name: str, robust: int, seed: int = 0, column: Column = LINF, start: int = 0, **fields) -> Score:
    """A model that classifies 90 of 100 images correctly and keeps ``robust`` of them, from number ``start`` on."""
    flags = np.zeros(100, bool)
    flags[start : start + robust] = True
    return Score(Model(name, name[:1] * 16), column, seed, np.arange(100) < 90, flags, **fields)


def test_seeds_are_averaged_and_do_not_narrow_the_interval():
    one = Comparison("t", (score("a", 50),))
    three = Comparison("t", tuple(score("a", n, seed) for seed, n in enumerate((40, 50, 60))))
    first, mean = (each.summary(each.models[0], LINF) for each in (one, three))
    assert mean.rate == first.rate
    assert mean.spread == pytest.approx(0.1)
    assert math.isnan(first.spread)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([score("a", 60), score("b", 40)], "a"),
        ([score("a", 50), score("b", 48)], None),  # two images more prove nothing
        ([score("a", 50), score("b", 45, start=50)], None),  # nor do five, where nearly all differ
        ([score("a", 60), score("b", 40), score("c", 58)], None),  # it must beat every other
        ([score("a", 60), score("a", 60, 1), score("b", 40), score("b", 59, 1)], None),  # with every seed
        ([score("a", 60)], None),
    ],
)
def test_the_best_is_bold_only_where_mcnemar_says_so(scores, best):
    result = Comparison("t", tuple(scores))
    winner = result.best(LINF)
    assert (winner and winner.name) == best
    assert (r"\textbf{60.0}" in latex(result)) == bool(best)
    assert ("**60.0**" in markdown(result)) == bool(best)
    assert ("60.0* [" in result.table()) == bool(best)


def test_models_of_one_name_are_told_apart_by_their_digest():
    other = Score(Model("a", "f" * 16), LINF, 0, np.ones(100, bool), np.ones(100, bool))
    assert "a (ffffff)" in Comparison("t", (score("a", 1), other)).table()


def test_a_wide_table_goes_on_below_in_a_hundred_columns():
    columns = [Column("digits", "d" * 16, "pgd", f"linf 0.{i}", "linf", i / 10) for i in range(1, 8)]
    result = Comparison("t", tuple(score(name, 5, column=column) for column in columns for name in ("a", "b" * 60)))
    assert max(map(len, result.table().splitlines())) <= 100
    assert all(column.budget in result.table() for column in columns)


def test_names_are_escaped_wherever_they_go():
    hostile = score("a_b&50%<i>|", 5, archive="<b>.h5", command="advlab <x>")
    result = Comparison("100% & <more>", (hostile,))
    assert r"a\_b\&50\%" in latex(result)
    assert r"\| " in markdown(result)
    page = leaderboard(result)
    assert "<i>" not in page
    assert "&lt;b&gt;.h5" in page


def test_csv_has_a_line_for_each_score():
    union = Column("digits", "d" * 16, "union", "union", "", math.inf)
    rows = list(csv.DictReader(io.StringIO(as_csv(Comparison("t", (score("a", 5), score("a", 4, column=union)))))))
    assert [row["robust_accuracy"] for row in rows] == ["0.05", "0.04"]
    assert rows[1]["epsilon"] == ""


def test_scores_survive_their_file(tmp_path):
    union = Column("digits", "d" * 16, "union", "union", "", math.inf)
    result = Comparison("t", (score("a", 5, findings=("x",)), score("b", 3, 2, union)), {"cell": "why"})
    read = Comparison.load(result.save(tmp_path / "r.json"))
    assert read.to_dict() == result.to_dict()
    assert read.scores[1].column == union
    assert (read.scores[0].robust == result.scores[0].robust).all()


def test_each_number_of_the_leaderboard_leads_to_its_digest_and_command():
    result = Comparison("t", (score("a", 5, archive="a.h5", archive_digest="0123", command="advlab run x"),))
    page = leaderboard(result)
    anchor = re.search(r'<a href="#(n\d+)">', page)[1]
    row = page.split(f'<tr id="{anchor}">')[1].split("</tr>")[0]
    assert all(word in row for word in ("a.h5", "0123", "advlab run x"))
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_the_pareto_front_has_what_no_other_beats_in_both():
    assert pareto_front([(90, 10), (80, 50), (70, 40), (60, 60), (80, 30)]) == [(60, 60), (80, 50), (90, 10)]
