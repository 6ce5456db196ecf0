// An image that fits its frame. A click, + and - zoom; dragging and the arrow keys move it.

const ZOOMS = [1, 1.5, 2, 3, 4, 6, 8];
const DRAG_LEAST = 4; // pixels, below which a press is a click

class ImageViewer {
  zoom = 0;

  /**
   * @param {any} image with its url and path, and what leaving it out does
   * @param {number} position 0-based, among `total` images
   * @param {number} total
   */
  constructor(image, position, total) {
    const problem = el("div", "no-image", el("b", {}, "This image cannot be shown"),
      el("span", { class: "quiet", "data-role": "problem" }, image.path));
    this.picture = el("img", {
      class: "picture", alt: `Image ${position + 1} of ${total} of this sample`, draggable: "false",
      onload: () => this.fit(), onerror: () => this.stage.replaceChildren(problem),
    });
    this.stage = el("div", {
      class: "stage", tabindex: 0, role: "group", "aria-label": "Image. Plus and minus zoom, 0 fits.",
      onpointerdown: (event) => this.startDrag(event), onpointermove: (event) => this.drag(event),
      onpointerup: () => this.endDrag(), onpointerleave: () => this.endDrag(),
      onclick: (event) => { if (!this.wasDragged) this.setZoom(this.zoom === 0 ? 2 : 0, event); },
      onkeydown: (event) => this.onKey(event),
    }, this.picture);
    this.level = el("span", "level quiet");
    new ResizeObserver(() => this.fit()).observe(this.stage);
    this.picture.src = image.url;
    const tool = (label, sign, onclick) => button({ class: "tool", "aria-label": label, title: label, onclick }, sign);
    const caption = el("figcaption", {}, total > 1 ? el("b", "number", `Image ${position + 1}`) : null,
      tool("Zoom out", "−", () => this.setZoom(this.zoom - 1)),
      tool("Zoom in", "+", () => this.setZoom(this.zoom + 1)), tool("Fit", "⤢", () => this.setZoom(0)), this.level,
      el("span", { class: "path quiet", title: image.path }, image.path));
    this.node = el("figure", "viewer", this.stage, caption, this.renderUse(image));
  }

  // How much an image of several matters: what the loss is without it.
  renderUse({ visnec, share, loss_without, reason }) {
    if (visnec === null) return reason ? el("p", "use quiet", `Without this image: ${reason}`) : null;
    const complete = VN.loss(loss_without - visnec);
    const title = `Loss ${VN.loss(loss_without)} without this image, ${complete} with all images`;
    const bar = el("span", { class: `bar ${visnec < 0 ? "hurt" : "helped"}`, style: { width: `${100 * share}%` } });
    return el("p", { class: "use", title },
      quiet("This image"), el("span", "track", bar), el("b", {}, VN.score(visnec)));
  }

  // Size the image for its frame and zoom; small images are enlarged with visible pixels.
  fit() {
    const { naturalWidth: width, naturalHeight: height } = this.picture;
    if (!width) return;
    const box = this.stage.getBoundingClientRect();
    const scale = Math.min((box.width - 2) / width, (box.height - 2) / height, 6) * ZOOMS[this.zoom];
    this.picture.style.width = `${width * scale}px`;
    this.picture.style.height = `${height * scale}px`;
    this.picture.classList.toggle("pixels", scale >= 2 && width <= 512);
    this.stage.classList.toggle("zoomed", this.zoom > 0);
    this.level.textContent = `${width} × ${height} px · ${Math.round(scale * 100)} %`;
  }

  // Keeps the point under the pointer, or the middle of the frame, where it is.
  setZoom(zoom, pointer = null) {
    const before = this.zoom;
    this.zoom = Math.min(Math.max(zoom, 0), ZOOMS.length - 1);
    if (this.zoom === before) return;
    const { stage } = this, ratio = ZOOMS[this.zoom] / ZOOMS[before];
    const box = stage.getBoundingClientRect();
    const [x, y] = pointer ? [pointer.clientX - box.left, pointer.clientY - box.top] : [box.width / 2, box.height / 2];
    const left = (stage.scrollLeft + x) * ratio - x, top = (stage.scrollTop + y) * ratio - y;
    this.fit();
    stage.scrollTo(left, top);
  }

  startDrag(event) {
    if (event.button !== 0) return;
    const { scrollLeft: left, scrollTop: top } = this.stage;
    this.start = { x: event.clientX, y: event.clientY, left, top };
    this.wasDragged = false;
  }

  drag(event) {
    if (!this.start) return;
    const x = event.clientX - this.start.x, y = event.clientY - this.start.y;
    if (Math.abs(x) + Math.abs(y) > DRAG_LEAST) this.wasDragged = true;
    if (this.wasDragged) this.stage.scrollTo(this.start.left - x, this.start.top - y);
  }

  endDrag() { this.start = null; }

  onKey(event) {
    const { zoom } = this;
    const target = { "+": zoom + 1, "=": zoom + 1, "-": zoom - 1, 0: 0 }[event.key];
    if (target === undefined || VN.hasModifier(event)) return;
    this.setZoom(target);
    event.preventDefault();
    event.stopPropagation();
  }
}
