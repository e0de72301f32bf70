"""The page in a real Chromium: it loads without errors or requests, its inspector works, and it can be read."""

import math
import os
from types import SimpleNamespace

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from results import build, one_hot_like

from advlab.evaluation.evaluation import evaluate
from advlab.evaluation.findings.checklists import EVALUATION, VERDICTS, Answer
from advlab.reporting.report import report
from advlab.text import as_images

LABELS = np.arange(60) % 3
NASTY = "<script>document.title = 'broken in'</script>"
INSTALL = "The report is tested in Chromium, which is not installed: apt-get install -y chromium"
MAIN = ("body", ".lead", ".robust", ".interval", ".note", ".eyebrow", ".verdict > a", "nav a", "thead th", "td")
INSPECTOR = (
    ".sentence",
    ".tools select",
    ".tools button",
    ".level",
    ".sign",
    "li.right",
    "li.wrong",
    "li:not([class])",
    ".role",
)


def minimal(**fields):
    """Image ``i`` is adversarial from ``(i + 1) / 200`` on, the last ten never; image 0 is misclassified when clean."""
    clean = np.where(np.arange(60) == 0, (LABELS + 1) % 3, LABELS)
    adversarial = np.where(np.arange(60) < 50, (LABELS + 1) % 3, LABELS)
    change = (np.arange(60) + 1) / 200
    sizes = {"method": "fmn", "epsilon": math.inf, "change": change, "split": "train"}
    return evaluate(build(LABELS, clean, adversarial, classes=("shirt", NASTY, "bag"), **(sizes | fields)))


def bounded(**fields):
    return minimal(method="pgd", epsilon=0.3, **fields)


class Other:
    name, digest = NASTY, "e" * 64

    def probabilities(self, x):
        return one_hot_like(LABELS, 3)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        if os.environ.get("CI") or os.environ.get("ADVLAB_BROWSER"):
            pytest.fail(INSTALL)
        pytest.skip(INSTALL)
    place = tmp_path_factory.mktemp("page") / "report.html"
    evaluations = [minimal(), bounded()]
    report([*evaluations, evaluate(evaluations[1].result, Other())], place)
    with Browser() as browser:
        browser.place = place
        yield browser


@pytest.fixture
def page(browser):
    browser.set_viewport(1400)
    return browser.open(browser.place)


def text(page, selector):
    return page.evaluate(f"document.querySelector('{selector}').textContent").replace("\N{NO-BREAK SPACE}", " ")


def enter(page, name, value, event):
    script = (
        f"field = document.getElementById('{name}'); field.value = {value}; field.dispatchEvent(new Event('{event}'))"
    )
    page.evaluate(script)


def choose(page, index):
    enter(page, "choice", index, "change")


def slide(page, number):
    enter(page, "epsilon", number, "input")


def thumb(page, position):
    """The number of the thumbnail of an image, or text, of the split."""
    return page.evaluate(
        "[...document.querySelectorAll('.thumb')]"
        f".findIndex(button => / {position},/.test(button.getAttribute('aria-label')))"
    )


def positions(page, condition):
    """The positions of the embedded images that fulfil a condition in JavaScript."""
    return page.evaluate(
        f"JSON.parse(document.getElementById('data').textContent).choices[0].samples"
        f".filter({condition}).map(s => s.position)"
    )


def test_it_loads_without_an_error_and_without_a_request(page):
    choose(page, 1)
    choose(page, 0)
    slide(page, 10)
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith("data:")] == [page.place.as_uri()]


def test_names_that_are_code_are_shown_as_text(page):
    assert page.evaluate("document.title").startswith("Robustness of stub")
    assert "broken in" not in page.evaluate("document.title.replaceAll(/<script>.*?<.script>/g, '')")
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    page.evaluate(
        f"document.querySelectorAll('.thumb')[{thumb(page, positions(page, 's => s.label === 1')[0])}].click()"
    )
    assert NASTY in text(page, "#verdict")


