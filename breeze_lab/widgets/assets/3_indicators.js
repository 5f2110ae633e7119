// Indicators: asked of the server's worker with the bars on the screen, past the kernel, and drawn
// into the plot. Where there is no such server the kernel's comm answers, when the kernel is idle.

const ONE_COLOUR = 3; // an indicator of up to so many lines over the candles has one colour
const STALE_MS = 3000; // an answer takes milliseconds; a busy kernel's takes as long as its cell

/** The indicators of one chart: their specs, and their values beside the bars they belong to. */
class Indicators {
  /**
   * @param {object} model the widget's, for the kernel's help
   * @param {Bars} bars
   * @param {string[]} specs
   * @param {{on_opened: function, on_values: function, on_state: function}} told
   */
  constructor(model, bars, specs, told) {
    Object.assign(this, { model, bars, specs, told });
    this.sets = []; // what was told of each: spec, title, columns
    this.lines = []; // drawn columns: {set, column, name, place, style}
    this.refused = [];
    this.changed_from = Infinity; // opening time of the oldest bar the worker has not heard of
    this.asked_at = null;
    this.heard_at = null;
    this.wait = FIRST_WAIT_MS;
    this.by_kernel = base_url() === null;
    this.take_frame = (message) => {
      if (message.op === "indicators") this.take(message.answer);
    };
    model.on("msg:custom", this.take_frame);
    if (specs.length) this.begin();
  }

  get stale() {
    return this.asked_at !== null && performance.now() - this.asked_at > STALE_MS;
  }

  /** Draw other indicators. */
  choose(specs) {
    this.specs = specs;
    if (specs.length) this.begin();
    else this.accept({ op: "opened", indicators: [], refused: [] });
  }

  /** Say all bars and specs, over a new connection if there is none. */
  begin() {
    if (this.closed) return;
    this.again = true;
    if (this.by_kernel) this.ask();
    else if (!this.socket) this.connect();
    else this.ask();
  }

  connect() {
    clearTimeout(this.timer);
    const address = `${base_url()}breeze-lab/api/indicators`;
    let opened = false;
    this.asked_at ??= performance.now();
    const socket = new WebSocket(address.replace(/^http/, "ws"), SUBPROTOCOL);
    this.socket = socket;
    socket.onopen = () => {
      opened = true;
      this.asked_at = null;
      this.ask();
    };
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = async () => {
      if (this.closed) return;
      this.socket = null;
      this.again = true;
      this.asked_at = performance.now();
      if (!opened && (await ask_server("api/indicators/catalogue")).status === 404) {
        this.by_kernel = true;
        this.asked_at = null;
        this.ask();
        return;
      }
      this.timer = setTimeout(() => this.connect(), this.wait * (0.75 + Math.random() / 2));
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
    };
  }

  /** Note that the bar of time `t` changed, and tell the worker when it has answered. */
  touch(t) {
    this.changed_from = Math.min(this.changed_from, t);
    this.ask();
  }

  ask() {
    if (this.closed || this.asked_at !== null) return;
    if (!this.by_kernel && this.socket?.readyState !== WebSocket.OPEN) return;
    if (!this.specs.length || !this.bars.rows.length) return;
    const names = ["t", "open", "high", "low", "close", "volume"];
    let message;
    if (this.again) {
      this.again = false;
      const bars = names.map((name) => this.bars.rows.map((row) => row[name]));
      message = { op: "open", specs: this.specs, bars };
    } else {
      if (this.changed_from === Infinity || !this.sets.length) return;
      const rows = this.bars.rows.filter((row) => row.t >= this.changed_from);
      message = { op: "bars", rows: rows.map((row) => names.map((name) => row[name])) };
    }
    this.changed_from = Infinity;
    this.told_t = this.bars.last.t;
    this.asked_at = performance.now();
    if (this.by_kernel) this.model.send({ op: "indicators", message });
    else this.socket.send(JSON.stringify(message));
  }

  take(answer) {
    this.asked_at = null;
    this.heard_at = Date.now();
    if (answer.op === "reopen" || answer.op === "error") {
      if (answer.op === "error") console.warn(answer.message);
      if (this.trouble) this.refused = [{ spec: "", message: answer.message ?? "The bars changed." }];
      else this.again = true;
      this.trouble = true; // once is a corrected bar, twice in a row would go on for ever
      if (this.refused.length) this.told.on_opened();
    } else {
      this.trouble = false;
      this.wait = FIRST_WAIT_MS;
      if (!this.again) this.accept(answer);
    }
    this.ask();
  }

