"""URLs in place of paths, on fsspec's file system in memory, and what is missing for others."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest

from advlab import remote, workspace
from advlab.data.loading import load_dataset
from advlab.errors import AdvlabError, InvalidFile
from advlab.evaluation.evaluation import evaluate
from advlab.figures import png
from advlab.reporting.report import report
from advlab.results.result import load_result
from advlab.workflows.attack import attack
from advlab.workflows.model_file import load_classifier


@pytest.fixture
def memory(monkeypatch, tmp_path):
    """An empty file system ``memory://``, and a cache of the test's own."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_models_and_data_are_read_from_a_url_and_archives_written_to_one(memory, tmp_path, digits):
    memory.pipe_file("/zoo/small.h5", workspace.find_weights("digits").read_bytes())
    np.savez(tmp_path / "d.npz", x=digits.x[:9], y=digits.y[:9])
    memory.pipe_file("/data/d.npz", (tmp_path / "d.npz").read_bytes())
    result = attack("memory://zoo/small.h5", "memory://data/d.npz", "fgsm", output="memory://out/a.h5", progress=False)
    assert (result.classifier, len(result), result.execution.model) == ("small", 9, "memory://zoo/small.h5")
    (tmp_path / "copy.h5").write_bytes(memory.cat_file("/out/a.h5"))
    assert (load_result(tmp_path / "copy.h5").x_adv == result.x_adv).all()
    report([evaluate(result)], "memory://out/page.html")
    assert b"<!doctype html>" in memory.cat_file("/out/page.html")


def test_a_folder_of_images_is_read_whole(memory):
    for name in ("a", "b"):
        memory.pipe_file(f"/images/{name}/1.png", png(np.full((4, 4, 3), 0.5)))
    data = load_dataset("memory://images")
    assert (data.classes, data.x.shape) == (("a", "b"), (2, 4, 4, 3))


def test_what_has_not_changed_is_read_once(memory, monkeypatch):
    memory.pipe_file("/m.h5", workspace.find_weights("digits").read_bytes())
    first = remote.fetch("memory://m.h5")
    monkeypatch.setattr(type(memory), "get", lambda *_, **__: pytest.fail("it was read again"))
    assert remote.fetch("memory://m.h5") == first
    monkeypatch.undo()
    memory.pipe_file("/m.h5", b"other")
    shutil.rmtree(first.parent)
    assert remote.fetch("memory://m.h5").read_bytes() == b"other"


def test_what_is_missing_is_said(memory, monkeypatch):
    with pytest.raises(InvalidFile, match=r"Nothing is at 'memory://nowhere\.h5'"):
        load_classifier("memory://nowhere.h5")
    with pytest.raises(InvalidFile, match="no URL that fsspec opens"):
        load_dataset("nonsense://a.npz")
    if "s3fs" not in sys.modules:
        monkeypatch.setitem(sys.modules, "s3fs", None)
        with pytest.raises(AdvlabError, match="s3fs is needed"):
            attack("digits", None, "fgsm", samples=3, output="s3://bucket/a.h5", progress=False)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(AdvlabError, match=r"pip install 'advlab\[remote\]'"):
        load_dataset("memory://a.npz")
