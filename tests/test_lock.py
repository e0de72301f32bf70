"""Two commands that would write the same results: one works, the other says so."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import advlab
from advlab import workspace as advlab_workspace
from advlab.errors import AdvlabError
from advlab.lock import exclusive

HOLD = "import sys, time; from pathlib import Path; from advlab.lock import exclusive\n"
HOLD += "with exclusive(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """Holds ``tmp_path / 'place'`` in another process, until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "place")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()


def test_what_another_process_holds_is_refused_and_names_it(holder, tmp_path):
    with (
        pytest.raises(AdvlabError, match=f"being worked on by process {holder.pid} on "),
        exclusive(tmp_path / "place"),
    ):
        pass


def test_the_lock_of_a_process_that_was_killed_is_free(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / "place.lock").exists()
    with exclusive(tmp_path / "place"):
        pass
    assert not list(tmp_path.glob("place*"))


def test_a_folder_that_cannot_be_written_needs_no_lock(tmp_path):
    (tmp_path / "file").write_text("")
    with exclusive(tmp_path / "file" / "place"), exclusive(None):
        pass


@pytest.mark.parametrize("command", ["attack", "run", "curve", "certify", "train", "study"])
def test_every_long_command_is_refused_beside_its_like(command, trained, digits, tmp_path, workspace):
    data = digits.take(4)
    (tmp_path / "s.toml").write_text('title = "T"\nrecipe = "digits"\nsuite = "quick"\n[[row]]\nname = "one"\n')
    calls = {
        "attack": lambda: advlab.attack(trained, data, save=True),
        "run": lambda: advlab.run(trained, data, "quick", save=True),
        "curve": lambda: advlab.curve(trained, data, save=True),
        "certify": lambda: advlab.certify(trained, data, epsilon=0.01, save=True),
        "train": lambda: advlab.train("digits", epochs=1),
        "study": lambda: advlab.study(tmp_path / "s.toml", epochs=1, samples=4, progress=False),
    }
    first = advlab.load_suite("quick").under()[0].slug
    places = {
        "attack": advlab_workspace.partial_path("digits", "fgsm-linf-0.1"),
        "run": advlab_workspace.partial_path("digits", first),
        "curve": advlab_workspace.partial_path("digits", "fmn-linf"),
        "certify": advlab_workspace.unfinished_certificate_path("digits", "crown-linf-0.01"),
        "train": advlab_workspace.checkpoint_path("digits"),
        "study": advlab_workspace.study_path("s", "-one"),
    }
    with exclusive(places[command]), pytest.raises(AdvlabError, match="is being worked on by process"):
        calls[command]()
    calls[command]()
    assert not list(workspace.rglob("*.lock"))


def test_one_of_many_that_begin_at_once_gets_the_lock(tmp_path):
    """However often it changes hands, two never hold it together."""
    code = (
        "import sys, time; from pathlib import Path; from advlab.errors import AdvlabError\n"
        "from advlab.lock import exclusive\n"
        "place, inside = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "end = time.monotonic() + 3\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        with exclusive(place):\n"
        "            inside.touch(exist_ok=False)\n"
        "            inside.unlink()\n"
        "    except AdvlabError:\n"
        "        pass\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "place"), str(tmp_path / "inside")]
    with ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(words, stderr=subprocess.PIPE, text=True)) for _ in range(4)]
        assert [process.communicate()[1] for process in processes] == [""] * 4
    assert not Path(tmp_path / "inside").exists()
