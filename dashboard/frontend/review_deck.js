// The review deck: one sample at a time, one key per decision.
//
// A key decides about the sample that stands first in line at that moment. The decision is kept
// in the browser before the next sample is drawn, and goes to the server with every other one
// that is not confirmed yet; it counts as saved only when the server says that it is on disk.
// Decisions carry their own ids, so that repeating them (after a reload, or by a second tab) does
// no harm.

const DECKS = new WeakMap();
const AHEAD = 32, MORE_FROM = 20, PICTURES_AHEAD = 5, RECENT = 10, RESEND_MS = 2500, MOVE_MS = 500, QUIET_MS = 120, LATEST_MS = 2500, NEXT_MS = 4;
const UNANSWERED = 2; // sendings, from which on the server counts as out of reach
const PACE_OVER = 20, PACE_FROM = 5, PAUSE_MS = 120000;

const eventId = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
};

// Which key does what. A person's own choice is kept in this browser.
class Keymap {
  static NAME = "visnec-review-keys";
  static MEANINGS = { keep: "keep", drop: "drop", unsure: "unsure", undo: "undo the last decision", previous: "back without deciding", next: "on without deciding", reveal: "reveal a hidden sample", note: "write a note", help: "show or hide this" };
  static USUAL = { keep: "k", drop: "d", unsure: "u", undo: "z", previous: "ArrowLeft", next: "ArrowRight", reveal: "v", note: "n", help: "?" };
  static SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" };

  constructor() {
    this.keys = { ...Keymap.USUAL, ...this.kept() };
    this.waiting = null;
    this.problem = null;
  }

  kept() {
    try {
      const found = JSON.parse(localStorage.getItem(Keymap.NAME) ?? "{}");
      return Object.fromEntries(Object.entries(found).filter(([action, key]) => action in Keymap.USUAL && this.fits(key)));
    } catch { return {}; }
  }

  fits(key) { return typeof key === "string" && (key in Keymap.SIGNS || (key.length === 1 && key.trim() !== "")); }
  action(key) { return Object.keys(this.keys).find((action) => this.keys[action] === key); }
  label(action) { const key = this.keys[action]; return Keymap.SIGNS[key] ?? key.toUpperCase(); }
  get changed() { return Object.keys(Keymap.USUAL).some((action) => this.keys[action] !== Keymap.USUAL[action]); }
  waitFor(action) { this.waiting = action; this.problem = null; }
  forget() { this.waiting = null; this.problem = null; }
  reset() { this.keys = { ...Keymap.USUAL }; this.forget(); this.save(); }

  // The key pressed while one was asked for. A key that is taken changes places with the old one.
  take(key) {
    if (["Shift", "Control", "Alt", "Meta", "CapsLock", "AltGraph", "Dead", "Tab"].includes(key)) return false;
    const action = this.waiting;
    this.forget();
    if (key === "Escape") return true;
    if (!this.fits(key)) { this.problem = `${key} cannot be used here; take a letter, a digit, a sign, Space or an arrow. `; return true; }
    const other = this.action(key);
    if (other) this.keys[other] = this.keys[action];
    this.keys[action] = key;
    this.save();
    return true;
  }

  save() {
    try { localStorage.setItem(Keymap.NAME, JSON.stringify(this.keys)); } catch { this.problem = "This browser keeps nothing: the keys hold until the page is closed. "; }
  }
}

class ReviewDeck {
  constructor(root) {
    this.root = root;
    this.pending = [];
    this.cards = new Map();
    this.wanted = new Set();
    this.pictures = new Map();
    this.notes = new Map();
    this.queue = [];
    this.index = 0;
    this.sent = 0;
    this.unanswered = 0;
    this.order = 0;
    this.inFlight = false;
    this.kept = Promise.resolve();
    this.ready = false;
    this.revealed = new Set();
    this.moments = [];
    this.keymap = new Keymap();
    this.build();
    this.onKey = (event) => this.key(event);
    this.onFocus = () => this.showKeys();
    window.addEventListener("keydown", this.onKey, true);
    document.addEventListener("focusin", this.onFocus);
    document.addEventListener("focusout", this.onFocus);
    this.onHide = () => { if (document.hidden && this.pending.length) this.flush(); };
    document.addEventListener("visibilitychange", this.onHide);
    this.onLeave = (event) => { if (this.pending.length && !this.outbox?.durable) event.preventDefault(); };
    window.addEventListener("beforeunload", this.onLeave);
    this.resend = setInterval(() => this.sendAgain(), RESEND_MS);
  }

