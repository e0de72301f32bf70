"""The audit: an honest network passes whatever can be tested, a defence that masks its gradient fails where it must."""

import json
import math

import numpy as np
import pytest
from broken import Noisy, Rounded, guarded
from click.testing import CliRunner
from results import build

import advlab
from advlab import workspace
from advlab.cli import main
from advlab.errors import FileExists, InvalidValue, UnknownName
from advlab.evaluation.findings.checklists import EVALUATION, INDICATORS, ITEMS, VERDICTS, AuditRun, answers
from advlab.results.diagnostics import SelfTestCounts
from advlab.workflows.audit import joint_findings

FEW = 60
AT_EPSILON = ("noise", "fgsm", "pgd", "longer", "restarted", "apgd", "fab", "square")
ROLES = (*AT_EPSILON, "half", "double", "unbounded", "second")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def honest(trained, digits, folder):
    with workspace.using(folder):
        return advlab.audit(trained, digits, samples=FEW, surrogate="mnist", save=True, progress=False)


@pytest.fixture(scope="module")
def masked(trained, digits):
    return advlab.audit(guarded(trained, Rounded(name="rounded")), digits, samples=FEW, epsilon=0.3, progress=False)


@pytest.fixture(params=["honest", pytest.param("masked", marks=pytest.mark.thorough)])
def audit(request):
    """One audit after the other; where the gradient is masked each step is taken twice, which takes long."""
    return request.getfixturevalue(request.param)


def verdicts(audit):
    return {answer.code: answer.verdict for answer in audit.answers}


def test_an_honest_network_passes_whatever_can_be_tested(honest):
    assert honest.counts()["fail"] == 0
    assert honest.counts(INDICATORS) == {"pass": 6, "fail": 0, "not tested": 0}
    assert verdicts(honest)["transfer"] == "pass"
    assert {finding.code for finding in honest.findings} <= {"few-samples"}
    assert honest.recovery is None


@pytest.mark.thorough
def test_a_masked_gradient_fails_where_it_must(masked):
    failed = {code for code, verdict in verdicts(masked).items() if verdict == "fail"}
    assert {"white-box-is-best", "gradient-free", "differentiable", "unavailable-gradients"} <= failed
    assert verdicts(masked)["threat-model"] == "pass"
    assert {"zero-gradients", "weaker-than-black-box"} <= {finding.code for finding in masked.findings}


@pytest.mark.thorough
def test_the_number_behind_a_masked_gradient_heads_the_audit(masked):
    assert masked.recovery.after == masked.robust_accuracy
    assert masked.robust_accuracy.value == 0
    assert masked.table().startswith("recovery")


def test_every_answer_has_evidence_and_one_of_three_verdicts(audit):
    assert [(a.source, a.code, a.question) for a in audit.answers] == [
        (source, item.code, item.question) for source, items in ITEMS.items() for item in items
    ]
    for answer in audit.answers:
        assert answer.verdict in VERDICTS
        assert answer.evidence
        assert answer.question.endswith("?")


def test_what_software_cannot_decide_is_not_tested_and_says_why(audit):
    untested = {code for code, verdict in verdicts(audit).items() if verdict == "not tested"}
    people = {"adaptive-attacks", "published", "prior-work", "ablation", "provable"}
    assert people <= untested
    assert ("transfer" in untested) == (audit.threat.epsilon == 0.3)  # the masked one was given no surrogate


def test_the_worst_case_is_taken_image_by_image(honest):
    at_threat = [e for e in honest.evaluations.values() if e.attack.threat == honest.threat]
    assert honest.robust_accuracy.count == sum(
        all(robust) for robust in zip(*(e.robust for e in at_threat), strict=True)
    )
    assert honest.robust_accuracy.count <= min(e.robust_accuracy.count for e in at_threat)


def test_the_roles_differ_in_one_thing_each(honest):
    roles = honest.evaluations
    parameters = {role: dict(evaluation.attack.parameters) for role, evaluation in roles.items()}
    assert parameters["longer"].pop("steps") == 2 * parameters["pgd"].pop("steps")
    assert parameters["longer"] == parameters["pgd"]
    assert roles["restarted"].attack.restarts > 1
    assert [roles[role].attack.threat.epsilon for role in ("half", "double", "unbounded")] == [0.05, 0.2, 1.0]
    assert roles["transfer"].transfer_from == "mnist"
    assert roles["square"].attack.parameters["steps"] == 5000
    assert roles["fab"].result.minimal
    assert {role for role in roles if roles[role].attack.threat == honest.threat} == {*AT_EPSILON, "transfer"}
    assert (roles["second"].attack.threat.norm, roles["second"].attack.threat.epsilon) == ("l2", math.inf)


