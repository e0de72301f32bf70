"""The page in a real Chromium: it loads without errors or requests, its inspector works, and it can be read."""

import math
import os

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from results import build, one_hot_like

from advlab.evaluation.evaluation import evaluate
from advlab.reporting.report import report

LABELS = np.arange(60) % 3
NASTY = "<script>document.title = 'broken in'</script>"
INSTALL = "The report is tested in Chromium, which is not installed: apt-get install -y chromium"
MAIN = ("body", ".lead", ".robust", ".interval", ".note", ".eyebrow", ".verdict > a", "nav a", "thead th", "td")
INSPECTOR = (
    ".said",
    ".tools select",
    ".tools button",
    ".level",
    ".sign",
    "li.right",
    "li.wrong",
    "li:not([class])",
    ".what",
)


def minimal(**fields):
    """Image ``i`` falls at ``(i + 1) / 200``; the last ten never do, and image 0 was wrong before."""
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
    browser.look(1400)
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
    """The number of the thumbnail of an image of the split."""
    return page.evaluate(
        "[...document.querySelectorAll('.thumb')]"
        f".findIndex(button => button.getAttribute('aria-label').startsWith('Image {position},'))"
    )


def known(page, test):
    """The positions of the embedded images that fulfil a test in JavaScript."""
    return page.evaluate(
        f"JSON.parse(document.getElementById('data').textContent).choices[0].samples"
        f".filter({test}).map(s => s.position)"
    )


def test_it_loads_without_an_error_and_without_a_request(page):
    choose(page, 1)
    choose(page, 0)
    slide(page, 10)
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith("data:")] == [page.place.as_uri()]


def test_names_that_are_code_stay_names(page):
    assert page.evaluate("document.title").startswith("Robustness of stub")
    assert "broken in" not in page.evaluate("document.title.replaceAll(/<script>.*?<.script>/g, '')")
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    page.evaluate(f"document.querySelectorAll('.thumb')[{thumb(page, known(page, 's => s.label === 1')[0])}].click()")
    assert NASTY in text(page, "#verdict")


def test_a_click_picks_an_image_and_shows_what_the_classifier_answered(page):
    choose(page, 1)  # the bounded attack, with no slider
    assert page.evaluate("document.getElementById('slider').checkVisibility()") is False
    position = known(page, "s => s.outcome === 'fooled' && s.label === 2")[0]
    page.evaluate(f"document.querySelectorAll('.thumb')[{thumb(page, position)}].click()")
    assert text(page, "#verdict") == f"Image {position}, true class bag: fooled, now shirt."
    assert text(page, "#before .right") == "✓ bag90.0 %"
    assert text(page, "#after .wrong") == "✗ shirt90.0 %"
    assert text(page, "#after .right") == "✓ bag5.0 %"
    width = "document.querySelector('#after .wrong .fill').getBoundingClientRect().width"
    whole = "document.querySelector('#after .wrong .bar').getBoundingClientRect().width"
    assert page.evaluate(f"{width} / {whole}") == pytest.approx(0.9, abs=0.01)
    for picture in ("clean", "perturbation", "adversarial"):
        assert page.evaluate(f"document.getElementById('{picture}').naturalWidth") == 4


def test_the_arrow_keys_walk_over_the_images_and_keep_the_focus(page):
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


def test_the_slider_tells_accuracy_and_fells_the_images_in_their_order(page):
    falling = known(page, "s => s.outcome === 'fooled'")
    end = page.evaluate("Number(document.getElementById('epsilon').max)")
    assert end == 200
    for number in (0, 100, end):
        slide(page, number)
        epsilon = 0.25 * number / end
        fallen = [position for position in falling if (position + 1) / 200 <= epsilon + 1e-6]
        marks = page.evaluate(
            "[...document.querySelectorAll('.thumb')].filter(t => t.dataset.outcome === 'fooled').length"
        )
        assert marks == len(fallen)
    assert text(page, "#level").startswith("Of 60 train images of digits, 16.7 % [")
    assert page.evaluate("field.getAttribute('aria-valuetext')") == "epsilon L∞ 0.25: 16.7\xa0% remain correct"
    assert text(page, "#size") == "L∞ 0.25"


def test_an_image_stands_until_epsilon_reaches_where_it_falls(page):
    position = next(p for p in known(page, "s => s.label === 0 && s.falls > 0.06 && s.falls < 0.2"))
    page.evaluate(f"document.querySelectorAll('.thumb')[{thumb(page, position)}].click()")
    falls = (position + 1) / 200
    slide(page, math.floor(falls / 0.25 * 200) - 2)
    assert "true class shirt: stands at" in text(page, "#verdict")
    assert f"falls at {falls:.3g}" in text(page, "#verdict")
    assert page.evaluate("document.getElementById('adversarial').src === document.getElementById('clean').src")
    assert page.evaluate("document.querySelector('#after .wrong')") is None
    slide(page, math.ceil(falls / 0.25 * 200) + 2)
    assert text(page, "#verdict") == f"Image {position}, true class shirt: falls at {falls:.3g}, as {NASTY}."
    assert page.evaluate("document.getElementById('adversarial').src !== document.getElementById('clean').src")


def test_the_arrow_keys_move_the_slider(page):
    page.evaluate("slider = document.getElementById('epsilon'); slider.focus()")
    before = page.evaluate("Number(slider.value)")
    page.press("ArrowRight")
    assert page.evaluate("Number(slider.value)") == before + 1
    assert page.evaluate("slider.getAttribute('aria-valuetext')").startswith("epsilon L∞")


def test_the_button_shows_the_clean_image_in_place_of_the_adversarial_one(page):
    choose(page, 1)
    same = "document.getElementById('adversarial').src === document.getElementById('clean').src"
    page.evaluate(f"document.querySelectorAll('.thumb')[{thumb(page, known(page, 's => s.position > 9')[0])}].click()")
    assert page.evaluate(same) is False
    page.evaluate("document.getElementById('swap').click()")
    assert page.evaluate(same) is True
    assert page.evaluate("document.getElementById('swap').getAttribute('aria-pressed')") == "true"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(page, scheme):
    page.look(1400, scheme=scheme)
    choose(page, 1)
    page.evaluate("document.querySelectorAll('.thumb')[5].click()")
    for selector in (*MAIN, *INSPECTOR):
        ratio = page.evaluate(f"({CONTRAST})('{selector}')")
        assert ratio is not None, f"nothing is '{selector}'"
        assert ratio >= 4.5, f"{selector} has contrast {ratio:.2f} in {scheme}"


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_wider_than_the_window(page, width):
    page.look(width)
    for choice in (0, 1):
        choose(page, choice)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_paper_there_are_pictures_in_place_of_what_needs_a_mouse(page):
    shown = "document.querySelector('{}').checkVisibility()"
    assert page.evaluate(shown.format(".sheet")) is False
    page.look(800, media="print")
    assert page.evaluate(shown.format("#inspector")) is False
    assert page.evaluate(shown.format("nav")) is False
    assert page.evaluate(shown.format(".sheet")) is True
    assert page.evaluate("getComputedStyle(document.querySelector('.plot')).breakInside") == "avoid"


def test_without_the_script_the_pictures_are_there(page):
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
  let behind = element;
  while (numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const both = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(light);
  both.sort((a, b) => a - b);
  return (both[1] + 0.05) / (both[0] + 0.05);
}
"""
