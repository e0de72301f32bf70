"""Pictures and arrays of strangers: formats by name, nothing bigger than its file can be, no file that never ends."""

from __future__ import annotations

import gzip
import io
import os
import resource
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advlab import import_images, load_dataset
from advlab.data import download, official
from advlab.data.images import load_image
from advlab.errors import AdvlabError, InvalidFile

RISE = 300e6  # bytes of memory that a refusal may take


@pytest.fixture(autouse=True)
def memory():
    """What is refused is refused before it takes memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < RISE


def npy(shape: tuple[int, ...], data: bytes = b"", dtype: str = "<f4") -> bytes:
    """An ``.npy`` file with a header of its own."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def test_a_postscript_file_called_png_starts_no_program(tmp_path, monkeypatch):
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    path = tmp_path / "digits" / "0" / "1.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(script)
    for read in (lambda: load_image(path, (8, 8, 1)), lambda: load_dataset(str(tmp_path / "digits"))):
        with pytest.raises(InvalidFile, match="it is no PNG, JPEG, BMP, GIF or WebP"):
            read()


@pytest.mark.parametrize("suffix", ["tiff", "ppm", "tga", "pcx", "ico"])
def test_formats_that_are_not_named_are_refused_whatever_the_name_of_the_file(tmp_path, suffix):
    Image.new("RGB", (8, 8)).save(tmp_path / f"image.{suffix}")
    os.rename(tmp_path / f"image.{suffix}", tmp_path / "image.png")
    with pytest.raises(InvalidFile, match="it is no PNG"):
        load_image(tmp_path / "image.png", (8, 8, 1))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp"])
def test_formats_that_are_named_are_read(tmp_path, suffix):
    Image.new("RGB", (8, 8), "white").save(tmp_path / f"image.{suffix}")
    assert load_image(tmp_path / f"image.{suffix}", (8, 8, 3))[0].shape == (8, 8, 3)


def test_a_picture_of_a_hundred_megapixels_is_refused(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(10_001), 9)
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    with pytest.raises(InvalidFile, match="10,000 x 10,000 pixels"):
        load_image(path, (8, 8, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy((900_000_000, 28, 28)), "announces 2,822,400,000,000 bytes and holds 0"),
        (npy((10**30, 28, 28)), "announces"),
        (npy((-1, 784), bytes(784)), "announces"),
        (npy((2, 784), bytes(100)), "announces 6,272 bytes and holds 100"),
        (npy((2, 2), bytes(32), "|O"), "objects"),
        (npy((2,), bytes(32), "<f8")[:40], "not a complete"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535, "not a complete"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"{" * 1000, "not a complete"),
        (b"\x93NUMPY\x09\x00", "version 9.0"),
        (b"", "not a complete"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_npy_file_whose_header_lies_is_refused(tmp_path, content, message):
    path = tmp_path / "images.npy"
    path.write_bytes(content)
    with pytest.raises(AdvlabError, match=message):
        import_images(path, "digits")


@pytest.mark.parametrize("name", ["x", "y", "classes"])
def test_an_npz_member_whose_header_lies_is_refused(tmp_path, name):
    path = tmp_path / "own.npz"
    np.savez(path, **{n: v for n, v in {"x": X, "y": Y, "classes": CLASSES}.items() if n != name})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", npy((10**12,), bytes(64)))
    with pytest.raises(InvalidFile, match=rf"'{name}' announces 4,000,000,000,000 bytes"):
        load_dataset(str(path))


X, Y, CLASSES = np.zeros((4, 6, 6), np.float32), np.arange(4), np.array(list("abcd"))


def test_an_npz_that_unpacks_without_end_is_refused(tmp_path):
    path = tmp_path / "own.npz"
    size = 2**30
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as member:
            member.write(npy((size // 4 // 36, 6, 6)))
            for _ in range(size // 2**24):
                member.write(bytes(2**24))
        with archive.open("y.npy", "w") as member:
            np.lib.format.write_array(member, Y)
    assert path.stat().st_size < 3e6
    with pytest.raises(InvalidFile, match="would unpack to more than"):
        load_dataset(str(path))


@pytest.mark.parametrize("classes", [np.arange(8.0), np.zeros(200_000, "U1"), np.array([b"\xff"] * 4)])
def test_names_of_classes_that_are_none_are_refused(tmp_path, classes):
    np.savez(tmp_path / "own.npz", x=X, y=Y, classes=classes)
    with pytest.raises(InvalidFile, match="its 'classes' are"):
        load_dataset(str(tmp_path / "own.npz"))


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for _ in range(64):
            file.write(bytes(2**24))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InvalidFile, match="holds more than 268,435,456 bytes"):
        official.read_idx(path, 3)


@pytest.mark.parametrize("command", ["load_dataset", "import_images", "load_image"])
def test_a_pipe_is_no_file(tmp_path, command):
    """Opening one would wait for a writer that never comes."""
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    calls = {
        "load_dataset": lambda: load_dataset(str(pipe)),
        "import_images": lambda: import_images(pipe, "digits"),
        "load_image": lambda: load_image(pipe, (8, 8, 1)),
    }
    with pytest.raises(InvalidFile):
        calls[command]()


def test_two_processes_that_download_the_same_do_not_share_a_part(tmp_path, monkeypatch):
    """The second begins while the first is in the middle; each leaves the whole file."""
    content = download.MOST_BYTES.to_bytes(8, "big") * 100
    sums = download.md5_of(content)
    target = tmp_path / "cache" / "file"
    others: list[Path] = []

    def transfer(url: str, part: Path) -> None:
        with part.open("ab") as file:
            file.write(content[:300])
            file.flush()
            if not others:
                others.append(part)
                download.fetch(url, target, sums)
                assert part.read_bytes() == content[:300]
            file.write(content[300:])

    monkeypatch.setattr(download, "_transfer", transfer)
    assert download.fetch("https://example.org/file", target, sums).read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_every_official_file_comes_over_https_and_has_both_checksums():
    for name, source in official.SOURCES.items():
        assert source.url.startswith("https://")
        # Of the reviews of IMDb no official file was at hand to take the second from.
        assert source.sha256.keys() == (set() if name == "imdb" else source.md5.keys())
        assert all(len(value) == 64 for value in source.sha256.values())


def test_the_right_md5_with_another_sha256_is_refused(tmp_path):
    content = bytes((0, 0, 8, 1)) + struct.pack(">I", 4) + b"abcd"
    (tmp_path / "labels").write_bytes(content)
    assert len(official.read_idx(tmp_path / "labels", 1, download.md5_of(content))) == 4
    with pytest.raises(InvalidFile, match="not the official one"):
        official.read_idx(tmp_path / "labels", 1, download.md5_of(content), "0" * 64)
