"""The report page: its text and its contents, without any network request."""

import math
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from results import build, many

import advlab
from advlab import documentation, figures
from advlab.errors import AdvlabError, FileExists, InvalidValue
from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.findings.checklists import EVALUATION, VERDICTS, Answer
from advlab.evaluation.findings.checks import CHECKS
from advlab.evaluation.findings.cross import CROSS_CHECKS
from advlab.reporting.report import report
from advlab.results.combine import worst_case
from advlab.threat import ThreatModel

LABELS = np.arange(200) % 3
NASTY = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Elements, identifiers, addresses and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.ids, self.addresses, self.images, self.words = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.elements.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "img":
            self.images.append(values)
        self.addresses += [values[name] for name in ("src", "href", "xlink:href", "srcset", "action") if name in values]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def attacked(successes=150, **fields):
    adversarial = np.where(np.arange(200) < successes, (LABELS + 1) % 3, LABELS)
    return evaluate(build(LABELS, LABELS, adversarial, **fields))


def test_the_first_sentence_is_the_summary():
    page = Page(report([attacked(60, method="fgsm"), attacked(150)]))
    assert (
        "Of 200 test images of digits, stub classifies 100.0 % correctly; under the strongest attack here "
        "(PGD, L∞ 0.1) 25.0 % [19.5, 31.4] remain correct." in page.text
    )
    assert "its mean confidence in the true class drops from 90 % to 26 %" in page.text
    assert "worst of" not in page.text


def test_attacks_that_succeed_on_different_images_are_also_counted_together():
    other = np.where(np.arange(200) >= 100, (LABELS + 1) % 3, LABELS)
    page = Page(report([attacked(50, method="fgsm"), evaluate(build(LABELS, LABELS, other))]))
    assert "under the worst of 2 attacks (L∞ 0.1) 25.0 % [19.5, 31.4] remain correct" in page.text
    assert "The strongest alone (PGD) leaves 50.0 %" in page.text


def headlines(page):
    """The first sentence of each classifier: which threat model, and what is left under it."""
    return re.findall(r"classifies [\d.]+ % correctly; under (.+?) ([\d.]+ %) \[", page.text)


def suite(wrong_by_part, **fields):
    """The parts of a cascade and its worst case: each part is given the images that those before it left."""
    results, attempted = [], np.ones(200, bool)
    for method, wrong in wrong_by_part.items():
        predicted = np.where(attempted & (np.arange(200) < wrong), (LABELS + 1) % 3, LABELS)
        results.append(build(LABELS, LABELS, predicted, method=method, attempted=attempted, **fields))
        attempted = results[-1].robust
    return [evaluate(result) for result in (*results, worst_case(results, "standard"))]


def test_each_threat_model_has_one_number_and_the_lowest_over_all_heads_nothing():
    page = Page(report([attacked(100), attacked(20, method="fgsm"), attacked(196, epsilon=0.3)]))
    assert headlines(page) == [("the strongest attack here (PGD, L∞ 0.1)", "50.0 %")]
    assert "Other threat models, each a number of its own: L∞ 0.3: 2.0 % [0.8, 5.0]" in page.text


def test_several_classifiers_are_quoted_at_the_same_epsilon():
    other = {"classifier": "other", "classifier_digest": "e" * 64}
    page = Page(report([attacked(190, epsilon=0.3), attacked(50), attacked(80, **other)]))
    assert headlines(page) == [
        ("the strongest attack here (PGD, L∞ 0.1)", "75.0 %"),
        ("the strongest attack here (PGD, L∞ 0.1)", "60.0 %"),
    ]


def test_a_suite_heads_the_page_with_its_worst_case_whatever_else_was_attacked_at_other_epsilons():
    parts = suite({"apgd": 80, "fab": 90, "square": 120})
    page = Page(report([attacked(195, epsilon=0.3), *parts, attacked(30, method="fgsm")]))
    assert headlines(page) == [("the suite standard, its worst case image by image (L∞ 0.1)", "40.0 %")]
    archives_of_other_images = attacked(150, dataset_digest="f" * 64)
    assert headlines(Page(report([archives_of_other_images, *parts]))) == headlines(page)
    assert [number for _, number in headlines(Page(report(parts[:-1])))] == ["40.0 %"]


