"""Other processes work on slices of images: the result is that of one process, whatever happens to them."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import worker_tasks
from hypothesis import given
from hypothesis import strategies as st

from advlab import workspace
from advlab.classifiers.transport import Parcel
from advlab.cli.main import main
from advlab.declarations.attack import Attack
from advlab.distributed import processes
from advlab.distributed.processes import Processes
from advlab.engine import executor, slices
from advlab.engine.attack import craft
from advlab.engine.executor import Shared
from advlab.errors import AdvlabError, AdvlabWarning, InvalidValue
from advlab.results.result import load_result
from advlab.workflows.workers import use_workers


class Here:
    """An executor in this process that answers in reverse order, and may be interrupted after some tasks."""

    workers = 2

    def __init__(self, most: int = 1000):
        self.most, self.asked = most, 0

    def map(self, function, shared, numbers, task, say):
        opened = pickle.loads(shared.content)
        for number in reversed(list(numbers)):
            if self.asked == self.most:
                raise KeyboardInterrupt
            self.asked += 1
            yield number, function(opened, pickle.loads(pickle.dumps(task(number))))


@pytest.fixture(scope="module")
def pool():
    """Two processes, which find what is beside this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        made = Processes(2)
        yield made
        made.close()


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    """As if the little that is attacked here were worth sending in pieces."""
    monkeypatch.setattr(slices, "_MIN_WORK", 1.0)


def shared(value: object) -> Shared:
    return Shared(str(abs(hash(str(value)))), pickle.dumps(value))


SPECS = {
    "pgd": Attack("pgd", epsilon=0.05, seed=3, restarts=2, early_stop=True, steps=10),
    "targeted apgd": Attack("apgd", epsilon=0.05, early_stop=True, steps=10, loss="dlr", n_target_classes=3),
    "square": Attack("square", epsilon=0.05, seed=1, early_stop=True, steps=50),
    "the nearest image": Attack("fmn", steps=30),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.thorough] * (n in ("targeted apgd", "square"))) for n in SPECS]
)
def test_two_processes_give_the_result_of_one(pool, trained, digits, name):
    data = digits.take(200)
    alone = craft(trained, data, SPECS[name], progress=False, compile="graph")
    with executor.using(pool):
        together = craft(trained, data, SPECS[name], progress=False, compile="graph")
    assert np.mean(alone.robust != together.robust) <= 0.001
    assert np.mean(alone.forward_passes != together.forward_passes) <= 0.01
    for field in ("labels", "indices", "attempted"):
        assert (getattr(alone, field) == getattr(together, field)).all()
    assert (together.x == data.x).all()
    assert (together.dataset_digest, together.execution.workers) == (data.digest, 2)


@given(st.lists(st.booleans(), min_size=1, max_size=3000), st.integers(64, 1000))
def test_slices_follow_each_other_and_have_as_many_images_to_attack(flags, most):
    class Data:
        shape = (2, 2, 1)

        def __len__(self):
            return len(flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "rows_at_once", lambda *_: most)
        rows = slices.slices_of(None, Data(), np.array(flags))
    assert np.concatenate([np.arange(part.start, part.stop) for part in rows]).tolist() == list(range(len(flags)))
    counts = [sum(flags[part]) for part in rows]
    assert max(counts) <= most
    assert len(set(counts[:-1])) <= 1


def test_images_of_a_cascade_keep_their_place(trained, digits):
    data, attempted = digits.take(300), np.arange(300) % 3 == 0
    alone = craft(trained, data, SPECS["pgd"], attempted=attempted, progress=False)
    with executor.using(Here()):
        together = craft(trained, data, SPECS["pgd"], attempted=attempted, progress=False)
    assert (alone.robust == together.robust).all()
    assert (alone.left_out == together.left_out).all()


