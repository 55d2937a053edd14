"use strict";
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const templates = read("templates");
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const config = {
    responsive: true,
    displaylogo: false,
    typesetMath: false,
    modeBarButtonsToRemove: ["toImage", "lasso2d", "select2d", "autoScale2d"],
  };
  const plots = new Map();

  const draw = (element) => {
    const spec = plots.get(element) || read(element.dataset.spec);
    plots.set(element, spec);
    const layout = { ...spec.layout, template: templates[theme()] };
    return Plotly.react(element, spec.data, layout, config).then(() => {
      element.parentElement.classList.add("drawn");
    });
  };

  const waiting = document.querySelectorAll(".plot");
  if (waiting.length) {
    const seen = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          if (entry.isIntersecting) {
            seen.unobserve(entry.target);
            entry.target.classList.add("drawing");
            draw(entry.target.querySelector(".plot"));
          }
        }
      },
      { rootMargin: "400px" },
    );
    waiting.forEach((element) => seen.observe(element.parentElement));
  }

  const button = document.getElementById("theme");
  const show = () => {
    const dark = theme() === "dark";
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
    button.setAttribute("aria-pressed", String(dark));
    plots.forEach((_, element) => draw(element));
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();
})();
