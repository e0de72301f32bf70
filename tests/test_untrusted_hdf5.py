"""HDF5 files of strangers: nothing outside of the file is read, and nothing that it does not really hold."""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from legacy_files import DENSE, dense_weights, sequential, write_old

from advlab import storage
from advlab import workspace as advlab_workspace
from advlab.classifiers import card, files
from advlab.cli import main
from advlab.errors import InvalidFile
from advlab.hdf5 import open_hdf5
from advlab.results.layout import ARCHIVE
from advlab.results.result import load_result
from tests.results import build

SECRET = b"root:x:0:0:a password that nobody may see:/root:/bin/bash"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Forty images under PGD, without digests, as a stranger would write it who alters it."""
    path = build(np.arange(40) % 3, np.arange(40) % 3, np.zeros(40), shape=(8, 8, 1)).save(tmp_path / "archive.h5")
    with h5py.File(path, "a") as file:
        header = json.loads(file.attrs["advlab"])
        del header["digests"]
        file.attrs["advlab"] = json.dumps(header)
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the user that holds as many bytes as ``x_adv``."""
    path = tmp_path / "passwords"
    path.write_bytes((SECRET * 1000)[: 40 * 64 * 4])
    return path


def external(file: h5py.File, name: str, secret: Path) -> None:
    shape = file[name].shape
    del file[name]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_external(str(secret).encode(), 0, h5py.h5f.UNLIMITED)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, plist)


def virtual(file: h5py.File, name: str, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["secret"] = np.full(file[name].shape, 0.5, np.float32)
    source = h5py.VirtualSource(secret.with_suffix(".h5"), "secret", shape=file[name].shape)
    layout = h5py.VirtualLayout(shape=source.shape, dtype=np.float32)
    layout[:] = source
    del file[name]
    file.create_virtual_dataset(name, layout)


def external_link(file: h5py.File, name: str, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["secret"] = file[name][()]
    del file[name]
    file[name] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "secret")


def soft_link(file: h5py.File, name: str, secret: Path) -> None:
    file["elsewhere"] = file[name][()]
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere")


INDIRECTIONS = [external, virtual, external_link, soft_link]


@pytest.mark.parametrize("indirection", INDIRECTIONS)
@pytest.mark.parametrize("name", ["x_adv", "diagnostics/extra"])
def test_an_archive_that_leads_to_another_file_is_refused(archive, secret, tmp_path, indirection, name):
    with h5py.File(archive, "a") as file:
        if name not in file:
            file[name] = np.zeros((40, 8, 8, 1), np.float32)
        indirection(file, name, secret)
    with pytest.raises(InvalidFile, match=f"'{name}' in it is a link to another place"):
        load_result(archive)
    outcome = CliRunner().invoke(main, ["export", str(archive), "--npy", str(tmp_path / "out.npy")])
    assert outcome.exit_code == 1
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("indirection", INDIRECTIONS)
def test_a_model_that_leads_to_another_file_is_refused(tmp_path, secret, indirection):
    model = write_old(tmp_path / "m.h5", sequential(DENSE), dense_weights())
    with h5py.File(model, "a") as file:
        indirection(file, "model_weights/dense_1/dense_1/kernel:0", secret)
    for read in (files.read_model, card.read_card):
        with pytest.raises(InvalidFile, match="is a link to another place"):
            read(model)


def test_a_root_link_to_the_weights_of_another_model_is_refused(tmp_path):
    model = write_old(tmp_path / "m.h5", sequential(DENSE), dense_weights())
    other = shutil.copy(model, tmp_path / "other.h5")
    with h5py.File(model, "a") as file:
        del file["model_weights"]
        file["model_weights"] = h5py.ExternalLink(other, "model_weights")
    with pytest.raises(InvalidFile, match="'model_weights' in it is a link to another place"):
        files.read_model(model)


def replaced(name: str, value: object, **options: object):
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, data=value, **options)

    return change


