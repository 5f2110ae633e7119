// Market overview: the watchlist, what moves most, and how the feed stands. Every value has its
// age and its source; nothing here needs a kernel or the process that sent the page.

const DASH_PAINT_MS = 250;
const DASH_ASK_MS = 2000;
const DASH_STALE_S = 15;
const MOVERS = 5;
const FIRST_KEYS = ["NSE:NIFTY", "NSE:RELIANCE", "NSE:HDFCBANK", "NSE:TCS", "NSE:INFY", "NSE:SBIN"];

class MarketPage {
  constructor(el) {
    this.items = [];
    this.prices = new Map(); // key -> {last, before, percent, high, low, volume, source, heard, lag}
    this.truth = null;
    this.link = "connecting";
    this.root = element("div", "breeze-lab-dash bl-market");
    this.root.innerHTML = `
      <section class="bl-card bl-feed-card" aria-label="Feed"><h2>Feed <span class="bl-pill" role="status"></span></h2><dl></dl></section>
      <section class="bl-card bl-watch-card" aria-label="Watchlist"><h2>Watchlist <span class="bl-chip" hidden>practice</span></h2>
        <div class="bl-find"></div><div class="bl-table" role="table" aria-label="Watchlist"></div>
        <p class="bl-soft bl-empty" hidden>Nothing is watched yet. <button type="button" class="bl-first">Begin with NIFTY and five shares</button></p>
        <p class="bl-soft bl-note" role="status"></p><button type="button" class="bl-fetch" hidden></button></section>
      <section class="bl-card bl-movers-card" aria-label="Movers"><h2>Movers</h2><p class="bl-soft">Of what the relay hears today: the watchlist and whatever a notebook asked for.</p>
        <div class="bl-both"><div><h3>Up</h3><div class="bl-table bl-up" role="table" aria-label="Up"></div></div>
        <div><h3>Down</h3><div class="bl-table bl-down" role="table" aria-label="Down"></div></div></div></section>`;
    el.replaceChildren(this.root);
    follow_page_theme(this.root);
    this.table = this.part(".bl-watch-card .bl-table");
    const box = new SearchBox(this.part(".bl-find"), {
      ask: async (text) => {
        const found = await search_server(text, "");
        if (found === null) throw new Error("This Jupyter server has no Breeze Lab extension.");
        return found;
      },
      pick: (item) => watch_server(item.key),
      watch: (item) => watch_server(item.key),
      chart: (item) => {
        window.location.assign(board_address(item.key));
        return "";
      },
    }, { compact: true, placeholder: "Watch another instrument" });
    this.box = box;
    window.addEventListener("breeze-lab-watchlist", (event) => this.take(event.detail));
    this.part(".bl-first").addEventListener("click", () => this.save(FIRST_KEYS));
    this.part(".bl-fetch").addEventListener("click", () => this.fetch_missing());
    this.table.addEventListener("click", (event) => {
      const key = event.target.closest("button[data-remove]")?.dataset.remove;
      if (key) this.save(this.items.map((item) => item.key).filter((one) => one !== key));
    });
    session_clock().subscribe(() => this.later());
    setInterval(() => this.paint(), 500);
    this.load();
    this.look();
  }

  part(name) {
    return this.root.querySelector(name);
  }

  // --- what is asked --------------------------------------------------------------------------

  async load() {
    const { status, body } = await ask_server("api/watchlist");
    if (status === 200 && body) this.take(body);
    else setTimeout(() => this.load(), DASH_ASK_MS);
  }

  async save(keys) {
    const { status, body } = await ask_server("api/watchlist", { method: "PUT", data: { keys } });
    if (status === 200) this.take(body);
    else this.say(body?.message ?? `The watchlist was not saved (HTTP ${status}).`);
  }

  take(answer) {
    const before = JSON.stringify([this.items, this.market]);
    this.items = answer.items ?? [];
    this.market = answer.market;
    this.say(answer.message ?? "");
    this.part(".bl-empty").hidden = this.items.length > 0 || Boolean(answer.message);
    this.part(".bl-watch-card .bl-chip").hidden = this.market !== "practice";
    if (JSON.stringify([this.items, this.market]) !== before) this.listen();
    this.paint();
  }

