// The truth table: what became of every instrument, who listens, and how the relay stands.
// It asks the Jupyter server about once a second, so that neither a busy kernel nor a restart stops
// it; where there is no server extension a thread of the kernel tells it.

const TRUTH_EVERY_MS = 1000;
const TRUTH_PATIENCE_MS = 3000; // for one answer
const TRUTH_STALE_MS = 4000;
const TRUTH_ROWS_A_SECOND = 500; // a longer table comes less often
const TRUTH_HERE_MS = 5000;

const TRUTH_COLUMNS = [
  // name, heading, kind of value, what a cell says
  ["key", "Instrument", "text", (row) => row.key],
  ["asked", "Asked", "time", (row) => row.asked],
  ["joined", "Joined", "text", (row) => (row.joined ? "yes" : "no")],
  ["first", "First tick", "time", (row) => row.first || "–"],
  ["last", "Last tick", "time", (row) => row.last || "–"],
  ["ticks", "Ticks today", "number", (row) => row.ticks.toLocaleString("en-IN")],
  ["gaps", "Gaps", "number", (row) => String(row.gaps)],
  ["age_s", "Age", "number", (row) => say_truth_age(row.age_s)],
];

const TRUTH_AGE = TRUTH_COLUMNS.findIndex(([name]) => name === "age_s");

const TRUTH_CLIENTS = [
  ["name", "Consumer"], ["keys", "Instruments"], ["waiting", "Waiting"], ["delivered", "Sent"], ["lost", "Lost"],
];

const TRUTH_MOODS = {
  live: "ticks come", quiet: "quiet", silent: "no tick although its market trades", off: "the feed is not connected",
  waiting: "waiting for the first tick", closed: "its market is closed",
};

function say_truth_age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 120 ? `${Math.round(seconds)} s` : say_left(seconds).replaceAll("\u00a0", " ");
}

/** Order of two values, nothing last whichever way. */
function truth_order(a, b, down) {
  const none = (value) => value === null || value === undefined || value === "";
  if (none(a) || none(b)) return none(a) - none(b);
  const found = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : Number(a) - Number(b);
  return down ? -found : found;
}

/** One view of a truth table. */
class TruthView {
  constructor(model, el) {
    this.model = model;
    this.view = Math.random().toString(36).slice(2);
    this.sort = null; // as they were asked for
    this.down = false;
    this.rows = new Map();
    this.clients = [];
    this.looks = 0;
    this.heard = performance.now();
    this.root = element("section", "breeze-lab-truth");
    this.root.setAttribute("aria-label", "Truth table of the feed");
    this.build();
    el.append(this.root);
    this.end_theme = follow_page_theme(this.root);
    this.end_session = mark_session(this.root, () => this.market || null);
    this.second = setInterval(() => this.judge(), 1000);
    this.on_seen = () => this.poll();
    document.addEventListener("visibilitychange", this.on_seen);
    put(this.state, "asking the relay …");
    if (base_url() === null) this.ask_kernel();
    else this.poll();
  }

  build() {
    this.head = element("div", "bl-truth-head");
    this.dot = element("i");
    this.title = element("strong", "bl-truth-title", "Feed");
    this.state = element("span", "bl-truth-state");
    this.state.setAttribute("role", "status");
    this.head.append(this.dot, this.title, this.state);

    this.facts = element("dl", "bl-truth-facts");
    this.table = element("table", "bl-truth-rows");
    const heads = element("tr");
    this.heads = TRUTH_COLUMNS.map(([name, text, kind]) => {
      const head = element("th", `bl-${kind}`);
      head.scope = "col";
      const button = element("button", "", text);
      button.type = "button";
      button.dataset.sort = name;
      button.addEventListener("click", () => this.sort_by(name));
      head.append(button);
      heads.append(head);
      return head;
    });
    this.body = element("tbody");
    const top = element("thead");
    top.append(heads);
    this.table.append(top, this.body);
    const scroll = element("div", "bl-truth-scroll");
    scroll.append(this.table);
    this.empty = element("p", "bl-truth-empty");

    this.listeners = element("table", "bl-truth-clients");
    const titles = element("tr");
    for (const [name, text] of TRUTH_CLIENTS) {
      const head = element("th", name === "name" ? "bl-text" : "bl-number", text);
      head.scope = "col";
      titles.append(head);
    }
    const client_top = element("thead");
    client_top.append(titles);
    this.client_body = element("tbody");
    this.listeners.append(client_top, this.client_body);
    const client_scroll = element("div", "bl-truth-scroll");
    client_scroll.append(this.listeners);
    this.root.append(this.head, scroll, this.empty, client_scroll, this.facts);
  }