def test_each_attack_that_it_relies_on_has_a_self_test(honest):
    assert list(honest.selftests) == ["pgd", "apgd", "fab", "square"]
    for role, test in honest.selftests.items():
        assert test.found == test.planted > 0
        assert honest.evaluations[role].result.selftest == test.counts
    evidence = {answer.code: answer.evidence for answer in honest.answers}
    assert evidence["attacks-validated"].count(" of ") == 4
    assert "fab in l2" in evidence["broader-threats"]


def test_its_archives_are_saved_in_a_folder_of_their_own_and_not_overwritten(honest, folder, trained, digits):
    saved = {path.name: path for path in (folder / "attacks" / "digits" / "audit-linf-0.1").iterdir()}
    assert saved.keys() == {f"{e.attack.slug}.h5" for e in honest.evaluations.values()}
    stored = advlab.load_result(saved["pgd-linf-0.1.h5"])
    assert stored.selftest == honest.selftests["pgd"].counts
    with workspace.using(folder), pytest.raises(FileExists, match="holds 60 images, and 59 are asked for"):
        advlab.audit(trained, digits, samples=FEW - 1, save=True, progress=False)


def test_the_table_fits_in_100_columns_and_needs_no_colour(audit):
    text = audit.table()
    assert max(map(len, text.splitlines())) <= 100
    assert EVALUATION in text
    assert "not tested" in text
    assert text.count("\nFAIL ") == audit.counts()["fail"]
    assert text.count("\npass ") == audit.counts()["pass"]


def test_it_is_shown_in_a_notebook_with_names_escaped(honest):
    from dataclasses import replace

    page = replace(honest, classifier="<script>")._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<tr>") == len(honest.answers)
    assert repr(honest).startswith("Audit of digits at linf 0.1: ")


def test_its_json_holds_the_answers_and_all_evaluations(audit):
    read = json.loads(json.dumps(audit.to_dict(), allow_nan=False))
    assert read["schema"] == 3
    assert len(read["answers"]) == len(audit.answers)
    assert set(read["answers"][0]) == {"code", "question", "verdict", "evidence", "source"}
    assert set(read["evaluations"]) == set(audit.evaluations)
    assert read["threat"] == {"norm": "linf", "epsilon": audit.threat.epsilon, "target": None}
    assert read["robust_accuracy"]["total"] == FEW


def test_a_random_classifier_fails_in_both_checklists(trained, digits):
    random, data = guarded(trained, Noisy()), digits.take(FEW)
    evaluation = advlab.evaluate(advlab.attack(random, data, "pgd", steps=2, progress=False))
    targeted = advlab.evaluate(advlab.attack(random, data, "apgd", steps=1, n_target_classes=2, progress=False))
    run = AuditRun({**dict.fromkeys(ROLES, evaluation), "apgd": targeted}, evaluation.findings, selftests={})
    verdicts_by_code = {answer.code: answer.verdict for answer in answers(run)}
    assert verdicts_by_code["randomness"] == verdicts_by_code["unstable-predictions"] == "fail"
    assert verdicts_by_code["attacks-validated"] == "not tested"


def compared(n, successes, **fields):
    """The verdicts of an audit whose attacks succeed on so many of the first of ``n`` images, by role."""
    labels = np.arange(n) % 3
    gradients = {role: {"backward_passes": np.zeros(n, np.int32)} for role in ("noise", "square")}
    evaluations = {
        role: advlab.evaluate(
            build(
                labels,
                labels,
                np.where(np.arange(n) < count, (labels + 1) % 3, labels),
                apart=0.2,
                method="noise" if role == "noise" else "square" if role == "square" else "pgd",
                attack={"parameters": {"steps": 40, "n_target_classes": 2}},
                **fields,
                **gradients.get(role, {}),
            )
        )
        for role, count in (dict.fromkeys(ROLES, successes["pgd"]) | successes).items()
    }
    findings = advlab.cross_findings([evaluations["noise"], evaluations["pgd"]])
    return {answer.code: answer.verdict for answer in answers(AuditRun(evaluations, findings, selftests={}))}


