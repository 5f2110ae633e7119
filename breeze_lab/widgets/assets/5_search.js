// Search: results as you type, grouped, driven by the keyboard. One class for a notebook's widget,
// a Panel page and JupyterLab's sidebar; where the answers come from is the source's business.

const TYPING_MS = 90; // shorter than a pause between two words, longer than one between two letters
const ROWS = 40;
const PATIENCE_S = 20; // of a question to a kernel, before it is said that one waits
let searches = 0;

const ICONS = {
  chart: '<path d="M4 2v3M4 11v3M12 1v4M12 10v3" stroke-width="1.4"/><rect x="2" y="5" width="4" height="6" rx=".6" stroke-width="1.4"/><rect x="10" y="5" width="4" height="5" rx=".6" stroke-width="1.4"/>',
  watch: '<path d="M8 1.8l1.9 3.9 4.3.6-3.1 3 .7 4.3L8 11.6l-3.8 2 .7-4.3-3.1-3 4.3-.6z" stroke-width="1.3" stroke-linejoin="round"/>',
  copy: '<rect x="5.5" y="5.5" width="8" height="8.5" rx="1.4" stroke-width="1.4"/><path d="M10.5 3.2A1.4 1.4 0 0 0 9.1 2H3.9a1.4 1.4 0 0 0-1.4 1.4v5.9A1.4 1.4 0 0 0 3.9 10.7" stroke-width="1.4"/>',
};
const ACTIONS = [
  ["chart", "Chart", "Ctrl+Enter"],
  ["watch", "Add to the watchlist", "Alt+W"],
  ["copy", "Copy the line of code", "Alt+C"],
];

/** The line of code that shows an instrument. */
function code_line(key) {
  return `breeze_lab.candles(${JSON.stringify(key)}, "1m")`;
}

/** Return `text` with the part that was typed in bold. */
function marked(text, typed) {
  const whole = element("span", "bl-hit");
  const wanted = typed.trim().split(/[\s:]+/).find((word) => word && text.toUpperCase().includes(word.toUpperCase()));
  if (!wanted) {
    whole.textContent = text;
    return whole;
  }
  const at = text.toUpperCase().indexOf(wanted.toUpperCase());
  whole.append(text.slice(0, at), element("b", "", text.slice(at, at + wanted.length)), text.slice(at + wanted.length));
  return whole;
}

/**
 * A box to type in and the rows below it.
 *
 * `source.ask(text, on_late)` resolves to {groups, note} or rejects with a sentence; `on_late` gets
 * one while it takes long. `source.pick(item)`, `source.chart(item)` and `source.watch(item)` act,
 * and may return a sentence to show.
 */
