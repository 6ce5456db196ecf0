// The near-duplicates of the sample on the deck, and one decision for all of them.

const nearDuplicates = (n) => `${VN.count(n)} near-duplicate${n === 1 ? "" : "s"}`;
const decisionText = ({ decision, row_idx, others }) =>
  `${decision} on row ${VN.count(row_idx)}${others ? ` and ${nearDuplicates(others)}` : ""}`;

const GroupBar = (() => {
  const DECISIONS = { keep: "Keep", drop: "Drop", unsure: "Unsure about" };
  let kind = null; // of the group chosen last, kept from sample to sample

  /** The group that a decision is about: of the kind chosen last, or else the strictest. */
  const groupOf = (card) => card?.duplicates?.find((group) => group.kind === kind) ?? card?.duplicates?.[0] ?? null;
  const othersOf = (card) => groupOf(card)?.rows.filter((row) => row !== card.row_idx) ?? [];
  const isComplete = (group) => group.rows.length === group.n_samples;

  function renderTile(tile, decision) {
    const score = tile.visnec === null ? tile.status_name : VN.score(tile.visnec);
    const title = `row ${VN.count(tile.row_idx)} · ${score}\n${tile.question}\n${tile.answer}`;
    const picture = tile.thumbnail ? el("img", { src: tile.thumbnail, alt: "", loading: "lazy" }) : quiet("text");
    return el("li", { title }, picture, VN.decisionMark(decision), el("span", "hidden", title));
  }

  /** Keys and decisions on near-duplicates that the bar shows, as text. */
  function versionOf(card, keymap, state) {
    const group = groupOf(card);
    if (!group) return "";
    const { decided } = state.resolve();
    const keys = Object.keys(DECISIONS).map((decision) => keymap.groupLabel(decision));
    return [...keys, ...group.tiles.map((tile) => decided.get(tile.row_idx))].join();
  }

  /**
   * @param {any} card @param {Keymap} keymap @param {DeckState} state
   * @param {{decide: (decision: string) => void, choose: () => void}} actions
   */
  function render(card, keymap, state, { decide, choose }) {
    const group = groupOf(card);
    if (!group) return null;
    const { decided } = state.resolve();
    const n = group.n_samples - 1;
    const choice = (other) => button({
      "aria-pressed": String(other === group), onclick: () => { kind = other.kind; choose(); },
    }, other.name, quiet(` ${VN.count(other.n_samples - 1)}`));
    const kinds = card.duplicates.length > 1
      ? el("span", { class: "kinds", role: "group", "aria-label": "Kind" }, card.duplicates.map(choice))
      : quiet(group.name);
    const more = n - group.tiles.length;
    const action = ([decision, name]) => {
      const key = keymap.groupLabel(decision);
      return button({ class: `whole ${decision}`, onclick: () => decide(decision) },
        `${name} all ${VN.count(group.n_samples)}`, key && el("kbd", {}, key));
    };
    return el("section", { class: "group", "aria-label": "Near-duplicates" },
      el("span", {}, el("b", {}, nearDuplicates(n)), " "), kinds,
      el("ul", {}, group.tiles.map((tile) => renderTile(tile, decided.get(tile.row_idx))),
        more > 0 ? el("li", "more", `+${VN.count(more)}`) : null),
      isComplete(group) ? el("span", "actions", Object.entries(DECISIONS).map(action))
        : quiet("too many for one decision: narrow them down in Explore"));
  }

  return { groupOf, othersOf, isComplete, versionOf, render };
})();