def test_a_click_selects_an_image_and_shows_its_predictions(page):
    choose(page, 1)  # the bounded attack, with no slider
    assert page.evaluate("document.getElementById('slider').checkVisibility()") is False
    position = positions(page, "s => s.outcome === 'adversarial' && s.label === 2")[0]
    page.evaluate(f"document.querySelectorAll('.thumb')[{thumb(page, position)}].click()")
    assert text(page, "#verdict") == f"Image {position}, true class bag: adversarial, classified as shirt."
    assert text(page, "#before .right") == "✓ bag90.0 %"
    assert text(page, "#after .wrong") == "✗ shirt90.0 %"
    assert text(page, "#after .right") == "✓ bag5.0 %"
    width = "document.querySelector('#after .wrong .fill').getBoundingClientRect().width"
    whole = "document.querySelector('#after .wrong .bar').getBoundingClientRect().width"
    assert page.evaluate(f"{width} / {whole}") == pytest.approx(0.9, abs=0.01)
    for picture in ("clean", "perturbation", "adversarial"):
        assert page.evaluate(f"document.getElementById('{picture}').naturalWidth") == 4


def test_the_arrow_keys_move_over_the_images_and_keep_the_focus(page):
    page.evaluate("document.querySelector('.thumb[tabindex=\"0\"]').focus()")
    focused = "[...document.querySelectorAll('.thumb')].indexOf(document.activeElement)"
    checked = "[...document.querySelectorAll('.thumb')].findIndex(t => t.getAttribute('aria-checked') === 'true')"
    page.press("Home")
    assert page.evaluate(focused) == page.evaluate(checked) == 0
    page.press("ArrowRight")
    page.press("ArrowDown")
    assert page.evaluate(focused) == page.evaluate(checked) == 2
    page.press("ArrowLeft")
    assert page.evaluate(focused) == 1
    page.press("End")
    assert page.evaluate(focused) == 39
    assert page.evaluate("document.querySelectorAll('.thumb[tabindex=\"0\"]').length") == 1
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_slider_shows_robust_accuracy_and_the_outcome_of_each_image(page):
    adversarial = positions(page, "s => s.outcome === 'adversarial'")
    end = page.evaluate("Number(document.getElementById('epsilon').max)")
    assert end == 200
    for number in (0, 100, end):
        slide(page, number)
        epsilon = 0.25 * number / end
        expected = [position for position in adversarial if (position + 1) / 200 <= epsilon + 1e-6]
        marks = page.evaluate(
            "[...document.querySelectorAll('.thumb')].filter(t => t.dataset.outcome === 'adversarial').length"
        )
        assert marks == len(expected)
    assert text(page, "#level").startswith("Of 60 train images of digits, 16.7 % [")
    assert page.evaluate("field.getAttribute('aria-valuetext')") == "epsilon L∞ 0.25: 16.7\xa0% remain correct"
    assert text(page, "#size") == "L∞ 0.25"


def test_an_image_is_still_robust_until_epsilon_reaches_its_smallest_change(page):
    position = next(p for p in positions(page, "s => s.label === 0 && s.distance > 0.06 && s.distance < 0.2"))
    page.evaluate(f"document.querySelectorAll('.thumb')[{thumb(page, position)}].click()")
    distance = (position + 1) / 200
    slide(page, math.floor(distance / 0.25 * 200) - 2)
    assert "true class shirt: still robust at" in text(page, "#verdict")
    assert f"adversarial from {distance:.3g}" in text(page, "#verdict")
    assert page.evaluate("document.getElementById('adversarial').src === document.getElementById('clean').src")
    assert page.evaluate("document.querySelector('#after .wrong')") is None
    slide(page, math.ceil(distance / 0.25 * 200) + 2)
    assert (
        text(page, "#verdict")
        == f"Image {position}, true class shirt: adversarial from {distance:.3g}, classified as {NASTY}."
    )
    assert page.evaluate("document.getElementById('adversarial').src !== document.getElementById('clean').src")


