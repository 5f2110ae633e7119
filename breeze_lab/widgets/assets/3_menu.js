// The menu: which indicators a chart has, found by typing and chosen with mouse or keys.

const MENU = `
  <div class="bl-menu-head"><strong>Indicators</strong>
    <button class="bl-menu-close" type="button" aria-label="Close" title="Close (Esc)">×</button></div>
  <ul class="bl-menu-chosen" aria-label="On this chart"></ul>
  <input class="bl-menu-search" type="text" role="combobox" aria-expanded="true" aria-autocomplete="list"
    autocomplete="off" spellcheck="false" placeholder="Search, or type ema(20)" aria-label="Find an indicator">
  <p class="bl-menu-said" role="status"></p>
  <ul class="bl-menu-list" role="listbox" aria-label="Indicators"></ul>
  <form class="bl-menu-form" hidden></form>`;

let menus = 0;

class IndicatorMenu {
  /**
   * @param {HTMLElement} root the chart
   * @param {HTMLElement} button what opens it
   * @param {Indicators} indicators
   * @param {function} choose told the specs that are wanted
   * @param {function} load returns a promise of the catalogue
   */
  constructor(root, button, indicators, choose, load) {
    Object.assign(this, { root, button, indicators, choose, load });
    this.active = 0;
    this.found = [];
    this.id = `bl-menu-${(menus += 1)}`;
    this.box = element("div", "bl-menu");
    this.box.innerHTML = MENU;
    this.box.hidden = true;
    this.box.setAttribute("role", "dialog");
    this.box.setAttribute("aria-label", "Indicators");
    this.box.dataset.lmSuppressShortcuts = "true"; // JupyterLab's letters are commands elsewhere
    root.append(this.box);
    this.search = this.part("search");
    this.list = this.part("list");
    this.form = this.part("form");
    this.list.id = `${this.id}-list`;
    this.search.setAttribute("aria-controls", this.list.id);
    button.setAttribute("aria-haspopup", "dialog");
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => (this.box.hidden ? this.show() : this.hide()));
    this.part("close").addEventListener("click", () => this.hide());
    this.search.addEventListener("input", () => this.filter());
    this.box.addEventListener("keydown", (event) => this.key(event));
    button.addEventListener("keydown", (event) => event.stopPropagation());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.outside = (event) => {
      const path = event.composedPath();
      if (!this.box.hidden && !path.includes(this.box) && !path.includes(button)) this.hide(false);
    };
    document.addEventListener("pointerdown", this.outside, true);
  }

  part(name) {
    return this.box.querySelector(`.bl-menu-${name}`);
  }

  async show() {
    this.box.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.back();
    this.said("");
    this.refresh();
    this.search.focus();
    if (this.catalogue) return;
    this.said("Loading…");
    this.catalogue = await this.load();
    this.said(this.catalogue ? "" : "The list cannot be loaded; a spec like ema(20) can be typed.");
    this.filter();
  }

  hide(refocus = true) {
    this.box.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    if (refocus) this.button.focus();
  }

  said(text) {
    put(this.part("said"), text);
  }

  /** Show what is on the chart, and what was refused and why. */
  refresh() {
    const { indicators } = this;
    const chosen = indicators.specs.map((spec) => {
      const item = element("li", "");
      const refusal = indicators.refused.find((one) => one.spec === spec);
      item.append(element("span", refusal ? "bl-menu-bad" : "", spec));
      if (refusal) item.append(element("small", "", refusal.message));
      const remove = element("button", "", "×");
      remove.type = "button";
      remove.title = `Remove ${spec}`;
      remove.setAttribute("aria-label", remove.title);
      remove.addEventListener("click", () => this.remove(spec));
      item.append(remove);
      return item;
    });
    this.part("chosen").replaceChildren(...chosen);
    this.filter();
  }

  remove(spec) {
    this.choose(this.indicators.specs.filter((one) => one !== spec));
    this.refresh();
    this.search.focus();
  }

  add(spec) {
    const { specs } = this.indicators;
    if (specs.includes(spec)) {
      this.said(`${spec} is on the chart already.`);
      return;
    }
    this.said("");
    this.back();
    this.search.value = "";
    this.choose([...specs, spec]);
    this.refresh();
    this.search.focus();
  }

  // --- the list -------------------------------------------------------------------------------

  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    const words = wanted.replace(/\(.*$/, "").split(/\s+/).filter(Boolean);
    const rank = ({ name, title, category }) => {
      const text = `${name} ${title} ${category}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) return null;
      return name === words[0] ? 0 : name.startsWith(words[0] ?? "") ? 1 : title.toLowerCase().includes(words.join(" ")) ? 2 : 3;
    };
    const ranked = (this.catalogue ?? []).map((one) => [rank(one), one]).filter(([r]) => r !== null);
    ranked.sort(([a, x], [b, y]) => a - b || x.name.localeCompare(y.name));
    this.found = ranked.map(([, one]) => one);
    this.list.replaceChildren(...this.found.map((one, i) => {
      const item = element("li", "");
      item.id = `${this.id}-${i}`;
      item.setAttribute("role", "option");
      item.append(element("b", "", one.name), element("span", "", one.title),
        element("small", "", one.overlay ? "over the price" : "own pane"));
      item.addEventListener("click", () => this.pick(i));
      item.addEventListener("pointermove", () => this.light(i, false));
      return item;
    }));
    this.light(0);
    if (this.catalogue && !this.found.length && wanted) this.said(`No indicator is called ${wanted}.`);
    else if (this.catalogue) this.said("");
  }

  light(i, scroll = true) {
    this.active = Math.max(0, Math.min(i, this.found.length - 1));
    [...this.list.children].forEach((item, k) => {
      item.setAttribute("aria-selected", k === this.active);
      if (k === this.active && scroll) item.scrollIntoView({ block: "nearest" });
    });
    if (this.found.length) this.search.setAttribute("aria-activedescendant", `${this.id}-${this.active}`);
    else this.search.removeAttribute("aria-activedescendant");
  }

  /** Ask for the parameters of the chosen one, or add it when it has none. */
  pick(i) {
    const one = this.found[i];
    if (!one) return;
    if (!one.parameters.length) {
      this.add(one.name);
      return;
    }
    this.one = one;
    this.form.replaceChildren(element("strong", "", one.title));
    for (const [name, kind, usual] of one.parameters) {
      const label = element("label", "", name);
      const input = element("input");
      input.name = name;
      input.type = kind === "bool" ? "checkbox" : "text";
      if (kind === "bool") input.checked = usual === true;
      else input.value = usual === null ? "" : String(usual);
      if (kind === "int" || kind === "float") input.inputMode = "decimal";
      label.append(input);
      this.form.append(label);
    }
    const buttons = element("div", "");
    const [add, back] = [element("button", "", "Add"), element("button", "", "Back")];
    add.type = "submit";
    back.type = "button";
    back.addEventListener("click", () => this.back(true));
    buttons.append(add, back);
    this.form.append(buttons);
    this.form.hidden = false;
    this.list.hidden = this.search.hidden = true;
    const first = this.form.querySelector("input");
    first.focus();
    first.select?.();
  }

  back(refocus = false) {
    this.form.hidden = true;
    this.list.hidden = this.search.hidden = false;
    if (refocus) this.search.focus();
  }

  /** Say only what is not usual, as a person would. */
  submit() {
    const said = [];
    let in_order = true;
    for (const [name, kind, usual] of this.one.parameters) {
      const input = this.form.elements.namedItem(name);
      const text = kind === "bool" ? (input.checked ? "True" : "False") : input.value.trim();
      const same = kind === "bool" ? input.checked === (usual === true)
        : text === "" || text === String(usual ?? "") || (kind !== "str" && Number(text) === usual);
      if (same) in_order = false;
      else said.push(in_order ? text : `${name}=${text}`);
    }
    this.add(said.length ? `${this.one.name}(${said.join(", ")})` : this.one.name);
  }

  // --- keys -----------------------------------------------------------------------------------

  key(event) {
    event.stopPropagation();
    if (event.key === "Escape") {
      event.preventDefault();
      if (this.form.hidden) this.hide();
      else this.back(true);
      return;
    }
    if (event.target !== this.search) return;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    if (event.key in steps) {
      event.preventDefault();
      this.light(this.active + steps[event.key]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const typed = this.search.value.trim();
      if (/^\w+\s*\(.*\)$/.test(typed)) this.add(typed);
      else if (this.found.length) this.pick(this.active);
      else if (/^\w+$/.test(typed)) this.add(typed);
    }
  }

  close() {
    document.removeEventListener("pointerdown", this.outside, true);
  }
}
