"""Whatever comes in, what comes out is a result or an ``AdvlabError``: no traceback, no hang, no 2 GB of memory.

A few hundred inputs, the same each time, run with the other tests; ``make fuzz`` draws others for ADVLAB_FUZZ minutes.
A failure is shrunk by hypothesis and becomes a named case of the tests beside this folder.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gzip
import io
import itertools
import json
import os
import resource
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

import advlab
from advlab import workspace as advlab_workspace
from advlab.classifiers.card import read_card
from advlab.cli import main
from advlab.data import official
from advlab.data.images import load_image
from advlab.declarations.recipes import load_recipe
from advlab.declarations.studies import load_study
from advlab.declarations.suites import load_suite
from advlab.engine.run import Run
from advlab.errors import AdvlabError
from advlab.evaluation.study import load_study_result
from advlab.results.diagnostics import SelfTestCounts
from advlab.training import checkpoint, fit
from tests.conftest import commands
from tests.fuzz.generators import altered_bytes, altered_json, altered_toml, command_lines
from tests.results import build

MINUTES = float(os.environ.get("ADVLAB_FUZZ") or 0)
EXAMPLES = 30  # of each kind, where no time is given
SECONDS, BYTES = 20, 2 * 10**9  # that one input may take
REPOSITORY = Path(__file__).parent.parent.parent
TARGETS = 16  # tests below, which share the time


class Hang(BaseException):
    """Not an ``Exception``, so that nothing takes it for damage."""


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """End the block after some seconds, and refuse it memory beyond what it has and the limit."""

    def hang(number: int, frame: Any) -> None:
        raise Hang(f"more than {SECONDS} seconds")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    previous = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)  # no signal is seen inside a loop of C code
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * BYTES, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES


def explore(name: str, strategy: st.SearchStrategy[Any], use: Callable[[Any], object]) -> None:
    """Draw inputs and use each; whatever it raises but ``AdvlabError`` is a failure."""
    tried, refused = 0, 0

    def check(value: Any) -> None:
        nonlocal tried, refused
        tried += 1
        with limits(), warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            try:
                use(value)
            except AdvlabError:
                refused += 1

    end = time.monotonic() + 60 * MINUTES / TARGETS
    first = time.time_ns() if MINUTES else 0
    options = settings(
        max_examples=500 if MINUTES else EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    for number in itertools.count(first) if MINUTES else [first]:
        seed(number)(options(given(strategy)(check)))()
        if time.monotonic() > end:
            break
    print(f"{name}: {tried:,} inputs, {refused:,} refused, 0 failures")
    assert tried >= 10


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> bytes:
    k = np.arange(12) % 3
    diagnostics = {
        "loss_trace": np.tile(np.linspace(0, 1, 5, dtype=np.float32), (12, 1)),
        "trace_steps": np.arange(5, dtype=np.int32),
        "first_success": np.full(12, 2, np.int32),
        "zero_gradient": np.zeros(12, bool),
        "nonfinite": np.zeros(12, bool),
        "repeat_difference": np.zeros(12, np.float32),
        "misclassified_by": k - 1,
    }
    test = SelfTestCounts(10, 9, 1)
    result = build(k, k, np.roll(k, 1), shape=(6, 6, 1), diagnostics=diagnostics, parts=("pgd", "fgsm"), selftest=test)
    return result.save(tmp_path_factory.mktemp("archive") / "a.h5").read_bytes()


def use_archive(path: Path) -> None:
    result = advlab.load_result(path)
    evaluation = advlab.evaluate(result)
    json.dumps(advlab.to_records([evaluation], [path]), allow_nan=False)
    advlab.table([evaluation])
    evaluation._repr_html_()
    advlab.export(result, csv=path.with_suffix(".csv"), force=True)
    repr(result)


def test_archives_with_altered_bytes(archive, tmp_path):
    path = tmp_path / "a.h5"

    def use(content: bytes) -> None:
        path.write_bytes(content)
        use_archive(path)

    use(archive)  # what is not altered is taken
    explore("archives, bytes", altered_bytes(archive), use)


def test_archives_with_an_altered_header(archive, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(io.BytesIO(archive)) as file:
        header = json.loads(file.attrs["advlab"])
    del header["digests"]

    def use(header: Any) -> None:
        path.write_bytes(archive)
        with h5py.File(path, "a") as file:
            file.attrs["advlab"] = json.dumps(header)
        use_archive(path)

    use(header)
    explore("archives, header", altered_json(header), use)


DTYPES = ["f4", "f8", "f2", "i4", "i8", "u1", "bool", "c8", "S3", h5py.string_dtype(), [("a", "f4")], "O"]
ARRAYS = [
    "x", "x_adv", "labels", "indices", "clean_probabilities", "adversarial_probabilities", "attempted",
    "forward_passes", "backward_passes", "diagnostics/loss_trace", "diagnostics/trace_steps",
    "diagnostics/first_success", "diagnostics/zero_gradient", "diagnostics/repeat_difference",
    "diagnostics/misclassified_by", "diagnostics",
]  # fmt: skip
replacements = st.tuples(
    st.sampled_from(ARRAYS),
    st.sampled_from(DTYPES),
    st.one_of(st.just(()), st.lists(st.sampled_from([0, 1, 3, 5, 6, 11, 12, 13, 10**6]), max_size=5).map(tuple)),
    st.sampled_from([0, 1, -1, 2, 1e30, float("nan"), float("inf"), None]),
    st.booleans(),
)


def test_archives_with_other_arrays(archive, tmp_path):
    path = tmp_path / "a.h5"

    def use(replacement: Any) -> None:
        name, dtype, shape, value, signed = replacement
        path.write_bytes(archive)
        with h5py.File(path, "a") as file:
            header = json.loads(file.attrs["advlab"])
            if not signed:
                del header["digests"]
            file.attrs["advlab"] = json.dumps(header)
            # The same shape with other values is the likeliest to be let in.
            shape = shape or getattr(file[name], "shape", ())
            del file[name]
            fill = np.size(value) and np.prod(shape, dtype=float) < 1e5 and value is not None
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                dataset = file.create_dataset(name, shape, dtype if dtype != "O" else h5py.string_dtype())
                if fill:
                    dataset[...] = value
        use_archive(path)

    explore("archives, arrays", replacements, use)


@pytest.fixture(scope="module")
def model() -> bytes:
    return advlab_workspace.find_weights("digits").read_bytes()


def test_models_with_altered_bytes(model, tmp_path):
    path = tmp_path / "m.h5"

    def use(content: bytes) -> None:
        path.write_bytes(content)
        read_card(path)
        advlab.load_classifier(str(path))

    # The end of the file is weights, where no byte is wrong.
    head = min(len(model), 40_000)
    use(model)
    explore("models, bytes", altered_bytes(model[:head]).map(lambda changed: changed + model[head:]), use)


@pytest.mark.parametrize("attribute", ["advlab", "model_config"])
def test_models_with_an_altered_attribute(model, tmp_path, attribute):
    path = tmp_path / "m.h5"
    with h5py.File(io.BytesIO(model)) as file:
        value = json.loads(file.attrs[attribute])

    def use(value: Any) -> None:
        path.write_bytes(model)
        with h5py.File(path, "a") as file:
            file.attrs[attribute] = json.dumps(value)
        summary = advlab.summary(str(path))
        summary.table()
        json.dumps(summary.to_dict(), allow_nan=False)

    use(value)
    explore(f"models, {attribute}", altered_json(value), use)


@pytest.mark.parametrize(
    ("folder", "load"), [("attacks", load_suite), ("models", load_recipe), ("models/studies", load_study)]
)
def test_declarations(tmp_path, folder, load):
    texts = [path.read_text("utf-8") for path in sorted((REPOSITORY / folder).glob("*.toml"))]
    path = tmp_path / "own.toml"

    def use(content: bytes) -> None:
        path.write_bytes(content)
        load(str(path))

    for text in texts:
        use(text.encode())
    explore(f"TOML of {folder}", st.one_of([altered_toml(text) for text in texts]), use)


def test_results_of_studies(tmp_path):
    study = load_study("mnist-dropout")
    value = json.loads((REPOSITORY / "models" / "studies" / "mnist-dropout.json").read_text("utf-8"))
    path = tmp_path / "study.json"
    strategy = st.one_of(
        altered_json(value).map(lambda value: json.dumps(value).encode()), altered_bytes(json.dumps(value).encode())
    )

    def use(content: bytes) -> None:
        path.write_bytes(content)
        result = load_study_result(study, path)
        result.table()
        result.markdown()
        result._repr_html_()
        json.dumps(result.to_dict(), allow_nan=False)

    use(json.dumps(value).encode())
    explore("results of studies", strategy, use)


def saved(save: Callable[[Any], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


X, Y = np.full((6, 8, 8), 0.5, np.float32), np.arange(6) % 3
PIXELS = Image.fromarray((np.arange(64).reshape(8, 8) * 3).astype(np.uint8))
IDX = bytes((0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3)) + bytes(18)
DATA: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "own.npz": (saved(lambda f: np.savez(f, x=X, y=Y, classes=list("abc"))), lambda p: advlab.load_dataset(str(p))),
    "packed.npz": (saved(lambda f: np.savez_compressed(f, x=X, y=Y)), lambda p: advlab.load_dataset(str(p))),
    "own.npy": (
        saved(lambda f: np.save(f, np.full((2, 28, 28), 0.5, np.float32))),
        lambda p: advlab.import_images(p, "digits"),
    ),
    "own.idx": (IDX, lambda p: official.read_idx(p, 3)),
    "own.gz": (gzip.compress(IDX, mtime=0), lambda p: official.read_idx(p, 3)),
} | {
    f"own.{suffix}": (
        saved(lambda f, suffix=suffix: PIXELS.save(f, suffix)),
        lambda p: load_image(p, (8, 8, 1)),
    )
    for suffix in ("png", "jpeg", "bmp", "gif", "webp")
}


def test_data(tmp_path):
    def use(value: tuple[str, bytes]) -> None:
        name, content = value
        path = tmp_path / name
        path.write_bytes(content)
        DATA[name][1](path)

    for name, (content, _) in DATA.items():
        use((name, content))
    strategies = [st.tuples(st.just(name), altered_bytes(content)) for name, (content, _) in DATA.items()]
    explore("images and arrays", st.one_of(strategies), use)


def test_checkpoints(tmp_path, recipe, monkeypatch):
    """Through ``train --resume``; what is whole is resumed up to the point where training begins."""
    states: list[bytes] = []
    small = recipe(epochs=2)
    path = advlab_workspace.checkpoint_path("thirds")
    save = checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", lambda *v: (save(*v), states.append(path.read_bytes())))
        advlab.train(small)
    monkeypatch.setattr(fit, "fit", lambda *_, **__: (_ for _ in ()).throw(AdvlabError("the work begins")))
    with h5py.File(io.BytesIO(states[0])) as file:
        header = json.loads(file.attrs["advlab"])
    del header["digests"]

    def use(value: Any) -> None:
        path.write_bytes(value if isinstance(value, bytes) else states[0])
        if not isinstance(value, bytes):
            with h5py.File(path, "a") as file:
                file.attrs["advlab"] = json.dumps(value)
        advlab.train(small, resume=True, force=True)

    explore("checkpoints", st.one_of(altered_bytes(states[0]), altered_json(header)), use)


def test_unfinished_attacks(tmp_path, trained, digits, monkeypatch):
    """Every one is continued or set aside; in both cases the images are those of an uninterrupted attack."""
    from advlab.engine import run
    from advlab.progress import Progress

    data, options = digits.take(8), {"method": "bim", "steps": 20, "batch_size": 8, "compile": "graph"}
    uninterrupted = advlab.attack(trained, data, **options)
    path = advlab_workspace.partial_path(trained.name, uninterrupted.attack.slug)
    with monkeypatch.context() as patch:
        patch.setattr(run, "_SAVE_AFTER", -1.0)
        patch.setattr(run, "_CHUNK_WORK", 1.0)
        patch.setattr(Progress, "advance", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            advlab.attack(trained, data, save=True, **options)
    whole = path.read_bytes()

    def use(content: bytes) -> None:
        path.write_bytes(content)
        np.testing.assert_array_equal(advlab.attack(trained, data, save=True, **options).x_adv, uninterrupted.x_adv)

    use(whole)
    explore("unfinished attacks", altered_bytes(whole), use)


@pytest.fixture
def stopped(monkeypatch) -> None:
    """Nothing heavy runs: a command line ends where the work of an attack or of a training run would begin."""

    def begin(*arguments: object, **options: object) -> None:
        raise AdvlabError("the work begins")

    monkeypatch.setattr(Run, "execute", begin)
    monkeypatch.setattr(fit, "fit", begin)


@pytest.mark.usefixtures("stopped")
def test_command_lines(archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.h5").write_bytes(archive)
    PIXELS.save("image.png")
    np.save("own.npy", np.zeros((4, 784), np.float32))
    known = {
        "archive": ["a.h5"],
        "archives": ["a.h5"],
        "category": ["models", "methods"],
        "dataset": ["digits"],
        "epsilon": ["0.1", "8/255"],
        "images": ["image.png", "own.npy"],
        "model": ["digits"],
        "models": ["digits"],
        "norm": ["linf", "l2", "l1", "l0", "none"],
        "output": ["out.h5", "out.html"],
        "png": ["images"],
        "csv": ["out.csv"],
        "npy": ["out.npy"],
        "recipe": ["digits"],
        "rows": ["1", "1-2"],
        "samples": ["1", "4"],
        "suite": ["quick", "standard"],
        "name": ["mnist-dropout"],
    }
    available = {name: command for name, command in commands().items() if name != "demo"}
    codes: Counter[int] = Counter()

    def use(words: list[str]) -> None:
        outcome = CliRunner().invoke(main, words)
        codes[outcome.exit_code] += 1
        assert outcome.exit_code in (0, 1, 2), outcome.output
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert "\x1b" not in outcome.stderr or "\x1b" in " ".join(words)

    explore("command lines", command_lines(available, known), use)
    print(f"exit codes of command lines: {dict(codes)}")
