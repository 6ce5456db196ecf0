// Reruns a fragment of the page at intervals, or only when an address reports another state than the one the
// fragment was drawn from. It waits while the page reruns: an event sent while a button leads to another
// page would be about the page that is being left, and Streamlit would clear the new one.

const POLLERS = new WeakMap();

class Poller {
  receive(data, send) {
    this.stop();
    this.data = data;
    this.send = send;
    this.timer = setInterval(() => this.poll(), data.seconds * 1000);
  }

  async poll() {
    if (this.isPolling) return;
    this.isPolling = true;
    try {
      if ((!this.data.address || await this.hasChanged()) && VN.isPageIdle()) this.send("beat", Date.now());
    } catch {
      // The server is unreachable; the next poll tries again.
    } finally {
      this.isPolling = false;
    }
  }

  async hasChanged() {
    const answer = await fetch(this.data.address, { credentials: "same-origin" });
    return answer.ok && (await answer.json()).state !== this.data.state;
  }

  stop() { clearInterval(this.timer); }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".vn");
  let poller = POLLERS.get(root);
  if (!poller) {
    poller = new Poller();
    POLLERS.set(root, poller);
  }
  poller.receive(data, setTriggerValue);
  return () => { poller.stop(); POLLERS.delete(root); };
}
