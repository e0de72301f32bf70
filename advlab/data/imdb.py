"""The reviews of IMDb (Maas et al. 2011): 25,000 to train on and as many to test, read straight from their archive.

Words are numbered by their frequency in the training reviews. ``keras.datasets.imdb`` counts the reviews without a
label as well, so its numbers differ a little; where its ``imdb_word_index.json`` is at hand, that decides. Its
``imdb.npz`` holds pickled objects and is never read.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from advlab import workspace, writing
from advlab.data import arrays, official
from advlab.data.archives import files_of
from advlab.data.download import md5_of, read
from advlab.errors import AdvlabError, InvalidFile
from advlab.text import FIRST, SPECIAL, START, UNKNOWN, as_images, vocabulary_of, words_of
from advlab.validation import json_object

ARCHIVE, WORD_INDEX = "aclImdb_v1.tar.gz", "imdb_word_index.json"
VOCABULARY, LENGTH = 10_000, 200
CLASSES = official.SOURCES["imdb"].classes
_NAME = re.compile(r"(?:\./)?aclImdb/(train|test)/(neg|pos)/(\d{1,9})_(\d{1,2})\.txt")
_MOST_BYTES = 1 << 17  # of a review; the longest has 14 kB
_SPLITS = ("train", "test")


def load(split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    """The reviews float32 ``(n, 1, 200, 1)``, the labels int64 ``(n,)``, the word of each number, and their provenance.

    Positive and negative reviews alternate. Downloads the archive where it is not at hand. Raises ``InvalidFile`` for
    one that is damaged, and ``AdvlabError`` where there is none on disk or on the network.
    """
    (path,) = official.locate("imdb", [ARCHIVE])
    index = official.find("imdb", WORD_INDEX)
    digest = md5_of(read(path, unpack=False))
    content = _cached(path, digest, index)
    ends = content[f"{split}_ends"].astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    numbers = np.zeros((len(ends), LENGTH), np.int64)
    words = content[f"{split}_words"]
    for row, start, end in zip(numbers, starts, ends, strict=True):
        text = [START, *words[start:end]][-LENGTH:]
        row[LENGTH - len(text) :] = text
    vocabulary = tuple(bytes(content["vocabulary"]).decode("utf-8").split("\n"))
    source = "Keras' own index" if index else "their frequency in the training reviews, not by Keras' own index"
    is_original = digest == official.SOURCES["imdb"].md5[ARCHIVE]
    other = "" if is_original else "the archive is not the official one (its checksum differs); "
    provenance = f"{other}words are numbered by {source}; of longer reviews the last {LENGTH} words are kept"
    return as_images(numbers), content[f"{split}_labels"].astype(np.int64), vocabulary, provenance


def _cached(path: Path, digest: str, index: Path | None) -> dict[str, np.ndarray]:
    """The numbered words of all reviews, kept in the user's cache: reading 50,000 texts takes half a minute."""
    digests = [digest, *([md5_of(read(index))] if index else [])]
    cached = workspace.cache_folder("imdb") / f"{'-'.join(digest[:16] for digest in digests)}.npz"
    names = [f"{split}_{kind}" for split in _SPLITS for kind in ("words", "ends", "labels")]
    if cached.is_file():
        return arrays.read_arrays(cached, [*names, "vocabulary"], "Delete it and repeat the command.")
    texts = _read(path)
    vocabulary = _of_keras(index) if index else vocabulary_of((words for _, words in texts["train"]), VOCABULARY)
    numbers = {word: number for number, word in enumerate(vocabulary) if number >= FIRST}
    content: dict[str, Any] = {"vocabulary": np.frombuffer("\n".join(vocabulary).encode(), np.uint8)}
    for split in _SPLITS:
        found = [[numbers.get(word, UNKNOWN) for word in words[-LENGTH:]] for _, words in texts[split]]
        content[f"{split}_words"] = np.concatenate([np.array(row, np.uint16) for row in found])
        content[f"{split}_ends"] = np.cumsum([len(row) for row in found]).astype(np.int32)
        content[f"{split}_labels"] = np.array([label for label, _ in texts[split]], np.uint8)
    with contextlib.suppress(AdvlabError), writing.atomic_write(cached) as temporary:
        np.savez_compressed(temporary, **content)
    return content


def _read(path: Path) -> dict[str, list[tuple[int, list[str]]]]:
    """Label and words of the reviews of each split."""
    found: dict[str, dict[tuple[int, int], list[str]]] = {split: {} for split in _SPLITS}
    with path.open("rb") as raw:
        for name, content in files_of(raw, path, _NAME, _MOST_BYTES):
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidFile(f"'{name[0]}' in '{path}' is not UTF-8: {error}.") from error
            found[name[1]][int(name[3]), int(name[2] == "pos")] = words_of(text)
    if not all(found.values()):
        raise InvalidFile(f"'{path}' has no reviews, such as 'aclImdb/train/pos/0_9.txt', of both splits.")
    return {split: [(key[1], texts[key]) for key in sorted(texts)] for split, texts in found.items()}


def _of_keras(path: Path) -> tuple[str, ...]:
    """The vocabulary of Keras' index of words, whose ranks begin at 1 and whose numbers at ``FIRST``."""
    try:
        index = json_object(path.read_text("utf-8"), "the index of words")
        ranked = sorted((rank, word) for word, rank in index.items() if isinstance(rank, int))
        if len(ranked) != len(index) or [rank for rank, _ in ranked[:9]] != list(range(1, 10)):
            raise ValueError("its values are no ranks from 1 on")
    except (ValueError, OSError, json.JSONDecodeError) as error:
        raise InvalidFile(
            f"'{path}' is not Keras' index of words ({error}). Remove it, or download it again."
        ) from error
    return (*SPECIAL, *(word for _, word in ranked[: VOCABULARY - len(SPECIAL)]))
