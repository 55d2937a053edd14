// The tokens of a window. The server made the HTML and escaped every text in it; words that are added here are set as
// text and never as HTML.
const NAMED = 10;

const share = (weight) => `${Number((100 * weight).toPrecision(2))}%`;

export function render({ model }) {
  const box = document.createElement("div");
  let spec, tokens, line, hint, linked, looks, seen, kept;

  const named = ([place, weight]) => {
    const away = place < spec.start ? " (above)" : place >= spec.start + tokens.length ? " (below)" : "";
    return `${place} “${spec.words[place]}” ${share(weight)}${away}`;
  };

  const list = (links) => {
    const more = links.length > NAMED ? ` and ${links.length - NAMED} more` : "";
    return links.slice(0, NAMED).map(named).join(", ") + more;
  };

  const sentence = (place) => {
    const parts = [`Token ${place} “${spec.words[place]}”`];
    const keys = looks.get(place);
    const queries = seen.get(place);
    if (keys) {
      const sum = keys.reduce((all, [, weight]) => all + weight, 0);
      parts.push(`attends to ${list(keys)}; together ${share(sum)} of its attention.`);
    }
    if (queries) parts.push(`${keys ? "It is" : "is"} attended to by ${list(queries)}.`);
    return parts.join(" ");
  };

  const mark = (links, name, sign) => {
    for (const [place, weight] of links ?? []) {
      const token = tokens[place - spec.start];
      if (!token) continue;
      token.classList.add(name);
      token.dataset.share = sign + share(weight);
    }
  };

  const show = (place) => {
    for (const token of tokens) {
      token.classList.remove("on", "to", "by");
      delete token.dataset.share;
    }
    const known = looks.has(place) || seen.has(place);
    if (line) line.textContent = known ? sentence(place) : hint;
    if (!known) return;
    mark(seen.get(place), "by", "←");
    mark(looks.get(place), "to", "→");
    tokens[place - spec.start].classList.add("on");
  };

  const placeOf = (event) => {
    const token = event.target.closest?.("i");
    return token && spec.start + tokens.indexOf(token);
  };

  const move = (event) => {
    if (event.key === "Escape") kept = null;
    else if (event.key === "ArrowRight") kept = linked.find((place) => kept === null || place > kept) ?? kept;
    else if (event.key === "ArrowLeft") kept = linked.findLast((place) => kept === null || place < kept) ?? kept;
    else return;
    event.preventDefault();
    show(kept);
    if (kept !== null) tokens[kept - spec.start].scrollIntoView({ block: "nearest" });
  };

  const draw = () => {
    spec = JSON.parse(model.spec);
    box.innerHTML = spec.html;
    const region = box.querySelector(".tokens");
    tokens = [...region.querySelectorAll("i")];
    line = box.querySelector(".links");
    hint = line?.textContent;
    kept = null;
    looks = new Map(Object.entries(spec.looks).map(([query, links]) => [Number(query), links]));
    seen = new Map();
    for (const [query, links] of looks) {
      for (const [key, weight] of links) seen.set(key, [...(seen.get(key) ?? []), [query, weight]]);
    }
    for (const queries of seen.values()) queries.sort((one, other) => other[1] - one[1]);
    const inside = (place) => place >= spec.start && place < spec.start + tokens.length;
    linked = [...new Set([...looks.keys(), ...seen.keys()])].filter(inside).sort((one, other) => one - other);
    if (!linked.length) return;
    region.addEventListener("mouseover", (event) => show(placeOf(event) ?? kept));
    region.addEventListener("mouseleave", () => show(kept));
    region.addEventListener("click", (event) => {
      const place = placeOf(event);
      kept = place === kept || !linked.includes(place) ? null : place;
      show(kept);
    });
    region.addEventListener("keydown", move);
  };

  model.on("spec", draw);
  draw();
  return box;
}
