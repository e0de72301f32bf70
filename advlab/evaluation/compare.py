"""Two attacks, or two classifiers, on the same samples: is the difference more than chance?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.errors import Mismatch
from advlab.evaluation.significance import McNemar, mcnemar

if TYPE_CHECKING:
    from advlab.evaluation.evaluation import Evaluation


def compare(first: Evaluation, second: Evaluation) -> McNemar:
    """McNemar's exact test of which samples are robust in one evaluation and not in the other.

    Raises ``Mismatch`` unless both are of the same samples.
    """
    one, other = first.result, second.result
    if one.dataset_digest != other.dataset_digest or len(first) != len(second):
        raise Mismatch(
            f"'{one.attack.slug}' on {one.classifier} and '{other.attack.slug}' on {other.classifier} are of different "
            f"samples: {first.images} ({one.dataset_digest}) and {second.images} ({other.dataset_digest}). "
            "Attack the same samples of one data set with both."
        )
    return mcnemar(first.robust, second.robust)
