"""The command line towards terminal, shell and operating system: streams, signals, names that steer a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner

from advlab import workspace as advlab_workspace
from advlab import writing
from advlab.cli import main
from advlab.errors import for_terminal
from advlab.workflows.export import _csv_text
from tests.test_cli import PRINTS_EACH_CHUNK

ADVLAB = f"{sys.executable} -m advlab"


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, cwd=folder, env=environment, timeout=60
    )


@pytest.mark.parametrize("command", ["list methods", "--help", "list nothing", "evaluate missing.h5"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_give_no_traceback(tmp_path, command, closed):
    process = shell(f"{ADVLAB} {command} {closed}", tmp_path)
    assert "Traceback" not in process.stderr + process.stdout
    assert process.returncode == (1 if "nothing" in command or "missing" in command else 0)


def test_a_closed_standard_output_does_not_reach_the_next_file(tmp_path):
    """The first file that is opened would otherwise be file number 1, and take what is printed."""
    archive = next((Path(__file__).parent.parent / "attacks" / "reference").glob("*.h5"))
    shell(f"{ADVLAB} report {archive} --output page.html >&-", tmp_path)
    assert (tmp_path / "page.html").read_text().startswith("<!")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_output_is_an_error_in_words(tmp_path):
    process = shell(f"{ADVLAB} list > /dev/full", tmp_path)
    assert process.returncode == 1
    assert "No space left" in process.stderr
    assert "Traceback" not in process.stderr


def test_names_in_files_do_not_steer_the_terminal(tmp_path):
    layer = {"name": "\x1b[31mred\x1b]0;title\x07\r\b", "units": 3, "batch_input_shape": [None, 4]}
    layers = [{"class_name": "Dense", "config": layer}]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
        file.create_group("model_weights")
    outcome = CliRunner().invoke(main, ["show", str(tmp_path / "m.h5")])
    assert outcome.exit_code == 1
    assert "?[31mred?]0;title???" in outcome.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x9b1m\x00\u202e", "?[2J?1m??"),
        ("two\nlines", "two\nlines"),
        ("a" * 400, "a" * 100 + "…" + "a" * 20),
        ("Ünïcode 数字", "Ünïcode 数字"),
    ],
)
def test_what_an_error_shows(text, shown):
    assert for_terminal(text) == shown


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "digits", "{long}.png"],
        ["evaluate", "{long}.h5"],
        ["attack", "--model", "digits", "--dataset", "{long}"],
        ["attack", "--model", "digits", "--samples", "4", "--output", "{long}.h5"],
        ["import", "{long}.npy", "--model", "digits"],
        ["show", "{long}.h5"],
        ["run", "{long}.toml", "--model", "digits"],
    ],
    ids=lambda words: words[0],
)
def test_names_that_are_too_long_are_refused_in_words(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(main, [word.format(long="n" * 400) for word in words])
    assert outcome.exit_code == 1, outcome.output
    assert "Errno" not in outcome.stderr
    assert "too long" in outcome.stderr
    assert "n" * 200 not in outcome.stderr


@pytest.mark.parametrize("output", ["", "."])
@pytest.mark.parametrize("words", [["export", "{archive}", "--csv"], ["report", "{archive}", "--output"]])
def test_an_output_without_a_name_is_refused(words, output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = next((Path(__file__).parent.parent / "attacks" / "reference").glob("*.h5"))
    outcome = CliRunner().invoke(main, [word.format(archive=archive) for word in words] + [output, "--force"])
    assert outcome.exit_code in (1, 2), outcome.output
    assert isinstance(outcome.exception, SystemExit)
    assert list(tmp_path.iterdir()) == [tmp_path / "workspace"]


def test_a_cell_of_a_table_is_never_a_formula():
    text = _csv_text({"name": ["=1+1", "+a", "-a", "@a", "a=b"], "number": [1, -2, 3.5, 4, 5]})
    assert text.splitlines()[1:] == ["'=1+1,1", "'+a,-2", "'-a,3.5", "'@a,4", "a=b,5"]


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_stops_an_attack_keeps_its_work(workspace, tmp_path, number):
    words = ["--workspace", str(workspace), "attack", "--model", "digits", "--samples", "100"]
    words += ["--method", "pgd", "--set", "steps=300000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", PRINTS_EACH_CHUNK, *words], env=environment, **pipes)
    assert process.stdout.readline() == "chunk\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command continues" in errors
    assert [path.name for path in (workspace / "attacks" / "digits").iterdir()] == [
        "pgd-linf-0.1-steps=300000.partial.h5"
    ]


def test_leftovers_of_killed_runs_are_removed_when_old_and_never_listed(workspace):
    folder = workspace / "attacks" / "digits"
    folder.mkdir(parents=True)
    old, new, own = (folder / name for name in (".pgd-0123abcd.h5", ".pgd-4567cdef.h5", ".notes.h5"))
    for path in (old, new, own):
        path.write_bytes(b"")
        os.utime(path, (time.time() - 7200,) * 2)
    os.utime(new)
    assert advlab_workspace.archives() == []
    with writing.atomic_write(folder / "next.h5") as temporary:
        temporary.write_bytes(b"")
    assert sorted(path.name for path in folder.iterdir()) == [".notes.h5", ".pgd-4567cdef.h5", "next.h5"]


def test_leftovers_of_a_process_that_has_ended_are_removed_at_once(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with writing.atomic_write(tmp_path / "next-one.h5") as mine:
        mine.write_bytes(b"")
        dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-"))
        elsewhere = dead.with_name(dead.name.replace(dead.name.split("-")[-3], "abcdef"))
        dead.write_bytes(b"")
        elsewhere.write_bytes(b"")
        with writing.atomic_write(tmp_path / "other.h5") as other:
            other.write_bytes(b"")
        assert mine.exists()
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == [elsewhere.name, "next-one.h5", "other.h5"]


def test_a_terminal_hears_at_once_that_tensorflow_is_loaded_and_a_pipe_does_not(tmp_path):
    """With a TensorFlow that cannot be loaded: what is printed came before it."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit(3)")
    words = f"PYTHONPATH={tmp_path}:$PYTHONPATH {ADVLAB} attack --model digits --samples 2"
    piped = shell(words, tmp_path)
    assert (piped.returncode, piped.stderr) == (3, "")
    terminal, child = os.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run(["sh", "-c", words], stderr=child, stdout=child, cwd=tmp_path, env=environment, timeout=60)
    os.close(child)
    assert os.read(terminal, 10_000).decode().splitlines() == ["Loading TensorFlow ..."]
    os.close(terminal)


