"""``--json``: what each command prints is what docs/json.md says, field for field, and strict JSON."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from results import build

from advlab.cli import main
from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.records import to_records
from advlab.figures import png
from advlab.threat import ThreatModel
from advlab.workflows.audit import Answer, Audit
from advlab.workflows.selftest import SelfTest
from tests.conftest import commands

ROOT = Path(__file__).parent.parent
REFERENCE = next((ROOT / "attacks" / "reference").glob("*.h5"))
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "json.md").read_text("utf-8"), re.M | re.S))
COMMANDS = re.findall(r"^\| (`.*?`) \| ([\w ]+) \|$", (ROOT / "docs" / "json.md").read_text("utf-8"), re.M)
PRINTED_BY = {name: shape for names, shape in COMMANDS for name in re.findall(r"`(\w+)`", names)}
PLAIN = {"number": (int, float), "integer": int, "text": str, "boolean": bool, "object": dict}


def fields(shape: str) -> dict[str, tuple[str, bool]]:
    """Field -> its type and whether it may be null, of one object of the document."""
    text = SECTIONS[shape]
    base = re.search(r"^All fields of (\w+), and:$", text, re.M)
    own = re.findall(r"^\| `(\w+)` \| ([^|]+) \|[^|]*\| ?([^|]*)\|$", text, re.M)
    return (fields(base[1]) if base else {}) | {name: (kind.strip(), bool(null.strip())) for name, kind, null in own}


def check(value, shape: str, seen: set[str], nullable: bool = False, where: str = "") -> None:
    """Hold a value against its documented type, and note each object that was met."""
    if value is None:
        assert nullable, f"{where} is null, which is not documented"
    elif shape.startswith("list of "):
        assert isinstance(value, list), where
        for number, inner in enumerate(value):
            check(inner, shape.removeprefix("list of "), seen, nullable, f"{where}[{number}]")
    elif shape.startswith("map of "):
        for name, inner in value.items():
            check(inner, shape.removeprefix("map of "), seen, nullable, f"{where}.{name}")
    elif shape in PLAIN:
        assert isinstance(value, PLAIN[shape]), f"{where} is {value!r}, documented as {shape}"
        assert shape == "boolean" or not isinstance(value, bool), where
    else:
        seen.add(shape)
        expected = fields(shape)
        assert set(value) == set(expected), where
        for name, (kind, null) in expected.items():
            check(value[name], kind, seen, null, f"{where}.{name}")


def strict(text: str):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def call(*words: object) -> object:
    done = CliRunner().invoke(main, [str(word) for word in (*words, "--json")])
    assert done.exit_code == 0, done.output
    return strict(done.stdout)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Command -> what it printed, on the embedded digits."""
    folder = tmp_path_factory.mktemp("json")
    space = ["--workspace", folder]
    made, array = folder / "attacks" / "digits" / "fgsm-linf-0.1.h5", folder / "a.npy"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ADVLAB_WORKSPACE", str(folder))
        small = ["--model", "digits", "--samples", "12"]
        return {
            "attack": call(*space, "attack", *small),
            "evaluate": call("evaluate", made, REFERENCE),
            "export": call("export", made, "--npy", array, "--csv", folder / "a.csv"),
            "import": call("import", array, "--model", "digits"),
            "list": call("list"),
            "noise": call("noise", "digits", "--samples", 3),
            "predict": call("predict", "digits", "0-2", one_image(folder)),
            "report": call("report", made, REFERENCE),
            "run": call("run", "quick", *small),
            "selftest": call("selftest", "--model", "digits", "--samples", 1, "--method", "fgsm"),
            "show": call("show", "digits"),
            "study": call("study", small_study(folder), "--rows", 1),
            "train": call("train", "digits", "--epochs", 1, "--force"),
            "transfer": call("transfer", made, "--model", "digits"),
            "verify": call("verify", made, "--model", ROOT / "models" / "pretrained" / "digits.h5"),
            "certify": call(*space, "certify", "digits", "--epsilon", 0.02, "--samples", 3),
            "curve": curve(),
            "audit": audit(),
        }


