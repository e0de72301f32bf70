"""The user's own texts: CSV or JSON lines with ``text`` and ``label``, or a folder of ``.txt`` files by class."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from advlab.data.conversion import to_labels
from advlab.data.dataset import Dataset, choose
from advlab.data.imdb import LENGTH, VOCABULARY
from advlab.errors import InvalidFile
from advlab.text import encode, vocabulary_of, words_of

SUFFIXES = (".csv", ".jsonl")
_SPLITS = ("train", "test")
_MOST_BYTES = 1 << 28
_Text = tuple[str, str, str]  # text, label, split ("" where the file does not say)


def is_text(path: Path) -> bool:
    """Whether a path leads to texts: by its suffix, or a folder in which ``.txt`` files lie by class."""
    if path.is_file():
        return path.suffix in SUFFIXES
    found = (next(path.glob(pattern), None) for pattern in ("*/*.txt", "train/*/*.txt"))
    return any(text is not None and _holds_texts_alone(text.parent) for text in found)


def _holds_texts_alone(folder: Path) -> bool:
    """Whether a folder is a class of texts: beside images, a text is a note."""
    return all(path.suffix == ".txt" or path.name.startswith(".") for path in folder.iterdir())


def load(
    path: Path,
    name: str,
    split: str,
    limit: int | None,
    seed: int | None,
    classes: Sequence[str] | None,
    vocabulary: Sequence[str] | None,
    length: int | None,
) -> Dataset:
    """The texts of one split. Texts that do not say theirs are those of ``test``, as those of other data of the user's.

    Without a ``vocabulary`` words are numbered by their frequency in the training texts, at most 10,000; None as
    ``length`` keeps the last 200. Raises ``InvalidFile`` for what is empty, or of another encoding or form.
    """
    texts = _of_folder(path) if path.is_dir() else _of_file(path)
    empty = next((number for number, (text, _, _) in enumerate(texts, 1) if not words_of(text)), None)
    if empty is not None:
        raise InvalidFile(f"Text {empty} of '{path}' has no word. Remove it.")
    chosen = [number for number, text in enumerate(texts) if (text[2] or "test") == split]
    own = [texts[number] for number in chosen]
    if not own:
        raise InvalidFile(
            f"'{path}' has no text of the {split} split. Say which are: by 'split' in each record, or by folders "
            "train/ and test/."
        )
    if vocabulary is None:
        training = [text for text in texts if text[2] == "train"] or texts
        vocabulary = vocabulary_of((words_of(text) for text, _, _ in training), VOCABULARY)
    y, found = to_labels(np.array([label for _, label, _ in texts]), classes, f"data set '{name}'")
    labels = y[chosen]
    rows = choose(len(own), limit, seed)
    cut = length or LENGTH
    long = sum(len(words_of(own[row][0])) >= cut for row in rows)
    provenance = f"of {long:,} texts longer than the model reads the last {cut} words are kept" if long else ""
    x = encode((words_of(own[row][0]) for row in rows), vocabulary, cut)
    names = tuple(map(str, found if found is not None else sorted(set(y.tolist()))))
    return Dataset(name, split, x, labels[rows], rows, names, provenance, tuple(vocabulary))


def _of_file(path: Path) -> list[_Text]:
    if path.stat().st_size > _MOST_BYTES:
        raise InvalidFile(f"'{path}' has more than {_MOST_BYTES:,} bytes. Give a smaller file of texts.")
    content = _decoded(path)
    try:
        if path.suffix == ".csv":
            records = list(csv.DictReader(io.StringIO(content), strict=True))
        else:
            records = [json.loads(line) for line in content.split("\n") if line.strip()]
    except (csv.Error, ValueError, RecursionError) as error:
        raise InvalidFile(f"Cannot read '{path}': {error}. Give CSV or JSON lines with 'text' and 'label'.") from error
    texts = [_record(record, number, path) for number, record in enumerate(records, 1)]
    if not texts:
        raise InvalidFile(f"'{path}' has no text. Give records with 'text' and 'label', and perhaps 'split'.")
    return texts


def _record(record: object, number: int, path: Path) -> _Text:
    fields = record if isinstance(record, dict) else {}
    text, label, split = fields.get("text"), fields.get("label"), fields.get("split") or ""
    if not isinstance(text, str) or not isinstance(label, str | int) or split not in ("", *_SPLITS):
        raise InvalidFile(
            f"Record {number} of '{path}' needs 'text', 'label' and perhaps 'split' (train or test). It has: "
            f"{', '.join(map(str, fields)) or 'nothing'}."[:300]
        )
    return text, str(label), str(split)


def _of_folder(folder: Path) -> list[_Text]:
    """Every text of ``<class>/*.txt``, or of ``<split>/<class>/*.txt``; the classes alternate."""
    splits = [split for split in _SPLITS if (folder / split).is_dir()] or [""]
    found: list[tuple[int, str, str, Path]] = []
    for split in splits:
        for directory in sorted(path for path in (folder / split).glob("[!.]*") if path.is_dir()):
            files = sorted(directory.glob("*.txt"))
            found += [(position, directory.name, split, file) for position, file in enumerate(files)]
    return [(_decoded(file), label, split) for _, label, split, file in sorted(found, key=lambda item: item[:3])]


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes()[: _MOST_BYTES + 1].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidFile(
            f"'{path}' is not UTF-8 (byte {error.start}). Save it as UTF-8, as in: iconv -f latin1 -t utf-8 FILE"
        ) from error