ROOT = Path(__file__).parent.parent
REFERENCE = next((ROOT / "attacks" / "reference").glob("*.h5"))


def on_a_terminal(
    folder: Path, columns: int, *words: object, errors: bool = False, code: int = 0, **variables: str
) -> list[str]:
    """The lines that a command writes to standard output, or error, where that is a terminal of so many columns."""
    terminal, child = os.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **variables}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "advlab", *map(str, words)]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {"stderr" if errors else "stdout": child}
    process = subprocess.Popen(command, **streams, cwd=folder, env=environment)
    os.close(child)
    content = b""
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        content += part
    os.close(terminal)
    assert process.wait(timeout=60) == code
    return content.decode().splitlines()


def without_style(lines: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]


@pytest.mark.parametrize("colours", [False, True])
def test_a_table_fits_a_terminal_of_80_columns(tmp_path, colours):
    lines = on_a_terminal(tmp_path, 80, "evaluate", REFERENCE, NO_COLOR="" if colours else "1")
    assert lines[0].startswith("\x1b[1m") == colours
    assert any("\x1b" in line for line in lines) == colours
    lines = without_style(lines)
    assert lines[0].split()[:2] == ["model", "attack"]
    assert set(lines[1]) == {"─"}
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize(
    "words",
    [
        ["list", "methods"],
        ["list", "findings"],
        ["list", "studies"],
        ["evaluate", REFERENCE],
        ["compare", REFERENCE],
    ],
    ids=lambda words: " ".join(map(str, words[:2])).replace(str(REFERENCE), ""),
)
def test_a_terminal_breaks_no_word_and_shows_all_that_a_pipe_gets(tmp_path, columns, words):
    lines = without_style(on_a_terminal(tmp_path, columns, *words))
    assert max(map(len, lines)) <= max(columns, 80)
    piped = shell(f"{ADVLAB} {shlex.join(map(str, words))}", tmp_path).stdout
    assert "\x1b" not in piped
    assert "─" not in piped
    shown = {word for line in lines for word in line.split()}
    missing = set(piped.split()) - shown
    # A terminal of less than 100 columns leaves out what a run cost.
    assert not missing or (words[0] == "evaluate" and columns < 100 and len(missing) <= 2)


