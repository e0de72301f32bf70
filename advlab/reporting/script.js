"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const [choice, slider, swap, thumbs] = ["choice", "epsilon", "swap", "thumbs"].map(at);
  const SIGNS = { held: "✓", fooled: "✗", wrong: "–", earlier: "·" };
  const WORDS = { held: "held", fooled: "fooled", wrong: "wrong before", earlier: "broken earlier" };
  let current = data.choices[0];
  let picked = 0;
  let swapped = false;

  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;
  const short = (number) => String(Number(number.toPrecision(3)));
  const epsilon = () => current.curve.epsilon[slider.value];
  const source = (index) => data.pictures[index];

  function make(tag, className, text) {
    const element = document.createElement(tag);
    element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // With a curve the outcome depends on epsilon: an image has fallen once epsilon reaches its smallest known change.
  function outcome(sample) {
    if (!current.curve || sample.outcome === "wrong") return sample.outcome;
    return sample.falls !== null && sample.falls <= epsilon() ? "fooled" : "held";
  }

  function sentence(sample, result) {
    const [before, after] = sample.predicted.map((c) => current.classes[c]);
    const truth = current.classes[sample.label];
    const start = `Image ${sample.position}, true class ${truth}: `;
    if (result === "wrong") return `${start}wrong before any attack, as ${before}.`;
    if (result === "earlier") return `${start}broken by an earlier attack of this suite, so not tried again.`;
    if (current.curve) {
      const falls = sample.falls === null ? "no attack here broke it" : `falls at ${short(sample.falls)}`;
      return `${start}${result === "fooled" ? `${falls}, as ${after}` : `stands at ${short(epsilon())}; ${falls}`}.`;
    }
    return result === "fooled" ? `${start}fooled, now ${after}.` : `${start}held, still ${after}.`;
  }

  function bars(list, sample, values, predicted) {
    list.replaceChildren(...sample.bars.map((c, i) => {
      const kind = c === sample.label ? "right" : c === predicted ? "wrong" : "";
      const item = make("li", kind);
      const sign = { right: "✓ ", wrong: "✗ " }[kind] ?? "";
      const bar = make("span", "bar");
      const fill = make("span", "fill");
      fill.style.width = `${100 * values[i]}%`;
      bar.append(fill);
      const name = make("span", "name", sign + current.classes[c]);
      name.title = current.classes[c];
      item.append(name, bar, make("span", "value", percent(values[i])));
      return item;
    }));
  }

  function show() {
    const sample = current.samples[picked];
    const result = outcome(sample);
    const truth = current.classes[sample.label];
    const isChanged = !current.curve || result === "fooled";
    const after = current.classes[sample.predicted[isChanged ? 1 : 0]];
    at("verdict").textContent = sentence(sample, result);
    at("verdict").className = `said ${{ held: "right", fooled: "wrong" }[result] ?? ""}`;
    at("clean").src = source(sample.clean);
    at("clean").alt = `Clean image ${sample.position}: ${truth}`;
    at("perturbation").src = source(isChanged ? sample.perturbation : sample.clean);
    at("perturbation").classList.toggle("none", !isChanged);
    at("perturbation").alt = isChanged ? `Perturbation, amplified ${sample.amplified} times` : "No perturbation";
    at("amplified").textContent = !isChanged ? "no change shown"
      : sample.amplified ? `perturbation × ${sample.amplified}` : "perturbation: unchanged";
    at("adversarial").src = source(isChanged && !swapped ? sample.adversarial : sample.clean);
    at("adversarial").alt = `${isChanged && !swapped ? "Adversarial" : "Clean"} image, predicted ${after}`;
    at("shown").textContent = isChanged && !swapped ? "adversarial" : isChanged ? "clean again" : "clean: it stands";
    at("after-name").textContent = `Answer to the ${isChanged ? "adversarial" : "clean"} image`;
    at("cut").textContent = sample.bars.length < current.classes.length
      ? ` (${sample.bars.length} of ${current.classes.length})` : "";
    bars(at("before"), sample, sample.before, sample.predicted[0]);
    bars(at("after"), sample, isChanged ? sample.after : sample.before, sample.predicted[isChanged ? 1 : 0]);
  }

  function mark() {
    [...thumbs.children].forEach((button, i) => {
      const sample = current.samples[i];
      const result = outcome(sample);
      button.dataset.outcome = result;
      button.lastChild.textContent = SIGNS[result];
      button.setAttribute("aria-label", `Image ${sample.position}, ${current.classes[sample.label]}, ${WORDS[result]}`);
      button.setAttribute("aria-checked", String(i === picked));
      button.tabIndex = i === picked ? 0 : -1;
    });
  }

  function pick(index) {
    picked = index;
    mark();
    show();
  }

  function slide() {
    const [value, low, high] = current.curve.accuracy[slider.value];
    const size = `${current.curve.norm} ${short(epsilon())}`;
    const rest = `${percent(value)} [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`;
    at("size").textContent = size;
    at("level").textContent = `Of ${current.images}, ${rest} remain correct.`;
    slider.setAttribute("aria-valuetext", `epsilon ${size}: ${percent(value)} remain correct`);
  }

  function choose() {
    current = data.choices[choice.value];
    at("slider").hidden = !current.curve;
    if (current.curve) {
      const { accuracy } = current.curve;
      const half = accuracy.findIndex(([value]) => value <= accuracy[0][0] / 2);
      slider.max = accuracy.length - 1;
      slider.value = half < 0 ? accuracy.length - 1 : half;
      slide();
    }
    thumbs.replaceChildren(...current.samples.map((sample) => {
      const button = make("button", "thumb");
      button.type = "button";
      button.setAttribute("role", "radio");
      const picture = make("img", "");
      picture.src = source(sample.clean);
      picture.alt = "";
      button.append(picture, make("span", "sign"));
      return button;
    }));
    if (picked >= current.samples.length) picked = 0;
    pick(picked);
  }

  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  thumbs.addEventListener("keydown", (event) => {
    const n = current.samples.length;
    const next = event.key in STEPS ? (picked + STEPS[event.key] + n) % n : { Home: 0, End: n - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    pick(next);
    thumbs.children[next].focus();
  });
  thumbs.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) pick([...thumbs.children].indexOf(button));
  });
  choice.addEventListener("change", choose);
  slider.addEventListener("input", () => {
    slide();
    mark();
    show();
  });
  // Swapping in place makes a change visible that side by side stays hidden.
  swap.addEventListener("click", () => {
    swapped = !swapped;
    swap.setAttribute("aria-pressed", String(swapped));
    show();
  });

  choice.replaceChildren(...data.choices.map(({ name }, i) => new Option(name, i)));
  document.documentElement.classList.add("js");
  at("inspector").hidden = false;
  choose();
  const first = current.samples.findIndex((sample) => outcome(sample) === "fooled");
  if (first > 0) pick(first);
}
