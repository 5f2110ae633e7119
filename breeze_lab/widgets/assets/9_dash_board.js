// Chart board: several live charts. What is on it stands in the page's address and nowhere else:
// ?chart=NSE:RELIANCE,5m,ema(20);rsi&chart=NSE:NIFTY,1m

const BOARD_INTERVALS = ["1m", "3m", "5m", "15m", "30m", "1h", "1d"];
const MOST_CHARTS = 12;

/** Read the charts of an address; what cannot be one is left out. */
function charts_of(search) {
  const wanted = new URLSearchParams(search).getAll("chart").slice(0, MOST_CHARTS);
  return wanted.map((text) => {
    const [key, interval = "1m", ...rest] = text.split(",");
    return { key, interval, indicators: rest.join(",").split(";").filter(Boolean) };
  }).filter(({ key }) => key);
}

/** Return the address's query with these charts in the place of its own. */
function query_of(charts, search) {
  const query = new URLSearchParams(search);
  query.delete("chart");
  for (const { key, interval, indicators } of charts) {
    query.append("chart", [key, interval, ...(indicators.length ? [indicators.join(";")] : [])].join(","));
  }
  const text = query.toString().replaceAll("%3A", ":").replaceAll("%2C", ",").replaceAll("%28", "(")
    .replaceAll("%29", ")").replaceAll("%3B", ";");
  return text ? `?${text}` : "";
}

/** What a chart needs of a widget's model, made of one answer; `on_chosen` hears of its indicators. */
function still_model(answer, on_chosen) {
  const raw = Uint8Array.from(atob(answer.bars), (letter) => letter.charCodeAt(0));
  const values = { ...answer, bars: new DataView(raw.buffer) };
  return {
    get: (name) => values[name],
    set: (name, value) => {
      values[name] = value;
      if (name === "indicators") on_chosen(value);
    },
    save_changes() {}, on() {}, off() {}, send() {},
  };
}

class Board {
  constructor(model, el) {
    this.model = model;
    this.asked = 0;
    this.slots = []; // {key, interval, indicators, node, chart, id}
    this.root = element("div", "breeze-lab-dash bl-board");
    this.root.innerHTML = `<div class="bl-find"></div>
      <p class="bl-soft bl-empty">Find an instrument above to chart it. The address of this page keeps what is on the board: a link to it restores it.</p>
      <p class="bl-bad" role="alert"></p><div class="bl-slots"></div>`;
    el.replaceChildren(this.root);
    follow_page_theme(this.root);
    const add = (item) => {
      this.add({ key: item.key, interval: this.slots.at(-1)?.interval ?? "1m", indicators: [] });
      return `${item.key} is on the board.`;
    };
    new SearchBox(this.root.querySelector(".bl-find"), {
      ask: async (text) => {
        const found = await search_server(text, "");
        if (found === null) throw new Error("This Jupyter server has no Breeze Lab extension.");
        return found;
      },
      pick: add, chart: add, watch: (item) => watch_server(item.key),
    }, { compact: true, placeholder: "Add a chart" });
    model.on("msg:custom", (event) => this.take(event.data ?? event));
    this.fixed = model.fixed?.length > 0;
    this.root.toggleAttribute("data-fixed", this.fixed);
    if (this.fixed) {
      for (const one of model.fixed) this.add(one, false);
      return;
    }
    for (const one of charts_of(window.location.search)) this.add(one, false);
    window.addEventListener("popstate", () => {
      for (const slot of [...this.slots]) this.drop(slot, false);
      for (const one of charts_of(window.location.search)) this.add(one, false);
    });
    this.show();
  }

  add(one, keep = true) {
    if (this.slots.length >= MOST_CHARTS) {
      put(this.root.querySelector(".bl-bad"), `A board holds ${MOST_CHARTS} charts; remove one first.`);
      return;
    }
    const slot = { ...one, node: element("section", "bl-slot") };
    slot.node.setAttribute("aria-label", `Chart of ${one.key}`);
    const bar = element("div", "bl-slot-bar");
    bar.append(element("strong", "", one.key));
    const select = element("select", "");
    select.setAttribute("aria-label", `Interval of ${one.key}`);
    for (const label of new Set([...BOARD_INTERVALS, one.interval])) select.append(new Option(label, label, false, label === one.interval));
    select.addEventListener("change", () => {
      slot.interval = select.value;
      this.keep();
      this.ask(slot);
    });
    const tool = (words, sign, act) => {
      const button = element("button", "", sign);
      button.type = "button";
      button.title = `${words}: ${one.key}`;
      button.setAttribute("aria-label", button.title);
      button.addEventListener("click", act);
      return button;
    };
    bar.append(select, element("span", "bl-grow"), tool("Move to the front", "↑", () => this.front(slot)), tool("Remove", "×", () => this.drop(slot)));
    slot.node.append(bar, element("div", "bl-slot-body"));
    this.root.querySelector(".bl-slots").append(slot.node);
    this.slots.push(slot);
    this.ask(slot);
    if (keep) this.keep();
    this.show();
  }

  drop(slot, keep = true) {
    slot.chart?.close();
    slot.node.remove();
    this.slots = this.slots.filter((one) => one !== slot);
    put(this.root.querySelector(".bl-bad"), "");
    if (keep) this.keep();
    this.show();
  }

  front(slot) {
    this.slots = [slot, ...this.slots.filter((one) => one !== slot)];
    this.root.querySelector(".bl-slots").prepend(slot.node);
    this.keep();
  }

  keep() {
    if (this.fixed) return; // somebody's chart: what a viewer does to it is nobody else's
    window.history.replaceState(null, "", `${window.location.pathname}${query_of(this.slots, window.location.search)}`);
  }

  show() {
    this.root.querySelector(".bl-empty").hidden = this.slots.length > 0;
    this.root.dataset.charts = this.slots.length;
  }

  ask(slot) {
    this.asked += 1;
    slot.id = this.asked;
    slot.chart?.close();
    slot.chart = null;
    slot.node.dataset.state = "asking";
    slot.node.lastChild.replaceChildren(element("p", "bl-soft", "Fetching its history…"));
    const { key, interval, indicators } = slot;
    this.model.send_msg({ op: "chart", id: slot.id, key, interval, indicators });
  }

  take(answer) {
    const slot = this.slots.find((one) => one.id === answer.id);
    if (!slot) return; // removed, or asked anew meanwhile
    const body = slot.node.lastChild;
    body.replaceChildren();
    if (answer.message) {
      slot.node.dataset.state = "refused";
      const words = element("p", "bl-bad", answer.message);
      words.setAttribute("role", "alert");
      const again = element("button", "", "Try again");
      again.type = "button";
      again.addEventListener("click", () => this.ask(slot));
      body.append(words, again);
      return;
    }
    slot.node.dataset.state = "drawn";
    slot.key = JSON.parse(answer.config).key; // a link may say RELIANCE for NSE:RELIANCE
    slot.node.querySelector("strong").textContent = slot.key;
    const chart = new Chart(still_model(answer, (specs) => {
      slot.indicators = specs;
      this.keep();
    }), body);
    slot.chart = chart;
    chart.start().catch((error) => {
      slot.node.dataset.state = "refused";
      chart.part("age").textContent = `The chart cannot be drawn: ${error.message}`;
    });
  }
}

function render_dash_board({ model, el }) {
  new Board(model, el);
}