def test_what_differs_from_image_to_image_is_cut_as_well(trained, digits):
    from advlab.workflows.attack import attack

    options = {"epsilon_per_image": np.linspace(0.01, 0.1, 150), "progress": False, "steps": 5}
    alone = attack(trained, digits.take(150), "pgd", **options)
    with executor.using(Here()):
        together = attack(trained, digits.take(150), "pgd", **options)
    assert (alone.x_adv == together.x_adv).mean() > 0.999
    assert (together.epsilons == alone.epsilons).all()


def test_finished_slices_of_what_differs_from_image_to_image_are_taken_up(trained, digits, recwarn):
    from advlab.workflows.attack import attack

    options = {"epsilon_per_image": np.linspace(0.01, 0.1, 449), "progress": False, "steps": 5, "save": True}
    with executor.using(Here(most=2)), pytest.raises(KeyboardInterrupt, match=r"2 of \d slices are saved"):
        attack(trained, digits, "pgd", **options)
    again = Here()
    with executor.using(again):
        together = attack(trained, digits, "pgd", **options)
    assert not [w for w in recwarn if issubclass(w.category, AdvlabWarning)]
    assert (together.epsilons == options["epsilon_per_image"]).all()
    assert load_result(together.path).attack.to_dict() == together.attack.to_dict()


def test_finished_slices_are_kept_and_the_same_call_continues(trained, digits):
    data, spec = digits, SPECS["pgd"]
    unfinished = workspace.partial_path("digits", spec.slug)
    count = len(slices.slices_of(trained, data, None, 64))
    with (
        executor.using(Here(most=2)),
        pytest.raises(KeyboardInterrupt, match=f"2 of {count} slices are saved"),
    ):
        craft(trained, data, spec, unfinished=unfinished, progress=False)
    assert len(list(unfinished.parent.glob("*.part-*"))) == 2
    again = Here()
    with executor.using(again):
        result = craft(trained, data, spec, unfinished=unfinished, progress=False)
    assert again.asked == count - 2
    assert (result.robust == craft(trained, data, spec, progress=False).robust).all()
    workspace.forget_unfinished(unfinished)
    assert not list(unfinished.parent.iterdir())


def test_more_images_than_memory_holds_are_joined_in_their_order(trained, digits, monkeypatch, tmp_path):
    alone = craft(trained, digits.take(200), SPECS["pgd"], progress=False)
    monkeypatch.setattr("advlab.engine.slices.fits_in_memory", lambda shape: False)
    with executor.using(Here()):
        together = craft(trained, digits.take(200), SPECS["pgd"], progress=False)
    assert not isinstance(together.x_adv, np.ndarray)
    assert (load_result(together.save(tmp_path / "a.h5")).x_adv == alone.x_adv).mean() > 0.999


@pytest.mark.parametrize("method", ["universal", "patch", "newtonfool"])
def test_what_cannot_be_cut_stays_in_this_process(method, trained, digits):
    nobody = Here(most=0)
    with executor.using(nobody):
        parameters = {"epochs": 1} if method != "newtonfool" else {}
        craft(trained, digits.take(130), Attack(method, **parameters), progress=False)
    assert not nobody.asked


def test_a_function_of_the_users_own_and_a_model_that_hdf5_cannot_hold_stay_here(trained, digits):
    import keras

    from advlab.classifiers.classifier import Classifier

    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    with executor.using(Here(most=0)):
        spec = Attack("pgd", epsilon=0.05, steps=2, loss=lambda logits, labels: -logits[:, 0])
        craft(trained, digits.take(130), spec, progress=False)
        model = keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), Own(), keras.layers.Dense(10)])
        with pytest.warns(AdvlabWarning, match="cannot be sent to other processes"):
            craft(Classifier.from_keras(model, name="own"), digits.take(130), SPECS["pgd"], progress=False)


