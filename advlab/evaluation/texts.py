"""What successful attacks on words leave of texts: how many of their words, and how near the others lie."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from advlab.evaluation.metrics import Summary, summary
from advlab.formatting import number
from advlab.results.result import AttackResult
from advlab.text import START, as_numbers

CAPTION = (
    "kept: share of the words that a successful attack left as they were. similarity: mean cosine, in the attacked "
    "model's own embedding, between its replacements and the words that they replaced; no proof that the meaning stays."
)


class TextScore(NamedTuple):
    """Over the texts on which an attack succeeded, of those correct when clean; NaN without any.

    ``words_kept``: the fraction of a text's words that stayed, in [0, 1]; ``similarity``: the mean cosine between its
    replaced words and what took their place, in [-1, 1]; None where an archive of an earlier version lacks it.
    """

    words_kept: Summary
    similarity: Summary | None

    def cells(self) -> dict[str, str]:
        """Column of a table -> the mean over texts."""
        similarity = "-" if self.similarity is None else number(self.similarity.mean, ".2f")
        return {"kept %": number(100 * self.words_kept.mean, ".1f"), "similarity": similarity}


def text_score(result: AttackResult, success: np.ndarray) -> TextScore | None:
    """The score over the texts in ``success``, bool ``(n,)``; None for images."""
    columns = per_text(result)
    if not columns:
        return None
    similarity = columns.get("similarity")
    return TextScore(
        summary(columns["words_kept"][success]), None if similarity is None else summary(similarity[success])
    )


def per_text(result: AttackResult) -> dict[str, np.ndarray]:
    """Column -> float ``(n,)``: ``words_kept``, and ``similarity`` where the archive has it; empty for images."""
    if not result.vocabulary:
        return {}
    before, after = (as_numbers(np.asarray(x)) for x in (result.x, result.x_adv))
    is_word = before > START
    kept = (is_word & (before == after)).sum(1) / np.maximum(is_word.sum(1), 1)
    similarity = result.diagnostics.similarity
    return {"words_kept": kept} | ({} if similarity is None else {"similarity": similarity})
