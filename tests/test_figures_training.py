"""The curve of a training run: every number of the history is in it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from advlab import figures
from advlab.errors import InvalidValue

HISTORY = {
    "loss": [0.5, 0.36, 0.31],
    "accuracy": [0.82, 0.86, 0.88],
    "val_loss": [0.42, 0.38, 0.35],
    "val_accuracy": [0.85, 0.86, 0.872],
}


def lines(axis):
    return {line.get_label(): np.asarray(line.get_xydata()) for line in axis.lines}


def test_loss_is_on_the_left_and_accuracy_in_percent_on_the_right_over_epochs_from_one():
    left, right = figures.training_curve(HISTORY).axes
    assert [left.get_ylabel(), right.get_ylabel()] == ["loss", "accuracy"]
    assert {*lines(left)} == {*lines(right)} == {"training", "validation"}
    np.testing.assert_allclose(lines(left)["training"], [[1, 0.5], [2, 0.36], [3, 0.31]])
    np.testing.assert_allclose(lines(left)["validation"], [[1, 0.42], [2, 0.38], [3, 0.35]])
    np.testing.assert_allclose(lines(right)["training"], [[1, 82], [2, 86], [3, 88]])
    np.testing.assert_allclose(lines(right)["validation"], [[1, 85], [2, 86], [3, 87.2]])


def test_without_validation_images_there_is_one_line():
    training = {key: HISTORY[key] for key in ("loss", "accuracy")}
    for axis in figures.training_curve(training).axes:
        assert [*lines(axis)] == ["training"]


def test_the_published_accuracy_is_a_dashed_line_inside_the_picture_and_named():
    right = figures.training_curve(HISTORY, published=0.9712).axes[1]
    line = next(line for line in right.lines if line.get_linestyle() == "--")
    np.testing.assert_allclose(line.get_ydata(), 97.12)
    assert right.get_ylim()[0] < 82 < 97.12 < right.get_ylim()[1]
    assert "97.12%" in [text.get_text().split()[-1] for text in right.get_legend().get_texts()]


def test_one_epoch_is_a_point_at_the_tick_one():
    for axis in figures.training_curve({"loss": [0.5], "accuracy": [0.8]}).axes:
        assert axis.lines[0].get_marker() == "o"
        low, high = axis.get_xlim()
        assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [1]


def test_many_epochs_are_a_line_without_points():
    many = {key: np.linspace(0, 1, 200).tolist() for key in ("loss", "accuracy")}
    assert {line.get_marker() for axis in figures.training_curve(many).axes for line in axis.lines} == {""}


def test_a_title_is_text_and_not_mathematics_and_the_picture_is_the_same_every_time():
    page = figures.svg(figures.training_curve(HISTORY, title="a $model$ <b>"))
    assert "a $model$ &lt;b&gt;" in page
    assert page == figures.svg(figures.training_curve(HISTORY, title="a $model$ <b>"))


@pytest.mark.parametrize("history", [{}, {"loss": [], "accuracy": []}, {"loss": [0.5]}])
def test_a_history_without_epochs_is_refused(history):
    with pytest.raises(InvalidValue, match=r"at least one epoch\. Got a history of .* Train the model again"):
        figures.training_curve(history)
