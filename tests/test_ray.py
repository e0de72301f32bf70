"""Ray works on slices of images as the processes of ``test_workers.py`` do, and what may go wrong with it is said."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import worker_tasks

from advlab.distributed import cluster
from advlab.distributed.cluster import Cluster
from advlab.engine.executor import Shared
from advlab.errors import AdvlabError, InvalidValue, Mismatch
from advlab.workflows.attack import attack
from advlab.workflows.workers import use_workers


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(AdvlabError, match=r"pip install 'advlab\[ray\]'.*--workers"), use_workers(ray="local"):
        pass


def test_an_address_that_is_none_or_does_not_answer_is_refused_in_bounded_time():
    pytest.importorskip("ray")
    for address in ("nowhere", "host:", ":1", "host:123456"):
        with pytest.raises(InvalidValue, match="host:port"):
            Cluster(address)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(InvalidValue, match="Nothing answers at"):
        Cluster(address)
    assert time.monotonic() - start < 15


@pytest.fixture(scope="module")
def ray_here():
    """A Ray of this machine, whose workers find what is beside this file."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        made = Cluster("local", 2)
        yield made
        made.close()


def shared(value: object) -> Shared:
    return Shared(str(abs(hash(str(value)))), pickle.dumps(value))


def test_a_worker_that_dies_is_replaced_and_only_its_slice_is_repeated(ray_here, tmp_path):
    said: list[str] = []
    answers = dict(ray_here.map(worker_tasks.die_once, shared(str(tmp_path)), range(20), int, said.append))
    assert answers == {number: number for number in range(20)}
    assert len(said) >= 2
    assert all("is repeated" in line for line in said)


def test_errors_arrive_and_a_slice_that_ends_every_worker_ends_the_run(ray_here):
    with pytest.raises(InvalidValue, match="not 0"):
        list(ray_here.map(worker_tasks.refuse, shared("x"), range(1), int, print))
    with pytest.raises(AdvlabError, match="Slice 1 failed 5 times"):
        list(ray_here.map(worker_tasks.die, shared("x"), range(1), int, lambda _: None))


def test_ray_gives_the_result_of_one_process(ray_here, trained, digits, monkeypatch):
    from advlab.engine import executor, slices

    monkeypatch.setattr(slices, "_MIN_WORK", 1.0)  # as if the little that is attacked were worth sending in pieces
    options = {"epsilon": 0.05, "early_stop": True, "steps": 10, "seed": 2, "progress": False}
    alone = attack(trained, digits.take(200), "pgd", **options)
    with executor.using(ray_here):
        together = attack(trained, digits.take(200), "pgd", **options)
    assert np.mean(alone.robust != together.robust) <= 0.001
    assert together.execution.workers == 2


def test_an_interrupt_cancels_what_runs(ray_here, tmp_path):
    started = tmp_path / "started"
    started.mkdir()
    threading.Thread(target=_interrupt_when, args=(started,)).start()
    with pytest.raises(KeyboardInterrupt):
        list(ray_here.map(worker_tasks.rest, shared(str(started)), range(4), int, print))
    deadline = time.monotonic() + 20
    while any(_is_alive(int(path.name)) for path in started.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_is_alive(int(path.name)) for path in started.iterdir())


def _interrupt_when(folder: Path) -> None:
    while not list(folder.iterdir()):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_cluster_with_other_versions_is_refused_and_they_are_named(ray_here, monkeypatch):
    there = cluster.versions()
    monkeypatch.setattr(cluster, "versions", lambda: {**there, "tensorflow": "9.9", "advlab": "7"})
    said = rf"advlab {there['advlab']} \(here 7\), tensorflow {there['tensorflow']} \(here 9\.9\)"
    with pytest.raises(Mismatch, match=said):
        ray_here._refuse_other_versions()