  /** Ask the Jupyter server, which needs no kernel, now and again later. */
  async poll() {
    clearTimeout(this.timer);
    // Nobody looks: the answer would be thrown away. Seen again, it asks at once.
    if (this.closed || this.asking || this.by_kernel || document.hidden) return;
    this.asking = true;
    const patience = new AbortController();
    const limit = setTimeout(() => patience.abort(), TRUTH_PATIENCE_MS);
    let answer = { status: 0, body: null };
    try {
      answer = await ask_server("api/truth", { signal: patience.signal });
    } catch {
      // it took too long
    }
    clearTimeout(limit);
    this.asking = false;
    if (this.closed) return;
    if (answer.status === 404) {
      this.ask_kernel();
      return;
    }
    if (answer.status === 200 && answer.body?.says) this.show(answer.body);
    else if (answer.status === 401 || answer.status === 403) this.trouble = "sign in to Jupyter again";
    this.judge();
    const slower = Math.max(1, (this.told?.rows.length ?? 0) / TRUTH_ROWS_A_SECOND);
    this.timer = setTimeout(() => this.poll(), TRUTH_EVERY_MS * slower);
  }

  /** Have a thread of the kernel look, where no server extension does. */
  ask_kernel() {
    this.by_kernel = true;
    this.on_table = () => {
      const told = JSON.parse(this.model.get("table"));
      if (told.says) this.show(told);
    };
    this.model.on("change:table", this.on_table);
    this.here();
    this.beat = setInterval(() => this.here(), TRUTH_HERE_MS);
    this.on_table();
  }

  /** Tell the kernel that somebody looks. */
  here() {
    try {
      this.model.send({ op: "here", view: this.view });
    } catch {
      // the kernel is away, which is shown
    }
  }

  sort_by(name) {
    // Once up, once down, then back to the order in which they were asked for.
    if (this.sort !== name) [this.sort, this.down] = [name, false];
    else if (!this.down) this.down = true;
    else this.sort = null;
    TRUTH_COLUMNS.forEach(([column], place) => {
      const direction = column === this.sort ? (this.down ? "descending" : "ascending") : "none";
      this.heads[place].setAttribute("aria-sort", direction);
    });
    this.place_rows();
  }

  show(told) {
    // A relay that is gone says nothing of instruments: what is known of them stays, and ages.
    this.trouble = !told.says.upstream && this.told?.rows.length ? told.says.relay : "";
    if (this.trouble) {
      this.judge();
      return;
    }
    this.heard = performance.now();
    this.looks += 1;
    this.market = told.market;
    this.root.dataset.looks = this.looks;
    this.root.dataset.mood = told.mood;
    this.told = told;
    put(this.title, told.market === "practice" ? "Feed of the practice market" : "Feed");
    this.show_facts(told.says);
    const seen = new Set();
    for (const row of told.rows) {
      seen.add(row.key);
      this.show_row(row);
    }
    for (const [key, { line }] of this.rows) {
      if (seen.has(key)) continue;
      line.remove();
      this.rows.delete(key);
    }
    this.place_rows();
    this.show_clients(told.clients);
    this.table.hidden = !told.rows.length;
    this.empty.hidden = Boolean(told.rows.length);
    put(this.empty, "Nobody has asked for an instrument yet: try %candles RELIANCE.");
    this.judge();
  }