def announced(name: str, shape: tuple[int, ...], dtype: str = "f4", chunks: bool | None = None):
    """An array of which the file holds nothing but the announcement."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, shape, dtype, chunks=chunks)

    return change


X = np.full((40, 8, 8, 1), 0.5, np.float32)
ALTERED = {
    "another kind": replaced("x_adv", X.astype(np.int32)),
    "complex numbers": replaced("x_adv", X.astype(np.complex64)),
    "objects": replaced("x_adv", np.array([["a"] * 8] * 40, object), dtype=h5py.string_dtype()),
    "a compound": replaced("x_adv", np.zeros(40, [("a", "f4"), ("b", "i8")])),
    "nothing": replaced("x_adv", h5py.Empty("f4")),
    "a number": replaced("x_adv", np.float32(1)),
    "another rank": replaced("x_adv", X[..., 0]),
    "another size of images": replaced("x_adv", X[:, :7]),
    "fewer images": replaced("x_adv", X[:39]),
    "a group": lambda file: (file.pop("x_adv"), file.create_group("x_adv")),
    "pixels outside the box": replaced("x", X + 1),
    "pixels NaN": replaced("x", X * np.nan),
    "negative labels": replaced("labels", -np.arange(40)),
    "labels beyond the classes": replaced("labels", np.arange(40)),
    "counts of another type": replaced("forward_passes", np.zeros(40)),
    "a trace without its steps": lambda file: file.create_dataset("diagnostics/loss_trace", data=np.zeros((40, 3))),
    "an attack that is not there": lambda file: file.create_dataset("diagnostics/misclassified_by", data=np.arange(40)),
    "not stored": announced("x_adv", X.shape),
    "chunks not stored": announced("x_adv", X.shape, chunks=True),
    "another filter": replaced("x_adv", X, compression="lzf"),
    "no images": lambda file: [replaced(n, file[n][:0])(file) for n in list(file) if n != "diagnostics"],
}


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_an_altered_archive_is_refused(archive, change):
    with h5py.File(archive, "a") as file:
        change(file)
    with pytest.raises(InvalidFile, match=r"archive\.h5' (cannot be read as an archive|is a damaged archive)"):
        load_result(archive)


@pytest.mark.parametrize(
    "fields",
    [
        {"classes": 5},
        {"classes": [["a"], "b", "c"]},
        {"classifier": None},
        {"seconds": "long"},
        {"seconds": float("nan")},
        {"versions": ["1"]},
        {"notes": {"a": 1}},
        {"settings": []},
        {"settings": {"attacks": 7}},
        {"settings": {"selftest": {"planted": 3}}},
        {"settings": {"selftest": 3}},
        {"selftest": {"planted": 3, "found": 4, "random": 0}},
        {"selftest": {"planted": -1, "found": -1, "random": -1}},
        {"attack": {"method": 5}},
        {"attack": 5},
        {"attack": {"method": "pgd", "norm": ["linf"], "epsilon": 0.1, "target": None}},
        {"format": [2]},
        {"digests": 3},
        {"digests": {"": "0"}},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_a_header_of_other_types_is_refused(archive, fields):
    with h5py.File(archive, "a") as file:
        file.attrs["advlab"] = json.dumps(json.loads(file.attrs["advlab"]) | fields)
    with pytest.raises(InvalidFile, match=r"archive\.h5'"):
        load_result(archive)


LONG = '{"format": 1' + "0" * 5000 + "}"


@pytest.mark.parametrize("text", ["[" * 200_000, "{", "7", "", "[1]", LONG], ids=lambda text: text[:12])
def test_a_header_that_is_no_object_is_refused(archive, text):
    with h5py.File(archive, "a") as file:
        file.attrs["advlab"] = text
    with pytest.raises(InvalidFile, match="cannot be read as an archive"):
        load_result(archive)


def test_each_override_is_a_parameter(archive):
    with h5py.File(archive, "a") as file:
        header = json.loads(file.attrs["advlab"])
        header["attack"]["overrides"] = ["steps"]
        file.attrs["advlab"] = json.dumps(header)
    with pytest.raises(InvalidFile, match="overrides"):
        load_result(archive)


def test_what_is_not_declared_is_not_read(archive, monkeypatch):
    """An array of a terabyte beside the others costs nothing, since nobody asks for it."""
    with h5py.File(archive, "a") as file:
        announced("diagnostics/hoard", (10**12,))(file)
    assert "hoard" not in load_result(archive).diagnostics.arrays()


def test_a_file_that_unpacks_to_much_more_than_itself_is_refused_without_the_memory(archive):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with h5py.File(archive, "a") as file:
        del file["x_adv"]
        bomb = file.create_dataset(
            "x_adv", (40, 2048, 2048, 1), "f4", chunks=(1, 2048, 2048, 1), compression="gzip", compression_opts=1
        )
        for row in range(40):
            bomb[row] = np.zeros((2048, 2048, 1), np.float32)
    assert archive.stat().st_size < 4e6
    with pytest.raises(InvalidFile, match="announces more data than a file of its size can hold"):
        load_result(archive)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < 200e6


@pytest.mark.parametrize("length", [0, 2**64 - 16], ids=["free space", "an object whose length wraps around"])
def test_a_heap_in_which_the_library_would_never_end_is_refused(archive, length):
    """HDF5's own loop over the objects of a heap ends nowhere; no signal ends it, and no exception."""
    content = bytearray(archive.read_bytes())
    heap = content.index(b"GCOL\x01")
    position, index = heap + 16, 1
    while index if length == 0 else position == heap + 16:
        index, size = struct.unpack_from("<H6xQ", content, position)
        found, position = position, position + 16 + (size + 7) // 8 * 8
    struct.pack_into("<Q", content, found + 8, length)
    archive.write_bytes(content)
    assert not opens(load_result, archive)
    with pytest.raises(InvalidFile, match="object of no length"):
        load_result(archive)
    with pytest.raises(InvalidFile, match="damaged"), open_hdf5(archive):
        pass


