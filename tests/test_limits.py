"""Numbers and declarations that no one means: refused at once, with what is allowed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from advlab.cli import main
from advlab.data.noise import noise_images
from advlab.declarations.methods import load_method, method_names
from advlab.declarations.recipes import load_recipe
from advlab.declarations.studies import load_study
from advlab.declarations.suites import load_suite
from advlab.errors import AdvlabError, InvalidFile, InvalidValue
from advlab.evaluation.study import load_study_result
from advlab.validation import MOST, as_int, require_int, shown

HUGE = "99999999999999999999"
INTS = [(name, key) for name in method_names() for key, type_ in load_method(name).types.items() if type_ == "int"]


@pytest.mark.parametrize(("method", "parameter"), INTS)
def test_no_whole_number_of_any_method_is_beyond_the_bound(method, parameter):
    for value in (HUGE, int(HUGE), MOST + 1):
        with pytest.raises(InvalidValue, match=rf"'{parameter}' of method '{method}' must be an int .*{MOST}\]"):
            load_method(method).resolve({parameter: value})
    load_method(method).resolve({parameter: MOST})


@pytest.mark.parametrize(
    "words",
    [
        ["attack", "--model", "digits", "--restarts", HUGE],
        ["attack", "--model", "digits", "--batch-size", HUGE],
        ["attack", "--model", "digits", "--target", HUGE],
        ["attack", "--model", "digits", "--seed", HUGE],
        ["train", "digits", "--epochs", HUGE],
        ["noise", "digits", "--samples", HUGE],
        ["study", "mnist-dropout", "--epochs", HUGE],
        ["study", "mnist-dropout", "--samples", HUGE],
    ],
    ids=" ".join,
)
def test_the_command_line_refuses_them(words):
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 1, outcome.output
    assert "in the range" in outcome.stderr or "class" in outcome.stderr
    assert isinstance(outcome.exception, SystemExit)


def test_an_array_of_noise_is_refused_before_it_fills_the_memory():
    with pytest.raises(InvalidValue, match=r"at most 342392 of the shape \(28, 28, 1\)"):
        noise_images(1_000_000, (28, 28, 1))


@pytest.mark.parametrize("check", [require_int, as_int])
def test_a_value_of_any_size_and_depth_is_shown_short(check):
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (10**6000, "x" * 10**6, deep):
        with pytest.raises(InvalidValue) as caught:
            check("steps", value, 1)
        assert len(str(caught.value)) < 200
    # Taking it apart one by one: its destructor would recurse as deep.
    while deep:
        deep = deep.pop()
    assert shown("short") == "'short'"


DIGITS = "9" * 6000
ABSURD = {
    "nested arrays": "a = " + "[" * 5000 + "]" * 5000,
    "nested tables": "a." * 5000 + "a = 1",
    "six thousand digits": f"version = {DIGITS}",
    "six thousand hexadecimal digits": "version = 0x" + "f" * 6000,
    "beyond 64 bits": "version = 99999999999999999999",
    "not UTF-8": b"title = '\xff'",
    "a megabyte": "#" * 2**20 + "\n",
}


@pytest.mark.parametrize("text", ABSURD.values(), ids=ABSURD)
@pytest.mark.parametrize("load", [load_suite, load_recipe, load_study])
def test_a_declaration_that_only_looks_like_toml_is_refused(tmp_path, text, load):
    path = tmp_path / "own.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidFile, match=r"own\.toml"):
        load(str(path))


OTHER_TYPES = ["5", '["linf"]', "{ a = 1 }", "1979-05-27", "07:32:00", "[[]]"]
ATTACK = 'title = "T"\n[[attack]]\nmethod = "pgd"\n'
SUITES = [
    "title = {}\n[[attack]]\nmethod = 'pgd'",
    "title = 'T'\nmode = {}\n[[attack]]\nmethod = 'pgd'",
    *(ATTACK + f"{key} = {{}}" for key in ("parameters", "norm", "target", "early_stop", "under", "epsilon")),
    *(ATTACK + f"under.linf.{key} = {{}}" for key in ("parameters", "early_stop")),
    *(ATTACK + f"parameters.{key} = {{}}" for key in ("steps", "random_start", "loss")),
]


@pytest.mark.parametrize("text", SUITES)
def test_a_suite_with_values_of_other_types_is_refused(tmp_path, text):
    path = tmp_path / "own.toml"
    # 5 steps, and an epsilon or a parameter of 5, may be meant.
    tables = "{ a = 1 }" if "under.linf.parameters" in text else ""  # looked at once the norm is asked for
    for value in OTHER_TYPES[1:]:
        if value == tables:
            continue
        path.write_text(text.replace("{}", value))
        with pytest.raises(AdvlabError, match=r"own\.toml"):
            load_suite(str(path))


@pytest.mark.parametrize("key", ["optimizer", "batch_size", "epochs", "learning_rate", "early_stopping", "precision"])
def test_a_recipe_with_values_of_other_types_is_refused(tmp_path, key):
    start = 'title = "T"\ndataset = "digits"\n[architecture]\nname = "mlp"\nhidden = [4]\n[training]\n'
    settings = {"optimizer": '"adam"', "batch_size": "8", "epochs": "1"}
    for value in OTHER_TYPES[1:]:
        lines = "\n".join(f"{name} = {text}" for name, text in (settings | {key: value}).items())
        (tmp_path / "own.toml").write_text(start + lines)
        with pytest.raises(AdvlabError, match=r"own\.toml: .*training"):
            load_recipe(str(tmp_path / "own.toml"))


def test_a_grid_of_more_rows_than_anyone_trains_is_refused(tmp_path):
    values = ", ".join(str(number / 1000) for number in range(200))
    (tmp_path / "own.toml").write_text(
        'title = "T"\nrecipe = "digits"\n[grid]\n'
        + "\n".join(f'"training.{key}" = [{values}]' for key in ("learning_rate", "validation_split", "seed", "epochs"))
    )
    with pytest.raises(InvalidValue, match="at most 1000 rows"):
        load_study(str(tmp_path / "own.toml"))


def test_an_infinite_number_in_the_results_of_a_study_is_read_as_unknown(tmp_path):
    shipped = (Path(__file__).parent.parent / "models" / "studies" / "mnist-dropout.json").read_text("utf-8")
    table = json.loads(shipped)
    table["rows"][0]["test_accuracy"] = float("inf")
    for text in (json.dumps(table), json.dumps(table).replace("Infinity", "1e400")):
        (tmp_path / "study.json").write_text(text)
        row = load_study_result(load_study("mnist-dropout"), tmp_path / "study.json").rows[0]
        assert row.test_accuracy is None


@pytest.mark.parametrize(
    "change",
    [{"findings": 5}, {"parameters": "many"}, {"clean_accuracy": {"value": 1}}, {"settings": []}, {"error": 7}],
    ids=str,
)
def test_results_of_a_study_of_other_types_are_refused(tmp_path, change):
    table = json.loads((Path(__file__).parent.parent / "models" / "studies" / "mnist-dropout.json").read_text("utf-8"))
    table["rows"][0] |= change
    (tmp_path / "study.json").write_text(json.dumps(table))
    with pytest.raises(InvalidFile, match="not a valid result of a study"):
        load_study_result(load_study("mnist-dropout"), tmp_path / "study.json")
