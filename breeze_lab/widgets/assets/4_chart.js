// The chart: title, live badge and plot of one widget view, and the wiring between them.

const REPAINT_MS = 100; // ten repaints a second
const BURST = 3; // as many may follow each other at once when it was quiet before
const STALE_S = 15;
const ASKED_MS = 100; // the longest that a socket which opens keeps the first picture waiting
const LEGEND_PX = 19; // of one line; asking the page for it would lay it out again at each paint

/** What a broker's stream that is not connected means to a reader. */
const UPSTREAM = {
  offline: "Not logged in",
  connecting: "Connecting to the broker",
  refused: "The broker refused the login",
};

const FRAME = `
  <header class="bl-head">
    <div class="bl-title"><strong class="bl-symbol"></strong><span class="bl-name"></span>
      <span class="bl-chip bl-where"></span><span class="bl-chip bl-practice" hidden
      title="Prices are made up by the practice market">practice</span>
      <button class="bl-indicators" type="button" title="Add and remove indicators">Indicators</button>
      <button class="bl-share" type="button" title="Let others look at this chart" hidden>Share</button></div>
    <div class="bl-badge" role="status"><i></i><span class="bl-age">Connecting</span></div>
    <div class="bl-quote"><span class="bl-price"></span><span class="bl-change"></span></div>
    <dl class="bl-day"></dl>
  </header>
  <div class="bl-session"></div>
  <div class="bl-plot">
    <div class="bl-canvas"></div>
    <div class="bl-over">
      <div class="bl-legends"></div>
      <div class="bl-last-line" hidden></div>
      <div class="bl-last-tag" hidden><span class="bl-last-value"></span><small class="bl-left"></small></div>
      <div class="bl-cross-x" hidden></div><div class="bl-cross-y" hidden></div>
      <div class="bl-price-tag" hidden></div><div class="bl-time-tag" hidden></div>
      <div class="bl-tip" role="tooltip" hidden></div>
      <div class="bl-tools">
        <button class="bl-zoom-out" title="Show more candles" type="button">−</button>
        <button class="bl-zoom-in" title="Show fewer candles" type="button">+</button>
        <button class="bl-latest" title="Back to the newest candle" type="button" hidden>Latest ⇥</button>
      </div>
    </div>
  </div>`;

