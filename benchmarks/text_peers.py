"""Attacks on words beside TextAttack's greedy black box: the same weights, reviews, candidates and budget of words.

    python benchmarks/text_peers.py [--model imdb] [--samples 100] [--write]

TextAttack's gradient attacks need PyTorch models, so what runs here is its search by word importance (``unk``) around
our classifier, with our neighbours as its transformation, and at most ten words: what TextFooler is without its
constraints on meaning, whose vectors have to be downloaded. Needs TextAttack (``pip install textattack``) beside
advlab, and the reviews (ADVLAB_DATA). Prints Markdown, which ``--write`` puts into docs/text.md.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from blocks import machine, write_block

import advlab
from advlab.classifiers.words import FUNCTION_WORDS, word_model
from advlab.text import as_numbers, decode, encode

PAGE = Path(__file__).parent.parent / "docs" / "text.md"
WORDS = 10
CANDIDATES = 50


def ours(classifier: advlab.Classifier, data: advlab.Dataset, method: str) -> tuple[str, ...]:
    """A row: successes, words changed, queries for a review, seconds of the first call."""
    start = time.perf_counter()
    result = advlab.attack(classifier, data, method, epsilon=WORDS, early_stop=True, progress=False)
    seconds = time.perf_counter() - start
    broken = result.correct & result.success
    changed = (as_numbers(np.asarray(result.x)) != as_numbers(np.asarray(result.x_adv))).sum(1)
    queries = (result.forward_passes + result.backward_passes)[result.correct]
    return row(f"advlab `{method}`", broken.sum() / result.correct.sum(), changed[broken], queries, seconds)


def row(name: str, success: float, changed: Any, queries: Any, seconds: float) -> tuple[str, ...]:
    """The cells of one run."""
    return name, f"{success:.1%}", f"{np.mean(changed):.1f}", f"{np.mean(queries):,.0f}", f"{seconds:.1f}"


def textattack(classifier: advlab.Classifier, data: advlab.Dataset) -> tuple[str, ...]:
    """TextAttack's greedy search by word importance, with our neighbours."""
    library: Any = importlib.import_module("textattack")
    words, near = classifier.vocabulary, word_model(classifier).neighbours(CANDIDATES, "substitute", "", "")
    numbers = {word: number for number, word in enumerate(words)}
    length = data.shape[1]

    def probabilities(self: Any, texts: list[str]) -> np.ndarray:
        return classifier.probabilities(encode((text.split() for text in texts), words, length))

    def neighbours(self: Any, word: str) -> list[str]:
        number = numbers.get(word.lower())
        return [] if number is None else [words[n] for n in near[number] if n >= 0]

    wrapper, swap = library.models.wrappers.ModelWrapper, library.transformations.word_swaps.WordSwap
    wrapped = type("Wrapped", (wrapper,), {"model": classifier, "__call__": probabilities})
    transformation = type("Neighbours", (swap,), {"_get_replacement_words": neighbours})
    constraints = [
        library.constraints.pre_transformation.RepeatModification(),
        library.constraints.pre_transformation.StopwordModification(stopwords=FUNCTION_WORDS),
        library.constraints.overlap.MaxWordsPerturbed(max_num_words=WORDS),
    ]
    attack = library.Attack(
        library.goal_functions.UntargetedClassification(wrapped()),
        constraints,
        transformation(),
        library.search_methods.GreedyWordSwapWIR(wir_method="unk"),
    )
    found, start = [], time.perf_counter()
    for x, label in zip(np.asarray(data.x), data.y, strict=True):
        text = " ".join(word.strip("<>") for word in decode(x, words) if word)
        found.append(attack.attack(text, int(label)))
    seconds = time.perf_counter() - start
    kinds = [type(result).__name__ for result in found]
    tried = [result for result, kind in zip(found, kinds, strict=True) if kind != "SkippedAttackResult"]
    broken = [result for result in tried if type(result).__name__ == "SuccessfulAttackResult"]
    changed = [len(r.original_result.attacked_text.all_words_diff(r.perturbed_result.attacked_text)) for r in broken]
    queries = [result.num_queries for result in tried]
    return row("TextAttack, greedy by importance", len(broken) / len(tried), changed, queries, seconds)


def table(model: str, samples: int) -> Iterator[str]:
    """The runs, one after the other."""
    classifier = advlab.load_classifier(model)
    data = advlab.load_dataset("imdb", limit=samples)
    yield f"`{classifier.name}`, {samples} test reviews, at most {WORDS} words, {CANDIDATES} candidates; {machine()}."
    yield ""
    yield "| attack | succeeds | words changed | queries for a review | seconds |"
    yield "|---|--:|--:|--:|--:|"
    for method in ("random_words", "word_importance", "hotflip"):
        yield f"| {' | '.join(ours(classifier, data, method))} |"
    yield f"| {' | '.join(textattack(classifier, data))} |"


def main() -> None:
    """Measure, print and, if requested, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="imdb")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    arguments = parser.parse_args()
    lines = []
    for line in table(arguments.model, arguments.samples):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        write_block("textattack", "\n".join(lines), PAGE)


if __name__ == "__main__":
    main()
