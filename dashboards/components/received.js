// Bokeh takes what the server adds to a page for the browser's own until the browser next speaks, and then sends the
// whole of it back (Document.create_json_patch); the server warns of a reference that it knows already.
const mark = Symbol("received");

export function render() {
  for (const document of window.Bokeh?.documents ?? []) {
    if (document[mark] || !document._new_models) continue;
    document[mark] = true;
    const apply = document.apply_json_patch;
    document.apply_json_patch = function (...patch) {
      const own = new Set(this._new_models);
      apply.apply(this, patch);
      for (const model of this._new_models) if (!own.has(model)) this._new_models.delete(model);
    };
  }
  return window.document.createElement("span");
}
