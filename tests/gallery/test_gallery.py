"""The audit sees through what masks a gradient, and says nothing against honest classifiers.

Two halves, fixed where the rows are: what the findings were tuned on, and what was kept aside. ``docs/audit.md`` has
the numbers. What the audit gets wrong is ``known`` in its row, and expected to fail: whoever mends it takes that out.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.gallery import honest
from tests.gallery.measure import DEFENCES, HONEST, measure
from tests.gallery.truth import robust


def each(rows):
    return [
        pytest.param(row, id=row.name, marks=pytest.mark.xfail(reason=row.known, strict=True) if row.known else ())
        for row in rows
    ]


@pytest.mark.gallery
@pytest.mark.parametrize("row", each(DEFENCES))
def test_a_mask_is_named_and_the_number_behind_it_found(row):
    measured = measure(row)
    assert not measured.silent, measured
    assert not measured.off, measured


@pytest.mark.gallery
@pytest.mark.parametrize("row", each(HONEST))
def test_an_honest_classifier_raises_no_alarm_and_its_number_is_the_truth(row):
    measured = measure(row)
    assert measured.findings == (), measured
    assert not measured.off, measured


def test_the_gallery_has_what_it_needs_in_both_halves():
    assert len(DEFENCES) >= 20
    assert len(HONEST) >= 10
    assert len({row.name for row in (*DEFENCES, *HONEST)}) == len(DEFENCES) + len(HONEST)
    for rows in (DEFENCES, HONEST):
        halves = Counter(row.half for row in rows)
        assert halves.keys() == {"tuned", "aside"}
        assert halves["aside"] >= 0.4 * len(rows)


def test_the_attack_written_for_the_gallery_reaches_the_exact_truth_of_a_linear_classifier():
    row = next(row for row in HONEST if row.exact is not None and row.norm == "linf")
    model, ways = honest.plain(honest.softmax_regression())
    data = row.data(40)
    exact = row.exact(data.x, data.y)
    assert 0 < exact.mean() < 1
    assert np.array_equal(robust(row._replace(exact=None), model, ways, data), exact)
