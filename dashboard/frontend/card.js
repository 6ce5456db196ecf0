// A sample as people look at it: its image, its conversation, the answers side by side.
// Used by the sample view and by the review deck, so a sample looks the same in both.

const Card = (() => {
  const { el, svg } = VN;
  const ZOOMS = [1, 1.5, 2, 3, 4, 6, 8];

  // The image fits its frame; a click, + and - enlarge it, dragging and the arrows move it.
  function imageViewer(image, position, total) {
    let zoom = 0;
    const picture = el("img", { class: "picture", alt: `Image ${position + 1} of ${total} of this sample`, draggable: "false" });
    const stage = el("div", { class: "stage", tabindex: 0, role: "group", "aria-label": "Image. Plus and minus zoom, 0 fits." }, picture);
    const level = el("span", { class: "level quiet" });
    const fail = () => stage.replaceChildren(el("div", { class: "no-image" }, el("b", {}, "This image cannot be shown"), el("span", { class: "quiet", "data-role": "problem" }, image.path)));
    const size = () => {
      const width = picture.naturalWidth, height = picture.naturalHeight;
      if (!width) return;
      const box = stage.getBoundingClientRect();
      const fit = Math.min((box.width - 2) / width, (box.height - 2) / height, 6);
      const scale = fit * ZOOMS[zoom];
      picture.style.width = `${width * scale}px`;
      picture.style.height = `${height * scale}px`;
      picture.classList.toggle("pixels", scale >= 2 && width <= 512);
      stage.classList.toggle("zoomed", zoom > 0);
      level.textContent = `${width} × ${height} px · ${Math.round(scale * 100)} %`;
    };
    const setZoom = (next, at) => {
      const before = zoom;
      zoom = Math.min(Math.max(next, 0), ZOOMS.length - 1);
      if (zoom === before) return;
      const ratio = ZOOMS[zoom] / ZOOMS[before];
      const box = stage.getBoundingClientRect();
      const x = at ? at.clientX - box.left : box.width / 2, y = at ? at.clientY - box.top : box.height / 2;
      const left = (stage.scrollLeft + x) * ratio - x, top = (stage.scrollTop + y) * ratio - y;
      size();
      stage.scrollTo(left, top);
    };
    let drag = null, moved = false;
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      drag = { x: event.clientX, y: event.clientY, left: stage.scrollLeft, top: stage.scrollTop };
      moved = false;
    });
    stage.addEventListener("pointermove", (event) => {
      if (!drag) return;
      if (Math.abs(event.clientX - drag.x) + Math.abs(event.clientY - drag.y) > 4) moved = true;
      if (moved) stage.scrollTo(drag.left - (event.clientX - drag.x), drag.top - (event.clientY - drag.y));
    });
    const release = () => { drag = null; };
    stage.addEventListener("pointerup", release);
    stage.addEventListener("pointerleave", release);
    stage.addEventListener("click", (event) => {
      if (!moved) setZoom(zoom === 0 ? 2 : 0, event);
    });
    stage.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "+" || event.key === "=") setZoom(zoom + 1);
      else if (event.key === "-") setZoom(zoom - 1);
      else if (event.key === "0") setZoom(0);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    picture.addEventListener("load", size);
    picture.addEventListener("error", fail);
    new ResizeObserver(size).observe(stage);
    picture.src = image.url;
    const tool = (label, sign, act) => el("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick: act }, sign);
    return el("figure", { class: "viewer" }, stage, el("figcaption", {},
      tool("Zoom out", "−", () => setZoom(zoom - 1)), tool("Zoom in", "+", () => setZoom(zoom + 1)), tool("Fit", "⤢", () => setZoom(0)),
      level, el("span", { class: "path quiet", title: image.path }, image.path)));
  }

  function images(card) {
    if (!card.images.length) return el("div", { class: "no-image alone" }, el("b", {}, "No image"), el("span", { class: "quiet" }, "This sample is text only."));
    return card.images.map((image, position) => imageViewer(image, position, card.images.length));
  }

  // Both losses on one line; the stretch between them is the score.
  function lossBar(card) {
    const most = Math.max(card.loss_text, card.loss_multimodal, 0.5) * 1.08;
    const x = (value) => `${(100 * value) / most}%`;
    const [left, right] = [card.loss_multimodal, card.loss_text].sort((a, b) => a - b);
    return el("div", { class: "loss-bar", role: "img", "aria-label": `multimodal loss ${VN.loss(card.loss_multimodal)}, text-only loss ${VN.loss(card.loss_text)}` },
      el("span", { class: `stretch ${card.category}`, style: { left: x(left), width: `${(100 * (right - left)) / most}%` } }),
      el("span", { class: "dot seeing", style: { left: x(card.loss_multimodal) }, title: "multimodal loss" }),
      el("span", { class: "dot blind", style: { left: x(card.loss_text) }, title: "text-only loss" }));
  }

  function scores(card) {
    if (card.visnec === null) {
      return el("section", { class: "scores" },
        el("div", { class: "big" }, VN.swatch(null), card.status_name),
        el("p", { class: "quiet" }, card.reason ?? "No score for this sample."));
    }
    const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];
    return el("section", { class: "scores" },
      el("div", { class: "big" }, el("b", {}, VN.score(card.visnec)), el("span", { class: "category" }, VN.swatch(card.category), card.category)),
      lossBar(card),
      el("dl", {},
        fact([el("span", { class: "key blind" }), "text-only loss"], VN.loss(card.loss_text)),
        fact([el("span", { class: "key seeing" }), "multimodal loss"], VN.loss(card.loss_multimodal)),
        fact("answer tokens", card.n_answer_tokens === null ? "–" : VN.count(card.n_answer_tokens)),
        card.visnec_without_end === null ? null : fact("without the end token", VN.score(card.visnec_without_end)),
        card.thought ? [fact(`thought, ${VN.count(card.thought.n)} tokens`, VN.score(card.thought.visnec)), fact("final answer", VN.score(card.thought.content))] : null,
        fact(`from the limit ${VN.limit(card.nearest.limit)}`, VN.score(card.nearest.distance)),
        fact("noise", card.noise ?? "unknown dtype"),
        fact("blind baseline", card.baseline),
        card.n_others ? fact("same category", `${card.n_agreeing} of ${card.n_others} other scores`) : null,
        card.other_scores.map((one) => fact([VN.swatch(one.category), one.name], VN.score(one.visnec)))),
      card.nearest.within_noise ? el("p", { class: "caveat quiet" }, "Within the noise of the limit: the category may be rounding.") : null,
      card.n_content_tokens === 1 || (card.n_content_tokens === null && card.n_answer_tokens !== null && card.n_answer_tokens <= 2)
        ? el("p", { class: "caveat quiet" }, "One content token: nothing averages out.") : null,
      card.truncated ? el("p", { class: "caveat quiet" }, "Truncated: only what fitted was scored.") : null);
  }

  function pieces(list) {
    return list.map(([text, differs]) => (differs ? el("mark", {}, text) : text));
  }

  // What predictions are held against for marking their words; it stays from sample to sample.
  let against = "other";
  const AGAINST = { other: ["each other", "text", "multimodal"], reference: ["the reference", "text_off", "multimodal_off"] };

  function answers(card) {
    const [first, ...more] = card.predictions;
    const section = el("section", { class: "answers-of", "aria-label": "Answers" });
    const draw = () => section.replaceChildren(...[
      el("div", { class: "answers" }, answer("Reference answer", card.answer || el("span", { class: "quiet" }, "(no answer)"), null, "reference"), predicted(first)),
      first ? el("div", { class: "against quiet", role: "group", "aria-label": "Mark words that differ from" }, "Marked: words that differ from",
        Object.entries(AGAINST).map(([name, [said]]) => el("button", { type: "button", "aria-pressed": String(against === name), onclick: () => { against = name; draw(); section.querySelector('[aria-pressed="true"]').focus(); } }, said))) : null,
      ...more.map((one) => el("details", { class: "more-answers", open: more.length === 1 }, el("summary", {}, `Predictions of ${one.run}`, el("span", { class: "quiet" }, ` ${one.model}`)), el("div", { class: "answers pair" }, predicted(one)))),
    ].filter(Boolean));
    draw();
    return section;
  }

  const answer = (title, body, note, kind) => el("div", { class: `answer ${kind}` }, el("h4", {}, title, note), el("p", {}, body));

  function predicted(one) {
    const badge = (match) => (match ? el("span", { class: `badge ${match.same ? "same" : ""}` }, match.said) : null);
    const none = () => el("span", { class: "quiet" }, one?.reason ?? "no prediction in this run");
    const body = (list) => (list === null || list === undefined ? none() : list.length ? pieces(list) : el("span", { class: "quiet" }, "(an empty answer)"));
    const [, text, multimodal] = AGAINST[against];
    return [
      answer("Text-only prediction", body(one?.[text]), badge(one?.text_match), "blind"),
      answer("Multimodal prediction", body(one?.[multimodal]), badge(one?.multimodal_match), "seeing"),
    ];
  }

  // The answer with each token in the colour of how much the image helped it; what stands between
  // and behind the tokens' texts (white space) is theirs.
  function tokens(turn) {
    const shade = (x) => `${Math.round(8 + 52 * Math.min(1, Math.abs(x) / 3))}%`;
    const ends = (token) => /^<.+>$/.test(token.text.trim());
    return el("span", { class: "tokens" }, turn.tokens.map((token, i) => el("span", {
      class: `token ${ends(token) ? "end " : ""}${token.visnec > 0.05 ? "helped" : token.visnec < -0.05 ? "hurt" : "even"}`,
      style: { "--shade": shade(token.visnec) },
      title: `VisNec ${VN.score(token.visnec)}: text-only loss ${VN.loss(token.loss_text)}, multimodal loss ${VN.loss(token.loss_multimodal)}`,
    }, (i ? token.text : token.text.trimStart()) || "·")));
  }

  function conversation(card) {
    const coloured = card.turns.some((turn) => turn.tokens);
    const message = (turn, i) => el("li", { class: `turn ${turn.role}` },
      el("div", { class: "who" }, turn.role,
        turn.visnec === undefined ? null : el("span", { class: "turn-score", title: `text-only loss ${VN.loss(turn.loss_text)}, multimodal loss ${VN.loss(turn.loss_multimodal)}` },
          VN.swatch(turn.category), VN.score(turn.visnec), el("span", { class: "quiet" }, ` · ${turn.n_answer_tokens} tokens`))),
      el("div", { class: "said" }, turn.tokens ? tokens(turn) : turn.parts.map((part) => part.text ?? (part.more ? el("span", { class: "quiet" }, part.more) : el("span", { class: "placeholder" }, card.images.length > 1 ? `image ${part.image + 1}` : "image")))));
    const legend = coloured ? el("p", { class: "legend quiet" }, "Answer tokens: ", el("span", { class: "token helped", style: { "--shade": "45%" } }, "the image helps"), " ", el("span", { class: "token hurt", style: { "--shade": "45%" } }, "the image hurts"), " · point at a token for its losses") : null;
    return el("section", { class: "conversation", "aria-label": "Conversation" }, el("ol", {}, card.turns.map(message)), legend);
  }

  function decisions(card) {
    if (!card.decisions.length) return null;
    return el("section", { class: "decisions" }, el("h3", {}, "Decisions"), el("ul", {}, card.decisions.map((one) => el("li", {},
      VN.decisionMark(one.decision), el("b", {}, one.reviewer), " ", one.decision ?? "note only", one.note ? el("span", { class: "note" }, one.note) : null))));
  }

  function neighbours(card, open, openImage) {
    if (!card.neighbours.length) return null;
    const more = card.n_neighbours - card.neighbours.length;
    const said = more > 0 ? `and ${VN.count(more)} more` : null;
    return el("section", { class: "neighbours" },
      el("h3", {}, `Other samples on the same image`, el("span", { class: "quiet" }, ` ${VN.count(card.n_neighbours)}`)),
      el("ul", {}, card.neighbours.map((one) => {
        const inside = [el("span", { class: "row-score" }, VN.swatch(one.category), one.visnec === null ? one.status_name : VN.score(one.visnec)),
          el("span", { class: "question" }, one.question), el("span", { class: "quiet" }, one.answer), VN.decisionMark(one.decision)];
        return el("li", {}, open ? el("button", { type: "button", onclick: () => open(one.row_idx) }, inside) : el("div", { class: "plain" }, inside));
      })),
      openImage ? el("p", { class: "quiet" }, said, said ? " · " : null, el("button", { type: "button", class: "all", onclick: openImage }, `Show all ${VN.count(card.n_neighbours + 1)} as a list`)) : said && el("p", { class: "quiet" }, said));
  }

  // Where the browser gives no clipboard to a page, the link stands there to be copied by hand.
  function copyLink(link) {
    const button = el("button", { type: "button", class: "copy", title: "A link to exactly this sample, run and filter", onclick: async () => {
      try {
        await navigator.clipboard.writeText(link);
        button.textContent = "Link copied";
      } catch {
        const field = el("input", { class: "link", readonly: true, value: link, "aria-label": "Link to this sample" });
        button.replaceWith(field);
        field.select();
      }
    } }, "Copy link");
    return button;
  }

  function heading(card, link = null) {
    const part = (name, value) => (value === null || value === undefined || value === "" ? null : el("span", {}, el("span", { class: "quiet" }, `${name} `), value));
    return el("header", { class: "heading" }, part("row", VN.count(card.row_idx)), part("id", card.id), part("source", card.source), part("cluster", card.cluster), link && copyLink(link));
  }

  function render(card, { open = null, openImage = null, link = null } = {}) {
    return el("article", { class: "card", "data-row": card.row_idx },
      heading(card, link),
      el("div", { class: "columns" },
        el("div", { class: "side" }, images(card), scores(card)),
        el("div", { class: "main" }, answers(card), conversation(card), decisions(card), neighbours(card, open, openImage))));
  }

  // What a reader may know before the sample is revealed: the question, and what the model says
  // to it without the image.
  function renderBlind(card, key, reveal) {
    const asked = card.turns.findIndex((turn) => turn.role === "assistant");
    const one = card.predictions[0];
    const said = one?.text?.length ? one.text.map(([text]) => text).join("") : null;
    return el("article", { class: "card hidden-first", "data-row": card.row_idx, "data-blind": true },
      heading({ ...card, cluster: null }),
      el("div", { class: "columns" },
        el("button", { type: "button", class: "curtain", onclick: reveal }, el("b", {}, "Image and reference are hidden"), el("span", { class: "quiet" }, "Think what the answer is, then reveal them."), el("kbd", {}, key)),
        el("div", { class: "main" },
          conversation({ ...card, turns: card.turns.slice(0, asked < 0 ? undefined : asked) }),
          el("section", { class: "answers single", "aria-label": "Text-only prediction" },
            el("div", { class: "answer blind" }, el("h4", {}, "Text-only prediction"), el("p", {}, said ?? el("span", { class: "quiet" }, one?.text ? "(an empty answer)" : "no prediction in this run")))))));
  }

  return { render, renderBlind };
})();
