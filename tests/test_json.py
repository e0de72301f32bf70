"""``--json``: each command prints strict JSON, field for field as in docs/json.md."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from results import build

from advlab.cli import main
from advlab.evaluation.curve import SecurityCurve
from advlab.evaluation.defense import DefenseReport
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.records import to_records
from advlab.evaluation.recovery import Recovery, Step
from advlab.figures import png
from advlab.results.diagnostics import SelfTestCounts
from advlab.threat import ThreatModel
from advlab.workflows.audit import Answer, Audit
from advlab.workflows.selftest import SelfTest
from tests.conftest import commands

ROOT = Path(__file__).parent.parent
REFERENCE = next((ROOT / "attacks" / "reference").glob("*.h5"))
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "json.md").read_text("utf-8"), re.M | re.S))
COMMANDS = re.findall(r"^\| (`.*?`) \| ([\w ]+) \|$", (ROOT / "docs" / "json.md").read_text("utf-8"), re.M)
PRINTED_BY = {name: shape for names, shape in COMMANDS for name in re.findall(r"`([\w -]+)`", names)}
PLAIN = {"number": (int, float), "integer": int, "text": str, "boolean": bool, "object": dict}


def fields(shape: str) -> dict[str, tuple[str, bool]]:
    """Field -> its type and whether it may be null, of one object of the document."""
    text = SECTIONS[shape]
    base = re.search(r"^All fields of (\w+), and:$", text, re.M)
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|[^|]*\| ?([^|]*)\|$", text, re.M)
    return (fields(base[1]) if base else {}) | {
        name: (type_name.strip(), bool(null.strip())) for name, type_name, null in rows
    }


def check(value, shape: str, seen: set[str], nullable: bool = False, where: str = "") -> None:
    """Check a value against its documented type, and add each documented object to ``seen``."""
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
        for name, (type_name, null) in expected.items():
            check(value[name], type_name, seen, null, f"{where}.{name}")


def strict(text: str):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def call(*words: object) -> object:
    result = CliRunner().invoke(main, [str(word) for word in (*words, "--json")])
    assert result.exit_code == 0, result.output
    return strict(result.stdout)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Command -> what it printed, on the embedded digits."""
    folder = tmp_path_factory.mktemp("json")
    workspace = ["--workspace", folder]
    archive, array = folder / "attacks" / "digits" / "fgsm-linf-0.1.h5", folder / "a.npy"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ADVLAB_WORKSPACE", str(folder))
        patch.setattr("advlab.workflows.harden._SUITE", "quick")
        small = ["--model", "digits", "--samples", "12"]
        texts = ["--model", "sentiment-tiny", "--method", "hotflip", "--epsilon", 1, "--samples", 3]
        return {
            "attack": call(*workspace, "attack", *small) + call(*workspace, "attack", *texts),
            "attack --dry-run": call("attack", *small, "--dry-run"),
            "benchmark": call("benchmark", small_benchmark(folder)),
            "benchmark --dry-run": call("benchmark", small_benchmark(folder), "--dry-run"),
            "compare": call("compare", REFERENCE),
            "evaluate": evaluated(archive, folder),
            "doctor": call("doctor"),
            "explain": call("explain", archive, "--samples", 3, "--steps", 4),
            "export": call("export", archive, "--npy", array, "--csv", folder / "a.csv"),
            "harden": call("harden", "digits", "--minutes", 0.02, "--samples", 4),
            "import": call("import", array, "--model", "digits"),
            "list": call("list"),
            "list findings": call("list", "findings"),
            "new": call("new", "method", "mine"),
            "noise": call("noise", "digits", "--samples", 3),
            "predict": call("predict", "digits", "0-2", one_image(folder)),
            "report": call("report", archive, REFERENCE),
            "run": call("run", "quick", *small),
            "selftest": call("selftest", "--model", "digits", "--samples", 1, "--method", "fgsm"),
            "show": call("show", "digits"),
            "study": call("study", small_study(folder), "--rows", 1),
            "train": call("train", "digits", "--epochs", 1, "--force"),
            "transfer": call("transfer", archive, "--model", "digits"),
            "verify": call("verify", archive, "--model", ROOT / "models" / "pretrained" / "digits.h5"),
            "certify": strict((folder / "certify.json").read_text("utf-8")),
            "certify --property": call("certify", *network_and_property(folder)),
            "curve": curve(),
            "audit": audit(),
            "defense-report": defense_report(),
            "detect": call("detect", "energy", "--model", "digits", "--samples", 5),
        }


def evaluated(archive: Path, folder: Path) -> object:
    (folder / "certify.json").write_text(json.dumps(call("certify", "digits", "--epsilon", 0.1, "--samples", 12)))
    certificate = folder / "certificates" / "digits" / "crown-linf-0.1.h5"
    return call("evaluate", archive, REFERENCE, "--certificate", certificate)


