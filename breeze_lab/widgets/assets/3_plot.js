// The plot: Bokeh's two panes, and over them what moves with the mouse and the last price.
// Crosshair, tags and tooltip are page elements, so that moving the mouse repaints no candle.

/**
 * Let Bokeh leave alone what does not change: with each paint it writes some fifty style sheets
 * anew, almost all of them as they were, and for each of them the browser looks at styles again.
 */
function spare_styles(view) {
  const sheets = view._css_vars && Object.getPrototypeOf(view._css_vars);
  if (typeof sheets?._update !== "function" || sheets.spared) return;
  const update = sheets._update;
  sheets._update = function (css) {
    if (this.el.textContent !== css) update.call(this, css);
  };
  sheets.spared = true;
}

class Plot {
  /**
   * @param {HTMLElement} element where to draw
   * @param {object} Bokeh
   * @param {object} config see live_chart.py
   * @param {Bars} bars
   */
  constructor(element, Bokeh, config, bars) {
    Object.assign(this, { element, Bokeh, config, bars });
    this.paints = 0;
    this.paint_ms = 0;
    this.pointer = null;
    this.last = null;
    this.on_painted = () => {};
    this.on_overlay = () => {};
  }

  async draw(item) {
    const target = this.element.querySelector(".bl-canvas");
    const views = await this.Bokeh.embed.embed_item(item, target);
    this.root = views.roots[0];
    spare_styles(this.root);
    this.document = this.root.model.document;
    const find = (name) => this.document.get_model_by_name(name);
    this.history = find("history");
    this.live = find("live");
    this.window = find("window");
    [this.price, this.volume] = this.root.child_views;
    this.price.repainted.connect(() => this.overlay());
    // Time one paint, the figure a slow machine is judged by.
    const paint = this.price.paint.bind(this.price);
    this.price.paint = () => {
      const begin = performance.now();
      paint();
      this.paint_ms = performance.now() - begin;
    };
    this.show_latest();
    this.fence();
    this.refill();
    let queued = false;
    this.window.change.connect(() => {
      if (queued) return;
      queued = true;
      requestAnimationFrame(() => {
        queued = false;
        this.refill();
        this.overlay();
      });
    });
    this.listen();
  }

  // --- data -----------------------------------------------------------------------------------

  get following() {
    const { last } = this.bars;
    return !last || this.window.end >= last.x;
  }

  get panes() {
    return this.root.child_views;
  }

  view_of(model) {
    return this.panes.find((view) => view.model === model);
  }

