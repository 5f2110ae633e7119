"""Snippets the browser runs inside a Bokeh figure: ticks, labels, vertical fit.

Kept as text beside `breeze_lab.charts`, which hands each one the models it
names. Every time is shifted to IST by arithmetic (UTC+5:30, no daylight saving
since 1945), so the browser's own zone is never asked.
"""

from __future__ import annotations

from typing import Final

#: Keep the bars that closed on one side of their opening.
DIRECTION: Final = """
const {open, close} = source.data, kept = [];
for (let i = 0; i < open.length; i++) if (close[i] CONDITION open[i]) kept.push(i);
return kept;
"""

#: A bar's opening time by its ordinal, NaN beyond the ends. Shared by the two below.
_TIME_OF = """
const IST = 19800, DAY = 86400;
const h = history.data, l = live.data;
function time_of(x) {
  const n = h.x.length;
  if (n && x >= h.x[0] && x <= h.x[n - 1]) return h.t[x - h.x[0]] + IST;
  for (let i = 0; i < l.x.length; i++) if (l.x[i] === x) return l.t[i] + IST;
  return NaN;
}
"""

#: Put a tick on the first bar of each round period, about one per 90 pixels.
TICKS: Final = (
    _TIME_OF
    + """
let width = 700;
try { width = Math.max(pane.inner_width, 100); } catch { /* not laid out yet */ }
const from = Math.ceil(cb_data.start), to = Math.floor(cb_data.end);
const times = [];
for (let x = from - 1; x <= to; x++) times.push(time_of(x));
const at = t => new Date(t * 1000);
const month = t => at(t).getUTCFullYear() * 12 + at(t).getUTCMonth();
const steps = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY]
  .filter(s => s >= interval && (s <= 30 || interval < DAY))
  .map(s => (t => Math.floor(t / s)));
steps.push(t => Math.floor((t / DAY + 3) / 7), month, t => Math.floor(month(t) / 3),
  t => Math.floor(month(t) / 12), t => Math.floor(month(t) / 60));
if (interval >= DAY) steps.unshift(t => Math.floor(t / DAY));
const room = Math.max(Math.floor(width / 90), 2);
const per_bar = width / Math.max(cb_data.end - cb_data.start, 1);
let marks = [];
for (const step of steps) {
  const found = [];
  for (let i = 1; i < times.length; i++) {
    const [t, before, x] = [times[i], times[i - 1], from - 1 + i];
    if (isNaN(t) || (isNaN(before) ? x !== h.x[0] : step(t) === step(before))) continue;
    found.push({x, day: isNaN(before) || Math.floor(t / DAY) !== Math.floor(before / DAY)});
  }
  if (found.length || !marks.length) marks = found;
  if (found.length <= room) break;
}
// Where labels would touch, a new day wins over a time of day, and the later day over the earlier.
const gap = 58 / per_bar, kept = [];
for (const m of [...marks.filter(m => m.day).reverse(), ...marks.filter(m => !m.day)])
  if (kept.every(x => Math.abs(x - m.x) >= gap)) kept.push(m.x);
return kept.sort((a, b) => a - b);
"""
)

#: Say the date where a day begins, else the time of day.
TIME_LABEL: Final = (
    _TIME_OF
    + """
const NAMES = ["Jan","Feb","Mar","Apr","May","Jun","Jul","Aug","Sep","Oct","Nov","Dec"];
const t = time_of(tick), before = index > 0 ? time_of(ticks[index - 1]) : time_of(tick - 1);
if (isNaN(t)) return "";
const d = new Date(t * 1000), b = new Date(before * 1000), two = n => String(n).padStart(2, "0");
const date = d.getUTCDate() + " " + NAMES[d.getUTCMonth()];
if (interval >= DAY) {
  if (isNaN(before)) return date;
  if (b.getUTCFullYear() !== d.getUTCFullYear()) return String(d.getUTCFullYear());
  return b.getUTCMonth() === d.getUTCMonth() ? date : NAMES[d.getUTCMonth()];
}
if (isNaN(before) || Math.floor(t / DAY) !== Math.floor(before / DAY)) return date;
const clock = two(d.getUTCHours()) + ":" + two(d.getUTCMinutes());
return interval < 60 ? clock + ":" + two(d.getUTCSeconds()) : clock;
"""
)

#: Indian digit groups: 1,23,456.50.
PRICE_LABEL: Final = """
const digits = {minimumFractionDigits: decimals, maximumFractionDigits: decimals};
return tick.toLocaleString("en-IN", digits);
"""

#: Thousands, lakhs, crores.
VOLUME_LABEL: Final = """
for (const [size, unit] of [[1e7, "Cr"], [1e5, "L"], [1e3, "K"]])
  if (tick >= size) return +(tick / size).toFixed(2) + unit;
return tick ? String(+tick.toFixed(2)) : "";
"""

#: The opening time of a hovered bar of a still figure.
HOVER_TIME: Final = """
const text = new Date((value + 19800) * 1000).toUTCString();
if (interval >= 86400) return text.slice(5, 16);
return text.slice(5, 16) + " " + text.slice(17, interval < 60 ? 25 : 22) + " IST";
"""

#: Fit both vertical ranges to the visible bars and the lines over them. While bars arrive the
#: range keeps still until the price leaves it or fills less than half of it: moving it re-maps
#: every glyph. A line may stretch the range by as much as the candles take, not flatten them.
FIT: Final = """
let low = Infinity, high = -Infinity, most = 0;
for (const {data} of [history, live]) {
  const {x} = data;
  for (let i = 0; i < x.length; i++) {
    if (x[i] < window.start - 0.5 || x[i] > window.end + 0.5) continue;
    if (data.low[i] < low) low = data.low[i];
    if (data.high[i] > high) high = data.high[i];
    if (data.volume[i] > most) most = data.volume[i];
  }
}
if (low > high) return;
const room = high - low, [floor, roof] = [low - room, high + room];
for (const {data} of [lines, tip]) {
  for (const [name, values] of Object.entries(data)) {
    if (!name.startsWith("over")) continue;
    for (let i = 0; i < values.length; i++) {
      if (!(data.x[i] > window.start - 0.5 && data.x[i] < window.end + 0.5)) continue;
      // A value there is none of is neither smaller nor larger.
      if (values[i] < low) low = Math.max(values[i], floor);
      if (values[i] > high) high = Math.min(values[i], roof);
    }
  }
}
const moved = cb_obj === window, span = high - low || Math.abs(high) * 0.001 || 1;
const height = price.end - price.start;
if (moved || low < price.start || high > price.end || span < height * 0.5)
  price.setv({start: low - span * 0.1, end: high + span * 0.1});
if (moved || most > volume.end || most < volume.end * 0.4)
  volume.setv({start: 0, end: most * 1.15 || 1});
"""