def test_the_arrow_keys_move_the_slider(page):
    page.evaluate("slider = document.getElementById('epsilon'); slider.focus()")
    before = page.evaluate("Number(slider.value)")
    page.press("ArrowRight")
    assert page.evaluate("Number(slider.value)") == before + 1
    assert page.evaluate("slider.getAttribute('aria-valuetext')").startswith("epsilon L∞")


def text_attacked(count):
    """Texts of four words, of which ``count`` were replaced; with one the even ones are misclassified, with two all."""
    before = np.full((60, 4), 4)
    after = np.where(np.arange(4) < count, 5, before)
    adversarial = np.where((count > 1) | (np.arange(60) % 2 == 0), (LABELS + 1) % 3, LABELS)
    words = {"x": as_images(before), "x_adv": as_images(after), "vocabulary": ("", "", "", "", "dull", "lovely")}
    clean = np.where(np.arange(60) == 0, (LABELS + 1) % 3, LABELS)
    confidences = {"adversarial_probabilities": one_hot_like(adversarial, 3, 0.5 + count / 10)}
    sizes = {"method": "hotflip", "norm": "l0", "epsilon": float(count)}
    return evaluate(build(LABELS, clean, adversarial, **sizes, **words, **confidences))


@pytest.fixture
def texts(browser, tmp_path):
    browser.set_viewport(1400)
    report([text_attacked(count) for count in (1, 2, 4)], tmp_path / "texts.html")
    return browser.open(tmp_path / "texts.html")


def test_a_slider_over_the_words_that_may_change_shows_the_text_and_the_prediction_for_each(texts):
    samples = "JSON.parse(document.getElementById('data').textContent).choices[1].samples"
    shown = texts.evaluate(f"{samples}.map(s => s.position)")
    odd = next(position for position in shown if position % 2)
    texts.evaluate(f"document.querySelectorAll('.thumb')[{thumb(texts, odd)}].click()")
    assert text(texts, "#verdict").startswith(f"Text {odd}, true class ")
    adversarial = "[...document.querySelectorAll('.thumb')].filter(t => t.dataset.outcome === 'adversarial').length"
    even, correct = (sum(1 for p in shown if p and p % step == 0) for step in (2, 1))
    assert texts.evaluate("Number(document.getElementById('epsilon').max)") == 3
    for number, words, confidence, successes, rate in (
        (0, 0, "90.0 %", 0, "98.3 %"),
        (1, 1, "60.0 %", even, "50.0 %"),
        (2, 2, "70.0 %", correct, "0.0 %"),
        (3, 4, "90.0 %", correct, "0.0 %"),
    ):
        slide(texts, number)
        assert text(texts, "#size") == f"changed words ≤ {words}"
        assert texts.evaluate("document.querySelectorAll('#words ins').length") == words
        assert texts.evaluate(adversarial) == successes
        outcome = ("adversarial", ".wrong") if number > 1 else ("still robust", ".right")
        assert text(texts, f"#after {outcome[1]} .value") == confidence
        assert f"{outcome[0]} at {words}, classified as" in text(texts, "#verdict")
        assert text(texts, "#level").startswith(f"Of 60 test texts of digits, {rate}")
    assert texts.errors == []


@pytest.mark.parametrize("width", [400, 1400])
def test_the_slider_over_words_fits_and_is_legible(texts, width):
    for scheme in ("light", "dark"):
        texts.set_viewport(width, scheme=scheme)
        slide(texts, 3)
        assert texts.evaluate("document.documentElement.scrollWidth") <= width
        for selector in (".words del", ".level", "#size"):
            assert texts.evaluate(f"({CONTRAST})('{selector}')") >= 4.5


