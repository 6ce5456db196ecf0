// The state of a review deck, as pure functions: nothing here draws, sends or stores.
//
// The server decides which decision holds. Drafts are what a person did that the server has not yet
// confirmed to be on disk; they are laid over the server's decisions, in order.

/**
 * @typedef {{event_id: string, order: number, decided_at: string, row_idx: number, decision: string | null,
 *   undoes: string | null, note: string | null, queue?: string, sampling_probability?: number | null,
 *   draw?: unknown}} Draft
 * @typedef {{event_id: string, row_idx: number, decision: string, then: string | null}} Entry  a decision, and the
 *   one that would hold after its undo
 * @typedef {{deck: string | null, ready: boolean, queue: number[], index: number, chances: Map<number, number>,
 *   pending: Draft[], order: number, notes: Map<number, string>, revealed: Set<number>, blind: boolean,
 *   decided: Record<string, string>, history: Entry[], queueName: string, draw: unknown, problem: string | null}} State
 * @typedef {{eventId: string, now: number}} Stamp  identity and time (ms) of a new draft
 */

const DeckState = (() => {
  /** @returns {State} */
  const create = () => ({
    deck: null, ready: false, queue: [], index: 0, chances: new Map(), pending: [], order: 0, notes: new Map(),
    revealed: new Set(), blind: false, decided: {}, history: [], queueName: "", draw: null, problem: null,
  });

  // ---- reading --------------------------------------------------------------------------------

  /** @param {State} state @returns {number | undefined} */
  const currentRow = (state) => state.queue[state.index];

  /**
   * Whether a sample's image and reference answer are still hidden from the reviewer.
   *
   * @param {State} state @param {number | undefined} row
   */
  const isHidden = (state, row) => state.blind && row !== undefined && !state.revealed.has(row);

  /**
   * Return the decision of each row and the decisions that can be undone, drafts included.
   *
   * @param {State} state
   */
  function resolve({ decided, history, pending }) {
    const current = new Map(Object.entries(decided).map(([row, decision]) => [Number(row), decision]));
    const stack = [...history];
    const known = new Set(stack.map((entry) => entry.event_id));
    const set = (row, decision) => { if (decision) current.set(row, decision); else current.delete(row); };
    for (const { event_id, row_idx, decision, undoes } of pending) {
      if (undoes) {
        const undone = stack.findLastIndex((entry) => entry.event_id === undoes);
        if (undone >= 0) set(row_idx, stack.splice(undone, 1)[0].then);
      } else if (decision && !known.has(event_id)) {
        stack.push({ event_id, row_idx, decision, then: current.get(row_idx) ?? null });
        set(row_idx, decision);
      }
    }
    return { decided: current, stack };
  }

  /**
   * Return the reviewer's note on a row: the latest typed, then the latest waiting, then the stored one.
   *
   * @param {State} state @param {number} row @param {string | null} [stored]
   */
  function noteOf(state, row, stored = null) {
    if (state.notes.has(row)) return state.notes.get(row);
    return state.pending.findLast((draft) => draft.row_idx === row && draft.note !== null)?.note ?? stored ?? "";
  }

  // ---- changes: each returns a new state, or the same one where nothing changes ----------------

  /**
   * @param {State} state @param {Stamp} stamp
   * @param {Partial<Draft> & {row_idx: number}} content
   * @returns {State}
   */
  function append(state, { eventId, now }, content) {
    const order = Math.max(state.order + 1, now * 1000);
    const defaults = { note: null, undoes: null, decision: null };
    const draft = { ...defaults, ...content, event_id: eventId, order, decided_at: new Date(now).toISOString() };
    return { ...state, order, pending: [...state.pending, draft] };
  }

  /**
   * Start over for another deck (workspace and reviewer), whose drafts are still being read.
   *
   * @param {State} state @param {string} deck @returns {State}
   */
  const switchDeck = (state, deck) => ({ ...state, deck, ready: false, pending: [], notes: new Map() });

  /** @param {State} state @param {Draft[]} drafts @returns {State} */
  const open = (state, drafts) => ({
    ...state, ready: true, pending: drafts, order: Math.max(state.order, ...drafts.map((draft) => draft.order)),
  });

  /**
   * Take over what the server reports: decisions, and drafts that are on disk or were refused.
   *
   * @param {State} state @param {any} data @returns {State}
   */
  function receive(state, { decided, history, blind, queue_name, draw, receipt }) {
    const { saved = [], refused = [], problem = null } = receipt ?? {};
    const done = new Set([...saved, ...refused]);
    const pending = state.pending.filter((draft) => !done.has(draft.event_id));
    return { ...state, pending, problem, decided, history, blind: Boolean(blind), queueName: queue_name, draw };
  }

  /**
   * Start a queue at `start`, or at its first sample without a decision.
   *
   * @param {State} state
   * @param {{queue: number[], chances: number[], start: number | null}} data
   * @returns {State}
   */
  function openQueue(state, { queue, chances, start }) {
    const { decided } = resolve(state);
    const wanted = start === null ? -1 : queue.indexOf(start);
    const open = queue.findIndex((row, i) => i >= Math.max(wanted, 0) && !decided.has(row));
    const index = open >= 0 ? open : Math.max(wanted, 0);
    return { ...state, queue: [...queue], index, chances: new Map(queue.map((row, i) => [row, chances[i]])) };
  }

  /** @param {State} state @param {Stamp} stamp @param {string} decision @returns {State} */
  function decide(state, stamp, decision) {
    const row = currentRow(state);
    if (row === undefined || !state.ready || isHidden(state, row)) return state;
    const probability = state.chances.get(row) || null;
    const sampling = { sampling_probability: state.chances.get(row) ?? null, draw: probability ? state.draw : null };
    const next = append(state, stamp, { row_idx: row, decision, queue: state.queueName, ...sampling });
    return { ...next, index: state.index + 1 };
  }

  /**
   * Undo the latest decision and go back to its sample; nothing is erased.
   *
   * @param {State} state @param {Stamp} stamp @returns {State}
   */
  function undo(state, stamp) {
    const last = resolve(state).stack.at(-1);
    if (!last || !state.ready) return state;
    return goTo(append(state, stamp, { row_idx: last.row_idx, undoes: last.event_id }), last.row_idx);
  }

  /** @param {State} state @param {Stamp} stamp @param {number} row @param {string} text @returns {State} */
  function writeNote(state, stamp, row, text) {
    const next = append(state, stamp, { row_idx: row, note: text, queue: state.queueName });
    return { ...next, notes: new Map(state.notes).set(row, text) };
  }

  /** @param {State} state @param {number} by @returns {State} */
  function step(state, by) {
    const index = Math.min(Math.max(state.index + by, 0), state.queue.length);
    return index === state.index ? state : { ...state, index };
  }

  /**
   * Show a sample; one that is not in the queue is inserted at the current place.
   *
   * @param {State} state @param {number} row @returns {State}
   */
  function goTo(state, row) {
    const { queue, index } = state;
    if (queue.includes(row)) return { ...state, index: queue.indexOf(row) };
    return { ...state, queue: [...queue.slice(0, index), row, ...queue.slice(index)] };
  }

  /** @param {State} state @returns {State} */
  function reveal(state) {
    const row = currentRow(state);
    if (row === undefined || !state.ready || !isHidden(state, row)) return state;
    return { ...state, revealed: new Set(state.revealed).add(row) };
  }

  return {
    create, currentRow, isHidden, resolve, noteOf, switchDeck, open, receive, openQueue, decide, undo, writeNote, step,
    goTo, reveal,
  };
})();