  listen() {
    this.close_feed?.();
    const instruments = this.items.filter((item) => item.room).map(({ key, room, anchor_s }) => ({ key, room, anchor_s }));
    if (!instruments.length) return;
    this.close_feed = open_feed({
      model: null, client: "market overview", instruments, bars: [], market: this.market,
      on_link: (link) => {
        this.link = link;
        this.later();
      },
      on_message: (message) => {
        if (message.op === "error") this.link = message.message;
        for (const tick of message.ticks ?? []) this.hear(tick, message.op === "batch");
        this.later();
      },
    });
  }

  hear(tick, fresh) {
    const [key, , , , received_ms, last, , high, low, before, percent] = tick;
    const age_ms = fresh ? 0 : Math.max(Date.now() - received_ms, 0);
    this.prices.set(key, {
      last, high, low, before, percent, volume: tick[17], source: "live feed",
      heard: performance.now() - age_ms, lag: trade_lag(tick),
    });
  }

  /** Ask how the relay stands, and for the prices of what others listen to; again and again. */
  async look() {
    if (!document.hidden) {
      const { status, body } = await ask_server("api/truth");
      this.truth = status === 200 ? body : null;
      this.no_truth = status === 200 ? "" : status ? `The Jupyter server answered HTTP ${status}.` : "The Jupyter server does not answer.";
      this.truth_at = performance.now();
      const ours = new Set(this.items.map((item) => item.key));
      const others = (this.truth?.rows ?? []).map((row) => row.key).filter((key) => !ours.has(key)).slice(0, 150);
      if (others.length) await this.ask_prices(others, this.truth.market, false);
      this.paint();
    }
    setTimeout(() => this.look(), DASH_ASK_MS);
  }

  async ask_prices(keys, market, spend) {
    const query = new URLSearchParams({ names: keys.join(","), fetch: spend ? "1" : "" });
    if (market) query.set("market", market);
    const { status, body } = await ask_server(`api/quotes?${query}`);
    if (status !== 200 || !body) return body?.message ?? `No prices (HTTP ${status}).`;
    const now = performance.now();
    for (const row of body.quotes) {
      if (row.source === null || row.last === null) continue;
      const lag = Math.max((row.trade_age_s ?? row.age_s) - row.age_s, 0);
      this.prices.set(row.key, {
        last: row.last, high: row.high, low: row.low, before: row.previous_close, percent: row.change_percent,
        volume: row.volume, heard: now - row.age_s * 1000, lag: lag > 60 ? lag : 0,
        source: row.source === "rest" ? "broker, asked once" : "relay",
      });
    }
    return "";
  }

  async fetch_missing() {
    const button = this.part(".bl-fetch");
    button.disabled = true;
    this.say(await this.ask_prices(this.missing().slice(0, 10), this.market, true));
    button.disabled = false;
    this.paint();
  }

  missing() {
    return this.items.filter((item) => item.room && !this.prices.has(item.key)).map((item) => item.key);
  }

  // --- what is shown --------------------------------------------------------------------------

  say(words) {
    put(this.part(".bl-note"), words ?? "");
  }

  later() {
    this.painting ??= setTimeout(() => {
      this.painting = null;
      this.paint();
    }, DASH_PAINT_MS);
  }

  paint() {
    const names = new Map(this.items.map((item) => [item.key, item]));
    this.rows(this.table, this.items.map((item) => item.key), names, true);
    const moved = [...this.prices.entries()]
      .map(([key, price]) => [key, percent_of(price)])
      .filter(([, percent]) => percent !== null)
      .sort((a, b) => b[1] - a[1]);
    const up = moved.filter(([, percent]) => percent > 0).slice(0, MOVERS).map(([key]) => key);
    const down = moved.filter(([, percent]) => percent < 0).slice(-MOVERS).reverse().map(([key]) => key);
    for (const [name, found] of [[".bl-up", up], [".bl-down", down]]) {
      const part = this.part(name);
      part.parentElement.hidden = !found.length;
      this.rows(part, found, names, false);
    }
    const missing = this.missing().length;
    const button = this.part(".bl-fetch");
    button.hidden = !missing || session_clock().state !== "good";
    put(button, `Ask the broker for ${Math.min(missing, 10)} missing price${missing === 1 ? "" : "s"} (${Math.min(missing, 10)} call${missing === 1 ? "" : "s"})`);
    this.feed();
    this.root.dataset.prices = this.prices.size;
  }

