"""Run a benchmark: every cell attacked and kept as soon as it is finished, then tables, a figure and two pages."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from advlab import remote, workspace, writing
from advlab.declarations.benchmarks import Benchmark, Cell, load_benchmark
from advlab.declarations.suites import Suite
from advlab.errors import AdvlabError, FileExists
from advlab.evaluation.comparison import Comparison, Score
from advlab.evaluation.evaluation import Evaluation, evaluate
from advlab.evaluation.scores import score_of, with_archive
from advlab.formatting import in_time
from advlab.lock import exclusive
from advlab.progress import Progress
from advlab.threat import ThreatModel
from advlab.workflows.attack import attack
from advlab.workflows.benchmark_plan import PlannedCell, make_plan
from advlab.workflows.compare import publish
from advlab.workflows.run_suite import run

RESULTS = "results.json"


def benchmark(
    name: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    samples: int | None = None,
    trust: bool = False,
    upload: str | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Attack every model of a benchmark (name, or path to a TOML file) in every way it declares, and compare them.

    Args:
        name: The benchmark.
        resume: Keep the finished cells whose model, images and attack have not changed, and compute the others.
        force: Compute every cell again.
        samples: The first so many images, in place of the declared number.
        trust: Whether code in a model file may run.
        upload: The URL of a folder, such as ``s3://bucket/benchmark``, that gets a copy of all results at the end.
        progress: Whether to show a bar over all cells; None: on a terminal, and a line for each cell; False: nothing.

    Returns:
        The scores. In ``attacks/benchmarks/<name>/`` of the workspace lie ``results.json``, written after every cell,
        the archives, and at the end ``table.md``, ``table.csv``, ``table.tex``, ``figure.svg``, ``report.html``, which
        compares the models, and ``leaderboard.html``. An ``AdvlabError`` in a cell becomes that cell's entry in
        ``failed``; Ctrl-C keeps finished cells.

    Raises:
        UnknownName, InvalidValue, InvalidFile, Mismatch: Before any work, naming the cell.
        FileExists: Where there are results already, without ``resume`` or ``force``.
    """
    declaration = load_benchmark(name).adjusted(samples)
    folder = workspace.benchmark_folder(declaration.name)
    path = folder / RESULTS
    writing.require_writable(path)
    if upload is not None:
        remote.require(upload)
    if path.exists() and not (resume or force):
        raise FileExists(
            f"'{path}' has results of benchmark '{declaration.name}'. Use --resume to compute what is missing or has "
            "changed, or --force to compute all cells again."
        )
    with exclusive(folder):
        return _run(declaration, folder, resume, force, trust, upload, progress)


def _run(
    declaration: Benchmark,
    folder: Path,
    resume: bool,
    force: bool,
    trust: bool,
    upload: str | None,
    progress: bool | None,
) -> Comparison:
    path = folder / RESULTS
    earlier = Comparison.load(path) if path.exists() and not force else None
    plan = make_plan(declaration, trust)
    result = Comparison(declaration.title, (), {})
    started, done = time.perf_counter(), 0.0
    try:
        with Progress(_units(plan.cells), f"benchmark {declaration.name}", show=progress) as bar:
            for number, planned in enumerate(plan.cells):
                score = earlier and _finished(earlier, planned, folder)
                if not score:
                    try:
                        score = _measure(planned, folder, force, resume)
                    except AdvlabError as error:
                        result = replace(result, failed={**(result.failed or {}), str(planned.cell): str(error)})
                    done += planned.seconds or 0.0
                if score:
                    result = result.adding(score)
                result.save(path)
                left = _left(plan.cells[number + 1 :], done, time.perf_counter() - started)
                bar.say(_one_line(planned.cell, score or None, number + 1, len(plan.cells), left))
                bar.advance(_units([planned]))
    except KeyboardInterrupt as error:
        message = f"{len(result.scores)} of {len(plan.cells)} cells are saved in '{path}'; --resume continues."
        raise KeyboardInterrupt(message if result.scores else "") from error
    if result.scores:
        models = {planned.classifier.digest: planned.classifier for planned in plan.cells}
        publish(result, folder, lambda score: _archived(score, folder), models)
        if upload is not None:
            remote.upload(folder, upload)
    return result


