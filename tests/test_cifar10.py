"""CIFAR-10: the official binary archive, downloaded once, and the pictures that were re-encoded as JPEG."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_download import Server, md5, server  # noqa: F401

from advlab import load_dataset
from advlab.data import cifar10, official
from advlab.errors import AdvlabError, InvalidFile

PER_BATCH = 4
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6 * PER_BATCH, 32, 32, 3), np.uint8)
LABELS = (np.arange(6 * PER_BATCH) * 3 % 10).astype(np.uint8)


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def batch(number: int) -> bytes:
    """Records as the official files have them: the label, then the planes of red, green and blue."""
    rows = slice(number * PER_BATCH, (number + 1) * PER_BATCH)
    planes = PIXELS[rows].transpose(0, 3, 1, 2).reshape(PER_BATCH, -1)
    return np.concatenate([LABELS[rows, None], planes], 1).tobytes()


NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
ARCHIVE = tar({f"cifar-10-batches-bin/{name}": batch(number) for number, name in enumerate(NAMES)})


def jpeg(value: int, size: tuple[int, int] = (32, 32)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255 - value)).save(buffer, format="JPEG")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("ADVLAB_DATA", raising=False)
    return tmp_path / "cache" / "advlab"


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:  # noqa: F811
    """The small archive above is the official one."""
    server.files[f"/{cifar10.ARCHIVE}"] = ARCHIVE
    source = official.Source(server.url, official.PICTURES, {cifar10.ARCHIVE: md5(ARCHIVE)}, packed=False)
    monkeypatch.setitem(official.SOURCES, "cifar10", source)
    return server


@pytest.fixture
def jpeg_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with three pictures of two classes, as JPEG."""
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    path = tmp_path / "cifar10-jpeg" / "images.tar.gz"
    path.parent.mkdir()
    names = {"test/truck/0000.jpg": 250, "test/cat/0000.jpg": 10, "test/cat/0001.jpg": 20, "train/cat/0000.jpg": 30}
    path.write_bytes(tar({name: jpeg(value) for name, value in names.items()}))
    return path


def test_the_official_archive_is_downloaded_once_and_both_splits_are_read_from_it(published: Server, cache: Path):
    test, train = load_dataset("cifar10"), load_dataset("cifar10", split="train")
    assert published.requested_ranges == [None]
    assert [path.name for path in (cache / "cifar10").iterdir()] == [cifar10.ARCHIVE]
    np.testing.assert_array_equal(np.rint(255 * test.x), PIXELS[-PER_BATCH:])
    np.testing.assert_array_equal(np.rint(255 * train.x), PIXELS[:-PER_BATCH])
    np.testing.assert_array_equal(np.concatenate([train.y, test.y]), LABELS)
    assert test.classes == official.PICTURES
    assert test.provenance == ""


def test_an_interrupted_download_resumes(published: Server):
    published.cut = 1000
    with pytest.raises(AdvlabError, match=r"lacks cifar-10-binary\.tar\.gz: not in .*resumes where it stopped"):
        load_dataset("cifar10")
    published.cut = None
    assert len(load_dataset("cifar10")) == PER_BATCH
    assert published.requested_ranges == [None, "bytes=1000-"]


def test_an_archive_that_is_not_the_official_one_is_neither_kept_nor_read(published: Server, cache: Path):
    published.files[f"/{cifar10.ARCHIVE}"] = ARCHIVE[:-1] + b"\1"
    with pytest.raises(InvalidFile, match=r"wrong checksum \(expected MD5 [0-9a-f]{32}\), so it was deleted"):
        load_dataset("cifar10")
    assert list((cache / "cifar10").iterdir()) == []
    (cache / "cifar10" / cifar10.ARCHIVE).write_bytes(ARCHIVE[:-9])
    with pytest.raises(InvalidFile, match=r"is not the official file.*Delete it and repeat"):
        load_dataset("cifar10")


def test_pictures_as_jpeg_serve_where_they_are_at_hand_and_say_so(jpeg_archive: Path, published: Server):
    data = load_dataset("cifar10")
    assert published.requested_ranges == []
    assert data.provenance == cifar10.JPEG_PROVENANCE
    assert [data.classes[label] for label in data.y] == ["cat", "truck", "cat"]
    np.testing.assert_allclose(data.x[:, 0, 0, 0], np.array([10, 250, 20]) / 255, atol=0.02)


def test_the_official_archive_is_preferred_to_jpeg(jpeg_archive: Path, published: Server):
    folder = jpeg_archive.parent.parent / "cifar10"
    folder.mkdir()
    (folder / cifar10.ARCHIVE).write_bytes(ARCHIVE)
    assert load_dataset("cifar10").provenance == ""


def test_jpeg_files_are_decoded_once(jpeg_archive: Path, monkeypatch: pytest.MonkeyPatch):
    first = load_dataset("cifar10")
    monkeypatch.setattr(cifar10, "_decode", lambda *_: pytest.fail("decoded again"))
    assert load_dataset("cifar10").digest == first.digest


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train/cat/0000.jpg": jpeg(0)}, "no images of the test split"),
        ({"test/cat/0000.jpg": jpeg(0, (33, 32))}, "33 x 32 pixels, not 32 x 32"),
        ({"test/cat/0000.jpg": b"no picture"}, "Cannot read the image 'test/cat/0000.jpg'"),
        ({"test/cat/0000.jpg": bytes(100_000)}, "100,000 bytes"),
        (None, "Cannot read"),
    ],
)
def test_a_damaged_archive_of_jpeg_files_is_refused(
    jpeg_archive: Path, files: dict[str, bytes] | None, message: str, cache: Path
):
    jpeg_archive.write_bytes(jpeg_archive.read_bytes()[:-600] if files is None else tar(files))
    with pytest.raises(InvalidFile, match=message):
        load_dataset("cifar10")
    assert not list(cache.glob("*/*"))


@pytest.mark.real_data
def test_the_pictures_at_hand_are_all_there(monkeypatch: pytest.MonkeyPatch):
    from test_download import REAL

    monkeypatch.setenv("ADVLAB_DATA", str(REAL))
    for split, size in (("train", 50_000), ("test", 10_000)):
        x, y, _ = cifar10.load(split)
        assert x.shape == (size, 32, 32, 3)
        assert np.bincount(y).tolist() == [size // 10] * 10