@pytest.mark.parametrize(
    ("words", "code"), [(["evaluate", REFERENCE], 0), (["atack"], 2), (["attack", "--method", "pgdd"], 1)]
)
def test_a_message_on_a_terminal_breaks_no_word(tmp_path, words, code):
    lines = without_style(on_a_terminal(tmp_path, 80, *words, errors=True, code=code))
    messages = [line for line in lines if not line.startswith("Next: ")]  # a command to copy stays one line
    assert max(map(len, messages)) <= 80
    piped = shell(f"{ADVLAB} {shlex.join(map(str, words))}", tmp_path).stderr
    assert max(map(len, piped.splitlines())) > 80
    assert " ".join(lines).split() == piped.split()


def test_a_listing_of_names_that_are_longer_than_half_a_line_has_them_whole(tmp_path):
    folder = tmp_path / "a-workspace-whose-name-is-rather-long" / "attacks" / "digits"
    folder.mkdir(parents=True)
    shutil.copy(REFERENCE, folder / "archive.h5")
    words = ["--workspace", "a-workspace-whose-name-is-rather-long", "list", "archives"]
    lines = without_style(on_a_terminal(tmp_path, 120, *words))
    assert any(line.rstrip().endswith("attacks/digits/archive.h5") for line in lines)
    assert any("of 100 images" in line for line in lines)
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("words", [f"evaluate {REFERENCE}", "list", f"compare {REFERENCE}"])
def test_a_pipe_never_loads_what_draws(words, tmp_path):
    (tmp_path / "rich.py").write_text("raise SystemExit(3)")
    process = shell(f"PYTHONPATH={tmp_path}:$PYTHONPATH {ADVLAB} {words}", tmp_path)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("att", {"attack"}),
        ("attack --method pg", {"pgd"}),
        ("attack --model digits-", {"digits-robust"}),
        ("run --model digits mini", {"minimal"}),
        ("study mnist-dr", {"mnist-dropout"}),
        ("attack --dataset fa", {"fashion-mnist"}),
        ("report attacks/", {"attacks/"}),
    ],
)
def test_a_shell_completes_commands_and_names_without_tensorflow(typed, offered, tmp_path):
    """Those of a process whose TensorFlow cannot be loaded."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit(3)")
    words = f"advlab {typed}"
    number = len(words.split()) - 1
    variables = f"_ADVLAB_COMPLETE=bash_complete COMP_WORDS='{words}' COMP_CWORD={number}"
    process = shell(
        f"PYTHONPATH={tmp_path}:$PYTHONPATH {variables} {sys.executable} -c "
        "'import sys; sys.argv[0] = \"advlab\"; from advlab.cli import start; start()'",
        tmp_path,
    )
    assert {line.partition(",")[2] for line in process.stdout.splitlines()} == offered, process.stderr
