"""Robust accuracy from both sides: a certificate beside an attack, in evaluation, table, JSON, figure and report."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from results import build

import advlab
from advlab.cli import main
from advlab.errors import InvalidValue, Mismatch
from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.files import evaluate_files
from advlab.evaluation.table import table
from advlab.figures import security_curve
from advlab.results.certificate import Certificate

# Ten images of class 0: one is wrong when clean, four are found by the attack, five are left.
CLEAN = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
FOUND = [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
# Of those five the certificate proves three, has a counterexample of one, and knows nothing of one.
STATUS = [2, 2, 2, 0, 0, 0, 2, 1, 1, 1]


def attacked(**fields):
    return build([0] * 10, CLEAN, FOUND, **fields)


def certificate(**fields):
    numbers = np.arange(10)
    values = {
        "classifier": "stub",
        "classifier_digest": "c" * 64,
        "dataset": "digits",
        "split": "test",
        "dataset_digest": "d" * 64,
        "norm": "linf",
        "epsilon": 0.1,
        "method": "exact",
        "status": np.array(STATUS, np.int8),
        "correct": np.array(CLEAN) == 0,
        "margin": np.where(np.array(STATUS) == 1, 1.0, np.nan),
        "radius": np.full(10, np.nan),
        "rounding": np.full(10, 1e-3),
        "branches": np.zeros(10, np.int64),
        "x_adv": np.full((10, 4, 4, 1), 0.5, np.float32),
        "labels": np.zeros(10, np.int64),
        "indices": numbers,
        "seconds": 1.0,
    }
    return Certificate(**(values | fields))


@pytest.fixture(scope="module")
def bracketed():
    return evaluate(attacked(), certificate=certificate())


def test_each_image_is_misclassified_proven_or_unknown(bracketed):
    assert bracketed.certified.tolist() == ["misclassified"] * 5 + ["unknown", "misclassified"] + ["proven"] * 3
    assert bracketed.to_frame()["certified"].tolist() == bracketed.certified.tolist()
    assert bracketed.bracket[:3] == (3, 4, 10)
    assert bracketed.bracket.unknown == 1


def test_an_attack_is_judged_by_the_counterexamples_that_are_known(bracketed):
    assert (bracketed.bracket.found, bracketed.bracket.missed) == (4, 1)
    assert "the attack found 4 of the 5 adversarial images known to exist" in " ".join(table(bracketed).split())


def test_the_table_has_what_is_proven_where_it_is_known(bracketed):
    lines = table([evaluate(attacked(method="fgsm")), bracketed]).splitlines()
    assert lines[0].endswith("proven %")
    assert lines[1].split()[-1] == "-"
    assert lines[2].split()[-1] == "30.0"
    assert max(map(len, lines)) <= 100
    assert "proven" not in table(evaluate(attacked()))
    text = " ".join(table(bracketed).split())
    assert "robust accuracy lies between 30.0% and 40.0%: 6 misclassified, 3 proven, 1 unknown" in text


def test_json_has_the_counts_and_null_without_a_certificate(bracketed):
    counts = {"proven": 3, "misclassified": 6, "unknown": 1, "found": 4, "missed": 1}
    assert bracketed.to_dict()["bracket"] == {"method": "exact", **counts}
    assert evaluate(attacked()).to_dict()["bracket"] is None


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"classifier_digest": "e" * 64}, Mismatch, "differ in: classifier"),
        ({"dataset_digest": "e" * 64}, Mismatch, "differ in: images"),
        ({"epsilon": 0.2}, Mismatch, "differ in: epsilon"),
        ({"norm": "l2"}, Mismatch, "differ in: norm"),
        ({"method": "smoothing"}, InvalidValue, "smoothed classifier"),
        ({"status": np.ones(10, np.int8), "margin": np.ones(10)}, Mismatch, "image 0, which 'exact-linf-0.1' proves"),
    ],
)
def test_a_certificate_of_something_else_is_refused(fields, error, words, tmp_path):
    other = certificate(**fields)
    with pytest.raises(error, match=words):
        evaluate(attacked(), certificate=other)
    paths = [attacked().save(tmp_path / "attack.h5"), other.save(tmp_path / "certificate.h5")]
    with pytest.raises(error, match=words):
        evaluate_files(paths)


def test_an_attack_towards_one_class_has_no_bracket():
    with pytest.raises(Mismatch, match="differ in: target"):
        evaluate(attacked(target=1), certificate=certificate())


def test_another_classifier_is_bracketed_by_its_own_certificate():
    class Other:
        name, digest = "other", "e" * 64

        def probabilities(self, x):
            return np.tile(np.float32([0.9, 0.1, 0.0]), (len(x), 1))

    transferred = evaluate(attacked(), Other(), certificate(classifier_digest="e" * 64))
    assert transferred.bracket.low == 3
    with pytest.raises(Mismatch, match="differ in: classifier"):
        evaluate(attacked(), Other(), certificate())


def test_among_files_each_archive_takes_the_certificate_that_decides_most(tmp_path):
    nothing = certificate(method="ibp", status=np.zeros(10, np.int8))
    paths = [
        certificate().save(tmp_path / "exact.h5"),
        attacked().save(tmp_path / "pgd.h5"),
        nothing.save(tmp_path / "ibp.h5"),
        attacked(method="fgsm", epsilon=0.2).save(tmp_path / "fgsm.h5"),
    ]
    first, second = evaluate_files(paths)
    assert (first.certificate.method, second.certificate) == ("exact", None)
    with pytest.raises(InvalidValue, match="no archive to evaluate"):
        evaluate_files(paths[:1])
    printed = CliRunner().invoke(main, ["evaluate", str(paths[1]), "--certificate", str(paths[0]), "--json"])
    assert [each["bracket"]["proven"] for each in json.loads(printed.stdout)] == [3]


def test_the_report_shows_all_attacks_together_beside_the_certificate(tmp_path):
    second = build([0] * 10, CLEAN, [1, 0, 0, 0, 0, 1, 0, 0, 0, 0], method="fgsm")
    paths = [
        attacked().save(tmp_path / "pgd.h5"),
        second.save(tmp_path / "fgsm.h5"),
        certificate().save(tmp_path / "exact.h5"),
    ]
    page = tmp_path / "page.html"
    done = CliRunner().invoke(main, ["report", *map(str, paths), "--output", str(page)])
    assert done.exit_code == 0, done.output
    text = " ".join(page.read_text("utf-8").split())
    assert "robust accuracy lies between 30.0% and 30.0%: 7 misclassified, 3 proven, 0 unknown" in text
    assert 'aria-label="3 proven, 1 unknown, 6 misclassified"' in text
    assert '"certified":"proven"' in text
    assert "of these proven" in text  # the legend of the bars
    assert "proven" not in advlab.report([evaluate(attacked())]).split("<script>")[0].split("</style>")[1]


def test_a_curve_has_what_is_proven_as_its_lower_side(tmp_path):
    sizes = np.where(np.arange(10) < 5, 0.25, 0.0)
    nearest = build([0] * 10, CLEAN, FOUND, norm="linf", epsilon=np.inf, change=sizes)
    # Of one image the radius is beyond what the attack found by less than float32 rounds; the attack counts.
    radius = np.array([np.nan, 0.125, 0.2501, 0.0625, *[np.nan] * 6])
    status = np.array([2, 0, 0, 0, 0, 0, 2, 1, 1, 1], np.int8)
    proof = certificate(radius=radius, status=status)
    curve = SecurityCurve.from_results([nearest], [proof])
    expected = [-np.inf, 0.125, 0.25, 0.0625, 0, 0, 0, 0.1, 0.1, 0.1]
    np.testing.assert_array_equal(curve.proven, expected)
    counts = [curve.proven_accuracy(epsilon).count for epsilon in (0, 0.0625, 0.07, 0.125, 0.25, 0.3)]
    assert counts == [9, 6, 5, 2, 1, 0]
    assert curve.table([0.07]).splitlines()[:2] == [
        "epsilon  proven %  robust %  [95%]",
        "   0.07      50.0      90.0  [59.6, 98.2]",
    ]
    assert curve.to_dict([0.07])["rates"][0]["proven"] == 0.5
    assert SecurityCurve.from_results([nearest]).to_dict([0.07])["rates"][0]["proven"] is None
    axis = security_curve(curve).axes[0]
    assert [line.get_label() for line in axis.get_lines()] == ["pgd", "stub: proven"]
    paths = [str(nearest.save(tmp_path / "a.h5")), "--certificate", str(proof.save(tmp_path / "c.h5"))]
    done = CliRunner().invoke(main, ["curve", *paths, "--at", "0.07"])
    assert "50.0      90.0" in done.stdout


def test_a_curve_refuses_a_certificate_of_something_else():
    nearest = build([0] * 10, CLEAN, FOUND, norm="linf", epsilon=np.inf, change=0.25)
    with pytest.raises(Mismatch, match="differ in: norm"):
        SecurityCurve.from_results([nearest], [certificate(norm="l2")])
    with pytest.raises(InvalidValue, match="smoothed classifier"):
        SecurityCurve.from_results([nearest], [certificate(method="smoothing")])
    with pytest.raises(Mismatch, match="image 1 is misclassified within a radius"):
        SecurityCurve.from_results([nearest], [certificate(radius=np.full(10, 0.3))])


def test_the_curves_of_the_report_have_what_is_proven():
    minimal = build([0] * 10, CLEAN, FOUND, method="fmn", norm="linf", epsilon=np.inf, change=0.25)
    page = advlab.report([evaluate(attacked(), certificate=certificate()), evaluate(minimal)])
    assert "stub: proven" in page


def test_a_margin_that_float32_may_round_away_yields_to_the_attack():
    close = certificate(status=np.ones(10, np.int8), margin=np.full(10, 1e-4), correct=np.ones(10, bool))
    assert evaluate(replace(attacked()), certificate=close).bracket.low == 5
