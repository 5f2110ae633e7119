// Bars: the history Python gave, moved on by the relay's bars. No page, no drawing.

const IST_S = 19800; // UTC+5:30, no daylight saving since 1945; the browser's zone is never asked

/** The candles of one chart, oldest first, at most `most` of them. */
class Bars {
  /**
   * @param {Float64Array} table columns t, open, high, low, close, volume, one after the other
   * @param {{interval_s: number, fetched_s: number, most: number, hidden: number}} options
   *   `hidden`: how many of the oldest bars are there for indicators only
   */
  constructor(table, { interval_s, fetched_s, most, hidden = 0 }) {
    const n = table.length / 6;
    const column = (i) => table.subarray(i * n, (i + 1) * n);
    const [t, open, high, low, close, volume] = [0, 1, 2, 3, 4, 5].map(column);
    this.rows = Array.from({ length: n }, (_, i) => ({
      x: i, t: t[i], open: open[i], high: high[i], low: low[i], close: close[i], volume: volume[i],
    }));
    this.interval_s = interval_s;
    this.fetched_s = fetched_s;
    this.most = most;
    this.hidden = hidden; // also the ordinal of the first bar to be seen
    this.grown = 0; // bars appended since somebody set this to 0
    this.base = null; // what we knew of the newest bar before the relay spoke of it
    this.freeze();
  }

  /** The ordinal of the oldest bar to be seen. */
  get shown_from() {
    return Math.max(this.hidden, this.rows[0]?.x ?? 0);
  }

  get last() {
    return this.rows[this.rows.length - 1];
  }

  /** Keep the newest bar as what partial bars are merged into: a new relay counts from nothing. */
  freeze() {
    this.base = this.last ? { ...this.last } : null;
  }

  /**
   * Take one bar of the relay; return whether anything changed.
   * @param {Array} bar [key, interval, start_s, open, high, low, close, volume, oi, complete, forming]
   */
  apply([, , t, open, high, low, close, volume, , complete]) {
    const { last, base } = this;
    const live = { t, open, high, low, close, volume };
    if (!last || t > last.t) {
      this.rows.push({ x: last ? last.x + 1 : 0, ...live });
      if (this.rows.length > this.most) this.rows.shift();
      this.grown += 1;
      return true;
    }
    let i = this.rows.length - 1;
    while (i >= 0 && this.rows[i].t > t) i -= 1;
    const row = this.rows[i];
    if (!row || row.t !== t) return false;
    // History saw the whole bar, the relay a part of it.
    if (!complete && t + this.interval_s <= this.fetched_s) return false;
    if (!complete && base && base.t === t) {
      // The relay began to listen within this bar: history knows its first part.
      live.open = base.open;
      live.high = Math.max(base.high, high);
      live.low = Math.min(base.low, low);
      live.volume = base.volume + volume;
    }
    const same = Object.keys(live).every((name) => row[name] === live[name]);
    return !same && Boolean(Object.assign(row, live));
  }

  /** Return rows `from` to `to` (counted from the oldest) as columns for a Bokeh source. */
  columns(from, to) {
    const rows = this.rows.slice(Math.max(from, 0), Math.max(to, 0));
    const names = ["x", "t", "open", "high", "low", "close", "volume"];
    return Object.fromEntries(names.map((k) => [k, Float64Array.from(rows, (row) => row[k])]));
  }

  /** Return the row drawn at ordinal `x`, or undefined. */
  at(x) {
    if (!this.rows.length || Math.round(x) < this.shown_from) return undefined;
    return this.rows[Math.round(x) - this.rows[0].x];
  }
}

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const DAYS = "Sun Mon Tue Wed Thu Fri Sat".split(" ");
const two = (n) => String(n).padStart(2, "0");

/** Say a bar's opening time in IST: "Mon 23 Nov 2026 10:31". */
function say_time(t, interval_s) {
  const d = new Date((t + IST_S) * 1000);
  const date = `${DAYS[d.getUTCDay()]} ${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]} ${d.getUTCFullYear()}`;
  if (interval_s >= 86400) return date;
  const clock = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}`;
  return `${date} ${clock}${interval_s < 60 ? `:${two(d.getUTCSeconds())}` : ""}`;
}

/** Say a number with Indian digit groups. */
function say(value, decimals = 2) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return value.toLocaleString("en-IN", digits);
}

/** Say a price with its decimals, a larger or smaller number with as many as it needs. */
function say_value(value, decimals = 2) {
  const size = Math.abs(value);
  if (size >= 1e5) return (value < 0 ? "−" : "") + say_quantity(size);
  return say(value, size >= 1 || size === 0 ? decimals : Math.min(1 - Math.floor(Math.log10(size)) + 1, 8));
}

/** Say a quantity in thousands, lakhs or crores. */
function say_quantity(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const units = [[1e7, "Cr"], [1e5, "L"], [1e3, "K"]];
  for (const [size, unit] of units) if (value >= size) return `${say(value / size, 2)}${unit}`;
  return say(value, 0);
}

/** Say a duration: "4 s", "3 min", "2 h". */
function say_age(seconds) {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

/**
 * Return how many seconds old a tick's trade already was when the relay received it.
 *
 * On joining a closed market the exchange sends its last trade, perhaps of last Friday: that is
 * no fresh price. Less than a minute is a difference of clocks, not of age.
 */
function trade_lag(tick) {
  const [, , , exchange_time_s, received_ms] = tick;
  const lag = exchange_time_s === null ? 0 : received_ms / 1000 - exchange_time_s;
  return lag > 60 ? lag : 0;
}
