// A page of samples as pictures. One tile is in the tab order; arrows move between tiles, Enter
// opens one, X selects it, Shift with a click or an arrow selects all between. Pictures come from
// this server by row, several in one answer, so a changed page costs no picture twice.

const GALLERIES = new WeakMap();

// The small pictures that were fetched, by the address of each: its bytes as a data URL, or null.
class Pictures {
  static AT_ONCE = 12;
  static MOST = 480;
  static kept = new Map();

  // Shows the pictures of tiles: at once where they are known, the others in the order of the page.
  // Those that come first are mostly those in sight; the rest waits until they stand there.
  static async show(images) {
    const wanted = images.filter((image) => !this.put(image));
    for (let from = 0; from < wanted.length; from += this.AT_ONCE) {
      if (from) await new Promise((done) => (window.requestIdleCallback ?? setTimeout)(done, { timeout: 200 }));
      const some = wanted.slice(from, from + this.AT_ONCE).filter((image) => image.isConnected);
      try {
        if (some.length) await this.fetch(some.map((image) => image.dataset.from));
        for (const image of some) this.put(image);
      } catch {
        for (const image of some) image.src = image.dataset.from; // one by one, each with its own failure
      }
    }
  }

  static put(image) {
    const url = this.kept.get(image.dataset.from);
    if (url === undefined) return false;
    if (url === null) {
      this.kept.delete(image.dataset.from); // asked again the next time
      image.replaceWith(VN.el("span", { class: "lacking" }, "no picture"));
    } else image.src = url;
    return true;
  }

  static async fetch(addresses) {
    const rows = addresses.map((one) => one.match(/thumbnail\/(\d+)/)[1]);
    const answer = await fetch(`${addresses[0].replace(/thumbnail\/\d+/, "thumbnails")}&rows=${rows.join(",")}`, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(answer.statusText);
    const found = await answer.json();
    addresses.forEach((address, i) => this.kept.set(address, found[i]));
    for (const address of [...this.kept.keys()].slice(0, Math.max(0, this.kept.size - this.MOST))) this.kept.delete(address);
  }
}

class Gallery {
  constructor(root) {
    this.grid = VN.el("ul", { class: "grid", role: "list", "aria-label": "Samples", onkeydown: (event) => this.key(event) });
    this.selected = new Set();
    this.anchor = null;
    this.bar = VN.el("div", { class: "selection", role: "toolbar", "aria-label": "Selected samples" });
    root.replaceChildren(this.bar, this.grid);
  }

  receive(data, send) {
    this.send = send;
    this.data = data;
    this.grid.dataset.tiles = data.size;
    const version = JSON.stringify(data.tiles);
    if (version === this.version) { this.drawSelection(); return; }
    this.version = version;
    this.tiles = data.tiles.map((tile, i) => this.tile(tile, i === 0));
    this.grid.replaceChildren(...this.tiles.map((tile) => VN.el("li", {}, tile)));
    Pictures.show([...this.grid.querySelectorAll("img")]);
    const shown = new Set(data.tiles.map((tile) => tile.row_idx));
    this.selected = new Set([...this.selected].filter((row) => shown.has(row)));
    this.anchor = null;
    this.drawSelection();
    if (data.focus !== null) {
      const wanted = this.tiles.find((one) => Number(one.dataset.row) === data.focus);
      if (wanted) { this.select(wanted); wanted.scrollIntoView({ block: "nearest" }); }
    }
  }

  tile(tile, first) {
    const { el } = VN;
    const picture = tile.thumbnail
      ? el("img", { "data-from": tile.thumbnail, alt: "", decoding: "async", onerror: (event) => event.target.replaceWith(el("span", { class: "lacking" }, "no picture")) })
      : el("span", { class: "lacking" }, "text only");
    const value = tile.visnec === null ? tile.status_name : VN.score(tile.visnec);
    const said = `${tile.visnec === null ? tile.status_name : `VisNec ${VN.score(tile.visnec)}, ${tile.category}`}; ${tile.source}; ${tile.question}${tile.decision && tile.decision !== "none" ? `; decided ${tile.decision}` : ""}`;
    return el("button", { type: "button", class: "tile", tabindex: first ? 0 : -1, "data-row": tile.row_idx, "aria-label": said, "data-said": said, onclick: (event) => this.click(event, tile.row_idx), onfocus: (event) => this.select(event.currentTarget) },
      el("span", { class: "frame" }, picture, this.data.selectable ? el("span", { class: "pick", title: "Select (X)" }, "✓") : null, tile.n_images > 1 ? el("span", { class: "images" }, `${tile.n_images} images`) : null, el("span", { class: "corner" }, VN.decisionMark(tile.decision))),
      el("span", { class: "line" }, el("span", { class: "value" }, VN.swatch(tile.category), value), el("span", { class: "source quiet" }, tile.source)),
      el("span", { class: "question" }, tile.question || "(no question)"),
      el("span", { class: "answer quiet" }, tile.answer || "(no answer)"));
  }