def test_the_button_shows_the_clean_image_in_place_of_the_adversarial_one(page):
    choose(page, 1)
    same = "document.getElementById('adversarial').src === document.getElementById('clean').src"
    page.evaluate(
        f"document.querySelectorAll('.thumb')[{thumb(page, positions(page, 's => s.position > 9')[0])}].click()"
    )
    assert page.evaluate(same) is False
    page.evaluate("document.getElementById('swap').click()")
    assert page.evaluate(same) is True
    assert page.evaluate("document.getElementById('swap').getAttribute('aria-pressed')") == "true"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(page, scheme):
    page.set_viewport(1400, scheme=scheme)
    choose(page, 1)
    page.evaluate("document.querySelectorAll('.thumb')[5].click()")
    for selector in (*MAIN, *INSPECTOR):
        ratio = page.evaluate(f"({CONTRAST})('{selector}')")
        assert ratio is not None, f"no element is '{selector}'"
        assert ratio >= 4.5, f"{selector} has contrast {ratio:.2f} in {scheme}"


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport(width)
    for choice in (0, 1):
        choose(page, choice)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_answers_of_an_audit_are_legible_on_a_phone_and_a_wide_screen(browser, tmp_path, width, scheme):
    long = "pgd succeeds on 12,345 images, " * 12 + "x" * 300
    answers = tuple(Answer(v, "Does doubling the steps change nothing?", v, long, EVALUATION) for v in VERDICTS)
    place = tmp_path / "audit.html"
    audit = SimpleNamespace(
        evaluations={"pgd": bounded()}, threat=bounded().attack.threat, answers=answers, findings=(), recovery=None
    )
    report(audit, place)
    browser.set_viewport(width, scheme=scheme)
    page = browser.open(place)
    table = "document.querySelector('.answers')"
    assert page.evaluate(f"{table} === document.querySelector('table')")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(f"{table}.scrollWidth <= {table}.parentElement.clientWidth")
    for selector in (".answers tbody th", ".answers .pass", ".answers .fail", ".answers .not-tested", ".evidence"):
        ratio = page.evaluate(f"({CONTRAST})('{selector}')")
        assert ratio is not None, f"no element is '{selector}'"
        assert ratio >= 4.5, f"{selector} has contrast {ratio:.2f} in {scheme}"


@pytest.mark.parametrize("width", [360, 400, 800, 1000, 1400])
@pytest.mark.parametrize("kind", ["page", "texts"])
def test_every_number_of_the_attack_table_is_on_the_screen(request, kind, width):
    page = request.getfixturevalue(kind)
    page.set_viewport(width)
    cells = "[...document.querySelectorAll('.cards td')]"
    assert page.evaluate(f"{cells}.every(cell => cell.getBoundingClientRect().right <= innerWidth)")
    labels = "getComputedStyle(document.querySelector('.cards td'), '::before').content"
    assert (page.evaluate(labels) == '"model"') == (width <= 992)


def test_in_print_there_are_pictures_instead_of_the_inspector(page):
    shown = "document.querySelector('{}').checkVisibility()"
    assert page.evaluate(shown.format(".sheet")) is False
    page.set_viewport(800, media="print")
    assert page.evaluate(shown.format("#inspector")) is False
    assert page.evaluate(shown.format("nav")) is False
    assert page.evaluate(shown.format(".sheet")) is True
    assert page.evaluate("getComputedStyle(document.querySelector('.plot')).breakInside") == "avoid"


def test_without_the_script_the_pictures_are_shown(page):
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    page.open(page.place)
    shown = [page.evaluate(f"document.querySelector('{s}').checkVisibility()") for s in (".sheet", "#inspector")]
    page.send("Emulation.setScriptExecutionDisabled", value=False)
    assert shown == [True, False]


# WCAG 2.2: (lighter + 0.05) / (darker + 0.05) of relative luminances; the first opaque background counts.
CONTRAST = """
selector => {
  const element = document.querySelector(selector);
  if (!element) return null;
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let background = element;
  while (numbers(getComputedStyle(background).backgroundColor)[3] === 0) background = background.parentElement;
  const luminances = [getComputedStyle(element).color, getComputedStyle(background).backgroundColor].map(light);
  luminances.sort((a, b) => a - b);
  return (luminances[1] + 0.05) / (luminances[0] + 0.05);
}
"""
