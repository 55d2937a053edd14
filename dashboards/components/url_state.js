// The query part of the page's address: a new entry of the browser's history for what is shown now, and word of the
// reader's going back or forward. Panel's own does the first alone.
export function render({ model }) {
  const write = () => {
    const { pathname, search, hash } = window.location;
    if (model.search !== search) window.history.pushState({}, "", pathname + model.search + hash);
  };
  const back = () => {
    model.search = window.location.search;
  };
  model.on("search", write);
  window.addEventListener("popstate", back);
  model.on("remove", () => window.removeEventListener("popstate", back));
  return document.createElement("span");
}