  close() {
    window.removeEventListener("keydown", this.onKey, true);
    document.removeEventListener("focusin", this.onFocus);
    document.removeEventListener("focusout", this.onFocus);
    document.removeEventListener("visibilitychange", this.onHide);
    window.removeEventListener("beforeunload", this.onLeave);
    clearTimeout(this.soon);
    clearInterval(this.resend);
    clearTimeout(this.moving);
  }

  // ---- what the server says -------------------------------------------------------------------

  receive(data, send, trigger) {
    this.data = data;
    this.send = send;
    this.trigger = trigger;
    const others = this.about !== data.cards;
    if (others) this.forgetCards();
    if (this.answered !== data.answered) this.unanswered = 0;
    this.answered = data.answered;
    if (this.deckName !== data.deck) { this.openDeck(); return; }
    if (!this.ready) return;
    this.takeReceipt();
    if (this.queueKey !== data.queue_key) this.openQueue();
    else if (others) this.draw();
    this.inFlight = false;
    if (this.pending.some((draft) => !this.lastSent?.has(draft.event_id))) this.flushSoon();
    this.drawBar();
  }

  // Other scores, limits or pictures: what was fetched, or is on its way, no longer holds.
  forgetCards() {
    this.about = this.data.cards;
    this.cards.clear();
    this.wanted.clear();
    this.pictures.clear();
    this.version = null;
    this.next = null;
  }

  async openDeck() {
    // Decisions of another name stay in that name's drawer until it is opened again.
    const name = this.data.deck;
    this.deckName = name;
    this.ready = false;
    this.pending = [];
    this.notes.clear();
    this.forgetCards();
    const outbox = new Outbox(name);
    this.outbox = outbox;
    const waiting = await outbox.all();
    if (this.deckName !== name) return;
    this.pending = waiting;
    this.order = Math.max(this.order, ...waiting.map((draft) => draft.order));
    this.inFlight = false;
    this.ready = true;
    this.takeReceipt();
    this.openQueue();
    if (this.pending.length) this.flush();
    this.drawBar();
  }

  takeReceipt() {
    const { saved = [], refused = [], problem = null } = this.data.receipt ?? {};
    const done = new Set([...saved, ...refused]);
    const gone = this.pending.filter((draft) => done.has(draft.event_id));
    this.problem = problem;
    if (!gone.length) return;
    this.pending = this.pending.filter((draft) => !done.has(draft.event_id));
    this.outbox.remove(gone.map((draft) => draft.event_id));
  }

  openQueue() {
    this.queueKey = this.data.queue_key;
    // Choosing a queue leaves the focus in its select box, where keys would choose again.
    const active = document.activeElement;
    if (active?.closest?.("[data-testid=stSelectbox]")) active.blur();
    this.queue = [...this.data.queue];
    this.chances = new Map(this.queue.map((row, at) => [row, this.data.chances[at]]));
    const { decided } = this.standing();
    const wanted = this.queue.indexOf(this.data.start);
    const open = (from) => this.queue.findIndex((row, at) => at >= from && !decided.has(row));
    const first = wanted >= 0 ? open(wanted) : open(0);
    this.index = first >= 0 ? first : Math.max(wanted, 0);
    this.draw();
  }

  // ---- what holds, with what is not confirmed yet laid over it --------------------------------

  // Which decision holds is the server's to say. Here drafts that it has not confirmed go on top,
  // and an undo shows what the server said would hold then.
  standing() {
    const decided = new Map(Object.entries(this.data.decided).map(([row, decision]) => [Number(row), decision]));
    const stack = [...this.data.history], known = new Set(stack.map((one) => one.event_id));
    const hold = (row, decision) => { if (decision) decided.set(row, decision); else decided.delete(row); };
    for (const { event_id, row_idx, decision, undoes } of this.pending) {
      if (undoes) {
        const undone = stack.findLastIndex((one) => one.event_id === undoes);
        if (undone >= 0) hold(row_idx, stack.splice(undone, 1)[0].then);
      } else if (decision && !known.has(event_id)) {
        stack.push({ event_id, row_idx, decision, then: decided.get(row_idx) ?? null });
        hold(row_idx, decision);
      }
    }
    return { decided, stack };
  }

  get row() { return this.queue[this.index]; }

  // ---- what the person does -------------------------------------------------------------------