def audited(roles, asked=0.1):
    """An audit of these evaluations, with one answer of each verdict."""
    answers = tuple(
        Answer(verdict, f"Is it <{verdict}>?", verdict, f"evidence of {verdict}", EVALUATION) for verdict in VERDICTS
    )
    threat = ThreatModel("linf", asked)
    return SimpleNamespace(evaluations=roles, threat=threat, answers=answers, findings=(), recovery=None)


def test_controls_never_head_the_page_of_an_audit():
    roles = {
        "noise": attacked(10, method="noise"),
        "pgd": attacked(90),
        "half": attacked(40, epsilon=0.05),
        "twice as long": attacked(200, epsilon=0.2, attack={"parameters": {"steps": 80}, "overrides": ("steps",)}),
        "one step": attacked(200, epsilon=0.2, method="fgsm"),
        **{name: attacked(200, epsilon=epsilon) for name, epsilon in (("double", 0.2), ("unbounded", 1.0))},
    }
    page = Page(report(audited(roles)))
    assert headlines(page) == [("the strongest attack here (PGD, L∞ 0.1)", "55.0 %")]
    assert "Other threat models" not in page.text


def test_the_answers_of_an_audit_are_the_first_table_of_its_page():
    text = report(audited({"pgd": attacked(90)}))
    first = Page(text[text.index("<table") : text.index("</table>")])
    for verdict in VERDICTS:
        assert f"Is it <{verdict}>? {verdict} evidence of {verdict}" in first.text
    assert first.elements.count("tr") == 1 + 2 + len(VERDICTS)  # heads, a line for each checklist, the answers
    assert "Checklists: 1 pass, 1 fail, 1 not tested" in Page(text).text
    assert "Checklists" not in Page(report(attacked(90))).text


def test_a_finding_that_only_the_audit_knows_is_on_its_page():
    audit = audited({"pgd": attacked(90)})
    audit.findings = (evaluate(build([0], [0], [1], split="train")).findings[0],)
    assert "audit: " in Page(report(audit)).text


def test_a_minimal_attack_is_summarised_by_its_distance():
    page = Page(report(attacked(150, method="deepfool", norm="l2", epsilon=math.inf, change=0.125)))
    assert "a change of L2 size 0.5 or less suffices (DeepFool)" in page.text
    assert "strongest attack here" not in page.text
    robust = Page(report(attacked(20, method="deepfool", norm="l2", epsilon=math.inf)))
    assert "DeepFool does not succeed on more than half of the correct images" in robust.text


def test_findings_are_shown_with_what_to_do_and_their_absence_too():
    checks = len(CHECKS) + len(CROSS_CHECKS)
    assert f"None of the {checks} checks found a fault" in Page(report(attacked(190, split="test"))).text
    page = Page(report(attacked(split="train")))
    assert "training-images" in page.text
    assert "Attack images of the test split." in page.text
    assert f"Can this be believed? 1 warning 1 info from {checks} checks" in page.text


def test_findings_of_the_comparison_of_attacks_are_shown_too():
    square = attacked(190, method="square", backward_passes=np.zeros(200, np.int32))
    page = Page(report([square, attacked(100)]))
    assert "attacks compared:" in page.text


@pytest.mark.parametrize("template", sorted((Path(advlab.__file__).parent / "reporting").glob("*.html")), ids=str)
def test_no_expression_stands_in_another_where_it_would_be_shown_as_it_is(template):
    expressions = re.findall(r"\{\{.*?\}\}|\{%.*?%\}", template.read_text("utf-8"), re.DOTALL)
    assert not [text for text in expressions if "{{" in text[2:]]