def opens(load, path, seconds=20):
    """Whether a process of its own ends by itself without an error."""
    code = f"from {load.__module__} import {load.__name__}; {load.__name__}({str(path)!r})"
    return subprocess.run([sys.executable, "-c", code], timeout=seconds, capture_output=True).returncode == 0


def test_a_flipped_bit_is_noticed(tmp_path):
    """In an array that is not packed, where HDF5 itself has no checksum."""
    path = build([0, 1], [0, 1], [1, 1], shape=(4, 4, 1)).save(tmp_path / "archive.h5")
    whole = path.read_bytes()
    place = whole.index(load_result(path).x.tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(InvalidFile, match="'x' is not what was written"):
        load_result(path)


def test_an_archive_of_an_earlier_advlab_has_no_digests_and_is_read():
    reference = Path(__file__).parent.parent / "attacks" / "reference" / "digits-pgd-linf-0.1.h5"
    assert "digests" not in storage.read_header(reference, ARCHIVE)
    assert len(load_result(reference)) == 100


def test_every_shipped_model_is_read_by_the_guarded_reader():
    for path in advlab_workspace.weights().values():
        assert "class_names" in card.read_card(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"class_names": "abc"},
        {"class_names": [1, 2]},
        {"dataset": ["digits"]},
        {"scale": "255"},
        {"scale": True},
        {"scale": [[1]]},
        {"parameters": 1.5},
        {"seconds": None},
        {"recipe": {"architecture": {}, "training": {}, "title": 5}},
        {"recipe": {"training": 3}},
        {"published": {"test_accuracy": "high"}},
        {"versions": 3},
    ],
    ids=str,
)
def test_a_card_of_other_types_is_refused(tmp_path, fields):
    model = write_old(tmp_path / "m.h5", sequential(DENSE), dense_weights())
    card.write_card(model, fields)
    with pytest.raises(InvalidFile, match=r"m\.h5' cannot be read: the model card"):
        card.read_card(model)


def test_nan_in_a_card_is_read_as_unknown(tmp_path):
    model = write_old(tmp_path / "m.h5", sequential(DENSE), dense_weights())
    card.write_card(model, {"test_accuracy": float("nan")})
    assert card.read_card(model) == {"test_accuracy": None}


def test_a_keras_archive_whose_weights_lead_to_another_file_is_refused(tmp_path):
    import zipfile

    import keras

    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "m.keras")
    weights = tmp_path / "model.weights.h5"
    with zipfile.ZipFile(tmp_path / "m.keras") as whole:
        contents = {name: whole.read(name) for name in whole.namelist()}
    weights.write_bytes(contents["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        external(file, "layers/dense/vars/0", tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as altered:
        for name, content in (contents | {"model.weights.h5": weights.read_bytes()}).items():
            altered.writestr(name, content)
    with pytest.raises(InvalidFile, match="is a link to another place"):
        files.read_model(tmp_path / "m.keras")


def test_a_keras_archive_that_unpacks_without_end_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "[" + " " * (1 << 25) + "]")
    assert os.path.getsize(tmp_path / "m.keras") < 100_000
    with pytest.raises(InvalidFile, match="would unpack to"):
        files.read_model(tmp_path / "m.keras")
