// The watchlist of JupyterLab's sidebar: last prices over the feed, in the person's own order.

const WATCH_PAINT_MS = 250;
const WATCH_STALE_S = 15;

class Watchlist {
  /** `acts` offers chart(key), when a notebook is open. */
  constructor(el, acts) {
    this.acts = acts;
    this.items = [];
    this.ticks = new Map(); // key -> [tick, when it was heard]
    this.link = "connecting";
    this.upstream = null;
    this.root = element("section", "bl-watch");
    this.root.setAttribute("aria-label", "Watchlist");
    this.root.innerHTML = `<h3>Watchlist <span class="bl-watch-state" role="status"></span></h3>
      <ol class="bl-watch-rows"></ol><p class="bl-watch-empty" hidden>Nothing yet. Find something above and press ☆.</p>`;
    el.append(this.root);
    this.list = this.root.querySelector("ol");
    this.on_change = (event) => this.take(event.detail);
    window.addEventListener("breeze-lab-watchlist", this.on_change);
    // Another notebook's kernel, or another browser, may have changed it.
    this.on_seen = () => !document.hidden && this.load();
    window.addEventListener("focus", this.on_seen);
    this.list.addEventListener("click", (event) => this.clicked(event));
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("dragstart", (event) => {
      this.dragged = event.target.closest("li");
      this.dragged?.classList.add("bl-dragged");
    });
    this.list.addEventListener("dragover", (event) => this.drag_over(event));
    this.list.addEventListener("drop", (event) => event.preventDefault());
    this.list.addEventListener("dragend", () => this.dropped());
    this.timer = setInterval(() => this.paint(), 500);
    this.load();
  }

  async load() {
    const { status, body } = await ask_server("api/watchlist");
    if (status === 200 && body) this.take(body);
    else this.state("the Jupyter server does not answer", "offline");
  }

  take(answer) {
    const same = JSON.stringify(answer.items) === JSON.stringify(this.items) && answer.market === this.market;
    this.market = answer.market;
    this.items = answer.items ?? [];
    this.note = answer.message ?? "";
    this.root.querySelector(".bl-watch-empty").hidden = this.items.length > 0;
    if (!same) {
      this.draw();
      this.listen();
    }
    this.paint();
  }

  listen() {
    this.close_feed?.();
    this.close_feed = null;
    const instruments = this.items.filter((item) => item.room).map(({ key, room, anchor_s }) => ({ key, room, anchor_s }));
    if (!instruments.length) return;
    this.close_feed = open_feed({
      model: null, client: "watchlist", instruments, bars: [], market: this.market,
      on_link: (link) => {
        this.link = link;
        if (link !== "open") this.upstream = null;
        this.later();
      },
      on_message: (message) => {
        if (message.upstream) this.upstream = message.upstream;
        if (message.op === "error") this.link = message.message;
        for (const tick of message.ticks ?? []) {
          const before = this.ticks.get(tick[0])?.[0];
          const heard = message.op === "batch" ? performance.now()
            : performance.now() - Math.max(Date.now() - tick[4], 0);
          this.ticks.set(tick[0], [tick, heard, before ? Math.sign(tick[5] - before[5]) : 0]);
        }
        this.later();
      },
    });
  }

  later() {
    this.painting ??= setTimeout(() => {
      this.painting = null;
      this.paint();
    }, WATCH_PAINT_MS);
  }

  draw() {
    this.list.replaceChildren(...this.items.map((item) => {
      const row = element("li", "");
      row.draggable = true;
      row.tabIndex = 0;
      row.dataset.key = item.key;
      row.title = item.gone ? `${item.key} is in today's list of instruments no more` : `${item.key} · ${item.name}`;
      const names = element("span", "bl-watch-names");
      names.append(element("strong", "", item.label ?? item.key), element("small", "", item.gone ? "gone" : item.exchange));
      const prices = element("span", "bl-watch-prices");
      prices.append(element("span", "bl-watch-last", "–"), element("small", "bl-watch-change", ""));
      const tools = element("span", "bl-watch-tools");
      for (const [action, words, sign] of [["chart", "Chart in the notebook", ICONS.chart], ["remove", "Remove", null]]) {
        const button = element("button", "");
        button.type = "button";
        button.dataset.action = action;
        button.title = words;
        button.setAttribute("aria-label", `${words}: ${item.key}`);
        if (sign) button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true">${sign}</svg>`;
        else button.textContent = "×";
        tools.append(button);
      }
      row.append(names, prices, tools);
      return row;
    }));
  }