  accept(answer) {
    if (answer.op === "opened") {
      this.sets = answer.indicators;
      this.refused = answer.refused;
      // As the worker spells them from now on; what it refused stays as it was typed.
      const bad = new Set(answer.refused.map(({ spec }) => spec));
      const good = this.sets.map(({ spec }) => spec);
      const specs = this.specs.map((spec) => (bad.has(spec) ? spec : good.shift() ?? spec));
      this.specs = [...new Set(specs)];
      this.lines = this.sets.flatMap((set, i) => set.columns
        .map((column, j) => ({ set: i, column: j, ...column }))
        .filter(({ place }) => place));
      let colour = -1; // of a band's lines the same one, of many lines or a pane's each its own
      this.lines.forEach((line, i) => {
        const few = this.lines.filter(({ set }) => set === line.set).length <= ONE_COLOUR;
        const same = few && line.place === "overlay" && this.lines[i - 1]?.set === line.set;
        if (!same) colour += 1;
        line.colour = colour;
      });
      for (const row of this.bars.rows) row.values = null;
      this.sets.forEach((set, i) => this.fill(i, set.values));
      for (const set of this.sets) delete set.values;
      this.told.on_opened();
      return;
    }
    let last = this.bars.rows.length - 1;
    for (const [t, values] of [...answer.rows].reverse()) {
      while (last >= 0 && this.bars.rows[last].t > t) last -= 1;
      if (this.bars.rows[last]?.t === t) this.bars.rows[last].values = values;
    }
    const whole = Object.entries(answer.whole);
    for (const [i, columns] of whole) this.fill(Number(i), columns);
    this.told.on_values(answer.rows.length > 1 || whole.length > 0);
  }

  /** Put whole columns beside the bars; they end in the newest bar the worker was told of. */
  fill(i, columns) {
    const { rows } = this.bars;
    const count = columns[0]?.length ?? 0;
    let newest = rows.length - 1;
    while (newest >= 0 && rows[newest].t > this.told_t) newest -= 1;
    for (let k = 0; k < count && newest - k >= 0; k++) {
      const row = rows[newest - k];
      row.values ??= [];
      row.values[i] = columns.map((column) => column[count - 1 - k]);
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.model.off("msg:custom", this.take_frame);
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }
}

/** What an indicator adds to the plot: lines over the candles, and a pane below for the others. */
class IndicatorView {
  constructor(plot, indicators) {
    Object.assign(this, { plot, indicators });
    this.panes = []; // {set, model, view}
    this.rest = plot.root.model.children;
    this.lines = plot.document.get_model_by_name("lines");
    this.tip = plot.document.get_model_by_name("tip");
  }

  key(i) {
    return `${this.indicators.lines[i].place === "overlay" ? "over" : "under"}${i}`;
  }

  /** Draw the indicators there are now, instead of those before. */
  async redraw() {
    const { plot, indicators } = this;
    const { Models } = plot.Bokeh;
    const price = plot.price.model;
    price.renderers = price.renderers.filter(({ glyph }) => !glyph.tags.includes("indicator"));
    this.refill();
    this.panes = [];
    indicators.lines.forEach((line, i) => {
      let figure = price;
      if (line.place !== "overlay") {
        let pane = this.panes.find(({ set }) => set === line.set);
        if (!pane) this.panes.push((pane = { set: line.set, model: this.pane(Models) }));
        figure = pane.model;
      }
      const field = { field: this.key(i) };
      for (const source of [this.lines, this.tip]) {
        const tags = ["indicator", i];
        const glyph = line.style === "bars"
          ? new Models.VBar({ x: { field: "x" }, top: field, bottom: 0, width: 0.72, line_color: null, fill_alpha: 0.5, tags })
          : new Models.Line({ x: { field: "x" }, y: field, line_width: 1.6, tags });
        figure.add_glyph(glyph, source, { nonselection_glyph: null, muted_glyph: null });
      }
    });
    // The time axis stays at the bottom: panes lie between the prices and what was below them.
    const [first, ...below] = this.rest;
    const children = [first, ...this.panes.map(({ model }) => model), ...below];
    const now = plot.root.model.children;
    if (children.length !== now.length || children.some((child, i) => child !== now[i])) {
      plot.root.model.children = children;
      await plot.views_of(children);
    }
    for (const pane of this.panes) pane.view = plot.view_of(pane.model);
    plot.element.style.setProperty("--bl-panes", `${this.panes.length * plot.config.pane_height}px`);
    plot.colour(plot.palette);
    this.refill();
  }