@pytest.mark.parametrize("options", [{"method": "exact"}, {"method": "crown", "radii": True}, {"method": "smoothing"}])
def test_a_certificate_goes_through_the_same_door(options, trained, digits):
    from advlab.workflows.certify import certify

    settings = {"epsilon": 0.01, "samples": 20, "progress": False, **options}
    settings |= {"norm": "l2", "sigma": 0.1, "draws": 200} if options["method"] == "smoothing" else {}
    alone, somebody = certify(trained, digits, **settings), Here()
    with executor.using(somebody):
        together = certify(trained, digits, **settings)
    assert somebody.asked > 1
    assert (alone.status == together.status).all()
    assert np.allclose(alone.radius, together.radius, equal_nan=True, rtol=1e-6)


def test_a_classifier_is_the_same_on_the_other_side(rgb):
    classifier, data = rgb
    other = pickle.loads(pickle.dumps(Parcel(classifier)))
    assert (other.name, other.source, other.digest) == (classifier.name, classifier.source, classifier.digest)
    assert (other.probabilities(data.x) == classifier.probabilities(data.x)).all()


def test_a_worker_that_dies_is_replaced_and_only_its_slice_is_repeated(pool, tmp_path):
    """200 tasks, 20 deaths."""
    said: list[str] = []
    answers = dict(pool.map(worker_tasks.die_once, shared(str(tmp_path)), range(200), int, said.append))
    assert answers == {number: number for number in range(200)}
    assert len(said) == 20
    assert "exit code 7" in said[0]


def test_a_slice_that_ends_every_worker_ends_the_run(pool):
    with pytest.raises(AdvlabError, match=r"Slice 1 ended 3 processes, the last one exit code 9\. .*--workers"):
        list(pool.map(worker_tasks.die, shared("x"), range(1), int, lambda _: None))


def test_an_error_of_advlab_arrives_as_it_is_and_any_other_with_its_traceback(pool):
    with pytest.raises(InvalidValue, match="not 0"):
        list(pool.map(worker_tasks.refuse, shared("x"), range(1), int, print))
    with pytest.raises(RuntimeError, match=r"(?s)worker_tasks\.py.*KeyError: 0"):
        list(pool.map(worker_tasks.stumble, shared("x"), range(1), int, print))
    assert dict(pool.map(worker_tasks.double, shared(21), range(3), int, print)) == {0: 0, 1: 21, 2: 42}


def test_workers_share_the_cores_before_tensorflow_is_there(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    three = Processes(3)
    try:
        assert dict(three.map(worker_tasks.threads, shared("x"), range(1), int, print)) == {0: ("2", False)}
    finally:
        three.close()


def test_an_interrupt_leaves_no_process_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    two, started = Processes(2), tmp_path / "started"
    started.mkdir()
    threading.Thread(target=_interrupt_when, args=(started,)).start()
    with pytest.raises(KeyboardInterrupt):
        list(two.map(worker_tasks.rest, shared(str(started)), range(5), int, print))
    two.close()
    for path in started.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


def _interrupt_when(folder: Path) -> None:
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


def test_more_workers_than_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "_free_memory", lambda: 2 * 10**9)
    with pytest.raises(
        InvalidValue, match=r"8 workers need about 7\.5 GB, and 2\.0 GB of memory are free.*--workers 2"
    ):
        Processes(8)


@pytest.mark.parametrize("workers", [0, 1.5, "2", 5000])
def test_a_number_of_workers_is_checked(workers):
    with pytest.raises(InvalidValue, match="workers must be an int"), use_workers(workers):
        pass


def test_the_command_line_tells_the_address_of_ray_from_the_command(monkeypatch):
    from click.testing import CliRunner

    asked = []
    monkeypatch.setattr("advlab.use_workers", lambda n, ray: asked.append((n, ray)) or use_workers(1))
    for words in (
        ["--ray", "list", "suites"],
        ["list", "suites", "--ray", "10.0.0.1:6379"],
        ["list", "--ray", "suites", "--workers", "3"],
        ["--ray", "auto", "list", "suites"],
    ):
        outcome = CliRunner().invoke(main, words)
        assert outcome.exit_code == 0, outcome.output
    assert asked == [(None, "local"), (None, "10.0.0.1:6379"), (3, "local"), (None, "auto")]
