"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const [choice, slider, swap, thumbs] = ["choice", "epsilon", "swap", "thumbs"].map(byId);
  const thing = byId("inspector").dataset.thing;
  const THING = thing[0].toUpperCase() + thing.slice(1);
  const SIGNS = { robust: "✓", adversarial: "✗", misclassified: "–", skipped: "·" };
  const WORDS = {
    robust: "still robust", adversarial: "adversarial", misclassified: "misclassified when clean",
    skipped: "skipped, an earlier attack succeeded",
  };
  const PROOFS = {
    proven: " Proven: nothing within epsilon is misclassified.", unknown: " Whether anything within epsilon succeeds is unknown.",
    misclassified: " This attack missed an adversarial image that is known to exist.",
  };
  let current = data.choices[0];
  let selected = 0;
  let swapped = false;

  const percent = (fraction, digits = 1) => `${(100 * fraction).toFixed(digits)}\u00a0%`;
  const short = (number) => String(Number(number.toPrecision(3)));
  const epsilon = () => current.curve.epsilon[slider.value];
  const source = (index) => data.pictures[index];

  function make(tag, className, text) {
    const element = document.createElement(tag);
    element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // A slider over one attack at several epsilons shows at each what was crafted for it, and at 0 what is clean.
  const steps = () => current.curve?.steps;
  const isClean = () => Boolean(steps()) && Number(slider.value) === 0;
  const samples = () => (steps() ? data.choices[steps()[slider.value]] : current).samples;

  // With a curve the outcome depends on epsilon: adversarial from the smallest known distance on.
  function outcome(sample) {
    if (isClean() && sample.outcome !== "misclassified") return "robust";
    if (!current.curve || steps() || sample.outcome === "misclassified") return sample.outcome;
    return sample.distance !== null && sample.distance <= epsilon() ? "adversarial" : "robust";
  }

  function sentence(sample, result) {
    const [before, perturbed] = sample.predicted.map((c) => current.classes[c]);
    const after = isClean() ? before : perturbed;
    const truth = current.classes[sample.label];
    const start = `${THING} ${sample.position}, true class ${truth}: `;
    if (result === "misclassified") return `${start}misclassified when clean, as ${before}.`;
    if (result === "skipped") return `${start}skipped, since an earlier attack of this suite succeeded.`;
    if (current.curve && !steps() && result === "robust") {
      const distance = sample.distance === null ? "no attack here succeeds" : `adversarial from ${short(sample.distance)}`;
      return `${start}still robust at ${short(epsilon())}; ${distance}.`;
    }
    const from = steps() ? ` at ${short(epsilon())}` : current.curve ? ` from ${short(sample.distance)}` : "";
    return result === "adversarial" ? `${start}adversarial${from}, classified as ${after}.`
      : `${start}still robust${from}, classified as ${after}.${isClean() ? "" : PROOFS[sample.certified] ?? ""}`;
  }

  function bars(list, sample, values, predicted) {
    list.replaceChildren(...sample.bars.map((c, i) => {
      const className = c === sample.label ? "right" : c === predicted ? "wrong" : "";
      const item = make("li", className);
      const sign = { right: "✓ ", wrong: "✗ " }[className] ?? "";
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
    const sample = samples()[selected];
    const result = outcome(sample);
    const truth = current.classes[sample.label];
    const isChanged = steps() ? !isClean() : !current.curve || result === "adversarial";
    const after = current.classes[sample.predicted[isChanged ? 1 : 0]];
    byId("verdict").textContent = sentence(sample, result);
    byId("verdict").className = `sentence ${{ robust: "right", adversarial: "wrong" }[result] ?? ""}`;
    byId("clean").src = source(sample.clean);
    byId("clean").alt = `Clean image ${sample.position}: ${truth}`;
    byId("perturbation").src = source(isChanged ? sample.perturbation : sample.clean);
    byId("perturbation").classList.toggle("none", !isChanged);
    byId("perturbation").alt = isChanged ? `Perturbation, amplified ${sample.amplified} times` : "No perturbation";
    byId("amplified").textContent = !isChanged ? "no change shown"
      : sample.amplified ? `perturbation × ${sample.amplified}` : "perturbation: unchanged";
    byId("adversarial").src = source(isChanged && !swapped ? sample.adversarial : sample.clean);
    byId("adversarial").alt = `${isChanged && !swapped ? "Adversarial" : "Clean"} image, predicted ${after}`;
    byId("caption").textContent = isChanged && !swapped ? "adversarial" : isChanged ? "clean" : "clean: still robust";
    byId("words").hidden = !sample.words.length;
    byId("pictures").hidden = sample.words.length > 0;
    byId("words").replaceChildren(...sample.words.flatMap(([old, now]) => {
      if (now === undefined || !isChanged) return [`${old} `];
      return swapped ? [make("del", "", old || "∅"), " "] : [make("del", "", old || "∅"), " ", make("ins", "", now || "∅"), " "];
    }));
    byId("counts").hidden = !sample.counts.length;
    if (sample.counts.length) {
      byId("counts-clean").src = source(sample.counts[0]);
      byId("counts-clean").alt = `What counts for ${current.classes[sample.predicted[0]]} in the clean image`;
      byId("counts-after").src = source(sample.counts[isChanged && !swapped ? 1 : 0]);
      byId("counts-after").alt = `What counts for ${after} in the image above`;
      byId("counts-for").textContent = `what counts for ${after}`;
    }
    byId("after-name").textContent = `Prediction for the ${isChanged ? "adversarial" : "clean"} ${thing}`;
    byId("cut").textContent = sample.bars.length < current.classes.length
      ? ` (${sample.bars.length} of ${current.classes.length})` : "";
    bars(byId("before"), sample, sample.before, sample.predicted[0]);
    bars(byId("after"), sample, isChanged ? sample.after : sample.before, sample.predicted[isChanged ? 1 : 0]);
  }

  function mark() {
    [...thumbs.children].forEach((button, i) => {
      const sample = samples()[i];
      const result = outcome(sample);
      button.dataset.outcome = result;
      button.lastChild.textContent = SIGNS[result];
      button.setAttribute("aria-label", `${THING} ${sample.position}, ${current.classes[sample.label]}, ${WORDS[result]}`);
      button.setAttribute("aria-checked", String(i === selected));
      button.tabIndex = i === selected ? 0 : -1;
    });
  }

  function select(index) {
    selected = index;
    mark();
    show();
  }

  function slide() {
    const [value, low, high] = current.curve.accuracy[slider.value];
    const size = `${current.curve.norm} ${short(epsilon())}`;
    const rate = `${percent(value)} [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`;
    byId("size").textContent = size;
    byId("level").textContent = `Of ${current.images}, ${rate} remain correct.`;
    slider.setAttribute("aria-valuetext", `epsilon ${size}: ${percent(value)} remain correct`);
  }

  function choose() {
    current = data.choices[choice.value];
    byId("slider").hidden = !current.curve;
    if (current.curve) {
      const { accuracy } = current.curve;
      const half = accuracy.findIndex(([value]) => value <= accuracy[0][0] / 2);
      slider.max = accuracy.length - 1;
      slider.value = half < 0 ? accuracy.length - 1 : half;
      slide();
    }
    thumbs.replaceChildren(...samples().map((sample) => {
      const button = make("button", "thumb");
      button.type = "button";
      button.setAttribute("role", "radio");
      const picture = make("img", "");
      picture.src = source(sample.clean);
      picture.alt = "";
      button.append(picture, make("span", "sign"));
      return button;
    }));
    if (selected >= samples().length) selected = 0;
    select(selected);
  }

  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  thumbs.addEventListener("keydown", (event) => {
    const n = samples().length;
    const next = event.key in STEPS ? (selected + STEPS[event.key] + n) % n : { Home: 0, End: n - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    select(next);
    thumbs.children[next].focus();
  });
  thumbs.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) select([...thumbs.children].indexOf(button));
  });
  choice.addEventListener("change", choose);
  slider.addEventListener("input", () => {
    slide();
    mark();
    show();
  });
  // Swapping in place shows small changes that are invisible side by side.
  swap.addEventListener("click", () => {
    swapped = !swapped;
    swap.setAttribute("aria-pressed", String(swapped));
    show();
  });

  choice.replaceChildren(...data.choices.map(({ name }, i) => new Option(name, i)));
  document.documentElement.classList.add("js");
  byId("inspector").hidden = false;
  choose();
  const adversarial = samples().findIndex((sample) => outcome(sample) === "adversarial");
  if (adversarial > 0) select(adversarial);
}