def _finished(earlier: Comparison, planned: PlannedCell, folder: Path) -> Score | None:
    """The score of an earlier run, where everything that it depends on is the same and its archive is there."""
    cell, digests = planned.cell, (planned.classifier.digest, planned.data.digest)
    for score in earlier.scores:
        same = (score.model.digest, score.column.dataset_digest) == digests and score.seed == cell.seed
        same = same and (score.column.attack, score.column.budget) == (cell.attack, cell.budget)
        if same and score.recipe == cell.recipe and (folder / score.archive).is_file():
            return score
    return None


def _measure(planned: PlannedCell, folder: Path, force: bool, resume: bool) -> Score:
    """The score of a cell; with ``resume`` the archive of an earlier declaration is replaced."""
    cell = planned.cell
    try:
        evaluations = _attack(planned, folder, force)
    except FileExists:
        if not resume:
            raise
        evaluations = _attack(planned, folder, True)
    threat = ThreatModel(cell.norm, cell.epsilon) if cell.norm else None
    archive = evaluations[-1].result.path
    score = with_archive(
        score_of(evaluations, cell.attack, threat, cell.seed), archive, archive.relative_to(folder).as_posix()
    )
    return replace(score, command=command_of(planned), recipe=cell.recipe)


def _attack(planned: PlannedCell, folder: Path, force: bool) -> list[Evaluation]:
    cell, data = planned.cell, planned.data
    with workspace.archives_in(folder / workspace.as_file_name(f"{data.name}-{len(data)}")):
        if isinstance(cell.does, Suite):
            return run(
                planned.classifier,
                data,
                cell.does,
                norm=cell.norm or None,
                epsilon=cell.given_epsilon,
                seed=cell.seed,
                # A self-test checks the attack, which is the same in all cells, and doubles the time.
                selftest=0,
                save=True,
                force=force,
                progress=False,
            )
        result = attack(planned.classifier, data, cell.attacks[0], save=True, force=force, progress=False)
        return [evaluate(result)]


def command_of(planned: PlannedCell) -> str:
    """The command that makes the number of a cell again, outside of its benchmark."""
    cell = planned.cell
    words = ["--model", cell.classifier, "--dataset", planned.data.name, "--samples", str(len(planned.data))]
    words += ["--norm", cell.norm] if cell.norm else []
    if isinstance(cell.does, Suite):
        words += [] if cell.given_epsilon is None else ["--epsilon", f"{cell.epsilon:.6g}"]
        return shlex.join(["advlab", "run", cell.attack, *words, "--seed", str(cell.seed)])
    spec = cell.attacks[0]
    words += ["--epsilon", f"{cell.epsilon:.6g}"] if spec.goal == "bounded" else []
    words += ["--early-stop"] if spec.early_stop else []
    words += ["--restarts", str(spec.restarts)] if spec.restarts > 1 else []
    words += [word for key in sorted(spec.overrides) for word in ("--set", f"{key}={spec.parameters[key]}")]
    return shlex.join(["advlab", "attack", "--method", spec.method, *words, "--seed", str(cell.seed)])


def _archived(score: Score, folder: Path) -> Evaluation:
    return evaluate(folder / score.archive)


def _units(cells: Sequence[PlannedCell]) -> int:
    """The length of cells in a bar: of their planned time, so that what is left is."""
    return sum(1 + round(10 * (planned.seconds or 0.0)) for planned in cells)


def _left(cells: Sequence[PlannedCell], done: float, elapsed: float) -> str:
    planned = sum(cell.seconds or 0.0 for cell in cells)
    return f"; about {in_time(planned * elapsed / done)} left" if done and planned else ""


def _one_line(cell: Cell, score: Score | None, number: int, total: int, left: str) -> str:
    value = "failed" if score is None else f"robust {score.accuracy.value:.1%}"
    return f"{number} of {total}: {cell}: {value}{left}"
