// Reruns a fragment of the page at intervals, or only when an address reports another state than the one the
// fragment was drawn from. It waits while the page reruns: an event sent while a button leads to another
// page would be about the page that is being left, and Streamlit would clear the new one. An event that has not led
// to a redraw within a moment is sent again.

const RETRY_MS = 1000;

class Poller extends Widget {
  sentAt = -RETRY_MS;

  receive() {
    this.close();
    this.timer = setInterval(() => this.poll(), this.data.seconds * 1000);
  }

  async poll() {
    if (this.isPolling) return;
    this.isPolling = true;
    try {
      const isDue = !this.data.address || (await VN.fetchJson(this.data.address)).state !== this.data.state;
      if (isDue && VN.isPageIdle() && performance.now() - this.sentAt >= RETRY_MS) {
        this.sentAt = performance.now();
        this.send("beat", Date.now());
      }
    } catch {
      // The server is unreachable; the next poll tries again.
    } finally {
      this.isPolling = false;
    }
  }

  close() { clearInterval(this.timer); }
}

export default VN.mount(Poller);