class SearchBox {
  constructor(el, source, { placeholder = "Search: reliance, nifty fut, nifty 24500 ce …", compact = false } = {}) {
    this.source = source;
    this.items = [];
    this.active = -1;
    this.asked = 0;
    this.shown = 0; // the newest question whose answer is on the page
    this.text = "";
    const id = `bl-search-${(searches += 1)}`;
    this.id = id;
    this.root = element("div", "breeze-lab-search");
    this.root.dataset.lmSuppressShortcuts = "true"; // JupyterLab's keys are not ours to share
    this.root.classList.toggle("bl-compact", compact);
    this.root.innerHTML = `
      <div class="bl-field">
        <svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="7" cy="7" r="4.6"/><path d="M10.6 10.6L14 14"/></svg>
        <input type="text" role="combobox" aria-autocomplete="list" aria-expanded="false"
          aria-controls="${id}-list" aria-label="Search instruments" autocomplete="off" autocapitalize="off"
          spellcheck="false" maxlength="80">
        <button class="bl-clear" type="button" aria-label="Clear" title="Clear (Esc)" hidden>×</button>
      </div>
      <div class="bl-list" id="${id}-list" role="listbox" aria-label="Instruments" hidden></div>
      <div class="bl-foot"><span class="bl-said" role="status" aria-live="polite"></span>
        <span class="bl-keys" aria-hidden="true"><kbd>↑</kbd><kbd>↓</kbd> move <kbd>Enter</kbd> pick <kbd>Ctrl Enter</kbd> chart <kbd>Esc</kbd> clear</span></div>`;
    el.append(this.root);
    this.input = this.root.querySelector("input");
    this.input.placeholder = placeholder;
    this.list = this.root.querySelector(".bl-list");
    this.said = this.root.querySelector(".bl-said");
    this.clear_button = this.root.querySelector(".bl-clear");
    this.input.addEventListener("input", () => this.typed());
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.clear_button.addEventListener("click", () => {
      this.clear();
      this.input.focus();
    });
    // A click must not take the focus from the box before it is a click.
    this.list.addEventListener("mousedown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => this.clicked(event));
    this.list.addEventListener("mousemove", (event) => {
      const row = event.target.closest("[role=option]");
      if (row && Number(row.dataset.index) !== this.active) this.activate(Number(row.dataset.index), false);
    });
    this.end_theme = follow_page_theme(this.root);
  }

  close() {
    clearTimeout(this.timer);
    this.asked += 1;
    this.end_theme();
    this.root.remove();
  }

  typed() {
    this.text = this.input.value;
    this.clear_button.hidden = !this.text;
    clearTimeout(this.timer);
    if (!this.text.trim()) {
      this.asked += 1;
      this.show({ groups: [] });
      return;
    }
    this.timer = setTimeout(() => this.ask(), TYPING_MS);
  }

  async ask() {
    const number = (this.asked += 1);
    const { text } = this;
    this.root.dataset.asking = "true";
    try {
      const answer = await this.source.ask(text.trim(), (words) => {
        if (number === this.asked) this.say(words, true);
      });
      // A later question has been asked: this answer would only flicker past.
      if (number === this.asked) this.show(answer, text);
    } catch (error) {
      if (number === this.asked) this.show({ groups: [], note: error.message ?? String(error) }, text);
    } finally {
      if (number === this.asked) delete this.root.dataset.asking;
    }
  }

  show({ groups = [], note = "" }, text = "") {
    this.items = [];
    this.active = -1;
    this.list.replaceChildren(...groups.map((group, at) => this.group(group, at, text)));
    this.list.scrollTop = 0;
    const any = this.items.length > 0;
    this.list.hidden = !any;
    this.input.setAttribute("aria-expanded", String(any));
    this.root.dataset.answered = text.trim();
    this.root.dataset.rows = this.items.length;
    this.input.removeAttribute("aria-activedescendant");
    const count = this.items.length;
    this.say(note || (text.trim() && !any ? `Nothing is called “${text.trim()}”.` : any ? `${count} found` : ""), Boolean(note) && !any);
    if (any) this.activate(0);
  }

  group({ title, items }, at, text) {
    const box = element("div", "bl-group");
    box.setAttribute("role", "group");
    const head = element("div", "bl-group-title", title);
    head.id = `${this.id}-group-${at}`;
    head.setAttribute("role", "presentation");
    box.setAttribute("aria-labelledby", head.id);
    box.append(head, ...items.map((item) => this.row(item, text)));
    return box;
  }

  row(item, text) {
    const index = this.items.push(item) - 1;
    const row = element("div", "bl-row");
    row.id = `${this.id}-row-${index}`;
    row.dataset.index = index;
    row.dataset.key = item.key;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", "false");
    row.title = [item.key, item.name, item.stock_code && `ICICI ${item.stock_code}`, item.isin].filter(Boolean).join(" · ");
    const names = element("span", "bl-names");
    const symbol = element("span", "bl-symbol");
    symbol.append(marked(item.label ?? item.symbol, text));
    const name = element("span", "bl-name");
    name.append(marked(item.name ?? "", text));
    names.append(symbol, name);
    const where = element("span", "bl-where", item.exchange);
    const tools = element("span", "bl-tools");
    for (const [action, label, key] of ACTIONS) {
      if (!item.room || (!this.source[action] && action !== "copy")) continue; // a fund has no stream
      const button = element("button", "");
      button.type = "button";
      button.tabIndex = -1; // the keys beside the box do the same
      button.dataset.action = action;
      button.title = `${label} (${key})`;
      button.setAttribute("aria-label", `${label}: ${item.key}`);
      button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true">${ICONS[action]}</svg>`;
      tools.append(button);
    }
    row.append(names, where, tools);
    return row;
  }

  rows() {
    return this.list.querySelectorAll("[role=option]");
  }

  activate(index, scroll = true) {
    const rows = this.rows();
    rows[this.active]?.setAttribute("aria-selected", "false");
    this.active = index;
    const row = rows[index];
    if (!row) {
      this.input.removeAttribute("aria-activedescendant");
      return;
    }
    row.setAttribute("aria-selected", "true");
    this.input.setAttribute("aria-activedescendant", row.id);
    if (!scroll) return;
    // Not scrollIntoView, which would move the notebook too.
    const above = index === 0 ? 0 : row.offsetTop - 26;
    const below = row.offsetTop + row.offsetHeight - this.list.clientHeight;
    if (this.list.scrollTop > above) this.list.scrollTop = above;
    else if (this.list.scrollTop < below) this.list.scrollTop = below;
  }

  key(event) {
    event.stopPropagation();
    const last = this.items.length - 1;
    const page = Math.max(1, Math.floor(this.list.clientHeight / 34) - 1);
    const go = {
      ArrowDown: () => (this.active >= last ? 0 : this.active + 1),
      ArrowUp: () => (this.active <= 0 ? last : this.active - 1),
      PageDown: () => Math.min(last, this.active + page),
      PageUp: () => Math.max(0, this.active - page),
    }[event.key];
    if (go && last >= 0) {
      event.preventDefault();
      this.activate(go());
    } else if (event.key === "Enter") {
      event.preventDefault();
      const item = this.items[this.active];
      // An Enter before the answer came would pick a row of the question before.
      if (!item || this.text.trim() !== this.root.dataset.answered) return;
      this.act(event.ctrlKey || event.metaKey ? "chart" : "pick", item);
    } else if (event.altKey && event.code === "KeyW") {
      event.preventDefault();
      this.act("watch", this.items[this.active]);
    } else if (event.altKey && event.code === "KeyC") {
      event.preventDefault();
      this.act("copy", this.items[this.active]);
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (this.input.value) this.clear();
      else this.input.blur();
    }
  }

  clicked(event) {
    const row = event.target.closest("[role=option]");
    if (!row) return;
    const item = this.items[Number(row.dataset.index)];
    this.act(event.target.closest("button")?.dataset.action ?? "pick", item);
  }

  async act(action, item) {
    if (!item) return;
    if (!item.room && action !== "pick") {
      this.say(`${item.key} has no live prices.`, true);
      return;
    }
    let words = "";
    try {
      if (action === "copy") {
        words = (await copy_text(code_line(item.key))) ? `Copied: ${code_line(item.key)}` : "The browser would not copy.";
      } else words = await this.source[action]?.(item);
      if (action === "pick") {
        this.root.dataset.picked = item.key;
        this.list.hidden = true;
        this.input.setAttribute("aria-expanded", "false");
        this.input.removeAttribute("aria-activedescendant");
        this.input.value = this.text = item.key;
        this.items = [];
        this.clear_button.hidden = false;
      }
      this.say(words ?? "");
    } catch (error) {
      this.say(error.message ?? String(error), true);
    }
  }

  say(words, bad = false) {
    this.said.textContent = words;
    this.said.classList.toggle("bl-bad", bad);
  }

  clear() {
    this.input.value = "";
    this.typed();
    this.say("");
  }
}

// --- sources ------------------------------------------------------------------------------------

/** What JupyterLab's own extension offers the widgets of its page, or null. */
function lab_app() {
  return window.__breeze_lab_app ?? null;
}

/** Ask the server; reject with a sentence. Null: there is no such route here. */
async function search_server(text, market) {
  const query = new URLSearchParams({ q: text, limit: ROWS });
  if (market) query.set("market", market);
  const { status, body } = await ask_server(`api/instruments?${query}`);
  if (status === 200 && body) return body;
  if (status === 404) return null;
  throw new Error(body?.message || (status ? `The Jupyter server answered HTTP ${status}.` : "The Jupyter server does not answer."));
}

/** Add a key to the watchlist the server keeps; return the sentence to show. */
async function watch_server(key) {
  const { status, body } = await ask_server("api/watchlist");
  if (status !== 200) return null;
  const keys = body.keys ?? [];
  if (keys.includes(key)) return `${key} is on the watchlist already.`;
  const put = await ask_server("api/watchlist", { method: "PUT", data: { keys: [...keys, key] } });
  if (put.status !== 200) throw new Error(put.body?.message ?? `The watchlist was not saved (HTTP ${put.status}).`);
  window.dispatchEvent(new CustomEvent("breeze-lab-watchlist", { detail: put.body }));
  return `${key} is on the watchlist now.`;
}

/** The source of a widget: the server where there is one, else its kernel. */
class WidgetSource {
  constructor(model) {
    this.model = model;
    this.waiting = new Map();
    this.count = 0;
    this.no_server = base_url() === null;
    this.on_message = (message) => {
      const waiter = this.waiting.get(message?.id);
      if (!waiter) return; // nobody's question, or its second answer
      this.forget(message.id);
      if (message.error) waiter.reject(new Error(message.error));
      else waiter.resolve(message);
    };
    model.on("msg:custom", this.on_message);
  }

