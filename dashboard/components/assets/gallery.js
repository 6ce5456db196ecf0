// A page of samples as pictures. One tile is in the tab order; arrows move between tiles, Enter
// opens one. Pictures come from this server by row, so a changed page costs no picture twice.

const GALLERIES = new WeakMap();

class Gallery {
  constructor(root) {
    this.grid = VN.el("div", { class: "grid", role: "list", "aria-label": "Samples", onkeydown: (event) => this.key(event) });
    root.replaceChildren(this.grid);
  }

  receive(data, send) {
    this.send = send;
    const version = JSON.stringify(data.tiles);
    if (version === this.version) return;
    this.version = version;
    this.tiles = data.tiles.map((tile, i) => this.tile(tile, i === 0));
    this.grid.replaceChildren(...this.tiles);
    if (data.focus !== null) {
      const wanted = this.tiles.find((one) => Number(one.dataset.row) === data.focus);
      if (wanted) { this.select(wanted); wanted.scrollIntoView({ block: "nearest" }); }
    }
  }

  tile(tile, first) {
    const { el } = VN;
    const picture = tile.thumbnail
      ? el("img", { src: tile.thumbnail, alt: "", loading: "lazy", decoding: "async", onerror: (event) => event.target.replaceWith(el("span", { class: "lacking" }, "no picture")) })
      : el("span", { class: "lacking" }, "text only");
    const value = tile.visnec === null ? tile.status_name : VN.score(tile.visnec);
    const said = `${tile.visnec === null ? tile.status_name : `VisNec ${VN.score(tile.visnec)}, ${tile.category}`}; ${tile.source}; ${tile.question}${tile.decision && tile.decision !== "none" ? `; decided ${tile.decision}` : ""}`;
    return el("button", { type: "button", class: "tile", role: "listitem", tabindex: first ? 0 : -1, "data-row": tile.row_idx, "aria-label": said, onclick: (event) => this.open(event.currentTarget, tile.row_idx), onfocus: (event) => this.select(event.currentTarget) },
      el("span", { class: "frame" }, picture, tile.n_images > 1 ? el("span", { class: "images" }, `${tile.n_images} images`) : null, el("span", { class: "corner" }, VN.decisionMark(tile.decision))),
      el("span", { class: "line" }, el("span", { class: "value" }, VN.swatch(tile.category), value), el("span", { class: "source quiet" }, tile.source)),
      el("span", { class: "question" }, tile.question || "(no question)"),
      el("span", { class: "answer quiet" }, tile.answer || "(no answer)"));
  }

  // The tile lets go of the keys at once: they belong to the sample that is about to be shown.
  open(tile, row) {
    tile.blur();
    this.send("opened", row);
  }

  select(tile) {
    for (const one of this.tiles) one.tabIndex = one === tile ? 0 : -1;
  }

  key(event) {
    const at = this.tiles.indexOf(event.composedPath().find((node) => node.classList?.contains("tile")));
    if (at < 0) return;
    const top = this.tiles[0].offsetTop;
    const columns = Math.max(1, this.tiles.filter((one) => one.offsetTop === top).length);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: this.tiles.length - 1 }[event.key];
    if (next === undefined || !this.tiles[next]) return;
    event.preventDefault();
    this.tiles[next].focus();
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  if (!GALLERIES.has(root)) GALLERIES.set(root, new Gallery(root));
  GALLERIES.get(root).receive(data, setTriggerValue);
}
