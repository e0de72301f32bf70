"use strict";
for (const grid of document.querySelectorAll(".grid")) {
  const tools = grid.querySelector(".tools");
  const select = tools.querySelector("select");
  const button = tools.querySelector("button");
  const status = tools.querySelector("[role=status]");
  const samples = [...grid.querySelectorAll(".sample")];
  const pictures = [...grid.querySelectorAll("img[data-clean]")];
  for (const picture of pictures) picture.dataset.adversarial = picture.src;

  select.addEventListener("change", () => {
    for (const sample of samples) sample.hidden = select.value !== "" && sample.dataset.outcome !== select.value;
    const left = samples.filter((sample) => !sample.hidden).length;
    status.textContent = `${left} of ${samples.length} shown`;
  });

  // Swapping in place makes a change visible that side by side stays hidden.
  button.addEventListener("click", () => {
    const clean = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(clean));
    for (const picture of pictures) picture.src = clean ? picture.dataset.clean : picture.dataset.adversarial;
    status.textContent = clean ? "The right-hand pictures now show the clean images." : "";
  });
  tools.hidden = false;
}