  rows(table, keys, names, removable) {
    const shown = [...table.children].map((row) => row.dataset.key).join(" ");
    if (shown !== keys.join(" ")) {
      const known = new Map([...table.children].map((row) => [row.dataset.key, row]));
      table.replaceChildren(...keys.map((key) => known.get(key) ?? this.row(key, names.get(key), removable)));
    }
    for (const row of table.children) this.fill(row, names.get(row.dataset.key));
  }

  row(key, item, removable) {
    const row = element("div", "bl-row");
    row.setAttribute("role", "row");
    row.dataset.key = key;
    const cell = (name) => {
      const made = element("span", name);
      made.setAttribute("role", "cell");
      row.append(made);
      return made;
    };
    const name = cell("bl-name");
    const link = element("a", "", item?.label ?? key.split(":")[1]);
    link.href = board_address(key);
    link.title = `Chart of ${key}`;
    name.append(link, element("small", "", item?.gone ? "not listed any more" : item?.name ?? key.split(":")[0]));
    ["bl-last", "bl-change", "bl-range", "bl-age"].forEach(cell);
    if (removable) {
      const button = element("button", "bl-remove", "×");
      button.type = "button";
      button.dataset.remove = key;
      button.title = `Remove ${key}`;
      button.setAttribute("aria-label", button.title);
      cell("bl-tool").append(button);
    }
    return row;
  }

  fill(row, item) {
    const price = this.prices.get(row.dataset.key);
    const part = (name) => row.querySelector(name);
    if (!price) {
      row.dataset.state = "waiting";
      put(part(".bl-last"), "–");
      put(part(".bl-age"), item?.gone ? "" : this.link === "open" ? "no price yet" : this.link);
      return;
    }
    const decimals = Math.max(2, (String(item?.tick_size ?? "").split(".")[1] ?? "").length);
    const percent = percent_of(price);
    const age = (performance.now() - price.heard) / 1000 + price.lag;
    const live = price.source === "live feed";
    put(part(".bl-last"), say(price.last, decimals));
    put(part(".bl-change"), percent === null ? "" : `${percent >= 0 ? "+" : "−"}${say(Math.abs(percent))} %`);
    put(part(".bl-range"), price.high ? `${say(price.low, decimals)} – ${say(price.high, decimals)}` : "");
    put(part(".bl-age"), `${say_age(age)} · ${price.source}`);
    row.dataset.direction = percent === null ? "" : percent >= 0 ? "up" : "down";
    const ended = session_clock().ended(this.market);
    row.dataset.state = ended || (live && this.link !== "open") ? "offline" : age >= DASH_STALE_S ? "stale" : "live";
    row.dataset.last = price.last;
  }

  feed() {
    const pill = this.part(".bl-pill");
    const { truth } = this;
    const words = { live: "connected", waiting: "connecting", off: "off" };
    put(pill, truth ? words[truth.mood] ?? truth.mood : this.no_truth ? "no answer" : "asking");
    pill.dataset.mood = truth?.mood ?? "off";
    const list = this.part(".bl-feed-card dl");
    const says = truth ? { ...truth.says } : this.no_truth ? { server: this.no_truth } : {};
    if (truth) {
      const moods = {};
      for (const row of truth.rows) moods[row.mood] = (moods[row.mood] ?? 0) + 1;
      says.instruments = Object.entries(moods).map(([mood, count]) => `${count} ${mood}`).join(", ") || "none asked for";
      says.looked = `${say_age((performance.now() - this.truth_at) / 1000)} ago · the relay's own account`;
    }
    const names = ["relay", "upstream", "last tick", "instruments", "gaps", "calls", "server", "looked"].filter((name) => says[name]);
    if ([...list.children].map((node) => node.dataset.name).join() !== names.join()) {
      list.replaceChildren(...names.map((name) => {
        const cell = element("div", "");
        cell.dataset.name = name;
        cell.append(element("dt", "", name), element("dd", ""));
        return cell;
      }));
    }
    for (const cell of list.children) put(cell.lastChild, says[cell.dataset.name]);
  }
}

function percent_of({ last, before, percent }) {
  if (percent !== null && percent !== undefined) return percent;
  return before ? (last / before - 1) * 100 : null;
}

/** Where a chart of `key` is shown. */
function board_address(key) {
  const query = new URLSearchParams({ chart: `${key},1m` });
  return `${base_url()}breeze-lab/dash/board?${query}`;
}

function render_dash_market({ el }) {
  new MarketPage(el);
}
