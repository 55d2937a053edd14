// A figure drawn by Plotly when it comes into view, in the colours of the page.
// Panel's own pane is not used: the Material theme rewrites its legend, margins, markers and colours.
const CONFIG = {
  displaylogo: false,
  typesetMath: false,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
};

const loaded = async () => {
  while (!window.Plotly) await new Promise((done) => setTimeout(done, 20));
  return window.Plotly;
};

// Plotly writes its style sheet into the document, which does not reach into a shadow root.
const dress = (root) => {
  const own = document.getElementById("plotly.js-style-global");
  if (!(root instanceof ShadowRoot) || !own || root.plotlyDressed) return;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync([...own.sheet.cssRules].map((rule) => rule.cssText).join("\n"));
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  root.plotlyDressed = true;
};

// The Material page marks its theme by a class on one of the elements around this one.
const themed = (element) => {
  for (let node = element; node; node = node.parentElement || node.getRootNode().host) {
    if (node.classList && /\bmui-(dark|light)\b/.test(node.className)) return node;
    if (node === document.documentElement) return null;
  }
  return null;
};

export function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "plot";
  const around = () => (box.isConnected ? themed(box) : null);
  let seen = false;
  let theme = "";
  let below = "";

  const draw = async () => {
    const spec = JSON.parse(model.spec);
    box.style.minHeight = `${spec.layout.height || 300}px`;
    // Not an image: the buttons of the plot are in it.
    box.setAttribute("role", "figure");
    box.setAttribute("aria-label", spec.alt);
    if (!seen || !box.isConnected) return;
    const Plotly = await loaded();
    dress(box.getRootNode());
    theme = around()?.classList.contains("mui-dark") ? "dark" : "light";
    // A border around what is chosen is all that changes on many figures, and is drawn alone many times as fast.
    const { shapes, ...rest } = spec.layout;
    const before = below;
    below = JSON.stringify([theme, spec.data, rest]);
    if (below === before) return Plotly.relayout(box, { shapes });
    const layout = { ...spec.layout, template: model.templates[theme], autosize: true };
    const first = !box.classList.contains("js-plotly-plot");
    await Plotly.react(box, spec.data, layout, CONFIG);
    if (first) {
      box.on("plotly_click", ({ points: [point] }) => {
        model.send_msg({ curveNumber: point.curveNumber, pointNumber: point.pointNumber, x: point.x, y: point.y });
      });
      new ResizeObserver(() => box.offsetWidth && Plotly.Plots.resize(box)).observe(el);
    }
    box.dataset.theme = theme;
  };

  const sight = new IntersectionObserver(
    (entries) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        seen = true;
        sight.disconnect();
        draw();
        const outer = around();
        if (outer) {
          const changed = () => (outer.classList.contains("mui-dark") ? "dark" : "light") !== theme && draw();
          new MutationObserver(changed).observe(outer, { attributes: true, attributeFilter: ["class"] });
        }
      }
    },
    { rootMargin: "600px", scrollMargin: "600px" },
  );
  sight.observe(box);
  model.on("spec", draw);
  model.on("remove", () => {
    sight.disconnect();
    window.Plotly?.purge(box);
  });
  draw();
  return box;
}
