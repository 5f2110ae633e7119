// Share: a link of this chart for others, made by the server from what is on the screen.

const SHARE_BOX = `
  <div class="bl-share-head"><strong>Share this chart</strong>
    <button class="bl-share-close" type="button" aria-label="Close" title="Close (Esc)">×</button></div>
  <p class="bl-share-what"></p>
  <div class="bl-share-row">
    <label class="bl-share-data-label">Shows <select class="bl-share-data"></select></label>
    <label>Ends after <select class="bl-share-expires"><option value="1d">1 day</option>
      <option value="7d" selected>7 days</option><option value="30d">30 days</option></select></label>
    <button class="bl-share-make" type="button">Create link</button></div>
  <div class="bl-share-made" hidden><input class="bl-share-link" type="text" readonly aria-label="Link">
    <button class="bl-share-copy" type="button">Copy</button>
    <a class="bl-share-open" target="_blank" rel="noopener noreferrer">Open</a></div>
  <p class="bl-share-said" role="status"></p>
  <ul class="bl-share-list" aria-label="Links of this chart"></ul>`;

const SHARE_DATA = {
  practice: [["practice", "live"], ["snapshot", "as it is now"]],
  icici: [["snapshot", "as it is now"], ["lagged", "30 days old or more"]],
};

class ShareBox {
  /** @param {Chart} chart */
  constructor(chart) {
    this.chart = chart;
    this.button = chart.part("share");
    this.button.hidden = base_url() === null; // no server of ours, no link
    this.box = element("div", "bl-share-box");
    this.box.innerHTML = SHARE_BOX;
    this.box.hidden = true;
    this.box.setAttribute("role", "dialog");
    this.box.setAttribute("aria-label", "Share this chart");
    this.box.dataset.lmSuppressShortcuts = "true";
    chart.root.append(this.box);
    const { market } = chart.config;
    put(this.part("what"), market === "practice"
      ? "Whoever has the link can look, without a login. They change nothing."
      : "Whoever has the link can look, without a login. Live prices of an exchange are never passed on.");
    this.part("data").append(...SHARE_DATA[market].map(([value, words]) => {
      const option = element("option", "", words);
      option.value = value;
      return option;
    }));
    this.button.setAttribute("aria-haspopup", "dialog");
    this.button.setAttribute("aria-expanded", "false");
    this.button.addEventListener("click", () => (this.box.hidden ? this.show() : this.hide()));
    this.button.addEventListener("keydown", (event) => event.stopPropagation());
    this.part("close").addEventListener("click", () => this.hide());
    this.part("make").addEventListener("click", () => this.make());
    this.part("copy").addEventListener("click", () => this.copy());
    this.box.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.hide();
    });
    this.outside = (event) => {
      const path = event.composedPath();
      if (!this.box.hidden && !path.includes(this.box) && !path.includes(this.button)) this.hide(false);
    };
    document.addEventListener("pointerdown", this.outside, true);
  }

  part(name) {
    return this.box.querySelector(`.bl-share-${name}`);
  }

  show() {
    this.box.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.part("made").hidden = true;
    put(this.part("said"), "");
    this.part("make").focus();
    this.list();
  }

  hide(refocus = true) {
    this.box.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    if (refocus) this.button.focus();
  }

  async make() {
    const { chart } = this;
    const { rows, base } = chart.bars;
    const names = ["t", "open", "high", "low", "close", "volume"];
    const last = rows[rows.length - 1];
    put(this.part("said"), "");
    this.part("make").disabled = true;
    const { status, body } = await ask_server("api/shares", {
      method: "POST",
      data: {
        config: chart.config, figure: JSON.parse(chart.model.get("figure")),
        bars: names.map((name) => rows.map((row) => row[name])),
        base: base && last && base.t === last.t ? names.map((name) => base[name]) : null,
        indicators: chart.indicators?.specs ?? chart.model.get("indicators"),
        data: this.part("data").value, expires: this.part("expires").value,
      },
    });
    this.part("make").disabled = false;
    if (status !== 201 || !body) {
      put(this.part("said"), body?.message ?? (status ? `The Jupyter server answered HTTP ${status}.` : "The Jupyter server does not answer."));
      return;
    }
    const url = body.url ?? `${base_url()}${body.path}`; // the first where the Hub keeps it
    this.made = body.share.name;
    this.part("link").value = url;
    this.part("open").href = url;
    this.part("made").hidden = false;
    this.list();
    await this.copy();
  }

  async copy() {
    const done = await copy_text(this.part("link").value);
    this.part("link").select();
    put(this.part("said"), done ? "Copied. The link is shown this once." : "Copy the link now: it is shown this once.");
  }

  /** Show this chart's links, each with the way to end it. */
  async list() {
    const { body } = await ask_server("api/shares");
    const mine = (body?.shares ?? []).filter(({ key }) => key === this.chart.config.key);
    this.part("list").replaceChildren(...mine.map((one) => {
      const until = say_time(Date.parse(one.expires) / 1000, 60).slice(4, -6);
      const times = ["not opened yet", "opened once"][one.opened] ?? `opened ${one.opened} times`;
      const item = element("li", "");
      item.append(element("span", "", `${one.title} · ${one.data === "practice" ? "live" : one.data} · until ${until} · ${times}`));
      const end = element("button", "", "Withdraw");
      end.type = "button";
      end.title = `Withdraw link ${one.name}: whoever looks is cut off`;
      end.addEventListener("click", async () => {
        end.disabled = true;
        const { status, body: said } = await ask_server(`api/shares?name=${one.name}`, { method: "DELETE" });
        if (status === 200 && one.name === this.made) this.part("made").hidden = true;
        put(this.part("said"), status === 200 ? "Withdrawn." : said?.message ?? "The Jupyter server does not answer.");
        this.list();
      });
      item.append(end);
      return item;
    }));
  }

  close() {
    document.removeEventListener("pointerdown", this.outside, true);
  }
}
