// The state of a review deck: nothing here draws, sends or stores, and no method changes its object. The server
// decides which decision holds. Drafts are what a person did that the server has not yet confirmed to be on disk;
// they are laid over the server's decisions, in order.

/**
 * @typedef {{event_id: string, order: number, decided_at: string, row_idx: number, decision: string | null,
 *   undoes: string | null, note: string | null, queue?: string, sampling_probability?: number | null,
 *   draw?: unknown, others?: number[]}} Draft  `others` are near-duplicates that get the same decision
 * @typedef {{event_id: string, row_idx: number, decision: string, then: string | null,
 *   others?: Record<string, string | null>}} Entry  a decision, and the one that would hold after its undo, on its
 *   sample and by row on the near-duplicates
 * @typedef {{eventId: string, now: number}} Stamp  identity and time (ms) of a new draft
 */

const newStamp = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return { eventId: Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""), now: Date.now() };
};

class DeckState {
  /** @type {string | null} */ deck = null; // workspace and reviewer, whose drafts are read before it is ready
  ready = false;
  /** @type {number[]} */ queue = [];
  index = 0;
  /** @type {Map<number, number | null>} */ chances = new Map(); // row to its probability of being drawn
  /** @type {Draft[]} */ pending = [];
  order = 0;
  notes = new Map();
  revealed = new Set();
  /** @type {Map<string, number[]>} */ grouped = new Map(); // near-duplicates decided in this queue, by event
  blind = false;
  /** @type {Record<string, string>} */ decided = {}; // by row, as the server has them
  /** @type {Entry[]} */ history = [];
  queueName = "";
  draw = null;
  problem = null;
  /** @param {Partial<DeckState>} changes */
  with(changes) { return Object.assign(new DeckState(), this, changes); }
  /** @returns {number | undefined} */
  get row() { return this.queue[this.index]; }
  /** Whether a sample's image and reference answer are still hidden from the reviewer. */
  isHidden(row = this.row) { return this.blind && row !== undefined && !this.revealed.has(row); }

  /** Return the decision of each row and the decisions that can be undone, drafts included. */
  resolve() {
    const decided = new Map(Object.entries(this.decided).map(([row, decision]) => [Number(row), decision]));
    const stack = [...this.history];
    const known = new Set(stack.map((entry) => entry.event_id));
    const set = (row, decision) => { if (decision) decided.set(row, decision); else decided.delete(row); };
    for (const { event_id, row_idx, decision, undoes, others: rows = [] } of this.pending) {
      if (undoes) {
        const undone = stack.findLastIndex((entry) => entry.event_id === undoes);
        if (undone < 0) continue;
        const { then, others } = stack.splice(undone, 1)[0];
        for (const [row, before] of Object.entries({ ...others, [row_idx]: then })) set(Number(row), before);
      } else if (decision && !known.has(event_id)) {
        const others = Object.fromEntries(rows.map((row) => [row, decided.get(row) ?? null]));
        stack.push({ event_id, row_idx, decision, then: decided.get(row_idx) ?? null, others });
        for (const row of [row_idx, ...rows]) set(row, decision);
      }
    }
    return { decided, stack };
  }

  /** Return the reviewer's note on a row: the latest typed, then the latest waiting, then the stored one. */
  noteOf(row, stored = null) {
    if (this.notes.has(row)) return this.notes.get(row);
    return this.pending.findLast((draft) => draft.row_idx === row && draft.note !== null)?.note ?? stored ?? "";
  }

  // Changes: each returns a new state, or this one where nothing changes.

  /** @param {Stamp} stamp @param {Partial<Draft> & {row_idx: number}} content */
  append({ eventId, now }, content) {
    const order = Math.max(this.order + 1, now * 1000);
    const defaults = { note: null, undoes: null, decision: null };
    const draft = { ...defaults, ...content, event_id: eventId, order, decided_at: new Date(now).toISOString() };
    return this.with({ order, pending: [...this.pending, draft] });
  }

