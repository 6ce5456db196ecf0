// How fast a reviewer decides: over the latest decisions, without pauses.

class Pace {
  static LATEST = 20; // decisions
  static LEAST = 5;
  static PAUSE_MS = 120000;
  /** @type {number[]} */ moments = [];

  add(moment) { this.moments.push(moment); }

  /** Describe decisions per minute, and the minutes that the ones left will take; empty while unknown. */
  describe(left) {
    const latest = this.moments.slice(-Pace.LATEST - 1);
    const gaps = latest.slice(1).map((moment, i) => moment - latest[i]).filter((gap) => gap < Pace.PAUSE_MS);
    if (gaps.length < Pace.LEAST) return "";
    const each = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const rest = left ? `, about ${VN.count(Math.ceil((each * left) / 60000))} min left` : "";
    return ` · ${Math.round(60000 / Math.max(each, 1))} per minute${rest}`;
  }
}
