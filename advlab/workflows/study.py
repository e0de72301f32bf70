"""Run a study: train every row, attack it, and save its result as soon as it is finished."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from advlab import figures, workspace, writing
from advlab.classifiers.card import read_card
from advlab.data.loading import load_dataset
from advlab.declarations.recipes import Recipe, settings
from advlab.declarations.studies import Row, Study, load_study
from advlab.errors import AdvlabError, FileExists
from advlab.evaluation.evaluation import worst_case
from advlab.evaluation.study import MeasuredRow, StudyResult, load_study_result
from advlab.lock import exclusive
from advlab.progress import Progress
from advlab.provenance import versions
from advlab.workflows.model_file import load_classifier
from advlab.workflows.run_suite import run
from advlab.workflows.train import train

if TYPE_CHECKING:
    from advlab.classifiers.classifier import Classifier


def study(
    name: str | Path,
    *,
    rows: str | Iterable[str | int] | None = None,
    resume: bool = False,
    force: bool = False,
    epochs: int | None = None,
    samples: int | None = None,
    save: bool = True,
    progress: bool | None = None,
) -> StudyResult:
    """Train and attack every row of a study (name, or path to a TOML file), and return the results.

    A classifier of the workspace that was trained with the settings of a row is reused, with its own seconds, unless
    ``force``.

    ``rows`` are names, numbers from 1 or ranges, ``"1,3-5"``. ``epochs`` and ``samples`` replace the study's. ``save``
    writes ``models/studies/<name>.json`` in the workspace after every row, and a table (``.md``) and a figure
    (``.svg``) beside it at the end. An existing file is refused unless ``resume``, which keeps the rows whose settings
    and threat model have not changed, or ``force``, which computes the chosen rows again. An ``AdvlabError`` in a row
    becomes that row's result, and ``resume`` tries it again; Ctrl-C keeps finished rows. ``progress`` None shows bars
    on a terminal only, and a line for each row; False shows nothing.
    """
    declaration = load_study(name).adjusted(epochs, samples)
    chosen = declaration.select(rows)
    path = workspace.study_path(declaration.name, ".json")
    result = StudyResult(declaration)
    if save:
        writing.require_writable(path)
        if path.exists():
            if not (resume or force):
                raise FileExists(
                    f"'{path}' has results of study '{declaration.name}'. Use --resume to compute what is missing or "
                    "has changed, or --force to compute the chosen rows again."
                )
            result = load_study_result(declaration, path)
            adjusted = epochs is not None or samples is not None
            other = [row.name for row in chosen if adjusted and not force and _is_replaced(result, row, declaration)]
            if other:
                raise FileExists(
                    f"'{path}' has results of row '{other[0]}', which other epochs or samples would replace. Use "
                    "--force to replace those of the chosen rows, or another --workspace."
                )
    for dataset in sorted({row.recipe.dataset for row in chosen}):
        load_dataset(dataset, limit=1)
    try:
        with Progress(len(chosen), f"study {declaration.name}", "row", show=progress) as bar:
            for row in chosen:
                stored = result.row(row.name)
                if stored is None or force or not stored.is_of(row, declaration):
                    if stored is not None and stored.error is None and not force:
                        bar.say(f"{row.name}: its settings have changed, it is computed again")
                    place = workspace.study_path(declaration.name, f"-{workspace.as_file_name(row.name)}")
                    with exclusive(place if save else None):
                        measured = _measure(row, declaration, force, progress)
                    if save and path.exists():
                        # Another process may have finished other rows meanwhile.
                        result = load_study_result(declaration, path)
                    result = StudyResult(declaration, result.rows, _versions()).adding(measured)
                    if save:
                        result.save(path)
                    bar.say(_one_line(measured))
                bar.advance(row=row.name)
    except KeyboardInterrupt as error:
        message = f"{len(result.rows)} of {len(declaration.rows)} rows are saved in '{path}'; --resume continues."
        raise KeyboardInterrupt(message if save and result.rows else "") from error
    if save:
        illustrate(result, path)
    return result


def _is_replaced(result: StudyResult, row: Row, study: Study) -> bool:
    """Whether a result of other settings would be lost."""
    stored = result.row(row.name)
    return stored is not None and stored.error is None and not stored.is_of(row, study)


def _measure(row: Row, study: Study, force: bool, progress: bool | None) -> MeasuredRow:
    base = MeasuredRow(row.name, settings(row.recipe), study.threat)
    try:
        classifier = (None if force else _find_trained(row.recipe)) or train(row.recipe, save=False, progress=progress)
        start = time.perf_counter()
        evaluations = run(
            classifier,
            None,
            study.suite,
            norm=study.norm,
            epsilon=study.epsilon,
            samples=study.samples,
            # A self-test checks the attack, which is the same in all rows, and doubles the time.
            selftest=0,
            progress=progress,
        )
        seconds = time.perf_counter() - start
    except AdvlabError as error:
        return MeasuredRow(base.name, base.settings, base.threat, error=str(error))
    finally:
        _clear_session()
    card = classifier.card
    return MeasuredRow(
        base.name,
        base.settings,
        base.threat,
        parameters=card["parameters"],
        train_accuracy=card["train_accuracy"],
        validation_accuracy=card["validation_accuracy"],
        test_accuracy=card["test_accuracy"],
        clean_accuracy=evaluations[-1].clean_accuracy,
        robust_accuracy=worst_case(evaluations).accuracy,
        findings=tuple(sorted({finding.code for e in evaluations for finding in e.findings})),
        epochs_run=card["epochs_run"],
        train_seconds=card["seconds"],
        attack_seconds=round(seconds, 2),
        ended=card.get("ended"),
    )


def _find_trained(recipe: Recipe) -> Classifier | None:
    """A saved classifier that was trained from this recipe: training it again would give the same weights."""
    for path in workspace.weights().values():
        with contextlib.suppress(AdvlabError):
            card = read_card(path)
            if "history" in card and settings(card["recipe"]) == settings(recipe):
                data = load_dataset(recipe.dataset, split="train", limit=recipe.training.train_samples)
                if card["data_digest"] == data.digest:
                    return load_classifier(path)
    return None


def _clear_session() -> None:
    """Free what Keras keeps of a network: fifty of them may be trained in one process."""
    import keras

    keras.backend.clear_session()


def _one_line(measured: MeasuredRow) -> str:
    if measured.error or measured.robust_accuracy is None or measured.test_accuracy is None:
        return f"{measured.name}: {measured.error}"
    return (
        f"{measured.name}: test accuracy {measured.test_accuracy:.2%}, robust accuracy "
        f"{measured.robust_accuracy.value:.1%}, {measured.train_seconds:.0f} s of training, "
        f"{measured.attack_seconds:.0f} s of attacking"
    )


def illustrate(result: StudyResult, path: Path) -> None:
    """Write the table and the figure of a result beside its JSON file."""
    with writing.atomic_write(path.with_suffix(".md")) as temporary:
        temporary.write_text(result.markdown(), "utf-8")
    if any(row.error is None for row in result.rows):
        figures.save(figures.study(result), path.with_suffix(".svg"))


def _versions() -> dict[str, str]:
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    return {**versions(), "machine": f"{platform.machine()}, {os.cpu_count()} processors, {gpus} GPUs"}
