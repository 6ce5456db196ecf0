// What the review deck reports next to the sample: the last decisions, and whether they are saved.

const RECENT_SHOWN = 10;

/** @param {any[]} stack decisions that count, the latest last @param {(row: number) => void} goTo */
function renderRecent(stack, goTo) {
  const item = ({ row_idx, decision, others = {} }) => {
    const n = Object.keys(others).length;
    const name = `row ${VN.count(row_idx)}${n ? ` +${VN.count(n)}` : ""}`;
    const attributes = { title: `Go back to ${name}`, onclick: () => goTo(row_idx) };
    return el("li", {}, button(attributes, VN.decisionMark(decision), name));
  };
  const recent = stack.slice(-RECENT_SHOWN).reverse();
  return recent.length ? [el("h3", {}, "Last decisions"), el("ul", {}, recent.map(item))] : [];
}

/** @param {{waiting: number, problem?: string, isAway: boolean, isDurable?: boolean}} outbox */
function describeSaved({ waiting, problem, isAway, isDurable }) {
  const decisions = `${VN.count(waiting)} ${waiting === 1 ? "decision is" : "decisions are"}`;
  const place = isDurable ? "in this browser" : "in this page only: do not close it";
  if (isAway) return `Server unreachable. ${decisions} stored ${place}; retrying …`;
  if (problem) return `Not saved: ${problem}`;
  const warning = isDurable ? "" : " (this browser stores nothing: do not close the page yet)";
  return waiting ? `saving ${waiting} …${warning}` : "all saved";
}

// How many samples of a queue are decided, and how often each decision was made.
function countDecisions(queue, decided) {
  const counts = { keep: 0, drop: 0, unsure: 0 };
  for (const row of queue) if (decided.has(row)) counts[decided.get(row)] += 1;
  const here = counts.keep + counts.drop + counts.unsure;
  const tally = Object.entries(counts).map(([name, n]) => `${VN.count(n)} ${name}`).join(", ");
  return { here, tally: here ? `: ${tally}` : "" };
}