class Chart {
  constructor(model, el) {
    this.model = model;
    this.config = JSON.parse(model.get("config"));
    const raw = model.get("bars");
    const bytes = raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength);
    this.bars = new Bars(new Float64Array(bytes), this.config);
    this.tick = null;
    this.heard = null; // performance.now() of the newest tick
    this.trades = false; // whether a later trade came than the first one told
    this.link = "Connecting";
    this.upstream = null;
    this.relay = null;
    this.due = 0; // when the next repaint may be
    this.root = document.createElement("div");
    this.root.className = "breeze-lab-chart";
    this.root.innerHTML = FRAME;
    el.append(this.root);
    this.title();
    this.end_session = mark_session(this.root, () => this.config.market, this.part("session"), () => this.badge());
  }

  part(name) {
    return this.root.querySelector(`.bl-${name}`);
  }

  async start() {
    const asked = this.listen();
    const Bokeh = await load_bokeh(this.config.bokeh, this.model);
    // Drawing keeps the page busy: a socket that opens meanwhile could not even ask. Asked before,
    // the relay answers while Bokeh draws.
    await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, ASKED_MS))]);
    if (this.closed) return;
    this.plot = new Plot(this.part("plot"), Bokeh, this.config, this.bars);
    await this.plot.draw(JSON.parse(this.model.get("figure")));
    if (this.closed) {
      this.plot.remove();
      return;
    }
    this.plot.on_painted = (paints, ms) => {
      this.root.dataset.repaints = paints;
      this.root.dataset.paintMs = ms.toFixed(1);
    };
    this.plot.on_overlay = () => this.place_legends();
    this.follow_theme();
    this.bars.grown = 0; // drawn already
    this.plot.update();
    this.plot.changed = false; // the first paint is no repaint
    this.drawn = true;
    this.moved = this.dirty = false;
    this.quote();
    this.add_indicators();
    this.timer = setInterval(() => this.badge(), 500);
    this.badge();
  }

  /** Listen to the relay; return a promise that is kept when it has been asked, or cannot be. */
  listen() {
    const { key, room, anchor_s, interval, market } = this.config;
    return new Promise((resolve) => {
      this.close_feed = open_feed({
        model: this.model, client: `chart ${key}`, instruments: [{ key, room, anchor_s }],
        bars: [interval], market,
        on_message: (message) => this.take(message),
        on_link: (link) => {
          this.link = link;
          if (link !== "open") this.upstream = null;
          this.badge();
          resolve();
        },
      });
    });
  }

  /** Say why there is no chart; nothing more comes. */
  fail(error) {
    console.error(error);
    this.close_feed?.();
    this.link = `The chart cannot be drawn: ${error.message}`;
    this.badge();
  }

  // --- messages -------------------------------------------------------------------------------

  take(message) {
    if (message.op === "welcome") {
      // A new relay builds its bars from nothing: what is on the screen is all we know.
      if (this.relay !== null && this.relay !== message.pid) this.bars.freeze();
      this.relay = message.pid;
    }
    if (message.upstream) this.upstream = message.upstream;
    if (message.op === "error") this.link = message.message;
    const { key, interval } = this.config;
    for (const tick of message.ticks ?? []) {
      if (tick[0] !== key) continue;
      const known = this.tick && this.tick[1] === tick[1] && this.tick[4] === tick[4];
      if (this.tick && tick[3] > this.tick[3]) this.trades = true; // its market is open
      this.tick = tick;
      if (message.op === "batch") this.heard = performance.now();
      else if (!known) this.heard = performance.now() - Math.max(Date.now() - tick[4], 0);
      this.dirty = true;
    }
    for (const bar of message.bars ?? []) {
      if (bar[0] !== key || bar[1] !== interval || !this.bars.apply(bar)) continue;
      this.moved = this.dirty = true;
      this.indicators?.touch(bar[2]);
    }
    if (this.dirty) this.schedule();
    if (message.op !== "batch") this.badge();
  }

  /** Paint the newest state soon, however much arrives until then. */
  schedule() {
    if (this.waiting || !this.drawn) return;
    this.waiting = true;
    const now = performance.now();
    // Trades come in clusters: a short debt lets a cluster be seen and keeps the average.
    this.due = Math.max(this.due + REPAINT_MS, now - (BURST - 1) * REPAINT_MS);
    const wait = Math.max(0, this.due - now);
    setTimeout(() => requestAnimationFrame(() => {
      this.waiting = false;
      if (this.closed) return;
      this.dirty = false;
      this.quote();
      if (this.moved) {
        this.moved = false;
        this.plot.update();
      }
      if (this.refilled) this.plot.indicators?.refill();
      else if (this.valued) this.plot.indicators?.update();
      this.valued = this.refilled = false;
      this.badge();
    }), wait);
  }

  // --- indicators -----------------------------------------------------------------------------

  add_indicators() {
    const { model } = this;
    this.indicators = new Indicators(model, this.bars, model.get("indicators"), {
      on_opened: () => this.redraw_indicators(),
      on_values: (closed) => {
        this.valued = true;
        this.refilled ||= closed;
        this.root.dataset.valued = Number(this.root.dataset.valued ?? 0) + 1;
        this.schedule();
      },
    });
    this.plot.indicators = new IndicatorView(this.plot, this.indicators);
    const choose = (specs) => {
      this.indicators.choose(specs);
      model.set("indicators", specs); // kept by the kernel, if there is one
      model.save_changes();
    };
    this.choose = choose;
    this.menu = new IndicatorMenu(this.root, this.part("indicators"), this.indicators, choose, () => this.catalogue());
    this.retold = () => {
      const specs = model.get("indicators");
      if (specs.join() !== this.indicators.specs.join()) this.indicators.choose(specs);
    };
    model.on("change:indicators", this.retold);
    this.share = new ShareBox(this);
  }

  /** Return what the menu offers: from the server, or from the kernel. */
  async catalogue() {
    const { status, body } = base_url() === null ? { status: 404 } : await ask_server("api/indicators/catalogue");
    if (status === 200 && body) return body.indicators;
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(null), 20_000);
      const take = (message) => message.op === "catalogue" && done(message.indicators);
      const done = (found) => {
        clearTimeout(timer);
        this.model.off("msg:custom", take);
        resolve(found);
      };
      this.model.on("msg:custom", take);
      this.model.send({ op: "catalogue" });
    });
  }

  /** Draw other lines; one change after the other. */
  redraw_indicators() {
    this.redrawing = (this.redrawing ?? Promise.resolve()).then(async () => {
      if (this.closed) return;
      await this.plot.indicators.redraw();
      this.root.dataset.indicators = this.indicators.sets.map(({ spec }) => spec).join("; ");
      this.legends();
      this.menu.refresh();
      this.plot.overlay();
    }).catch((error) => console.error(error));
  }

  /** Write one line for each indicator, in the pane it is drawn in. */
  legends() {
    const box = this.part("legends");
    this.shown = this.indicators.sets.map((set, i) => {
      const item = element("div", "bl-legend");
      item.title = set.title;
      item.append(element("span", "bl-legend-name", set.spec));
      const values = this.indicators.lines
        .map((line, k) => [line, k])
        .filter(([line]) => line.set === i)
        .map(([line, k]) => ({ line, k, place: item.appendChild(element("b", "")) }));
      const remove = item.appendChild(element("button", "", "×"));
      remove.type = "button";
      remove.title = `Remove ${set.spec}`;
      remove.setAttribute("aria-label", remove.title);
      remove.addEventListener("keydown", (event) => event.stopPropagation());
      remove.addEventListener("click", () => {
        this.choose(this.indicators.specs.filter((one) => one !== set.spec));
        this.part("indicators").focus();
      });
      return { set: i, item, values };
    });
    for (const { spec, message } of this.indicators.refused) {
      const item = element("div", "bl-legend bl-legend-bad", `${spec ? `${spec}: ` : ""}${message}`);
      this.shown.push({ set: -1, item, values: [] });
    }
    box.replaceChildren(...this.shown.map(({ item }) => item));
  }

  /** Put the lines of the legend where their panes are, with the values under the mouse or now. */
  place_legends() {
    const { plot } = this;
    if (!this.shown?.length || !plot.indicators?.colours) return;
    const at = plot.pointer && plot.hovered ? plot.hovered : this.bars.last;
    const tops = new Map();
    for (const { set, item, values } of this.shown) {
      const pane = plot.indicators.panes.find((one) => one.set === set);
      const view = pane?.view ?? plot.price;
      const box = plot.box(view);
      const top = tops.get(view) ?? box.top + 4;
      const style = `left:${box.left + 8}px;top:${top}px;max-width:${Math.max(box.width - 16, 60)}px`;
      if (item.dataset.at !== style) item.style.cssText = item.dataset.at = style;
      tops.set(view, top + LEGEND_PX);
      for (const { line, k, place } of values) {
        place.style.color = plot.indicators.colours[k];
        put(place, say_value(at?.values?.[line.set]?.[line.column] ?? NaN, this.config.decimals));
      }
    }
  }

  // --- words ----------------------------------------------------------------------------------

  title() {
    const { config, root } = this;
    root.dataset.key = config.key;
    root.dataset.interval = config.interval;
    root.dataset.repaints = 0;
    root.style.setProperty("--bl-height", `${config.height}px`);
    this.part("symbol").textContent = config.symbol;
    this.part("name").textContent = config.name;
    this.part("where").textContent = `${config.exchange} · ${config.interval}`;
    this.part("practice").hidden = !config.practice;
    if (config.replay) {
      this.part("practice").textContent = `replay · ${config.replay}`;
      this.part("practice").title = "A recorded day, played once more";
    }
    root.setAttribute("role", "figure");
    const label = `${config.symbol}, ${config.interval} candles${config.replay ? `, replay of ${config.replay}` : config.practice ? ", practice data" : ""}`;
    root.setAttribute("aria-label", label);
  }

  quote() {
    const { tick, root } = this;
    const { decimals } = this.config;
    const last = tick?.[5] ?? this.bars.last?.close ?? null;
    if (this.plot) this.plot.last = last;
    if (last === null) return;
    root.dataset.lastPrice = last;
    this.part("price").textContent = say(last, decimals);
    if (!tick) return;
    const [, , , , , , open, high, low, before, percent] = tick;
    if (before) {
      const change = last - before;
      const share = percent ?? (change / before) * 100;
      const sign = change >= 0 ? "+" : "−";
      root.dataset.direction = change >= 0 ? "up" : "down";
      this.part("change").textContent =
        `${sign}${say(Math.abs(change), decimals)} (${sign}${say(Math.abs(share))} %)`;
    }
    const cells = [
      ["Open", say(open, decimals)], ["High", say(high, decimals)], ["Low", say(low, decimals)],
      ["Prev. close", say(before, decimals)],
    ];
    if (tick[17] !== null) cells.push(["Volume", say_quantity(tick[17])]);
    const list = this.part("day");
    if (list.childElementCount !== cells.length) {
      list.replaceChildren(...cells.map(([name]) => {
        const cell = document.createElement("div");
        cell.append(document.createElement("dt"), document.createElement("dd"));
        cell.firstChild.textContent = name;
        return cell;
      }));
    }
    cells.forEach(([, value], i) => {
      list.children[i].lastChild.textContent = value;
    });
  }

  /** Say how old the picture is; a stale one must look stale. */
  badge() {
    const heard = this.heard === null ? null : (performance.now() - this.heard) / 1000;
    // A practice market that trades may be at another time of its own: that makes no trade old.
    const lag = !this.tick || (this.config.practice && this.trades) ? 0 : trade_lag(this.tick);
    const age = heard === null ? null : heard + lag;
    const since = age === null ? "no trade yet" : `last trade ${say_age(age)} ago`;
    const { link, upstream } = this;
    let state = "live";
    let text = age !== null && age >= 2 ? `Live · ${say_age(age)}` : "Live";
    if (session_clock().ended(this.config.market)) [state, text] = ["ended", `Session ended · ${since}`];
    else if (link === "lost") [state, text] = ["offline", `Reconnecting · ${since}`];
    else if (link !== "open") [state, text] = ["offline", link];
    else if (!this.drawn) [state, text] = ["offline", "Drawing"];
    else if (upstream && upstream.state !== "connected") {
      state = "offline";
      text = `${UPSTREAM[upstream.state] ?? upstream.state} · ${since}`;
    } else if (age === null) [state, text] = ["stale", "Waiting for a trade"];
    else if (age >= STALE_S) [state, text] = ["stale", `No trade for ${say_age(age)}`];
    this.root.dataset.state = state;
    this.indicator_age();
    const label = this.part("age");
    if (label.textContent !== text) label.textContent = text;
    label.title = upstream?.error ?? "";
    this.countdown(state);
  }

  /** Say how old the indicators are when they do not follow the candles. */
  indicator_age() {
    const { indicators } = this;
    if (!indicators) return;
    const late = indicators.specs.length > 0 && indicators.stale;
    this.root.toggleAttribute("data-indicators-stale", late);
    const age = indicators.heard_at === null ? "" : ` · ${say_age((Date.now() - indicators.heard_at) / 1000)} old`;
    const why = indicators.by_kernel ? "the kernel computes them and is busy" : "the server does not answer";
    const button = this.part("indicators");
    put(button, late ? `Indicators${age}` : "Indicators");
    button.title = late ? `Indicators stand still: ${why}` : "Add and remove indicators";
  }

  /** Count down to the end of the forming candle, below the last price. */
  countdown(state) {
    const { interval_s } = this.config;
    const row = this.bars.last;
    const left = row ? row.t + interval_s - Date.now() / 1000 : -1;
    const shown = state === "live" && interval_s >= 60 && interval_s < 86400 && left > 0 && left <= interval_s;
    const minutes = Math.floor(left / 60);
    const hours = minutes >= 60 ? `${Math.floor(minutes / 60)}:` : "";
    this.part("left").textContent = shown ? `${hours}${two(minutes % 60)}:${two(Math.floor(left % 60))}` : "";
  }

  // --- theme ----------------------------------------------------------------------------------

  follow_theme() {
    const put_on = () => {
      const theme = this.config.theme === "auto" ? page_theme() : this.config.theme;
      if (this.root.dataset.theme === theme) return;
      this.root.dataset.theme = theme;
      const palette = this.config.palettes[theme];
      this.plot.theme = theme;
      for (const [name, value] of Object.entries(palette)) {
        this.root.style.setProperty(`--bl-${name}`, value);
      }
      this.plot.colour(palette);
    };
    put_on();
    this.themes = new MutationObserver(put_on);
    this.themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  }

  close() {
    this.closed = true;
    this.end_session();
    clearInterval(this.timer);
    this.themes?.disconnect();
    this.close_feed?.();
    this.indicators?.close();
    this.menu?.close();
    this.share?.close();
    if (this.retold) this.model.off("change:indicators", this.retold);
    this.plot?.remove();
    this.root.remove();
  }
}

/** Draw one view of a chart; return what takes it away. */
function render_chart({ model, el }) {
  const chart = new Chart(model, el);
  chart.start().catch((error) => chart.fail(error));
  return () => chart.close();
}