def small_study(folder: Path) -> Path:
    path = folder / "small.toml"
    row = 'name = "one"\ntraining = { epochs = 1 }'
    path.write_text(f'title = "Small"\nrecipe = "digits"\nsuite = "quick"\nsamples = 4\n[[row]]\n{row}\n', "utf-8")
    return path


def one_image(folder: Path) -> Path:
    path = folder / "one.png"
    path.write_bytes(png(np.full((5, 7, 3), 0.5)))
    return path


def minimal(**fields):
    change = np.array([0.25, 0.125, 0.0])
    return build([0, 1, 2], [0, 1, 2], [1, 2, 2], change=change, norm="l2", epsilon=math.inf, **fields)


def curve():
    return strict(json.dumps(SecurityCurve.from_results([minimal()]).to_dict()))


def audit():
    """What an audit prints, of parts made by hand: a real one takes its time, and has tests of its own."""
    one = evaluate(build([0, 1], [0, 1], [1, 1]))
    tested = SelfTest("pgd", "stub", ThreatModel("linf", 0.1), 1, 1, 1, 0, 0.5)
    answer = Answer("threat-model", "Is it precise?", "pass", "linf 0.1", "arXiv:1902.06705")
    whole = Audit("stub", one.attack.threat, {"pgd": one}, tested, one.robust_accuracy, (answer,), one.findings)
    return strict(json.dumps(whole.to_dict()))


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_takes_json_and_says_in_the_document_what_it_prints(command):
    assert "--json" in [option for parameter in commands()[command].params for option in parameter.opts]
    assert command in PRINTED_BY


@pytest.mark.parametrize("command", sorted(set(commands()) - {"demo"}))
def test_what_a_command_prints_is_what_the_document_says(command, printed):
    check(printed[command], PRINTED_BY[command], set(), where=command)


def test_every_object_of_the_document_is_printed_by_some_command(printed):
    seen: set[str] = set()
    for command, value in printed.items():
        check(value, PRINTED_BY[command], seen)
    assert seen | {"Evaluation"} == set(SECTIONS)


def test_one_kind_of_listing_is_that_kind_alone():
    for kind in ("models", "studies", "methods", "suites", "datasets", "archives"):
        assert set(call("list", kind)) == {"schema", kind}


def test_evaluations_are_a_list_in_the_order_of_their_archives(printed):
    first, second = printed["evaluate"]
    assert (first["attack"]["method"], second["attack"]["method"]) == ("fgsm", "pgd")
    assert second["archive"] == str(REFERENCE)
    assert printed["run"][0]["archive"] is None


def test_what_no_image_can_tell_is_null():
    nothing = evaluate(build([0, 1], [1, 0], [1, 0], norm="l2", epsilon=math.inf))
    check(strict(json.dumps(to_records([nothing]))), "list of ListedEvaluation", set())


def test_findings_of_a_comparison_are_told_at_each_evaluation_that_they_are_about():
    labels, broken = np.zeros(100, int), np.ones(100, int)
    weak = evaluate(build(labels, labels, labels, method="pgd"))
    strong = evaluate(build(labels, labels, broken, method="square", backward_passes=labels))
    elsewhere = evaluate(build(labels, labels, broken, classifier_digest="e" * 16))
    listed = to_records([weak, elsewhere, strong], ["a.h5", "b.h5", "c.h5"])
    codes = [{finding["code"] for finding in one["cross_findings"]} for one in listed]
    assert codes[0] == codes[2] != set()
    assert codes[1] == set()
    assert [one["archive"] for one in listed] == ["a.h5", "b.h5", "c.h5"]


def test_an_archive_that_does_not_hold_is_told_in_json_and_by_the_exit_code(tmp_path, trained, digits):
    from dataclasses import replace

    from advlab.engine.attack import attack

    result = attack(trained, digits.take(5), "fgsm", progress=False)
    path = replace(result, x_adv=1 - result.x_adv).save(tmp_path / "doctored.h5")
    done = CliRunner().invoke(main, ["verify", str(path), "--json"])
    assert done.exit_code == 1
    assert strict(done.stdout)["holds"] is False
    assert "does not hold" in done.stderr