  /** Start over for another deck, whose drafts are still being read. */
  switchDeck(deck) { return this.with({ deck, ready: false, pending: [], notes: new Map() }); }

  /** @param {Draft[]} drafts */
  open(drafts) {
    return this.with({
      ready: true, pending: drafts, order: Math.max(this.order, ...drafts.map((draft) => draft.order)),
    });
  }

  /** Take over what the server reports: decisions, and drafts that are on disk or were refused. */
  receive({ decided, history, blind, queue_name, draw, receipt }) {
    const { saved = [], refused = [], problem = null } = receipt ?? {};
    const done = new Set([...saved, ...refused]);
    const pending = this.pending.filter((draft) => !done.has(draft.event_id));
    const grouped = new Map([...this.grouped].filter(([eventId]) => !refused.includes(eventId)));
    const reported = { decided, history, blind: Boolean(blind), queueName: queue_name, draw };
    return this.with({ pending, grouped, problem, ...reported });
  }

  /** Start a queue at `start`, or at its first sample without a decision. */
  openQueue({ queue, chances, start }) {
    const { decided } = this.resolve();
    const wanted = Math.max(start === null ? -1 : queue.indexOf(start), 0);
    const open = queue.findIndex((row, i) => i >= wanted && !decided.has(row));
    const index = open >= 0 ? open : wanted;
    const chanceOf = new Map(queue.map((row, i) => [row, chances[i]]));
    return this.with({ queue: [...queue], index, chances: chanceOf, grouped: new Map() });
  }

  /** The position after a decision: samples that were decided as near-duplicates are passed over. */
  nextIndex(grouped = this.grouped) {
    const passed = new Set([...grouped.values()].flat());
    const next = this.queue.findIndex((row, i) => i > this.index && !passed.has(row));
    return next < 0 ? this.queue.length : next;
  }

  /**
   * Decide on the current sample, and on those of its near-duplicates that have no decision yet.
   * @param {Stamp} stamp @param {string} decision @param {number[]} [duplicates]
   */
  decide(stamp, decision, duplicates = []) {
    const { row } = this;
    if (row === undefined || !this.ready || this.isHidden()) return this;
    const probability = this.chances.get(row) ?? null;
    const sampling = { sampling_probability: probability, draw: probability ? this.draw : null };
    const { decided } = duplicates.length ? this.resolve() : { decided: new Map() };
    const others = duplicates.filter((other) => other !== row && !decided.has(other));
    const group = others.length ? { others } : {};
    const grouped = others.length ? new Map(this.grouped).set(stamp.eventId, others) : this.grouped;
    const next = this.append(stamp, { row_idx: row, decision, queue: this.queueName, ...sampling, ...group });
    return next.with({ index: this.nextIndex(grouped), grouped });
  }

  /** Undo the latest decision and go back to its sample; nothing is erased. */
  undo(stamp) {
    const last = this.resolve().stack.at(-1);
    if (!last || !this.ready) return this;
    const grouped = new Map(this.grouped);
    grouped.delete(last.event_id);
    return this.append(stamp, { row_idx: last.row_idx, undoes: last.event_id }).with({ grouped }).goTo(last.row_idx);
  }

  writeNote(stamp, row, text) {
    const next = this.append(stamp, { row_idx: row, note: text, queue: this.queueName });
    return next.with({ notes: new Map(this.notes).set(row, text) });
  }

  step(by) {
    const index = Math.min(Math.max(this.index + by, 0), this.queue.length);
    return index === this.index ? this : this.with({ index });
  }

  /** Show a sample; one that is not in the queue is inserted at the current place. */
  goTo(row) {
    const { queue, index } = this;
    if (queue.includes(row)) return this.with({ index: queue.indexOf(row) });
    return this.with({ queue: [...queue.slice(0, index), row, ...queue.slice(index)] });
  }

  reveal() {
    if (!this.ready || !this.isHidden()) return this;
    return this.with({ revealed: new Set(this.revealed).add(this.row) });
  }
}