@pytest.mark.parametrize(
    ("n", "epsilon", "pgd", "noise", "verdict"),
    [
        (20, 0.1, 7, 0, "not tested"),
        (200, 0.01, 9, 2, "not tested"),
        (1000, 0.01, 9, 2, "not tested"),
        (1000, 0.01, 0, 0, "not tested"),
        (1000, 0.1, 0, 0, "fail"),
        (400, 0.01, 100, 100, "fail"),
        (20, 0.1, 8, 0, "pass"),
        (400, 0.01, 100, 50, "pass"),
    ],
)
def test_too_few_images_to_tell_an_attack_from_noise_are_not_tested(n, epsilon, pgd, noise, verdict):
    verdicts_by_code = compared(n, {"pgd": pgd, "noise": noise}, epsilon=epsilon)
    assert verdicts_by_code["random-noise"] == verdicts_by_code["white-box-is-best"] == verdict


def test_a_comparison_of_fewer_successes_than_can_differ_is_not_tested():
    """Seven against none has p = 2 / 2**7 = 0.016, eight p = 0.008."""
    comparisons = {"steps-beat-one-step", "budget-helps", "gradient-free", "converged", "random-starts"}
    few, enough = (compared(200, {"pgd": count, "noise": 0}) for count in (7, 8))
    assert {few[code] for code in comparisons} == {"not tested"}
    assert {enough[code] for code in comparisons} == {"pass"}


def selftested(method, found, planted=20):
    goal = "minimal" if method == "fab" else None
    backward = {"backward_passes": np.zeros(3, np.int32)} if method == "square" else {}
    counts = SelfTestCounts(planted, found, 0)
    return advlab.evaluate(
        build([0, 1, 2], [0, 1, 2], [1, 2, 0], method=method, goal=goal, selftest=counts, **backward)
    )


def test_what_one_attack_with_gradients_finds_of_the_planted_examples_is_not_masked():
    def codes(*evaluations):
        return {finding.code for finding in joint_findings(evaluations)}

    assert "selftest-failed" in codes(selftested("fab", 9))
    assert "selftest-failed" not in codes(selftested("pgd", 20), selftested("fab", 9))
    assert "selftest-failed" in codes(selftested("pgd", 0), selftested("fab", 9))
    assert "selftest-failed" in codes(selftested("pgd", 0), selftested("square", 20))
    assert "selftest-failed" in codes(selftested("pgd", 0, planted=0), selftested("fab", 9))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"norm": "l0"}, InvalidValue, "choose one of: linf, l2, l1"),
        ({"norm": "none"}, InvalidValue, "choose one of"),
        ({"epsilon": 0}, InvalidValue, "above 0"),
        ({"epsilon": math.inf}, InvalidValue, "above 0"),
        ({"epsilon": 8}, InvalidValue, "8/255"),
        ({"epsilon": "many"}, InvalidValue, "many"),
        ({"samples": 0}, InvalidValue, "number of samples"),
        ({"recover_seconds": -1}, InvalidValue, "recover_seconds must be a number of seconds"),
        ({"recover_seconds": "long"}, InvalidValue, "0 for no recovery"),
        ({"surrogate": "mnsit"}, UnknownName, "mnist"),
    ],
)
def test_what_cannot_be_audited_is_refused(trained, digits, options, error, message):
    with pytest.raises(error, match=message):
        advlab.audit(trained, digits, **options)


def test_the_command_prints_both_checklists(monkeypatch, honest, tmp_path):
    options_given = {}
    monkeypatch.setattr(advlab, "audit", lambda **options: options_given.update(options) or honest)
    page = tmp_path / "page.html"
    outcome = CliRunner().invoke(main, ["audit", "--model", "digits", "--epsilon", "8/255", "--output", str(page)])
    assert outcome.exit_code == 0
    assert options_given["classifier"] == "digits"
    assert options_given["epsilon"] == "8/255"
    assert options_given["recover_seconds"] == 120
    assert honest.table() in outcome.stdout
    assert page.read_text("utf-8").startswith("<!")
    assert "Wrote " in outcome.stderr
    printed = CliRunner().invoke(main, ["audit", "--model", "digits", "--json"]).stdout
    assert json.loads(printed)["classifier"]["name"] == "digits"


def test_the_command_says_that_there_are_fewer_images_than_asked_for(monkeypatch, honest):
    monkeypatch.setattr(advlab, "audit", lambda **options: honest)
    outcome = CliRunner().invoke(main, ["audit", "--model", "digits", "--samples", "99999"])
    assert f"note: --samples asks for 99,999; there are only {FEW} images." in outcome.stderr


def test_the_next_command_names_the_model_as_it_was_given(monkeypatch, honest, tmp_path):
    monkeypatch.setattr(advlab, "audit", lambda **options: honest)
    path = tmp_path / "my net.h5"
    outcome = CliRunner().invoke(main, ["audit", "--model", str(path)])
    assert f"Next: advlab run standard --model '{path}'" in outcome.stderr
