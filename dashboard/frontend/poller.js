// Reruns a fragment of the page at intervals, or only when an address reports another state than the one the
// fragment was drawn from. It waits while the page reruns: an event sent while a button leads to another
// page would be about the page that is being left, and Streamlit would clear the new one. It also waits for a moment
// after a click or a key: the browser may not know yet that these rerun the page, and an event would abort that.

const PAUSE_MS = 1000;
let inputAt = -PAUSE_MS;
for (const name of ["pointerup", "keyup"]) {
  document.addEventListener(name, () => { inputAt = performance.now(); }, { capture: true });
}

class Poller extends Widget {
  receive() {
    this.close();
    this.timer = setInterval(() => this.poll(), this.data.seconds * 1000);
  }

  async poll() {
    if (this.isPolling) return;
    this.isPolling = true;
    try {
      const isDue = !this.data.address || (await VN.fetchJson(this.data.address)).state !== this.data.state;
      const isQuiet = VN.isPageIdle() && performance.now() - inputAt >= PAUSE_MS;
      if (isDue && isQuiet) this.send("beat", Date.now());
    } catch {
      // The server is unreachable; the next poll tries again.
    } finally {
      this.isPolling = false;
    }
  }

  close() { clearInterval(this.timer); }
}

export default VN.mount(Poller);
