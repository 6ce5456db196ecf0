// Cards of the samples around the current one, and their images, fetched before they are needed.

const CARDS_AHEAD = 32, FEWEST_CARDS = 20, CARDS_KEPT = 400;
const IMAGES_AHEAD = 5, IMAGES_KEPT = 24, RETRY_MS = 2500;

class DeckLoader {
  /** @type {string | null} */ address = null;
  /** @type {string | null} */ problem = null; // why the last request failed
  retryAt = 0;
  cards = new Map();
  requested = new Set();
  images = new Map();

  /** `onChange` gets the rows that were loaded or failed to load, and null when it is time to try again. */
  constructor(onChange) { this.onChange = onChange; }

  /** Use another address: with other scores, limits or images, nothing fetched before is valid. */
  reset(address) {
    this.address = address;
    for (const fetched of [this.cards, this.requested, this.images]) fetched.clear();
  }

  /** Fetch missing cards around a position of the queue, in batches unless one is needed soon. */
  async load(queue, index) {
    this.loadImages(queue, index);
    const isMissing = (row) => !this.cards.has(row) && !this.requested.has(row);
    const rows = queue.slice(Math.max(0, index - 1), index + CARDS_AHEAD).filter(isMissing);
    const soon = queue.slice(index, index + 4).some(isMissing);
    if (!rows.length || (!soon && rows.length < FEWEST_CARDS) || Date.now() < this.retryAt) return;
    for (const row of rows) this.requested.add(row);
    const address = this.address;
    try {
      const cards = await VN.fetchJson(`${address}&rows=${rows.join(",")}`);
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
    VN.trim(this.cards, CARDS_KEPT);
    this.onChange(rows);
  }

  loadImages(queue, index) {
    const cards = queue.slice(index, index + 1 + IMAGES_AHEAD).map((row) => this.cards.get(row));
    for (const { url } of cards.flatMap((card) => card?.images?.slice(0, 2) ?? [])) {
      if (this.images.has(url)) continue;
      const image = new Image();
      image.src = url;
      this.images.set(url, image);
    }
    VN.trim(this.images, IMAGES_KEPT);
  }
}