def small_study(folder: Path) -> Path:
    path = folder / "small.toml"
    row = 'name = "one"\ntraining = { epochs = 1 }'
    path.write_text(f'title = "Small"\nrecipe = "digits"\nsuite = "quick"\nsamples = 4\n[[row]]\n{row}\n', "utf-8")
    return path


def network_and_property(folder: Path) -> list[object]:
    """Two inputs in [0, 1], whose sum does not reach 3."""
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    network.save(folder / "sum.keras")
    lines = [f"(declare-const X_{i} Real)(assert (<= X_{i} 1))(assert (>= X_{i} 0))" for i in range(2)]
    (folder / "below.vnnlib").write_text("\n".join([*lines, "(declare-const Y_0 Real)(assert (>= Y_0 3))"]), "utf-8")
    return [folder / "sum.keras", "--output-type", "logit", "--property", folder / "below.vnnlib"]


def small_benchmark(folder: Path) -> Path:
    path = folder / "tiny.toml"
    path.write_text('title = "Tiny"\nclassifiers = ["digits"]\nattacks = ["fgsm"]\nsamples = 4\nepsilons.l2 = [1]\n')
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
    """The JSON of an audit, built by hand: a real one is slow and has its own tests."""
    pgd = evaluate(build([0, 1], [0, 1], [1, 1], selftest=SelfTestCounts(3, 2, 1)))
    self_test = SelfTest("pgd", "stub", ThreatModel("linf", 0.1), 1, 1, 1, 0, 0.5)
    answer = Answer("threat-model", "Is it precise?", "pass", "linf 0.1", "arXiv:1902.06705")
    rate = pgd.robust_accuracy
    step = Step("straight-through", "passed the gradient straight through 'rounded'", 1, 1, rate, rate, 0.5)
    recovery = Recovery((step,), rate, rate, ("no surrogate was distilled",), 120.0, 1)
    result = Audit("stub", pgd.attack.threat, {"pgd": pgd}, {"pgd": self_test}, rate, (answer,), pgd.findings, recovery)
    return strict(json.dumps(result.to_dict()))


def defense_report():
    """As the one of an audit: built by hand."""
    pgd = evaluate(build([0, 1], [0, 1], [1, 1]))
    groups = {"none": (pgd,), "transfer": (pgd,), "black box": (pgd,), "full": (pgd,)}
    return strict(json.dumps(DefenseReport(pgd, groups, pgd.findings).to_dict()))


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_has_json_and_is_documented(command):
    assert "--json" in [option for parameter in commands()[command].params for option in parameter.opts]
    assert command in PRINTED_BY


@pytest.mark.parametrize("command", sorted(set(commands()) - {"demo"}))
def test_the_json_of_a_command_is_as_documented(command, printed):
    check(printed[command], PRINTED_BY[command], set(), where=command)


def test_every_documented_object_is_printed_by_some_command(printed):
    seen: set[str] = set()
    for command, value in printed.items():
        check(value, PRINTED_BY[command], seen)
    assert seen | {"Evaluation"} == set(SECTIONS)


def test_the_list_of_one_category_has_only_that():
    for category in ("models", "studies", "methods", "suites", "benchmarks", "datasets", "archives", "findings"):
        assert set(call("list", category)) == {"schema", category}


def test_evaluations_are_a_list_in_the_order_of_their_archives(printed):
    first, second = printed["evaluate"]
    assert (first["attack"]["method"], second["attack"]["method"]) == ("fgsm", "pgd")
    assert second["archive"] == str(REFERENCE)
    assert printed["run"][0]["archive"] is None


def test_values_without_images_are_null():
    evaluation = evaluate(build([0, 1], [1, 0], [1, 0], norm="l2", epsilon=math.inf))
    check(strict(json.dumps(to_records([evaluation]))), "list of ListedEvaluation", set())


def test_findings_of_a_comparison_are_listed_with_each_of_its_evaluations():
    labels, wrong = np.zeros(100, int), np.ones(100, int)
    weak = evaluate(build(labels, labels, labels, method="pgd"))
    strong = evaluate(build(labels, labels, wrong, method="square", backward_passes=labels))
    other = evaluate(build(labels, labels, wrong, classifier_digest="e" * 16))
    listed = to_records([weak, other, strong], ["a.h5", "b.h5", "c.h5"])
    codes = [{finding["code"] for finding in one["cross_findings"]} for one in listed]
    assert codes[0] == codes[2] != set()
    assert codes[1] == set()
    assert [one["archive"] for one in listed] == ["a.h5", "b.h5", "c.h5"]


def test_an_archive_that_does_not_hold_fails_in_json_and_in_the_exit_code(tmp_path, trained, digits):
    from dataclasses import replace

    from advlab.workflows.attack import attack

    result = attack(trained, digits.take(5), "fgsm", progress=False)
    path = replace(result, x_adv=1 - result.x_adv).save(tmp_path / "doctored.h5")
    outcome = CliRunner().invoke(main, ["verify", str(path), "--json"])
    assert outcome.exit_code == 1
    assert strict(outcome.stdout)["holds"] is False
    assert "does not hold" in outcome.stderr
