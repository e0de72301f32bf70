"""The official files: found, downloaded, resumed, checked and read."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from advlab.data import download, official
from advlab.errors import AdvlabError, InvalidFile

REAL = Path(os.environ.get("ADVLAB_DATA", ""))
IMAGES, LABELS = official.FILES["test"]
PIXELS = np.random.default_rng(0).integers(0, 256, (200, 28, 28), np.uint8)
DIGITS = np.arange(200, dtype=np.uint8) % 10


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


CONTENT = {IMAGES: idx(PIXELS), LABELS: idx(DIGITS)}
PACKED = {f"/{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENT.items()}
WHOLE = PACKED[f"/{IMAGES}.gz"]


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``cut`` breaks each answer after so many bytes, ``ranges`` False ignores Range headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(PACKED)
        self.cut: int | None = None
        self.ranges = True
        self.requested_ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        requested = self.headers.get("Range")
        self.server.requested_ranges.append(requested)
        if self.path not in self.server.files:
            self.send_error(404)
            return
        body = self.server.files[self.path]
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested and self.server.ranges else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][: self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no ADVLAB_DATA, no proxy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("ADVLAB_DATA", raising=False)
    return tmp_path / "cache" / "advlab" / "mnist"


def publish(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let the small files above be the official MNIST."""
    sums = {name: md5(content) for name, content in CONTENT.items()}
    monkeypatch.setitem(official.SOURCES, "mnist", official.Source(url, official.DIGITS, sums))


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    publish(monkeypatch, server.url)
    return server


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The official files lie behind a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        publish(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}/")
        yield


def test_missing_files_are_downloaded_once_into_the_cache(published: Server, cache: Path):
    for _ in range(2):
        images, labels = official.load("mnist", "test")
        np.testing.assert_array_equal(images, PIXELS)
        np.testing.assert_array_equal(labels, DIGITS)
    assert published.requested_ranges == [None, None]
    assert sorted(path.name for path in cache.iterdir()) == [f"{IMAGES}.gz", f"{LABELS}.gz"]


def test_an_interrupted_download_says_so_and_resumes_where_it_stopped(server: Server, tmp_path: Path):
    target, url = tmp_path / "images.gz", f"{server.url}{IMAGES}.gz"
    server.cut = 1000
    with pytest.raises(AdvlabError, match=rf"broke {len(WHOLE) - 1000} bytes before the end.*resumes"):
        download.fetch(url, target, md5(CONTENT[IMAGES]))
    assert not target.exists()
    server.cut = None
    download.fetch(url, target, md5(CONTENT[IMAGES]))
    assert server.requested_ranges == [None, "bytes=1000-"]
    assert target.read_bytes() == WHOLE
    assert list(tmp_path.glob("*.part")) == []


def test_a_server_without_ranges_sends_the_whole_file_again(server: Server, tmp_path: Path):
    server.ranges = False
    (tmp_path / "images.gz.part").write_bytes(WHOLE[:1000])
    target = download.fetch(f"{server.url}{IMAGES}.gz", tmp_path / "images.gz", md5(CONTENT[IMAGES]))
    assert server.requested_ranges == ["bytes=1000-"]
    assert target.read_bytes() == WHOLE


def test_a_complete_part_is_accepted_although_the_server_has_nothing_to_add(server: Server, tmp_path: Path):
    (tmp_path / "images.gz.part").write_bytes(WHOLE)
    target = download.fetch(f"{server.url}{IMAGES}.gz", tmp_path / "images.gz", md5(CONTENT[IMAGES]))
    assert server.requested_ranges == [f"bytes={len(WHOLE)}-"]
    assert target.read_bytes() == WHOLE


def test_a_part_longer_than_the_file_is_discarded(server: Server, tmp_path: Path):
    (tmp_path / "images.gz.part").write_bytes(bytes(len(WHOLE) + 1))
    target = download.fetch(f"{server.url}{IMAGES}.gz", tmp_path / "images.gz", md5(CONTENT[IMAGES]))
    assert server.requested_ranges == [f"bytes={len(WHOLE) + 1}-", None]
    assert target.read_bytes() == WHOLE