  close() {
    this.model.off("msg:custom", this.on_message);
    for (const id of [...this.waiting.keys()]) this.forget(id);
  }

  forget(id) {
    clearTimeout(this.waiting.get(id)?.timer);
    this.waiting.delete(id);
  }

  /** Send a message to Python: a custom message of a widget, a property where there are none. */
  tell(message) {
    if (typeof this.model.send === "function") this.model.send(message);
    else {
      this.model.set("request", JSON.stringify(message));
      this.model.save_changes();
    }
  }

  /** Ask Python; without an answer in time reject, or call `on_late` and go on waiting. */
  ask_kernel(message, { timeout_s = PATIENCE_S, on_late = null } = {}) {
    const id = (this.count += 1);
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject, again: 0 };
      const late = () => {
        const words = "The kernel is busy; it answers when its cell has ended.";
        if (on_late === null) {
          this.forget(id);
          reject(new Error(words));
          return;
        }
        on_late(words);
        // A property that was set while its page had lost the server told nobody. A comm's messages
        // wait in the kernel, where a second one would only be answered twice.
        waiter.again += 1;
        if (typeof this.model.send !== "function") this.tell({ ...message, id, again: waiter.again });
        waiter.timer = setTimeout(late, timeout_s * 1000);
      };
      waiter.timer = setTimeout(late, timeout_s * 1000);
      this.waiting.set(id, waiter);
      this.tell({ ...message, id });
    });
  }

  /** Ask the kernel what a text finds; nobody waits for the answer to the text before it any more. */
  search_kernel(text, on_late) {
    this.forget(this.searching);
    this.searching = this.count + 1;
    return this.ask_kernel({ op: "search", text, limit: ROWS }, { on_late });
  }

  async ask(text, on_late) {
    const market = this.model.get("market");
    if (!this.no_server) {
      try {
        const found = await search_server(text, market);
        if (found) return found;
        this.no_server = true;
      } catch (error) {
        // The kernel may be logged in where the server knows of nobody.
        return this.ask_kernel({ op: "search", text, limit: ROWS }, { timeout_s: 3 }).catch(() => {
          throw error;
        });
      }
    }
    return this.search_kernel(text, on_late);
  }

  async pick(item) {
    this.model.set("value", item.key);
    this.model.save_changes();
    return `Picked ${item.key}: .instrument is yours.`;
  }

  async chart(item) {
    const app = lab_app();
    if (app && (await app.insert_code(code_line(item.key), { run: true }))) return `A cell below charts ${item.key}.`;
    this.tell({ op: "chart", key: item.key });
    return `Chart of ${item.key} …`;
  }

  async watch(item) {
    if (!this.no_server) {
      const words = await watch_server(item.key);
      if (words !== null) return words;
    }
    const answer = await this.ask_kernel({ op: "watch", key: item.key });
    return answer.says;
  }
}

function render_search({ model, el }) {
  const source = new WidgetSource(model);
  const box = new SearchBox(el, source);
  const below = element("div", "breeze-lab-below");
  el.append(below);
  const end_session = mark_session(box.root, () => model.get("market"));
  const first = model.get("text");
  if (first) {
    box.input.value = first;
    box.typed();
  }
  const chart = () => show_child(model, "chart", below);
  model.on("change:chart", chart);
  chart();
  const said = (message) => {
    if (message?.op === "says") box.say(message.text, Boolean(message.bad));
  };
  model.on("msg:custom", said);
  return () => {
    model.off("change:chart", chart);
    model.off("msg:custom", said);
    end_session();
    source.close();
    box.close();
  };
}
