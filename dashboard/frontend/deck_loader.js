// Cards of the samples around the current one, and their images, fetched before they are needed.

const CARDS_AHEAD = 32, FEWEST_CARDS = 20, CARDS_KEPT = 400;
const IMAGES_AHEAD = 5, IMAGES_KEPT = 24;
const RETRY_MS = 2500;

class DeckLoader {
  /**
   * @param {(rows: number[] | null) => void} onChange called with the rows that were loaded or failed to
   *   load, and with null when it is time to try again
   */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {string | null} */
    this.address = null;
    /** @type {string | null} why the last request failed */
    this.problem = null;
    this.retryAt = 0;
    this.cards = new Map();
    this.requested = new Set();
    this.images = new Map();
  }

  /**
   * Use another address: with other scores, limits or images, nothing fetched before is valid.
   *
   * @param {string | null} address
   */
  reset(address) {
    this.address = address;
    this.cards.clear();
    this.requested.clear();
    this.images.clear();
  }

  /**
   * Fetch missing cards around a position of the queue, in batches unless one is needed soon.
   *
   * @param {number[]} queue @param {number} index
   */
  async load(queue, index) {
    this.loadImages(queue, index);
    const isMissing = (row) => !this.cards.has(row) && !this.requested.has(row);
    const rows = queue.slice(Math.max(0, index - 1), index + CARDS_AHEAD).filter(isMissing);
    const soon = queue.slice(index, index + 4).some(isMissing);
    if (!rows.length || (!soon && rows.length < FEWEST_CARDS) || Date.now() < this.retryAt) return;
    for (const row of rows) this.requested.add(row);
    const address = this.address;
    try {
      const answer = await fetch(`${address}&rows=${rows.join(",")}`, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
      const cards = await answer.json();
      if (address !== this.address) return;
      for (const card of cards) this.cards.set(card.row_idx, card);
      this.problem = null;
    } catch (error) {
      if (address !== this.address) return;
      this.problem = String(error.message ?? error);
      this.retryAt = Date.now() + RETRY_MS;
      setTimeout(() => this.onChange(null), RETRY_MS);
    }
    for (const row of rows) this.requested.delete(row);
    while (this.cards.size > CARDS_KEPT) this.cards.delete(this.cards.keys().next().value);
    this.onChange(rows);
  }

  /** @param {number[]} queue @param {number} index */
  loadImages(queue, index) {
    const cards = queue.slice(index, index + 1 + IMAGES_AHEAD).map((row) => this.cards.get(row));
    for (const { url } of cards.flatMap((card) => card?.images?.slice(0, 2) ?? [])) {
      if (this.images.has(url)) continue;
      const image = new Image();
      image.src = url;
      this.images.set(url, image);
    }
    const surplus = Math.max(0, this.images.size - IMAGES_KEPT);
    for (const url of [...this.images.keys()].slice(0, surplus)) this.images.delete(url);
  }
}