@pytest.mark.parametrize("body", [gzip.compress(idx(PIXELS[::-1]), mtime=0), b"<html>please log in</html>", WHOLE[:-9]])
def test_a_download_with_a_wrong_checksum_is_deleted(server: Server, tmp_path: Path, body: bytes):
    server.files[f"/{IMAGES}.gz"] = body
    with pytest.raises(InvalidFile, match=r"wrong checksum.*deleted.*Repeat"):
        download.fetch(f"{server.url}{IMAGES}.gz", tmp_path / "images.gz", md5(CONTENT[IMAGES]))
    assert list(tmp_path.glob("images*")) == []


def test_a_file_that_the_server_does_not_have(server: Server, tmp_path: Path):
    with pytest.raises(AdvlabError, match=r"absent\.gz' failed: Not Found"):
        download.fetch(f"{server.url}absent.gz", tmp_path / "absent.gz", "")


def test_a_cache_that_cannot_be_written_is_refused_with_the_fix(server: Server, tmp_path: Path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(AdvlabError, match=r"Cannot write .*XDG_CACHE_HOME"):
        download.fetch(f"{server.url}{IMAGES}.gz", tmp_path / "cache" / "images.gz", md5(CONTENT[IMAGES]))


@pytest.mark.usefixtures("unreachable")
def test_without_network_and_files_the_error_names_files_folders_and_fixes(cache: Path):
    with pytest.raises(AdvlabError) as caught:
        official.load("mnist", "test")
    message = str(caught.value)
    for part in (IMAGES, LABELS, f"'{cache}'", "ADVLAB_DATA is not set", "failed: ", "'digits'"):
        assert part in message


@pytest.mark.usefixtures("unreachable")
def test_a_data_folder_that_lacks_a_file_is_named_with_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / IMAGES).write_bytes(CONTENT[IMAGES])
    with pytest.raises(AdvlabError) as caught:
        official.load("mnist", "test")
    message = str(caught.value)
    assert f"lacks {LABELS}[.gz]: not in" in message
    assert f"'{tmp_path / 'mnist'}' (from ADVLAB_DATA)" in message


@pytest.mark.usefixtures("unreachable")
def test_the_data_folder_serves_plain_and_compressed_files_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / IMAGES).write_bytes(CONTENT[IMAGES])
    (tmp_path / "mnist" / f"{LABELS}.gz").write_bytes(PACKED[f"/{LABELS}.gz"])
    images, labels = official.load("mnist", "test")
    np.testing.assert_array_equal(images, PIXELS)
    np.testing.assert_array_equal(labels, DIGITS)


@pytest.mark.usefixtures("unreachable")
def test_files_of_another_data_set_under_the_same_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ADVLAB_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / IMAGES).write_bytes(idx(255 - PIXELS))
    (tmp_path / "mnist" / LABELS).write_bytes(CONTENT[LABELS])
    with pytest.raises(InvalidFile, match=r"not the official one .* another data set"):
        official.load("mnist", "test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE[:-100], "truncated or damaged"),
        (b"\x1f\x8b" + WHOLE[40:], "truncated or damaged"),
        (CONTENT[IMAGES][:-1], r"declares 200 x 28 x 28 bytes of data and holds 156799: it is truncated"),
        (CONTENT[IMAGES] + b"\0", r"holds 156801"),
        (CONTENT[IMAGES][:10], "not an IDX file"),
        (CONTENT[LABELS], r"begins with '00 00 08 01' instead of '00 00 08 03'"),
        (gzip.compress(b"hello, world", mtime=0), "not an IDX file"),
        (b"", "not an IDX file"),
    ],
)
def test_a_truncated_or_foreign_file_is_refused_with_a_next_step(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(InvalidFile, match=rf"(?i)(?=.*{message})(?=.*delete it)"):
        official.read_idx(path, 3)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["fashion-mnist", "mnist"])
@pytest.mark.parametrize(("split", "size"), [("train", 60_000), ("test", 10_000)])
def test_the_official_files_have_the_official_content(name: str, split: str, size: int):
    for file, shape in zip(official.FILES[split], [(size, 28, 28), (size,)], strict=True):
        path = REAL / name / f"{file}.gz"
        assert official.read_idx(path, len(shape), official.SOURCES[name].md5[file]).shape == shape