  click(event, row) {
    if (this.data.selectable && (event.shiftKey || event.ctrlKey || event.metaKey || event.composedPath().some((node) => node.classList?.contains("pick")))) {
      event.preventDefault();
      this.pick(row, event.shiftKey);
    } else this.open(event.currentTarget, row);
  }

  // Selects a tile or lets it go; with `through`, all from the last one picked up to this.
  pick(row, through) {
    const at = (wanted) => this.tiles.findIndex((one) => Number(one.dataset.row) === wanted);
    if (through && this.anchor !== null && at(this.anchor) >= 0) {
      const [from, to] = [at(this.anchor), at(row)].sort((a, b) => a - b);
      for (const one of this.tiles.slice(from, to + 1)) this.selected.add(Number(one.dataset.row));
    } else if (!this.selected.delete(row)) this.selected.add(row);
    this.anchor = row;
    this.drawSelection();
  }

  drawSelection() {
    const { el } = VN;
    const n = this.selected.size;
    this.grid.classList.toggle("selecting", n > 0);
    for (const one of this.tiles) {
      const on = this.selected.has(Number(one.dataset.row));
      one.classList.toggle("selected", on);
      one.setAttribute("aria-label", on ? `Selected; ${one.dataset.said}` : one.dataset.said);
    }
    if (!this.data.selectable) { this.bar.replaceChildren(); return; }
    const decide = (decision) => el("button", { type: "button", class: decision, disabled: n === 0, onclick: () => this.decide(decision) }, VN.decisionMark(decision), `${decision} ${n ? VN.count(n) : ""}`);
    const all = n === this.tiles.length;
    const { told } = this.data;
    const news = told && [el("span", { class: told.failed ? "failed" : "news" }, told.text),
      told.can_undo ? el("button", { type: "button", class: "undo", onclick: () => this.send("undo", Date.now()) }, "Undo") : null];
    this.bar.replaceChildren(
      el("span", { class: "said", role: "status" }, n ? el("b", {}, `${VN.count(n)} selected`) : news ?? el("span", { class: "quiet" }, "Select with the corner of a picture, X, or Shift and a click")),
      el("button", { type: "button", onclick: () => { this.selected = new Set(all ? [] : this.tiles.map((one) => Number(one.dataset.row))); this.drawSelection(); } }, all ? "Select none" : `Select these ${VN.count(this.tiles.length)}`),
      decide("keep"), decide("drop"), decide("unsure"));
  }

  decide(decision) {
    const rows = [...this.selected];
    if (!rows.length) return;
    this.selected.clear();
    this.drawSelection();
    this.send("bulk", { rows, decision });
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
    if (event.key.toLowerCase() === "x" && this.data.selectable && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.pick(Number(this.tiles[at].dataset.row), event.shiftKey);
      return;
    }
    if (event.key === "Escape" && this.selected.size) { event.preventDefault(); this.selected.clear(); this.drawSelection(); return; }
    const top = this.tiles[0].offsetTop;
    const columns = Math.max(1, this.tiles.filter((one) => one.offsetTop === top).length);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: this.tiles.length - 1 }[event.key];
    if (next === undefined || !this.tiles[next]) return;
    event.preventDefault();
    if (event.shiftKey && this.data.selectable) {
      if (this.anchor === null) this.pick(Number(this.tiles[at].dataset.row), false);
      for (const one of this.tiles.slice(Math.min(at, next), Math.max(at, next) + 1)) this.selected.add(Number(one.dataset.row));
      this.drawSelection();
    }
    this.tiles[next].focus();
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  if (!GALLERIES.has(root)) GALLERIES.set(root, new Gallery(root));
  GALLERIES.get(root).receive(data, setTriggerValue);
}
