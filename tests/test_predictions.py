"""What a classifier predicts for images: the table and the figure."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from advlab import figures
from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation.predictions import Predictions
from advlab.figures import CLEAN, INK, MEAN, ROBUST

GREY = np.linspace(0, 1, 36, dtype=np.float32).reshape(6, 6)


def predictions(probabilities, labels, names=("cat", "dog", "eel"), size=(6, 6, 1), notes=()):
    n = len(labels)
    return Predictions(
        "stub",
        np.full((n, *size), 0.5, np.float32),
        np.array(probabilities, np.float32),
        np.array(labels),
        names,
        tuple(f"{i}.png" for i in range(n)),
        notes,
    )


THREE = predictions([[0.7, 0.2, 0.1], [0.05, 0.35, 0.6], [0.25, 0.5, 0.25]], [0, 1, -1])


def test_the_table_names_what_is_likeliest_and_marks_what_is_correct_and_wrong():
    assert THREE.table().splitlines() == [
        "image  predicted  confidence  true   next",
        "0.png  cat             70.0%  ✓ cat  dog 20.0%, eel 10.0%",
        "1.png  eel             60.0%  ✗ dog  dog 35.0%, cat 5.0%",
        "2.png  dog             50.0%         cat 25.0%, eel 25.0%",
    ]
    assert repr(THREE) == "Predictions of stub: 3 images, 1 of 2 correct"


def test_the_table_leaves_out_columns_without_an_entry():
    unknown = predictions([[0.7, 0.2, 0.1]], [-1])
    assert unknown.table(1).splitlines() == ["image  predicted  confidence", "0.png  cat             70.0%"]
    assert repr(unknown) == "Predictions of stub: 1 images"
    with pytest.raises(InvalidValue, match="an int in the range"):
        unknown.table(0)


def test_json_says_what_is_not_known_by_null():
    found = THREE.to_dict()
    assert [image["label"] for image in found["images"]] == [0, 1, None]
    assert [image["correct"] for image in found["images"]] == [True, False, None]
    assert [image["name"] for image in found["images"]] == ["cat", "eel", "dog"]
    assert found["images"][1]["probabilities"] == pytest.approx([0.05, 0.35, 0.6])


def test_a_slice_has_the_images_of_its_rows():
    part = THREE[1:]
    assert (len(part), part.sources, part.labels.tolist()) == (2, ("1.png", "2.png"), [1, -1])
    with pytest.raises(InvalidValue, match="slice"):
        THREE[0]


def words(figure):
    return [(text.get_text(), to_hex(text.get_color())) for text in figure.texts]


def bars(figure, number=0):
    """Class name -> length and colour of its bar, from top to bottom."""
    axis = figure.axes[2 * number + 1]
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert axis.yaxis_inverted()
    return {
        name: (pytest.approx(bar.get_width()), to_hex(bar.get_facecolor()))
        for name, bar in zip(names, axis.patches, strict=True)
    }


def test_the_figure_says_what_was_predicted_how_confidently_and_whether_that_is_correct():
    figure = figures.predictions(THREE)
    assert words(figure) == [("cat 70% (cat) ✓", ROBUST), ("eel 60% (dog) ✗", MEAN), ("dog 50%", INK)]
    assert bars(figure, 0) == {"cat": (0.7, ROBUST), "dog": (0.2, CLEAN), "eel": (0.1, CLEAN)}
    assert bars(figure, 1) == {"cat": (0.05, CLEAN), "dog": (0.35, ROBUST), "eel": (0.6, MEAN)}
    assert bars(figure, 2) == {"cat": (0.25, CLEAN), "dog": (0.5, INK), "eel": (0.25, CLEAN)}


def test_the_figure_is_the_same_from_arrays():
    one = figures.predictions(THREE.x[..., 0], THREE.labels, THREE.probabilities, THREE.class_names)
    assert figures.svg(one) == figures.svg(figures.predictions(THREE))


def test_one_image_goes_without_the_n_and_classes_without_names_by_number():
    figure = figures.predictions(GREY, 1, [0.3, 0.7])
    assert words(figure) == [("1 70% (1) ✓", ROBUST)]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), GREY)
    assert words(figures.predictions(GREY, None, [0.3, 0.7], ["a", "b"])) == [("b 70%", INK)]


def test_colours_stay_colours():
    image = np.random.default_rng(0).random((1, 4, 5, 3))
    shown = figures.predictions(image, [0], [[0.6, 0.4]]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown, image[0])


@pytest.mark.parametrize(("columns", "grid"), [(3, (5, 3)), (5, (3, 5)), (20, (1, 15))])
def test_fifteen_images_make_a_grid_of_cells_that_do_not_overlap(columns, grid):
    figure = figures.predictions(predictions([[0.7, 0.2, 0.1]] * 15, [0] * 15), columns=columns)
    downwards = [(-round(p.y0, 6), round(p.x0, 6)) for p in (axis.get_position() for axis in figure.axes[::2])]
    assert tuple(len({*side}) for side in zip(*downwards, strict=True)) == grid
    assert downwards == sorted(downwards)
    boxes = [axis.get_position() for axis in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_of_many_classes_the_ten_likeliest_are_shown_and_the_true_one():
    probabilities = np.arange(30) / np.arange(30).sum()
    likeliest = [str(i) for i in range(29, 19, -1)]
    assert [*bars(figures.predictions(GREY, 25, probabilities))] == likeliest
    assert [*bars(figures.predictions(GREY, None, probabilities))] == likeliest
    shown = bars(figures.predictions(GREY, 3, probabilities))
    assert [*shown] == [*likeliest[:9], "3"]
    assert shown["3"] == (3 / 435, ROBUST)
    assert len(bars(figures.predictions(GREY, 3, np.full(20, 0.05)))) == 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((GREY,), "need the probabilities"),
        ((GREY[None], [0, 1], [[0.5, 0.5]]), "do not fit each other"),
        ((np.zeros((2, 6, 6)), [0], [[0.5, 0.5]]), "do not fit each other"),
        ((GREY, 2, [0.5, 0.5]), "labels up to 2"),
        ((GREY, 0, [0.5, 0.5], ["a"]), "1 class names"),
        ((np.zeros((61, 2, 2)), None, np.full((61, 2), 0.5)), "1 to 60 images. Got 61"),
    ],
)
def test_what_does_not_fit_together_is_not_drawn(arguments, words):
    with pytest.raises((InvalidValue, Mismatch), match=words):
        figures.predictions(*arguments)
    with pytest.raises(InvalidValue, match="columns"):
        figures.predictions(THREE, columns=0)


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF")])
def test_a_figure_is_saved_as_what_its_name_ends_in(name, start, tmp_path):
    path = figures.save(figures.predictions(THREE), tmp_path / name)
    assert path.read_bytes().startswith(start)
    assert figures.save(figures.predictions(THREE), tmp_path / f"again-{name}").read_bytes() == path.read_bytes()


def test_a_figure_of_another_format_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InvalidValue, match=r"\.png, \.svg or \.pdf"):
        figures.save(figures.predictions(THREE), tmp_path / "a.gif")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_notebook_shows_the_first_images_and_what_to_know():
    text = predictions([[0.7, 0.2, 0.1]] * 16, [0] * 16, ("<b>", "$x$", "eel"), notes=("a < b",))._repr_html_()
    assert text.count("&lt;b&gt; 70% (&lt;b&gt;) ✓") == 15
    assert "the first 15" in text
    assert "<p>a &lt; b</p>" in text
    assert "<b>" not in text
    assert "$x$" in text
