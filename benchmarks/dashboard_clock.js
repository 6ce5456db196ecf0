// The clock inside the page: every time runs from the browser's own event to the frame that shows the
// result. Components draw into shadow roots; their hosts are looked up again only when a host was
// removed or something is not found.
window.VNB = {
  at: 0, hosts: [],
  roots() {
    if (!this.hosts.length || this.hosts.some((one) => !one.isConnected) || this.stale) {
      this.hosts = [...document.querySelectorAll("*")].filter((one) => one.shadowRoot);
      this.stale = false;
    }
    return [document, ...this.hosts.map((one) => one.shadowRoot)];
  },
  all(selector) {
    const found = this.roots().flatMap((root) => [...root.querySelectorAll(selector)]);
    if (!found.length) this.stale = true;
    return found;
  },
  one(selector) { return this.all(selector)[0] ?? null; },
  // The threshold whose exact counts are shown below the histogram, or null.
  exact() {
    const live = this.one(".live"), cut = this.one('[data-limit="cut"]');
    if (!live || !cut || live.dataset.exact !== "yes") return null;
    const said = live.querySelector("b")?.textContent.replaceAll(",", "");
    return said === live.dataset.kept ? Number(cut.getAttribute("aria-valuenow")) : null;
  },
  loaded: (image) => image.complete && image.naturalWidth > 0,
  pictures() { return this.all(".tile img"); },
  rows() { return this.all(".tile").map((one) => one.dataset.row); },
  prepare() { this.before = new Set(this.rows()); this.count = this.all(".vn-line").map((one) => one.textContent).join(); this.card = this.one("article.card")?.dataset.row ?? null; },
  newPictures(n) { return () => {
    const fresh = this.all(".tile").filter((one) => !this.before.has(one.dataset.row)).map((one) => one.querySelector("img"));
    if (fresh.length < n) { this.stale = true; return false; }
    return fresh.filter((one) => one && this.loaded(one)).length >= n;
  }; },
  newTiles() { return () => {
    const rows = this.rows();
    return rows.length > 0 && rows.some((one) => !this.before.has(one));
  }; },
  opened() { return () => {
    const card = this.one("article.card");
    if (!card || card.dataset.row === this.card) { this.stale = true; return false; }
    const image = card.querySelector("img.picture");
    return Boolean(image && this.loaded(image));
  }; },
  // The row whose card and image are shown in the review deck, or null.
  reviewed() {
    const deck = this.one(".vn:has(.buttons)");
    if (!deck || !deck.dataset.row) return null;
    const card = deck.querySelector(`article.card[data-row="${deck.dataset.row}"]`);
    const image = card?.querySelector("img.picture");
    return card && card.offsetParent !== null && image && this.loaded(image) ? Number(deck.dataset.row) : null;
  },
  allSaved() { const deck = this.one(".vn:has(.buttons)"); return deck?.dataset.waiting === "0" && deck.querySelector(".saved")?.textContent === "all saved"; },
  beginReview() {
    const deck = this.one(".vn:has(.buttons)");
    this.pressed = []; this.drawn = new Map(); this.due = [Number(deck.dataset.row)];
    this.onKey = (event) => { if ("kdu".includes(event.key)) this.pressed.push(event.timeStamp || performance.now()); };
    // Several changes may arrive at once: the old values give the rows in between.
    this.seen = new MutationObserver((changes) => {
      for (const value of [...changes.slice(1).map((one) => one.oldValue), deck.dataset.row]) {
        if (Number(value) !== this.due.at(-1)) this.due.push(Number(value));
      }
    });
    this.seen.observe(deck, { attributes: true, attributeFilter: ["data-row"], attributeOldValue: true });
    this.cards = this.onChange(() => {
      const row = this.reviewed();
      if (row !== null && !this.drawn.has(row)) this.drawn.set(row, performance.now());
    });
  },
  // For every key: [row, time of the key, time at which the next row's image was shown]
  endReview() {
    this.cards.stop();
    this.seen.disconnect();
    this.onKey = null;
    return this.pressed.map((when, i) => [this.due[i] ?? -1, when, this.drawn.get(this.due[i + 1]) ?? 0]);
  },
  press(keys) { for (const key of keys) window.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })); },
  // Call look in the frame after each change of the page, after each loaded image, and ten times a
  // second. Calling it in every frame would make the browser draw unnecessary frames and distort the
  // measurement.
  onChange(look) {
    let due = false;
    const watched = new Set(), end = new AbortController();
    const soon = () => { if (!due) { due = true; requestAnimationFrame(inFrame); } };
    const observer = new MutationObserver((changes) => {
      if (changes.some((one) => one.type === "childList" && one.target.getRootNode() === document)) this.stale = true;
      soon();
    });
    const inFrame = () => {
      due = false;
      if (end.signal.aborted) return;
      for (const root of this.roots().filter((one) => !watched.has(one))) {
        watched.add(root);
        observer.observe(root, { subtree: true, childList: true, attributes: true, characterData: true });
        root.addEventListener("load", soon, { capture: true, signal: end.signal });
      }
      look();
    };
    const timer = setInterval(soon, 100);
    soon();
    return { stop: () => { end.abort(); observer.disconnect(); clearInterval(timer); } };
  },
  until(test) { return new Promise((resolve, reject) => {
    const over = setTimeout(() => { change.stop(); reject(new Error(`waited in vain for ${test}`)); }, 60000);
    const change = this.onChange(() => {
      if (!test()) return;
      clearTimeout(over);
      change.stop();
      resolve(performance.now());
    });
  }); },
};
// Registered before all other listeners: the page's own may stop a key from reaching later ones.
for (const kind of ["keydown", "pointerup", "click"]) window.addEventListener(kind, (event) => {
  VNB.at = event.timeStamp;
  if (kind === "keydown") VNB.onKey?.(event);
}, true);
