// A page of samples as images. One tile is in the tab order; arrows move between tiles, Enter opens one,
// X selects it, Shift with a click or an arrow selects everything in between.

// Thumbnails by address: a data URL, or null where there is no image. Several come in one answer, so a
// changed page loads none twice.
class Thumbnails {
  static BATCH = 12;
  static MOST = 480;
  static loaded = new Map();

  // Fill in thumbnails: at once where they are loaded, the others in the order of the page, the ones
  // in sight first.
  static async show(images) {
    const missing = images.filter((image) => !this.fill(image));
    const whenIdle = (go) => window.requestIdleCallback?.(go, { timeout: 200 }) ?? setTimeout(go);
    for (let start = 0; start < missing.length; start += this.BATCH) {
      if (start) await new Promise(whenIdle);
      const batch = missing.slice(start, start + this.BATCH).filter((image) => image.isConnected);
      try {
        if (batch.length) await this.load(batch.map((image) => image.dataset.from));
        for (const image of batch) this.fill(image);
      } catch {
        for (const image of batch) image.src = image.dataset.from; // one by one, each with its own failure
      }
    }
  }

  static fill(image) {
    const url = this.loaded.get(image.dataset.from);
    if (url === undefined) return false;
    if (url === null) {
      this.loaded.delete(image.dataset.from); // requested again next time
      image.replaceWith(lacking("no picture"));
    } else image.src = url;
    return true;
  }

  static async load(addresses) {
    const rows = addresses.map((address) => address.match(/thumbnail\/(\d+)/)[1]);
    const together = `${addresses[0].replace(/thumbnail\/\d+/, "thumbnails")}&rows=${rows.join(",")}`;
    const urls = await VN.fetchJson(together);
    addresses.forEach((address, i) => this.loaded.set(address, urls[i]));
    VN.trim(this.loaded, this.MOST);
  }
}

const lacking = (text) => el("span", "lacking", text);
const rowOf = (tile) => Number(tile.dataset.row);

class Gallery extends Widget {
  selected = new Set();
  anchor = null;

  constructor(root) {
    super(root);
    const onkeydown = (event) => this.onKey(event);
    this.grid = el("ul", { class: "grid", role: "list", "aria-label": "Samples", onkeydown });
    this.bar = el("div", { class: "selection", role: "toolbar", "aria-label": "Selected samples" });
    root.replaceChildren(this.bar, this.grid);
  }

  receive() {
    this.grid.dataset.tiles = this.data.size;
    if (this.isNew(this.data.tiles)) this.drawTiles();
    this.drawSelection();
  }

  drawTiles() {
    const { tiles, focus } = this.data;
    this.tiles = tiles.map((tile, i) => this.renderTile(tile, i === 0));
    this.grid.replaceChildren(...this.tiles.map((tile) => el("li", {}, tile)));
    Thumbnails.show([...this.grid.querySelectorAll("img")]);
    const shown = new Set(tiles.map((tile) => tile.row_idx));
    this.selected = new Set([...this.selected].filter((row) => shown.has(row)));
    this.anchor = null;
    const focused = focus === null ? null : this.tiles.find((tile) => rowOf(tile) === focus);
    if (focused) {
      this.makeTabStop(focused);
      focused.scrollIntoView({ block: "nearest" });
    }
  }

  renderTile(tile, isFirst) {
    const { visnec, category, decision, source } = tile;
    const onerror = (event) => event.target.replaceWith(lacking("no picture"));
    const image = tile.thumbnail
      ? el("img", { "data-from": tile.thumbnail, alt: "", decoding: "async", onerror }) : lacking("no image");
    const [score, spoken] = visnec === null ? [tile.status_name, tile.status_name]
      : [VN.score(visnec), `VisNec ${VN.score(visnec)}, ${category}`];
    const decided = decision && decision !== "none" ? `; decided ${decision}` : "";
    const label = `${spoken}; ${source}; ${tile.question}${decided}`;
    return button({
      class: "tile", title: `${spoken}\n${tile.question}`, tabindex: isFirst ? 0 : -1,
      "data-row": tile.row_idx, "aria-label": label, "data-said": label,
      onclick: (event) => this.onClick(event, tile.row_idx), onfocus: (event) => this.makeTabStop(event.currentTarget),
    },
      el("span", "frame", image,
        this.data.selectable && el("span", { class: "pick", title: "Select (X)" }, "✓"),
        tile.n_images > 1 && el("span", "images", `${tile.n_images} images`),
        el("span", "corner", VN.decisionMark(decision))),
      el("span", "line", el("span", "value", VN.swatch(category), score), el("span", "source quiet", source)),
      el("span", "question", tile.question || "(no question)"),
      el("span", "answer quiet", tile.answer || "(no answer)"));
  }