  /** Return an empty pane that looks like the one with the prices. */
  pane(Models) {
    const { plot } = this;
    const price = plot.price.model;
    const figure = new Models.Figure({
      height: plot.config.pane_height, x_range: plot.window,
      y_range: new Models.Range1d({ start: 0, end: 1 }), sizing_mode: "stretch_width",
      toolbar_location: null, min_border_left: 0, min_border_right: price.min_border_right,
      min_border_top: 2, min_border_bottom: 2, outline_line_color: null,
      background_fill_color: null, border_fill_color: null, styles: { ...price.styles },
    });
    const theirs = price.right[0];
    const axis = new Models.LinearAxis({
      ticker: new Models.BasicTicker({ desired_num_ticks: 3 }), axis_line_color: null,
      major_tick_line_color: null, minor_tick_line_color: null,
      major_label_text_font: theirs.major_label_text_font.value ?? theirs.major_label_text_font,
      major_label_text_font_size: "11px", major_label_standoff: 8,
    });
    figure.add_layout(axis, "right");
    figure.add_layout(new Models.Grid({ dimension: 1, axis }));
    const [across] = price.center.filter((one) => one.type === "Grid" && one.dimension === 0);
    if (across) figure.add_layout(new Models.Grid({ dimension: 0, ticker: across.ticker ?? across.axis.ticker }));
    const pan = new Models.PanTool({ dimensions: "width" });
    figure.add_tools(pan, new Models.WheelZoomTool({ dimensions: "width", modifiers: { ctrl: true } }));
    figure.toolbar.active_drag = pan;
    return figure;
  }

  columns(rows) {
    const { lines } = this.indicators;
    const data = { x: Float64Array.from(rows, (row) => row.x) };
    lines.forEach(({ set, column }, i) => {
      data[this.key(i)] = Float64Array.from(rows, (row) => row.values?.[set]?.[column] ?? NaN);
    });
    return data;
  }

  /** Hand over the visible values of closed bars; the tip follows. */
  refill() {
    const { plot } = this;
    const [from, to] = plot.visible();
    this.lines.data = this.columns(plot.bars.rows.slice(from, to));
    this.update();
  }

  /** Hand over the newest values. The tip begins where the lines end, or a segment were missing. */
  update() {
    const { plot } = this;
    const { rows } = plot.bars;
    const [, to] = plot.visible();
    const near = to >= rows.length - 2;
    this.tip.data = this.columns(near ? rows.slice(-3) : []);
    this.fit();
  }

  /** Fit each pane to what is visible; keep it still while the newest value stays within. */
  fit() {
    const { plot, indicators } = this;
    const [from, to] = plot.visible();
    const rows = plot.bars.rows.slice(from, to + 2);
    for (const { set, model } of this.panes) {
      let [low, high] = [Infinity, -Infinity];
      indicators.lines.forEach((line) => {
        if (line.set !== set) return;
        if (line.style === "bars") [low, high] = [Math.min(low, 0), Math.max(high, 0)];
        for (const row of rows) {
          const value = row.values?.[set]?.[line.column] ?? NaN;
          if (value < low) low = value;
          if (value > high) high = value;
        }
      });
      if (low > high) continue;
      const span = high - low || Math.abs(high) * 0.001 || 1;
      const { start, end } = model.y_range;
      if (low >= start && high <= end && span > (end - start) * 0.6) continue;
      model.y_range.setv({ start: low - span * 0.12, end: high + span * 0.12 });
    }
  }

  /** Return name and value of each line at a bar, for the tooltip. */
  cells(row) {
    const { lines } = this.indicators;
    return lines.map(({ set, column, name }) => [name, say_value(row.values?.[set]?.[column] ?? NaN, this.plot.config.decimals)]);
  }

  /** Colour the lines by the theme. */
  colour(theme) {
    const colours = this.plot.config.lines[theme];
    const { plot, indicators } = this;
    const figures = [plot.price.model, ...this.panes.map(({ model }) => model)];
    for (const { glyph } of figures.flatMap((figure) => figure.renderers)) {
      if (!glyph.tags.includes("indicator")) continue;
      const colour = colours[indicators.lines[glyph.tags[1]].colour % colours.length];
      if (glyph.type === "VBar") glyph.fill_color = colour;
      else glyph.line_color = colour;
    }
    this.colours = indicators.lines.map((line) => colours[line.colour % colours.length]);
  }
}