  keep(draft) {
    this.order = Math.max(this.order + 1, Date.now() * 1000);
    const whole = { note: null, undoes: null, decision: null, ...draft, event_id: eventId(), order: this.order, decided_at: new Date().toISOString() };
    this.pending.push(whole);
    this.root.dataset.waiting = this.pending.length;
    const outbox = this.outbox;
    this.kept = this.kept.then(() => outbox.put(whole));
    return this.kept;
  }

  decide(decision) {
    const row = this.row;
    if (row === undefined || !this.ready) return;
    if (this.unreachable && !this.cards.has(row)) { this.say("This sample is not there yet; nothing was decided."); return; }
    if (this.hides(row)) { this.say(`Nothing was decided: reveal the sample first (${this.keymap.label("reveal")}).`); return; }
    this.moments.push(Date.now());
    const kept = this.keep({ row_idx: row, decision, queue: this.data.queue_name, sampling_probability: this.chances.get(row) ?? null, draw: this.chances.get(row) ? this.data.draw : null });
    this.index += 1;
    this.drawKept(kept, `${decision} on row ${VN.count(row)}`);
  }

  undo() {
    if (!this.ready) return;
    const last = this.standing().stack.at(-1);
    if (!last) { this.say(this.data.history.length ? "Older decisions are on their way; try again." : "There is nothing to undo."); return; }
    const kept = this.keep({ row_idx: last.row_idx, undoes: last.event_id });
    const at = this.queue.indexOf(last.row_idx);
    if (at >= 0) this.index = at; else this.queue.splice(this.index, 0, last.row_idx);
    this.drawKept(kept, `undone: ${last.decision} on row ${VN.count(last.row_idx)}`);
  }

  async drawKept(kept, said) {
    this.flushSoon();
    await kept;
    this.draw(said);
  }

  step(by) {
    const next = Math.min(Math.max(this.index + by, 0), this.queue.length);
    if (next === this.index) return;
    this.index = next;
    this.draw();
    clearTimeout(this.moving);
    this.moving = setTimeout(() => this.flush(), MOVE_MS);
  }

  goTo(row) {
    if (!this.queue.includes(row)) this.queue.splice(this.index, 0, row);
    this.index = this.queue.indexOf(row);
    this.draw();
  }

  noteFor(row, text) {
    const before = this.noteOf(row);
    if (!this.ready || !Number.isInteger(row) || text.trim() === before) return;
    this.notes.set(row, text.trim());
    this.keep({ row_idx: row, note: text.trim(), queue: this.data.queue_name });
    this.flush();
    this.drawBar();
  }

  noteOf(row) {
    if (this.notes.has(row)) return this.notes.get(row);
    const waiting = this.pending.findLast((draft) => draft.row_idx === row && draft.note !== null);
    const own = this.cards.get(row)?.decisions?.find((one) => one.reviewer === this.data.reviewer);
    return waiting?.note ?? own?.note ?? "";
  }

  key(event) {
    const target = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (this.isTyping(target)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.repeat && !["previous", "next"].includes(this.keymap.action(key))) return;
    if (this.keymap.waiting) { if (!this.keymap.take(key)) return; this.drawKeys(); }
    else {
      const act = this.actions[this.keymap.action(key)] ?? (key === "Escape" && !this.help.hidden ? () => this.toggleHelp() : null);
      if (!act) return;
      act();
    }
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  isTyping(target) {
    if (!target?.closest) return false;
    if (target.tagName === "INPUT" && /^(checkbox|radio|button|submit)$/.test(target.type)) return false;
    return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || Boolean(target.closest("[role=listbox],[role=dialog],[role=tablist],[role=slider],[data-testid=stPopoverBody]"));
  }

  // ---- to the server --------------------------------------------------------------------------

  // In a pause between keys: what Streamlit does to send a decision and to take the answer would
  // stand in the way of the next sample. It is kept in the browser meanwhile.
  flushSoon() {
    const now = Date.now();
    this.unsentSince ??= now;
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.flush(), Math.max(0, Math.min(QUIET_MS, this.unsentSince + LATEST_MS - now)));
  }

  // One batch at a time; it holds everything unconfirmed, so a lost one costs nothing.
  flush(again = false) {
    if (!this.ready || (this.inFlight && !again)) return;
    clearTimeout(this.soon);
    this.unsentSince = null;
    this.inFlight = true;
    this.sent = Math.max(this.sent + 1, Date.now());
    this.lastSent = new Set(this.pending.map((draft) => draft.event_id));
    this.send("outbox", { deck: this.deckName, reviewer: this.data.reviewer, drafts: this.pending, row: this.row ?? null, n: this.sent });
  }

