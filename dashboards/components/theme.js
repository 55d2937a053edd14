// Light or dark: what the visitor chose on any page, else what their system asks for. The cookie lets the server draw
// the next page right from the start.
export function render({ model }) {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const kept = /(?:^|; )theme=(dark|light)(?:;|$)/.exec(document.cookie)?.[1];
  const wanted = kept ? kept === "dark" : system.matches;
  let asked = model.dark;
  model.on("dark", () => {
    if (model.dark === asked) return;
    asked = model.dark;
    const age = model.dark === system.matches ? 0 : 31536000;
    document.cookie = `theme=${model.dark ? "dark" : "light"}; path=/; SameSite=Strict; max-age=${age}`;
  });
  if (model.dark !== wanted) model.dark = asked = wanted;
  return document.createElement("span");
}