  onClick(event, row) {
    const isPick = event.composedPath().some((node) => node.classList?.contains("pick"));
    if (this.data.selectable && (event.shiftKey || event.ctrlKey || event.metaKey || isPick)) {
      event.preventDefault();
      this.toggle(row, event.shiftKey);
    } else {
      event.currentTarget.blur(); // the keys belong to the sample that opens
      this.send("opened", row);
    }
  }

  // Select a tile or deselect it; with `through`, select everything from the last one up to this.
  toggle(row, through) {
    const indexOf = (wanted) => this.tiles.findIndex((tile) => rowOf(tile) === wanted);
    if (through && this.anchor !== null && indexOf(this.anchor) >= 0) {
      this.selectBetween(indexOf(this.anchor), indexOf(row));
    } else if (!this.selected.delete(row)) this.selected.add(row);
    this.anchor = row;
    this.drawSelection();
  }

  selectBetween(a, b) {
    for (const tile of this.tiles.slice(Math.min(a, b), Math.max(a, b) + 1)) this.selected.add(rowOf(tile));
  }

  select(rows) {
    this.selected = new Set(rows);
    this.drawSelection();
  }

  drawSelection() {
    const { told, selectable } = this.data;
    const n = this.selected.size, areAll = n === this.tiles.length;
    this.grid.classList.toggle("selecting", n > 0);
    for (const tile of this.tiles) {
      const isSelected = this.selected.has(rowOf(tile));
      tile.classList.toggle("selected", isSelected);
      tile.setAttribute("aria-label", isSelected ? `Selected; ${tile.dataset.said}` : tile.dataset.said);
    }
    if (!selectable) { this.bar.replaceChildren(); return; }
    const decide = (decision) => button({ class: decision, disabled: n === 0, onclick: () => this.decide(decision) },
      VN.decisionMark(decision), `${decision} ${n ? VN.count(n) : ""}`);
    const undo = told?.can_undo && button({ class: "undo", onclick: () => this.send("undo", Date.now()) }, "Undo");
    const news = told && [el("span", { class: told.failed ? "failed" : "news" }, told.text), undo];
    const hint = quiet("Select with the corner of a picture, X, or Shift and a click");
    this.bar.replaceChildren(
      el("span", { class: "said", role: "status" }, n ? el("b", {}, `${VN.count(n)} selected`) : news ?? hint),
      button({ onclick: () => this.select(areAll ? [] : this.tiles.map(rowOf)) },
        areAll ? "Select none" : `Select these ${VN.count(this.tiles.length)}`),
      decide("keep"), decide("drop"), decide("unsure"));
  }

  decide(decision) {
    const rows = [...this.selected];
    if (!rows.length) return;
    this.select([]);
    this.send("bulk", { rows, decision });
  }

  makeTabStop(tile) {
    for (const other of this.tiles) other.tabIndex = other === tile ? 0 : -1;
  }

  onKey(event) {
    const at = this.tiles.indexOf(event.composedPath().find((node) => node.classList?.contains("tile")));
    if (at < 0) return;
    if (event.key.toLowerCase() === "x" && this.data.selectable && !VN.hasModifier(event)) {
      event.preventDefault();
      this.toggle(rowOf(this.tiles[at]), event.shiftKey);
    } else if (event.key === "Escape" && this.selected.size) {
      event.preventDefault();
      this.select([]);
    } else this.moveFocus(event, at);
  }

  moveFocus(event, at) {
    const top = this.tiles[0].offsetTop;
    const columns = Math.max(1, this.tiles.filter((tile) => tile.offsetTop === top).length);
    const target = {
      ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns,
      Home: 0, End: this.tiles.length - 1,
    }[event.key];
    if (target === undefined || !this.tiles[target]) return;
    event.preventDefault();
    if (event.shiftKey && this.data.selectable) {
      if (this.anchor === null) this.toggle(rowOf(this.tiles[at]), false);
      this.selectBetween(at, target);
      this.drawSelection();
    }
    this.tiles[target].focus();
  }
}

export default VN.mount(Gallery);
