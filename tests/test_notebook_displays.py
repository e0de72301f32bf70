"""Displays in notebooks: images of a data set and of a result, and the flow between classes."""

import base64
import html
import re
import sys
from io import BytesIO
from types import ModuleType

import numpy as np
import pytest
from matplotlib.image import imread
from results import build

from advlab import figures
from advlab.data.dataset import Dataset
from advlab.errors import InvalidValue
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.table import Evaluations, table
from advlab.progress import Progress
from advlab.reporting.report import report

NASTY = "<script>alert(1)</script>"


def pictures(text):
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return [imread(BytesIO(base64.b64decode(data)))[..., 0] for data in sources]


def test_a_data_set_shows_its_first_images_with_the_names_of_their_classes():
    x = np.arange(20, dtype=np.float32)[:, None, None] / 20 + np.zeros((20, 3, 3), np.float32)
    text = Dataset.from_arrays(x, np.arange(20) % 2, ["cat", "dog"])._repr_html_()
    shown = pictures(text)
    assert [image[0, 0] for image in shown] == pytest.approx(np.arange(8) / 20, abs=0.002)
    assert re.findall(r"<br>(\w+)<", text) == ["cat", "dog"] * 4
    assert "20 images 3x3x1, 2 classes" in text


def test_a_result_shows_images_before_and_after_with_predictions():
    text = build([0, 1], [0, 1], [2, 1])._repr_html_()
    assert re.findall(r"<br>([^<]+)<", text) == ["✓ a 90%", "✓ b 90%", "✗ c 90%", "✓ b 90%"]
    before, _, after, _ = pictures(text)
    assert (before[0, 0], after[0, 0]) == pytest.approx((0.5, 0.6), abs=0.002)
    assert re.findall(r'scope="row">(\w+)<', text) == ["clean", "perturbed"]


def test_the_images_that_an_attack_turns_are_shown_with_what_it_changed():
    result = build([0, 1, 2], [0, 1, 2], [0, 2, 2])
    shown = result.show(2)
    assert shown.rows.tolist() == [1, 0]  # the one that is turned, then another
    assert repr(shown) == "image 1, a b: b 90% -> c 90%\nimage 0, a a: a 90% -> a 90%"
    assert re.findall(r'scope="row">(\w+)<', shown._repr_html_()) == ["clean", "change", "perturbed"]
    assert len(pictures(shown._repr_html_())) == 6
    assert len(result.show(50).rows) == 3
    with pytest.raises(InvalidValue, match="images"):
        result.show(0)


def test_a_report_is_one_line_in_a_console_and_a_page_in_a_notebook():
    page = report(evaluate(build([0, 1], [0, 1], [2, 1])))
    assert repr(page).startswith(f"Report: {len(page):,} characters")
    frame = page._repr_html_()
    assert "<script" not in frame
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame).group(1)) == str(page)


def test_the_evaluations_of_a_suite_are_one_table():
    both = Evaluations([evaluate(build([0, 1], [0, 1], [2, 1])), evaluate(build([0, 1], [0, 1], [2, 2]))])
    assert repr(both) == table(both)
    assert html.escape(repr(both)) in both._repr_html_()
    assert repr(Evaluations()) == "[]"


@pytest.mark.parametrize("notebook", [False, True])
def test_long_work_shows_its_bar_in_a_notebook_without_being_asked(monkeypatch, capsys, notebook):
    for name in ("ipykernel", "IPython"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name)) if notebook else monkeypatch.delitem(
            sys.modules, name, raising=False
        )
    with Progress(2, "work") as bar:
        bar.advance(2)
    assert ("work:" in capsys.readouterr().err) == notebook


def test_a_class_that_the_data_set_does_not_name_goes_by_its_number():
    assert "✗ 2 90%" in build([0], [0], [2], classes=("a", "b"))._repr_html_()


def test_a_sample_of_images_is_shown_and_always_the_same():
    result = build(np.zeros(100), np.zeros(100), np.ones(100))
    assert len(pictures(result._repr_html_())) == 16
    assert result._repr_html_() == result._repr_html_()


@pytest.mark.parametrize("fields", [{"classes": (NASTY, "b", "c")}, {"classifier": NASTY}, {"dataset": NASTY}])
def test_names_that_are_code_are_harmless(fields):
    text = build([0], [0], [1], **fields)._repr_html_()
    assert NASTY not in text
    assert "&lt;script&gt;" in text
    assert NASTY not in Dataset.from_arrays(np.zeros((1, 2, 2)), [0], [NASTY], name=NASTY)._repr_html_()


def test_large_images_become_small_pictures():
    uri = figures.data_uri(np.zeros((300, 200, 3)))
    assert pictures(f'src="{uri}"')[0].shape == (75, 50)


def flow(k=3, **fields):
    labels = np.arange(4 * k) % k
    wrong = np.where(np.arange(4 * k) < k, labels, (labels + 1) % k)
    return evaluate(build(labels, labels, wrong, k=k, **({"change": np.linspace(0.1, 0.2, 4 * k)} | fields)))


def test_class_flow_shows_counts_and_median_distances():
    evaluation = flow(norm="l2", epsilon=1.0)
    axis = figures.class_flow(evaluation).axes[0]
    texts = {(round(t.get_position()[0]), round(t.get_position()[1]), t.get_text()) for t in axis.texts}
    distance = f"{evaluation.flow_distance[0, 1]:.2g}"
    assert {(0, 0, "1"), (1, 0, "3"), (1, 0, distance)} <= texts
    assert len(texts) == 9
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b", "c"]
    assert axis.get_xlabel() == "class predicted when perturbed; small: median l2 distance"


def test_a_distance_that_all_classes_share_is_said_once():
    evaluation = flow(norm="linf", epsilon=0.25, change=0.25)
    axis = figures.class_flow(evaluation).axes[0]
    assert axis.get_xlabel() == "class predicted when perturbed; median linf distance 0.25"
    assert all(t.get_text().isdigit() for t in axis.texts)


def test_class_flow_colours_what_changed_and_not_the_diagonal():
    image = np.asarray(figures.class_flow(flow()).axes[0].images[0].get_array())
    assert image[..., 3][0] == pytest.approx([0, 0.75, 0])


def test_class_flow_without_a_norm_or_without_a_success_has_no_distances():
    axis = figures.class_flow(flow(norm="none", epsilon=np.inf)).axes[0]
    assert len(axis.texts) == 6
    robust = evaluate(build([0, 1], [0, 1], [0, 1]))
    assert [text.get_text() for text in figures.class_flow(robust).axes[0].texts] == ["1", "1"]


def test_class_flow_of_many_classes_has_colours_only():
    axis = figures.class_flow(flow(k=13, norm="l2")).axes[0]
    assert not axis.texts


@pytest.mark.parametrize("draw", [figures.class_flow, figures.reliability])
def test_figures_have_the_text_colour_of_the_page_and_are_deterministic(draw):
    first, second = (figures.svg(draw(flow())) for _ in range(2))
    assert first == second
    assert "currentColor" in first
    assert figures.INK not in first