  sendAgain() {
    if (!this.pending.length) return;
    this.unanswered += 1;
    this.flush(true);
    if (this.ready) this.drawBar();
  }

  async fetchCards() {
    const from = Math.max(0, this.index - 1);
    const rows = this.queue.slice(from, this.index + AHEAD).filter((row) => !this.cards.has(row) && !this.wanted.has(row));
    const near = this.queue.slice(this.index, this.index + 4).some((row) => !this.cards.has(row) && !this.wanted.has(row));
    if (!rows.length || (!near && rows.length < MORE_FROM)) return;
    for (const row of rows) this.wanted.add(row);
    const about = this.about;
    try {
      const answer = await fetch(`${about}&rows=${rows.join(",")}`, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
      const cards = await answer.json();
      if (about !== this.about) return;
      for (const card of cards) this.cards.set(card.row_idx, card);
      this.unreachable = null;
    } catch (error) {
      if (about !== this.about) return;
      this.unreachable = String(error.message ?? error);
      setTimeout(() => this.draw(), RESEND_MS);
    }
    for (const row of rows) this.wanted.delete(row);
    while (this.cards.size > 400) this.cards.delete(this.cards.keys().next().value);
    if (rows.includes(this.row)) this.draw(); else this.fetchPictures();
  }

  fetchPictures() {
    const urls = this.queue.slice(this.index, this.index + 1 + PICTURES_AHEAD).flatMap((row) => this.cards.get(row)?.images?.slice(0, 2).map((image) => image.url) ?? []);
    for (const url of urls) {
      if (this.pictures.has(url)) continue;
      const picture = new Image();
      picture.src = url;
      this.pictures.set(url, picture);
    }
    for (const url of [...this.pictures.keys()].slice(0, Math.max(0, this.pictures.size - 24))) this.pictures.delete(url);
  }

  // ---- what is shown --------------------------------------------------------------------------

  build() {
    const { el } = VN;
    this.actions = {
      keep: () => this.decide("keep"), drop: () => this.decide("drop"), unsure: () => this.decide("unsure"), undo: () => this.undo(),
      previous: () => this.step(-1), next: () => this.step(1), reveal: () => this.reveal(), note: () => this.note.focus(), help: () => this.toggleHelp(),
    };
    const button = (kind, label, action) => el("button", { type: "button", class: kind, "data-action": action, onclick: () => this.actions[action]() }, label, el("kbd", {}));
    this.count = el("span", { class: "count" });
    this.filled = el("span", { class: "filled" });
    this.saved = el("span", { class: "saved", role: "status" });
    this.keys = el("span", { class: "keys quiet" });
    this.last = el("span", { class: "last quiet" });
    this.note = el("input", { class: "note-field", type: "text", maxlength: 2000, placeholder: "Note (N)", "aria-label": "Note on this sample",
      onblur: () => this.noteFor(Number(this.note.dataset.row), this.note.value),
      onkeydown: (event) => { if (event.key === "Enter" || event.key === "Escape") { if (event.key === "Escape") this.note.value = this.noteOf(this.row); this.note.blur(); } } });
    this.help = el("div", { class: "help", hidden: true, role: "region", "aria-label": "Keys" });
    this.card = el("div", { class: "place" });
    this.recent = el("section", { class: "recent", "aria-label": "Last decisions" });
    this.buttons = el("div", { class: "buttons", role: "toolbar", "aria-label": "Decisions" },
      button("move", "Previous", "previous"), button("reveal", "Reveal", "reveal"), button("keep", "Keep", "keep"), button("drop", "Drop", "drop"),
      button("unsure", "Unsure", "unsure"), button("undo", "Undo", "undo"), button("move", "Next", "next"), button("more", "Help", "help"), this.note);
    this.root.replaceChildren(
      el("div", { class: "top" }, el("div", { class: "status" }, this.count, el("span", { class: "track" }, this.filled), this.saved, this.last, this.keys), this.buttons, this.help),
      this.card, this.recent);
    this.card.append(el("div", { class: "waiting quiet" }, "Opening the queue …"));
    this.drawKeys();
  }

  toggleHelp() {
    this.help.hidden = !this.help.hidden;
    if (this.help.hidden) this.keymap.forget();
    this.drawKeys();
  }

  // The keys on the buttons and in the help sheet; a click on one there waits for another key.
  drawKeys() {
    const { el } = VN;
    for (const one of this.buttons.querySelectorAll("button[data-action]")) {
      const label = this.keymap.label(one.dataset.action);
      one.querySelector("kbd").textContent = label;
      one.setAttribute("aria-keyshortcuts", label);
    }
    this.note.placeholder = `Note (${this.keymap.label("note")})`;
    const row = ([action, what]) => el("div", {},
      el("dt", {}, el("button", { type: "button", class: "key-of", title: "Change this key", "aria-label": `${what}: ${this.keymap.label(action)}; change`, onclick: (event) => { event.currentTarget.blur(); this.keymap.waitFor(action); this.drawKeys(); } },
        el("kbd", { class: this.keymap.waiting === action ? "asked" : null }, this.keymap.waiting === action ? "press a key" : this.keymap.label(action)))),
      el("dd", {}, what));
    this.help.replaceChildren(
      el("dl", {}, Object.entries(Keymap.MEANINGS).map(row), el("div", {}, el("dt", {}, el("kbd", {}, "Esc")), el("dd", {}, "leave a field"))),
      el("p", { class: "quiet" }, this.keymap.problem ?? "Click a key to change it; it stays so in this browser. A decision is kept in this browser at once and shown as saved when the server has it on disk. Undo takes back the latest one; it erases nothing. Keys rest while you type in a field. ",
        this.keymap.changed ? el("button", { type: "button", class: "plain-link", onclick: () => { this.keymap.reset(); this.drawKeys(); } }, "Use the usual keys again") : null));
  }

  // Blind first: what is hidden of a sample until it is revealed, so that the image and the
  // reference cannot lead the first thought.
  hides(row) { return Boolean(this.data.blind) && row !== undefined && !this.revealed.has(row); }

  reveal() {
    if (!this.ready || !this.hides(this.row)) return;
    this.revealed.add(this.row);
    this.draw("revealed");
  }

  say(text) { this.last.textContent = text; }

  showKeys() {
    let active = document.activeElement;
    while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
    const typing = this.isTyping(active);
    this.keys.textContent = typing ? "keys rest while you type" : "";
  }

  draw(said = null) {
    if (!this.ready) return;
    if (said !== null) this.say(said);
    this.fetchCards();
    this.fetchPictures();
    this.drawBar();
    const { el } = VN;
    const row = this.row;
    const card = this.cards.get(row);
    this.root.dataset.row = row ?? "";
    if (row === undefined) this.showEnd();
    else if (!card) this.show(`waiting-${row}`, () => el("div", { class: "waiting quiet" }, this.unreachable ? `The sample cannot be fetched (${this.unreachable}); trying again …` : "Loading the sample …"));
    else this.show(this.cardVersion(row), () => this.cardWithLink(card));
    if (Number(this.note.dataset.row) !== row) { this.note.dataset.row = row ?? ""; this.note.value = row === undefined ? "" : this.noteOf(row); }
    else if (document.activeElement?.shadowRoot?.activeElement !== this.note && row !== undefined) this.note.value = this.noteOf(row);
    this.note.disabled = row === undefined;
  }

  cardVersion(row) { return `card-${row}-${this.hides(row)}`; }

  show(version, make) {
    if (this.version === version && !version.startsWith("waiting")) return;
    this.version = version;
    this.card.replaceChildren(this.next?.version === version ? this.next.node : make());
    this.next = null;
    setTimeout(() => this.prepareNext(), NEXT_MS);
  }

  // The card behind, made and its picture decoded while this one is looked at.
  prepareNext() {
    const row = this.queue[this.index + 1];
    const card = this.cards.get(row);
    if (!card || this.next?.version === this.cardVersion(row)) return;
    this.next = { version: this.cardVersion(row), node: this.cardWithLink(card) };
    for (const image of this.next.node.querySelectorAll("img.picture")) image.decode().catch(() => {});
  }

  // Other people's decisions stay out of sight, so that they do not lead this one.
  cardWithLink(card) {
    if (this.hides(card.row_idx)) return Card.renderBlind(card, this.keymap.label("reveal"), () => this.reveal());
    const shown = Card.render({ ...card, decisions: [], neighbours: card.neighbours.map((one) => ({ ...one, decision: null })) });
    shown.querySelector(".heading").append(VN.el("a", { class: "explore", href: `${this.data.explore}${card.row_idx}`, target: "_blank", rel: "noopener" }, "open in Explore ↗"));
    return shown;
  }

  showEnd() {
    const { el } = VN;
    this.show(`end-${this.queueKey}-${this.queue.length}`, () => el("div", { class: "end" },
      el("b", {}, this.queue.length ? "This queue is done." : "This queue is empty."),
      el("p", { class: "quiet" }, this.queue.length ? "Every sample in it has been seen." : "No sample matches. Choose another order, another filter, or show decided samples too."),
      el("button", { type: "button", class: "more", onclick: () => this.trigger("rebuild", Date.now()) }, "Look for more samples")));
  }

  drawRecent(stack) {
    const { el } = VN;
    const version = JSON.stringify(stack.map((one) => [one.row_idx, one.decision]));
    if (version === this.root.dataset.history) return;
    this.root.dataset.history = version;
    const last = stack.slice(-RECENT).reverse();
    this.recent.replaceChildren(...(last.length ? [
      el("h3", {}, "Last decisions"),
      el("ul", {}, last.map((one) => el("li", {},
        el("button", { type: "button", title: `Go back to row ${VN.count(one.row_idx)}`, onclick: () => this.goTo(one.row_idx) }, VN.decisionMark(one.decision), `row ${VN.count(one.row_idx)}`))))] : []));
  }

  // Decisions a minute over the last ones, pauses left out, and what the rest would take.
  pace(left) {
    const last = this.moments.slice(-PACE_OVER - 1);
    const gaps = last.slice(1).map((moment, i) => moment - last[i]).filter((gap) => gap < PAUSE_MS);
    if (gaps.length < PACE_FROM) return "";
    const each = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const minutes = Math.ceil((each * left) / 60000);
    return ` · ${Math.round(60000 / Math.max(each, 1))} a minute${left ? `, about ${VN.count(minutes)} min left` : ""}`;
  }

  awayText(waiting) {
    return `The server cannot be reached. ${VN.count(waiting)} ${waiting === 1 ? "decision is" : "decisions are"} kept in this ${this.outbox.durable ? "browser" : "page only: do not close it"}; trying again every few seconds …`;
  }

  drawBar() {
    const { decided, stack } = this.standing();
    const here = this.queue.filter((row) => decided.has(row)).length;
    this.count.replaceChildren(VN.el("b", {}, VN.count(Math.min(this.index + 1, this.queue.length))), ` of ${VN.count(this.queue.length)}${this.data.said ? ` (${this.data.said})` : ""}`, VN.el("span", { class: "quiet" }, ` · ${VN.count(here)} decided here · ${VN.count(this.data.n_decided)} by ${this.data.reviewer} in all${this.pace(this.queue.length - here)}`));
    this.drawRecent(stack);
    this.filled.style.width = this.queue.length ? `${(100 * here) / this.queue.length}%` : "0";
    const waiting = this.pending.length;
    this.root.dataset.waiting = waiting;
    this.root.dataset.decided = here;
    const away = waiting && this.unanswered >= UNANSWERED;
    this.saved.className = `saved ${this.problem || away ? "problem" : waiting ? "waiting" : "done"}`;
    this.saved.textContent = away ? this.awayText(waiting) : this.problem ? `Not saved: ${this.problem}` : waiting ? `saving ${waiting} …` : "all saved";
    if (waiting && !away && !this.outbox.durable) this.saved.textContent += " (this browser keeps nothing: do not close the page yet)";
    const mine = decided.get(this.row);
    for (const one of this.buttons.querySelectorAll("button.keep, button.drop, button.unsure")) {
      const on = one.classList.contains(mine ?? "-");
      one.classList.toggle("chosen", on);
      one.setAttribute("aria-pressed", on);
      one.disabled = this.row === undefined;
    }
    this.buttons.querySelector("button.undo").disabled = !stack.length;
    this.buttons.querySelector("button.reveal").hidden = !this.data.blind;
    this.buttons.querySelector("button.reveal").disabled = !this.hides(this.row);
  }
}

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  let deck = DECKS.get(root);
  if (!deck) {
    deck = new ReviewDeck(root);
    DECKS.set(root, deck);
  }
  deck.receive(data, setStateValue, setTriggerValue);
  return () => { deck.close(); DECKS.delete(root); };
}
