"""Text as the house knows it: a line of words, one pixel high, each pixel the number of a word.

A review of at most ``l`` words is an image ``(1, l, 1)`` whose pixel is the word's number divided by ``SCALE``, which
float32 holds exactly. So the norm ``l0`` counts changed words, and archives, evaluation and reports need no other form.
The numbers are those of ``keras.datasets.imdb``: 0 fills the front, 1 begins a text, 2 is any word that is not known,
3 is free, and the rest go by frequency. Longer texts keep their last words: what is cut is not seen, and not attacked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from advlab.errors import InvalidValue

SCALE = 65_536
PADDING, START, UNKNOWN, FIRST = 0, 1, 2, 4
SPECIAL = ("", "<start>", "<unknown>", "<free>")
_SEPARATORS = re.compile(r"[\s!\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~]+")  # those of Keras' Tokenizer: apostrophes stay


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case and without punctuation, as Keras' ``Tokenizer`` splits it."""
    return [word for word in _SEPARATORS.split(text.lower()) if word]


def vocabulary_of(texts: Iterable[Sequence[str]], size: int) -> tuple[str, ...]:
    """The word of each number, in ``size`` numbers: the most frequent words, of equals the one that comes first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return (*SPECIAL, *(word for word, _ in counts.most_common(size - len(SPECIAL))))


def encode(texts: Iterable[Sequence[str]], vocabulary: Sequence[str], length: int) -> np.ndarray:
    """float32 ``(n, 1, length, 1)``: the last words of each text, their beginning filled up, as images."""
    if len(vocabulary) > SCALE:
        raise InvalidValue(f"A vocabulary has at most {SCALE:,} words. Got {len(vocabulary):,}; leave out rare ones.")
    numbers = {word: number for number, word in enumerate(vocabulary) if number >= FIRST}
    rows = [[START, *(numbers.get(word, UNKNOWN) for word in text)][-length:] for text in texts]
    filled = np.zeros((len(rows), length), np.int64)
    for row, found in zip(filled, rows, strict=True):
        row[length - len(found) :] = found
    return as_images(filled)


def as_images(numbers: np.ndarray) -> np.ndarray:
    """float32 ``(n, 1, l, 1)`` from numbers ``(n, l)``."""
    return (np.asarray(numbers, np.float32) / np.float32(SCALE))[:, None, :, None]


def as_numbers(images: np.ndarray) -> np.ndarray:
    """int64 ``(n, l)``: the inverse; a pixel between two numbers is the nearer one."""
    return np.rint(np.asarray(images, np.float64)[:, 0, :, 0] * SCALE).astype(np.int64)


def decode(image: np.ndarray, vocabulary: Sequence[str]) -> list[str]:
    """The words of one image ``(1, l, 1)``, one for each position; ``""`` where nothing stands."""
    shown = dict(enumerate(vocabulary)) | {PADDING: "", START: ""}
    return [shown.get(int(number), SPECIAL[UNKNOWN]) for number in as_numbers(image[None])[0]]
