// Draws a part of the page anew at intervals, or only when an address answers with another state than the part was
// drawn from. It keeps still while the page is being drawn: a word sent while a button leads to another page would
// be about the page that is left, and Streamlit would clear the new one.

const PULSES = new WeakMap();
const atRest = () => document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === "notRunning";

class Pulse {
  receive(data, send) {
    this.stop();
    this.data = data;
    this.send = send;
    this.timer = setInterval(() => this.beat(), data.seconds * 1000);
  }

  async beat() {
    if (this.asking) return;
    this.asking = true;
    try {
      if ((!this.data.address || await this.hasChanged()) && atRest()) this.send("beat", Date.now());
    } catch {
      // The server is out of reach; the next beat asks again.
    } finally {
      this.asking = false;
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
  let pulse = PULSES.get(root);
  if (!pulse) {
    pulse = new Pulse();
    PULSES.set(root, pulse);
  }
  pulse.receive(data, setTriggerValue);
  return () => { pulse.stop(); PULSES.delete(root); };
}
