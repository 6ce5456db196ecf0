// One sample: its image, its conversation, and its answers side by side. The sample view and the review
// deck both use it, so a sample looks the same in both.

const Card = (() => {
  // Both losses on one line, the same for every sample; the range between them is the score.
  const HIGHEST_LOSS = 4; // nats per answer token; higher ones are at the end of the line
  function renderLossBar({ loss_text, loss_multimodal, category }) {
    const percent = (value) => `${(100 * Math.min(value, HIGHEST_LOSS)) / HIGHEST_LOSS}%`;
    const [low, high] = [loss_multimodal, loss_text].sort((a, b) => a - b);
    const dot = (kind, title, x) => el("span", { class: `dot ${kind}`, style: { left: percent(x) }, title });
    const label = `multimodal loss ${VN.loss(loss_multimodal)}, text-only loss ${VN.loss(loss_text)}`;
    const title = `Losses from 0 to ${HIGHEST_LOSS} nats per answer token; filled: with the image`;
    const width = `calc(${percent(high)} - ${percent(low)})`;
    return el("div", { class: "loss-bar", role: "img", "aria-label": label, title },
      el("span", { class: `range ${category}`, style: { left: percent(low), width } }),
      dot("seeing", "multimodal loss", loss_multimodal), dot("blind", "text-only loss", loss_text));
  }

  // One line: the score, its category, and both losses.
  function renderScore(card) {
    if (card.visnec === null) {
      return el("section", "score", el("b", {}, VN.swatch(null), card.status_name),
        quiet(card.reason ?? "No score for this sample."));
    }
    const { nearest, n_content_tokens: n_content, n_answer_tokens: n_answer } = card;
    const isShort = n_content === 1 || (n_content === null && n_answer !== null && n_answer <= 2);
    const caveats = [
      card.edit?.changes.length && "Edited: the score and the predictions are of the record before the edit.",
      nearest.within_noise && "Within the noise of the limit: the category may be due to rounding.",
      isShort && "The score of a single token: it is noisy.",
      card.truncated && "Truncated: only the part that fits into the model was scored.",
    ].filter(Boolean);
    const category = el("span", "category", VN.swatch(card.category), card.category);
    return el("section", "score", el("b", {}, VN.score(card.visnec)), category, renderLossBar(card),
      caveats.map((text) => el("p", "caveat quiet", text)));
  }

  function renderFacts(card) {
    if (card.visnec === null) return null;
    const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
    const { thought, nearest, n_answer_tokens: n_answer } = card;
    return el("dl", "facts",
      fact([el("span", "key blind"), "text-only loss"], VN.loss(card.loss_text)),
      fact([el("span", "key seeing"), "multimodal loss"], VN.loss(card.loss_multimodal)),
      fact("answer tokens", n_answer === null ? "–" : VN.count(n_answer)),
      card.visnec_without_end === null ? null : fact("without the end token", VN.score(card.visnec_without_end)),
      thought && fact(`thought, ${VN.count(thought.n)} tokens`, VN.score(thought.visnec)),
      thought && fact("final answer", VN.score(thought.content)),
      fact(`from the limit ${VN.limit(nearest.limit)}`, VN.score(nearest.distance)),
      fact("noise", card.noise ?? "unknown dtype"),
      fact("blind baseline", card.baseline),
      card.n_others ? fact("same category", `${card.n_agreeing} of ${card.n_others} other scores`) : null,
      card.other_scores.map((other) => fact([VN.swatch(other.category), other.name], VN.score(other.visnec))));
  }

  // Which answer the words of predictions are compared with; kept from sample to sample.
  let comparison = "other";
  const COMPARISONS = { other: "each other", reference: "the reference" };

  const turnName = (card, turn) => (card.n_turns > 1 ? `turn ${turn + 1} of ${card.n_turns}` : null);

  // The first answer; those of later turns are in the conversation, which `redraw` draws again.
  function renderAnswers(card, redraw) {
    const [first, ...more] = card.predictions;
    const section = el("section", { class: "answers-of", "aria-label": "Answers" });
    const choose = (name) => {
      comparison = name;
      draw();
      redraw();
      section.querySelector('[aria-pressed="true"]').focus();
    };
    const choice = ([name, label]) =>
      button({ "aria-pressed": String(comparison === name), onclick: () => choose(name) }, label);
    const group = { class: "against quiet", role: "group", "aria-label": "Mark words that differ from" };
    const predicted = first?.predicted && el("span", "predicted", `Predicted: ${first.predicted}`);
    const choices = () => el("div", group, "Marked: words that differ from",
      Object.entries(COMPARISONS).map(choice), predicted);
    const turn = turnName(card, 0);
    const reference = renderAnswer("Reference answer", card.answer || quiet("(no answer)"),
      turn && el("span", "badge", turn), "reference");
    const draw = () => section.replaceChildren(
      el("div", "answers", reference, renderPredictions(first)),
      ...(first ? [choices()] : []), ...more.map((each) => renderOtherRun(each, each, more.length === 1)));
    draw();
    return section;
  }

  // The predictions of another run, in one turn.
  const renderOtherRun = (run, prediction, open) => el("details", { class: "more-answers", open },
    el("summary", {}, `Predictions of ${run.run}`, quiet(` ${run.model}`)),
    el("div", "answers pair", renderPredictions(prediction)));

  // What the runs predicted for a later answer, below it.
  function renderLaterPredictions(card, turn) {
    const runs = card.predictions.filter((run) => run.later[turn]);
    const [first, ...more] = runs;
    if (!first) return null;
    if (first !== card.predictions[0]) return runs.map((run) => renderOtherRun(run, run.later[turn], true));
    return [el("div", "answers pair", renderPredictions(first.later[turn])),
      more.map((run) => renderOtherRun(run, run.later[turn], false))];
  }

  const renderAnswer = (title, body, note, kind) =>
    el("div", `answer ${kind}`, el("h4", {}, title, note), el("p", {}, body));

  function renderPredictions(prediction) {
    const badge = (match) => match && el("span", `badge ${match.same ? "same" : "differs"}`, match.said);
    const body = (words) => {
      if (words === null || words === undefined) return quiet(prediction?.reason ?? "no prediction in this run");
      if (!words.length) return quiet("(an empty answer)");
      return words.map(([text, differs]) => (differs ? el("mark", {}, text) : text));
    };
    const suffix = comparison === "reference" ? "_off" : "";
    const render = (title, name, kind) =>
      renderAnswer(title, body(prediction?.[name + suffix]), badge(prediction?.[`${name}_match`]), kind);
    return [render("Text-only prediction", "text", "blind"), render("Multimodal prediction", "multimodal", "seeing")];
  }

  // The answer with each token coloured by how much the image helped it. White space between tokens
  // is part of the token after it.
  function renderTokens(turn) {
    const shade = (x) => `${Math.round(8 + 52 * Math.min(1, Math.abs(x) / 3))}%`;
    const effect = (x) => (x > 0.05 ? "helped" : x < -0.05 ? "hurt" : "even");
    const render = (token, i) => el("span", {
      class: `token ${/^<.+>$/.test(token.text.trim()) ? "end " : ""}${effect(token.visnec)}`,
      style: { "--shade": shade(token.visnec) }, title: `VisNec ${VN.score(token.visnec)}: ${lossText(token)}`,
    }, (i ? token.text : token.text.trimStart()) || "·");
    return el("span", "tokens", turn.tokens.map(render));
  }

  const lossText = ({ loss_text, loss_multimodal }) =>
    `text-only loss ${VN.loss(loss_text)}, multimodal loss ${VN.loss(loss_multimodal)}`;

  function renderConversation(card) {
    const placeholder = (part) =>
      el("span", "placeholder", card.images.length > 1 ? `Image ${part.image + 1}` : "image");
    const renderPart = (part) => part.text ?? (part.more ? quiet(part.more) : placeholder(part));
    const turnScore = (turn) => el("span", { class: "turn-score", title: lossText(turn) },
      VN.swatch(turn.category), VN.score(turn.visnec), quiet(` · ${turn.n_answer_tokens} tokens`));
    const who = (turn) => [turn.role, turn.turn === undefined ? null : turnName(card, turn.turn)];
    const renderTurn = (turn) => el("li", `turn ${turn.role}`,
      el("div", "who", who(turn).filter(Boolean).join(", "), turn.visnec === undefined ? null : turnScore(turn)),
      el("div", "said", turn.tokens ? renderTokens(turn) : turn.parts.map(renderPart)),
      turn.turn ? renderLaterPredictions(card, turn.turn) : null);
    const example = (kind, text) => el("span", { class: `token ${kind}`, style: { "--shade": "45%" } }, text);
    const legend = card.turns.some((turn) => turn.tokens) && el("p", "legend quiet", "Answer tokens: ",
      example("helped", "the image helps"), " ", example("hurt", "the image hurts"),
      " · point at a token for its losses");
    return el("section", { class: "conversation", "aria-label": "Conversation" },
      el("ol", {}, card.turns.map(renderTurn)), legend);
  }

  // What a reviewer's edit changes, before and after.
  function renderEdit({ edit }) {
    if (!edit) return null;
    const words = (pieces) => (pieces ? pieces.map(([text, differs]) => (differs ? el("mark", {}, text) : text))
      : quiet("dropped"));
    const change = ({ turn, before, after }) => el("div", "change", el("h4", {}, turn),
      el("p", "before", words(before)), el("p", "after", words(after)));
    const title = edit.changes.length || edit.problem ? "Edited" : "Restored to the imported record";
    return el("section", { class: "edit", "aria-label": "Edit" },
      el("h3", {}, title, quiet(` by ${edit.reviewer}, ${edit.edited_at}${edit.reason ? `, ${edit.reason}` : ""}`)),
      edit.problem && el("p", "quiet", edit.problem),
      edit.conflict && el("p", "quiet", "Another reviewer's edit differs; this one is newer."),
      edit.note ? el("p", "note", edit.note) : null,
      edit.score && el("p", "edit-score", edit.score),
      edit.changes.map(change));
  }

  function renderDecisions(card) {
    if (!card.decisions.length) return null;
    const item = ({ decision, reviewer, note }) => el("li", {}, VN.decisionMark(decision), el("b", {}, reviewer), " ",
      decision ?? "note only", note ? el("span", "note", note) : null);
    return el("section", "decisions", el("h3", {}, "Decisions"), el("ul", {}, card.decisions.map(item)));
  }

  function renderNeighbours(card, open, openImage) {
    if (!card.neighbours.length) return null;
    const more = card.n_neighbours - card.neighbours.length;
    const moreText = more > 0 ? `and ${VN.count(more)} more` : null;
    const item = (other) => {
      const score = other.visnec === null ? other.status_name : VN.score(other.visnec);
      const content = [el("span", "row-score", VN.swatch(other.category), score),
        el("span", "question", other.question), quiet(other.answer), VN.decisionMark(other.decision)];
      return el("li", {}, open ? button({ onclick: () => open(other.row_idx) }, content) : el("div", "plain", content));
    };
    const all = openImage
      && button({ class: "all", onclick: openImage }, `Show all ${VN.count(card.n_neighbours + 1)} as a list`);
    return el("section", "neighbours",
      el("h3", {}, "Other samples on the same image", quiet(` ${VN.count(card.n_neighbours)}`)),
      el("ul", {}, card.neighbours.map(item)),
      moreText || all ? el("p", "quiet", moreText, moreText && all ? " · " : null, all) : null);
  }

  // Where the browser gives the page no clipboard, the link is shown, selected, to be copied.
  function renderCopyButton(link) {
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(link);
        copyButton.textContent = "Link copied";
      } catch {
        const field = el("input", { class: "link", readonly: true, value: link, "aria-label": "Link to this sample" });
        copyButton.replaceWith(field);
        field.select();
      }
    };
    const title = "A link to exactly this sample, run and filter";
    const copyButton = button({ class: "copy", title, onclick: copy }, "Copy link");
    return copyButton;
  }

  function renderHeading(card, link = null, record = null) {
    const part = (name, value) => (value ?? "") === "" ? null : el("span", {}, quiet(`${name} `), value);
    const text = el("pre", { class: "record", hidden: true }, record);
    const toggle = (event) => {
      text.hidden = !text.hidden;
      event.currentTarget.setAttribute("aria-expanded", String(!text.hidden));
    };
    const recordButton = button({ class: "copy", "aria-expanded": "false", onclick: toggle }, "Raw record");
    return el("header", "heading", part("row", VN.count(card.row_idx)), part("id", card.id),
      part("source", card.source), part("cluster", card.cluster),
      link && el("span", "links", renderCopyButton(link), record && recordButton), record && text);
  }

  /**
   * @param {any} card
   * @param {{open?: (row: number) => void, openImage?: () => void, link?: string, record?: string}} [actions]
   */
  function render(card, { open, openImage, link, record } = {}) {
    const images = card.images.length
      ? card.images.map((image, i) => new ImageViewer(image, i, card.images.length).node)
      : el("div", "no-image alone", el("b", {}, "No image"), quiet(card.reason ?? card.status_name));
    const conversation = el("div", {}, renderConversation(card));
    const redraw = () => conversation.replaceChildren(renderConversation(card));
    const answers = [renderAnswers(card, redraw), renderEdit(card)];
    const texts = card.n_turns > 1 ? [answers, conversation] : [conversation, answers];
    return el("article", { class: "card", "data-row": card.row_idx },
      renderHeading(card, link, record),
      el("div", "columns",
        el("div", "side", images),
        el("div", "main", renderScore(card), texts, renderFacts(card), renderDecisions(card),
          renderNeighbours(card, open, openImage))));
  }

  // Before a sample is revealed: the question, and what the model answers without the image.
  function renderBlind(card, key, reveal) {
    const answered = card.turns.findIndex((turn) => turn.role === "assistant");
    const words = card.predictions[0]?.text;
    const prediction = words?.length ? words.map(([text]) => text).join("")
      : quiet(words ? "(an empty answer)" : "no prediction in this run");
    const curtain = button({ class: "curtain", onclick: reveal }, el("b", {}, "Image and reference are hidden"),
      quiet("Answer the question yourself, then reveal."), el("kbd", {}, key));
    return el("article", { class: "card hidden-first", "data-row": card.row_idx, "data-blind": true },
      renderHeading({ ...card, cluster: null }),
      el("div", "columns", curtain,
        el("div", "main",
          renderConversation({ ...card, turns: card.turns.slice(0, answered < 0 ? undefined : answered) }),
          el("section", { class: "answers single", "aria-label": "Text-only prediction" },
            renderAnswer("Text-only prediction", prediction, null, "blind")))));
  }

  return { render, renderBlind };
})();