  show_row(row) {
    let known = this.rows.get(row.key);
    if (!known) {
      const line = element("tr");
      line.dataset.key = row.key;
      const cells = TRUTH_COLUMNS.map(([name, , kind]) => {
        const cell = element("td", `bl-${kind}`);
        cell.dataset.column = name;
        line.append(cell);
        return cell;
      });
      known = { line, cells, row };
      this.rows.set(row.key, known);
    }
    known.row = row;
    if (known.line.dataset.mood !== row.mood) known.line.dataset.mood = row.mood;
    const title = row.gap ? `gap: ${row.gap}` : TRUTH_MOODS[row.mood] ?? row.mood;
    if (known.line.title !== title) known.line.title = title;
    TRUTH_COLUMNS.forEach(([, , , say], place) => put(known.cells[place], say(row)));
  }

  /** Bring the lines into their order; those that stand right are not touched. */
  place_rows() {
    if (!this.told) return;
    let wanted = this.told.rows;
    if (this.sort) wanted = [...wanted].sort((a, b) => truth_order(a[this.sort], b[this.sort], this.down));
    let at = this.body.firstChild;
    for (const row of wanted) {
      const { line } = this.rows.get(row.key);
      if (line === at) at = at.nextSibling;
      else this.body.insertBefore(line, at);
    }
  }

  show_clients(clients) {
    this.listeners.hidden = !clients.length;
    while (this.clients.length > clients.length) this.clients.pop().remove();
    clients.forEach((client, index) => {
      let line = this.clients[index];
      if (!line) {
        line = element("tr");
        for (const [name] of TRUTH_CLIENTS) line.append(element("td", name === "name" ? "bl-text" : "bl-number"));
        this.client_body.append(line);
        this.clients.push(line);
      }
      line.dataset.mood = client.lost ? "silent" : client.waiting > 1000 ? "quiet" : "live";
      TRUTH_CLIENTS.forEach(([name], place) => {
        const value = client[name];
        put(line.children[place], typeof value === "number" ? value.toLocaleString("en-IN") : value);
      });
    });
  }

  show_facts(says) {
    const names = Object.keys(says).filter((name) => name !== "upstream"); // it is in the head
    if (this.facts.dataset.names !== names.join()) {
      this.facts.dataset.names = names.join();
      this.facts.replaceChildren();
      for (const name of names) {
        const words = element("dd");
        words.dataset.fact = name;
        this.facts.append(element("dt", "", name), words);
      }
    }
    for (const words of this.facts.querySelectorAll("dd")) put(words, says[words.dataset.fact]);
  }

  /** Say how the feed stands; what is old must not look fresh. */
  judge() {
    const age = performance.now() - this.heard;
    const stale = age > TRUTH_STALE_MS || Boolean(this.trouble);
    this.root.toggleAttribute("data-stale", stale);
    const whose = this.by_kernel ? "the kernel" : "the Jupyter server";
    const why = this.trouble || `${whose} has not answered for ${say_left(age / 1000)}`;
    if (!this.told) {
      if (stale) put(this.state, why);
      return;
    }
    const old = this.trouble ? `what follows is ${say_left(age / 1000)} old` : "what follows is from then";
    put(this.state, stale ? `${why}; ${old}` : this.told.says.upstream ?? this.told.says.relay);
    // An age goes on growing, whoever does not answer.
    for (const { cells, row } of this.rows.values()) {
      if (row.age_s !== null) put(cells[TRUTH_AGE], say_truth_age(row.age_s + age / 1000));
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearInterval(this.beat);
    clearInterval(this.second);
    document.removeEventListener("visibilitychange", this.on_seen);
    if (this.by_kernel) {
      this.model.off("change:table", this.on_table);
      try {
        this.model.send({ op: "gone", view: this.view });
      } catch {
        // the kernel went first
      }
    }
    this.end_theme();
    this.end_session?.();
    this.root.remove();
  }
}

/** Draw one view; return what takes it away. */
function render_truth({ model, el }) {
  const view = new TruthView(model, el);
  return () => view.close();
}