  paint() {
    const now = performance.now();
    const ended = session_clock().ended(this.market);
    for (const row of this.list.children) {
      const [tick, heard, direction] = this.ticks.get(row.dataset.key) ?? [];
      if (!tick) {
        row.dataset.state = "waiting";
        continue;
      }
      const item = this.items.find(({ key }) => key === row.dataset.key);
      const last = tick[5];
      const before = tick[9];
      const decimals = Math.max(2, (String(item?.tick_size ?? "").split(".")[1] ?? "").length);
      put(row.querySelector(".bl-watch-last"), say(last, decimals));
      const percent = before ? (last / before - 1) * 100 : null;
      const age = (now - heard) / 1000 + trade_lag(tick);
      const stale = age >= WATCH_STALE_S;
      const change = percent === null ? "" : `${percent >= 0 ? "+" : "−"}${say(Math.abs(percent))} %`;
      put(row.querySelector(".bl-watch-change"), stale ? `${say_age(age)} old` : change);
      row.dataset.state = ended || this.link !== "open" ? "offline" : stale ? "stale" : "live";
      row.dataset.last = last;
      row.dataset.direction = percent === null ? "" : percent >= 0 ? "up" : "down";
      row.dataset.moved = direction > 0 ? "up" : direction < 0 ? "down" : "";
    }
    const { upstream, link } = this;
    if (!this.items.length) this.state(this.note, this.note ? "offline" : "");
    else if (ended) this.state("session ended", "offline");
    else if (link === "absent") this.state("no server extension", "offline");
    else if (link !== "open") this.state(link === "lost" ? "reconnecting" : link, link === "connecting" ? "" : "offline");
    else if (upstream && upstream.state !== "connected") {
      this.state({ offline: "not logged in", refused: "login refused" }[upstream.state] ?? upstream.state, "offline");
    } else this.state("", "live");
  }

  state(words, state) {
    this.root.dataset.state = state;
    put(this.root.querySelector(".bl-watch-state"), words);
  }

  async save(keys) {
    const { status, body } = await ask_server("api/watchlist", { method: "PUT", data: { keys } });
    if (status === 200 && body) this.take(body);
    else {
      this.state(body?.message ?? "not saved", "offline");
      this.draw();
    }
  }

  get keys() {
    return this.items.map(({ key }) => key);
  }

  clicked(event) {
    const key = event.target.closest("li")?.dataset.key;
    const action = event.target.closest("button")?.dataset.action;
    if (action === "remove") this.save(this.keys.filter((one) => one !== key));
    else if (action === "chart") this.acts.chart(key);
  }

  key(event) {
    const row = event.target.closest("li");
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (event.key === "Delete" && row) this.save(this.keys.filter((one) => one !== row.dataset.key));
    else if (event.key === "Enter" && row === event.target) this.acts.chart(row.dataset.key);
    else if (step && row && event.altKey) this.move(row.dataset.key, step);
    else if (step && row) (step > 0 ? row.nextElementSibling : row.previousElementSibling)?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  async move(key, step) {
    const { keys } = this;
    const at = keys.indexOf(key);
    const to = at + step;
    if (to < 0 || to >= keys.length) return;
    keys.splice(to, 0, ...keys.splice(at, 1));
    await this.save(keys);
    this.list.children[to]?.focus();
  }

  drag_over(event) {
    const over = event.target.closest("li");
    if (!this.dragged) return;
    event.preventDefault();
    if (!over || over === this.dragged) return;
    const { top, height } = over.getBoundingClientRect();
    over[event.clientY < top + height / 2 ? "before" : "after"](this.dragged);
  }

  dropped() {
    this.dragged?.classList.remove("bl-dragged");
    this.dragged = null;
    const keys = [...this.list.children].map((row) => row.dataset.key);
    if (keys.join() !== this.keys.join()) this.save(keys);
  }

  close() {
    clearInterval(this.timer);
    clearTimeout(this.painting);
    window.removeEventListener("breeze-lab-watchlist", this.on_change);
    window.removeEventListener("focus", this.on_seen);
    this.close_feed?.();
    this.root.remove();
  }
}