def test_nothing_is_loaded_from_anywhere():
    page = Page(report([attacked(), attacked(norm="l2", epsilon=math.inf)]))
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not {"link", "iframe", "object", "embed"} - {"link"} & set(page.elements)
    text = report(attacked())
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\((?!#)", text)


def test_identifiers_are_unique_also_with_several_figures():
    ids = Page(report([attacked(), attacked(60, method="fgsm")])).ids
    assert len(ids) == len(set(ids))


def test_names_that_are_code_are_harmless():
    fields = {"classifier": NASTY, "classes": (NASTY, "b", "c"), "dataset": NASTY, "command": NASTY}
    text = report(attacked(split="train", versions={NASTY: NASTY}, **fields))
    assert NASTY not in text
    assert Page(text).elements.count("script") == 2  # the data and the program
    assert "$x^$" in report(attacked(classifier="$x^$"))


def test_pictures_have_alternative_texts():
    page = Page(report(attacked()))
    shown = [image for image in page.images if "src" in image]  # the script fills in the others
    assert len(shown) >= 36
    assert all(image["alt"] for image in shown)
    assert "amplified 5 times" in shown[1]["alt"]
    assert "correct:" in page.text
    assert "wrong:" in page.text
    assert page.elements.count("h1") == 1


def test_the_details_have_command_seed_versions_and_digests():
    page = Page(report(attacked(command="advlab attack --method pgd --seed 7")))
    for fact in ("advlab attack --method pgd --seed 7", "c" * 64, "d" * 64, "advlab 0.1.0", "seed 0"):
        assert fact in page.text


def test_transfer_and_several_classifiers_each_get_their_sentence():
    class Other:
        name, digest = "other", "e" * 64

        def probabilities(self, x):
            return build(LABELS, LABELS, LABELS).clean_probabilities

    evaluation = attacked()
    page = Page(report([evaluation, evaluate(evaluation.result, Other())]))
    assert "stub classifies 100.0 %" in page.text
    assert "other classifies 100.0 % correctly" in page.text
    assert "crafted against stub" in page.text


def test_report_is_written_whole_or_not_at_all(tmp_path):
    page = tmp_path / "folder" / "report.html"
    assert page.parent.exists() is False
    assert report(attacked(), page) == page.read_text("utf-8")
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]
    with pytest.raises(AdvlabError, match="Cannot write"):
        report(attacked(), page / "inside.html")
    with pytest.raises(InvalidValue, match=r"end it in \.html"):
        report(attacked(), page.with_suffix(".h5"))
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


def test_nothing_to_report_is_an_error():
    with pytest.raises(InvalidValue, match="Got none"):
        report([])


@pytest.mark.parametrize("shape", [(4, 4, 3), (300, 200, 3), (4, 4, 2)])
def test_colour_large_and_odd_images_are_shown(shape):
    images = Page(report(evaluate(build([0, 1], [0, 1], [1, 1], shape=shape)))).images
    assert len([image for image in images if "src" in image]) == 6  # the example and one of two in the sheet


def test_an_evaluation_where_nothing_was_correct_still_has_a_page():
    page = Page(report(evaluate(build([0, 1], [1, 0], [1, 0], norm="none", epsilon=math.inf))))
    assert "classifies 0.0 % correctly" in page.text
    assert "nan" not in page.text


@pytest.mark.thorough
def test_ten_thousand_images_stay_quick_and_small():
    evaluation = evaluate(many())
    start = time.process_time()
    text = report([evaluation])
    assert time.process_time() - start < 3
    assert len(text.encode()) < 5_000_000


@pytest.mark.thorough
def test_large_images_of_many_attacks_stay_small():
    draw = np.random.default_rng(0)
    x = draw.random((20, 224, 224, 3), np.float32)
    result = build(np.zeros(20), np.zeros(20), np.ones(20), shape=(224, 224, 3), x=x, x_adv=x)
    assert len(report([evaluate(result)] * 6).encode()) < 5_000_000


def test_perturbation_is_grey_where_unchanged_and_scaled_to_the_budget():
    x = np.full((1, 3, 1), 0.5, np.float32)
    x_adv = x + np.array([0, 0.1, -0.05], np.float32)[None, :, None]
    assert figures.perturbation_image(x, x_adv, 0.1).ravel() == pytest.approx([0.5, 1, 0.25])
    assert figures.perturbation_image(x, x_adv).ravel() == pytest.approx([0.5, 1, 0.25])
    assert figures.perturbation_image(x, x).ravel() == pytest.approx([0.5, 0.5, 0.5])


def test_png_keeps_every_level_of_grey():
    from io import BytesIO

    from matplotlib.image import imread

    levels = np.arange(256).reshape(16, 16, 1) / 255
    decoded = imread(BytesIO(figures.png(levels)))
    np.testing.assert_array_equal(np.rint(decoded[..., 0] * 255), np.arange(256).reshape(16, 16))


def test_svg_is_deterministic_and_has_the_text_colour_of_the_page():
    first, second = (figures.svg(figures.confidence_shift(attacked())) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert "currentColor" in first
    assert figures.INK not in first


def test_figures_show_the_numbers_of_the_evaluation():
    bars = figures.accuracy_bars([attacked(150)]).axes[0]
    assert sorted(bar.get_width() for bar in bars.patches) == [25.0, 100.0]
    histogram = figures.confidence_shift(attacked(150)).axes[0]
    heights = {round(bar.get_x(), 2): round(bar.get_height(), 3) for bar in histogram.patches if bar.get_height()}
    assert heights == {-0.85: 0.75, 0.0: 0.25}


def test_a_report_replaces_a_report_and_nothing_else(tmp_path):
    page = tmp_path / "report.html"
    report(attacked(50), page)
    report(attacked(50), page)
    page.write_text("<!doctype html><title>My diary</title>")
    with pytest.raises(FileExists, match=r"is no report of advlab, and would be replaced\. Name another page"):
        report(attacked(50), page)
    assert "My diary" in page.read_text()


ADDRESS = "https://robust.example/docs"


def finding_links(page):
    return [address for address in page.addresses if "findings.html" in address]


@pytest.fixture
def no_address(monkeypatch):
    monkeypatch.setenv("ADVLAB_DOCS_URL", "")


@pytest.mark.parametrize("address", [ADDRESS, f"{ADDRESS}/", "../site", "http://localhost:8000"])
def test_findings_lead_to_the_documentation_where_it_has_an_address(address, no_address):
    text = report([attacked(150)], docs_url=address)
    codes = [finding.code for finding in attacked(150).findings]
    assert codes
    assert finding_links(Page(text)) == [f"{address.rstrip('/')}/findings.html#{code}" for code in codes]
    assert "advlab show" not in text


def test_without_an_address_a_finding_names_the_command_that_explains_it(no_address):
    page = Page(report([attacked(150)]))
    assert finding_links(page) == []
    for finding in attacked(150).findings:
        assert f"In a terminal advlab show {finding.code} explains it." in page.text
        assert " ".join(f"Raised because {finding.raised_if}. {finding.means} {finding.do}".split()) in page.text


def test_the_address_comes_from_the_environment_else_from_the_package(monkeypatch):
    monkeypatch.setenv("ADVLAB_DOCS_URL", ADDRESS)
    assert finding_links(Page(report([attacked(150)])))[0].startswith(f"{ADDRESS}/findings.html#")
    assert finding_links(Page(report([attacked(150)], docs_url=""))) == []
    monkeypatch.delenv("ADVLAB_DOCS_URL")
    links = {"Project-URL": ["Source, https://robust.example/code", "Documentation, https://robust.example/package"]}
    monkeypatch.setattr(documentation.metadata, "metadata", lambda name: SimpleNamespace(get_all=links.get))
    assert documentation.docs_address() == "https://robust.example/package"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JavaScript://robust.example/%0aalert(1)",
        "data:text/html,x",
        "ftp://robust.example",
        "file:///etc/passwd",
        "//robust.example",
        "//robust.example/docs",
        "/docs",
        "https:",
        "https://[robust",
        "https://robust.example/?q=1",
        "https://robust.example/#here",
        'https://robust.example/"onclick="x',
        "docs site",
        "java\nscript:alert(1)",
        "\\\\robust.example",
        "C:\\docs",
    ],
)
def test_an_address_that_is_neither_of_the_web_nor_relative_is_refused(address):
    with pytest.raises(InvalidValue, match=r"must begin with http:// or https://, or be a path relative.*--docs-url"):
        report([attacked(150)], docs_url=address)