  /** Wait until all `children` are laid out. */
  async views_of(children) {
    const ready = (view) => view && view.frame && view.frame.bbox.width > 0;
    for (let i = 0; i < 100 && !children.every((child) => ready(this.view_of(child))); i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  show_latest() {
    const x = this.bars.last?.x ?? 0;
    // Candles narrower than six pixels are hard to read, a handful in a wide pane look lost.
    const fitting = Math.floor(this.element.clientWidth / 6);
    const span = Math.max(Math.min(this.config.visible, fitting, x - this.bars.shown_from + 1), 40);
    this.window.setv({ start: x - span + 0.5, end: x + 0.5 + this.config.margin });
  }

  /** Keep dragging and zooming near the candles. */
  fence() {
    const { rows, last } = this.bars;
    if (!rows.length) return;
    const [first, room] = [this.bars.shown_from - 0.5, 20];
    const bounds = [Math.min(first - room, this.window.start), last.x + room * 2];
    this.window.setv({ bounds, min_interval: 15 });
  }

  /** Return the places [from, to) of the closed bars that are in view. */
  visible() {
    const { rows, shown_from } = this.bars;
    if (!rows.length) return [0, 0];
    const first = rows[0].x;
    const from = Math.max(Math.ceil(this.window.start) - 1, shown_from) - first;
    const to = Math.min(Math.floor(this.window.end) + 2 - first, rows.length - 2);
    return [Math.max(from, 0), Math.max(to, 0)];
  }

  /** Give Bokeh the visible closed bars only: a paint then costs what is seen, not what is held. */
  refill() {
    if (!this.bars.rows.length) return;
    this.history.data = this.bars.columns(...this.visible());
    this.indicators?.refill();
  }

  /** Hand the changed bars to Bokeh, which paints in the coming frame. */
  update() {
    const { bars } = this;
    if (bars.grown) {
      const was_following = this.window.end >= bars.last.x - bars.grown;
      const by = bars.grown;
      bars.grown = 0;
      if (was_following) {
        this.window.setv({ start: this.window.start + by, end: this.window.end + by });
      }
      this.fence();
      this.refill();
    }
    this.live.data = bars.columns(bars.rows.length - 2, bars.rows.length);
    this.changed = true;
  }

  // --- what lies over the canvas --------------------------------------------------------------

  box(view) {
    const outer = this.element.getBoundingClientRect();
    const inner = view.el.getBoundingClientRect();
    const { left, top, width, height } = view.frame.bbox;
    return { left: inner.left - outer.left + left, top: inner.top - outer.top + top, width, height };
  }

  part(name) {
    return this.element.querySelector(`.bl-${name}`);
  }

  /** Place last price, crosshair and tooltip anew; called after each paint. */
  overlay() {
    if (this.changed) {
      this.changed = false;
      this.paints += 1;
      this.on_painted(this.paints, this.paint_ms);
    }
    const box = this.box(this.price);
    this.place_last(box);
    this.part("latest").hidden = this.following;
    this.on_overlay(box);
    this.hover(box);
  }

  place_last(box) {
    const line = this.part("last-line");
    const tag = this.part("last-tag");
    const row = this.bars.last;
    const value = this.last ?? row?.close;
    const y = value === undefined ? NaN : this.price.frame.y_scale.compute(value) - this.price.frame.bbox.top;
    const seen = y >= 0 && y <= box.height;
    line.hidden = tag.hidden = !seen;
    if (!seen) return;
    const direction = row && row.close >= row.open ? "up" : "down";
    line.dataset.direction = tag.dataset.direction = direction;
    line.style.cssText = `left:${box.left}px;width:${box.width}px;top:${box.top + y}px`;
    tag.style.cssText = `left:${box.left + box.width + 2}px;top:${box.top + y}px`;
    this.part("last-value").textContent = say(value, this.config.decimals);
  }

  hover(price) {
    const parts = ["cross-x", "cross-y", "time-tag", "price-tag", "tip"].map((n) => this.part(n));
    const [cross_x, cross_y, time_tag, price_tag, tip] = parts;
    const { pointer } = this;
    const boxes = this.panes.map((view) => ({ view, ...this.box(view) }));
    const right = price.left + price.width;
    const bottom = Math.max(...boxes.map((box) => box.top + box.height));
    const inside = pointer && pointer.x >= price.left && pointer.x <= right
      && pointer.y >= price.top && pointer.y <= bottom;
    const row = inside
      && this.bars.at(this.price.frame.x_scale.invert(pointer.x - price.left + this.price.frame.bbox.left));
    for (const part of parts) part.hidden = !inside;
    this.hovered = row || null;
    if (!inside) return;
    tip.hidden = time_tag.hidden = !row;
    const pane = boxes.find((box) => pointer.y <= box.top + box.height) ?? boxes[0];
    const { view } = pane;
    const value = view.frame.y_scale.invert(pointer.y - pane.top + view.frame.bbox.top);
    const quantity = view === this.volume;
    let x = pointer.x;
    if (row) {
      const at = this.price.frame.x_scale.compute(row.x) - this.price.frame.bbox.left;
      x = price.left + Math.min(Math.max(at, 0), price.width);
      const text = say_time(row.t, this.config.interval_s);
      time_tag.textContent = text;
      time_tag.style.cssText = `left:${Math.min(Math.max(x, 70), right - 70)}px;top:${bottom + 4}px`;
      this.fill_tip(tip, row, text);
      const flip = x > price.left + price.width / 2;
      tip.style.cssText = `top:${price.top + 8}px;`
        + (flip ? `left:${Math.max(x - tip.offsetWidth - 18, price.left)}px` : `left:${x + 18}px`);
    }
    cross_x.style.cssText = `left:${x}px;top:${price.top}px;height:${bottom - price.top}px`;
    cross_y.style.cssText = `left:${price.left}px;width:${price.width}px;top:${pointer.y}px`;
    price_tag.textContent = quantity ? say_quantity(value) : say_value(value, this.config.decimals);
    price_tag.style.cssText = `left:${right + 2}px;top:${pointer.y}px`;
  }

  fill_tip(tip, row, text) {
    const { decimals } = this.config;
    const i = row.x - this.bars.rows[0].x;
    const before = this.bars.rows[i - 1]?.close ?? row.open;
    const change = row.close - before;
    const sign = change >= 0 ? "+" : "−";
    const percent = before ? ` (${sign}${say(Math.abs(change / before) * 100)} %)` : "";
    const cells = [
      ["Open", say(row.open, decimals)], ["High", say(row.high, decimals)],
      ["Low", say(row.low, decimals)], ["Close", say(row.close, decimals)],
      ["Change", `${sign}${say(Math.abs(change), decimals)}${percent}`],
    ];
    if (this.volume) cells.push(["Volume", say(row.volume, 0)]);
    cells.push(...(this.indicators?.cells(row) ?? []));
    tip.dataset.direction = change >= 0 ? "up" : "down";
    const title = document.createElement("div");
    title.className = "bl-tip-time";
    title.textContent = `${text}${this.config.interval_s < 86400 ? " IST" : ""}`;
    const list = document.createElement("dl");
    for (const [name, value] of cells) {
      const term = list.appendChild(document.createElement("dt"));
      const what = list.appendChild(document.createElement("dd"));
      [term.textContent, what.textContent] = [name, value];
      if (name === "Change") what.className = "bl-direction";
    }
    tip.replaceChildren(title, list);
  }

  // --- mouse, keys ----------------------------------------------------------------------------

  listen() {
    const { element } = this;
    let queued = false;
    const soon = () => {
      if (queued) return;
      queued = true;
      requestAnimationFrame(() => {
        queued = false;
        this.hover(this.box(this.price));
      });
    };
    element.addEventListener("pointermove", (event) => {
      const outer = element.getBoundingClientRect();
      this.pointer = { x: event.clientX - outer.left, y: event.clientY - outer.top };
      soon();
    });
    element.addEventListener("pointerleave", () => {
      this.pointer = null;
      soon();
    });
    element.addEventListener("dblclick", () => this.show_latest());
    this.part("latest").addEventListener("click", () => this.show_latest());
    for (const [name, factor] of [["in", 0.7], ["out", 1 / 0.7]]) {
      this.part(`zoom-${name}`).addEventListener("click", () => this.zoom(factor, this.window.end));
    }
    this.observer = new ResizeObserver(() => this.overlay());
    this.observer.observe(element);
  }

  /** Scale what is visible by `factor`, keeping ordinal `around` where it is. */
  zoom(factor, around) {
    const { start, end } = this.window;
    const [least, most] = this.window.bounds ?? [-Infinity, Infinity];
    const span = Math.max((end - start) * factor, 15);
    const share = (around - start) / (end - start);
    const from = Math.max(around - span * share, least);
    this.window.setv({ start: from, end: Math.min(around + span * (1 - share), most) });
  }

  // --- theme ----------------------------------------------------------------------------------

  /** Put on the colours of a theme: Bokeh's canvas knows no style sheet. */
  colour(palette) {
    this.palette = palette;
    for (const view of this.panes) {
      const { model } = view;
      for (const grid of [...model.center]) {
        if (grid.type === "Grid") grid.grid_line_color = palette.grid;
      }
      for (const axis of [...model.below, ...model.right]) {
        axis.major_label_text_color = palette.text;
      }
      model.styles = { ...model.styles, "background-color": "transparent" };
      for (const { glyph } of model.renderers) {
        if (glyph.tags.includes("indicator")) continue;
        const colour = glyph.tags.includes("up") ? palette.up : palette.down;
        if (glyph.properties.fill_color) glyph.fill_color = colour;
        if (glyph.line_color?.value !== null && glyph.line_color !== null) glyph.line_color = colour;
      }
    }
    this.indicators?.colour(this.theme ?? "light");
  }

  remove() {
    this.observer?.disconnect();
    this.root?.remove();
    this.document?.clear();
  }
}
