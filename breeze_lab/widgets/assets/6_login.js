// Login: keys once, then one button a day. A secret is typed into a field, posted to the server
// extension and forgotten; it is in no cell, no output, no history and no property of the widget.

const LOGIN_FRAME = `
  <div class="bl-head"><i></i><div class="bl-who"><strong class="bl-name"></strong><span class="bl-clock" role="status"></span></div>
    <button class="bl-main" type="button"></button></div>
  <form class="bl-keys-form" autocomplete="off" hidden>
    <p class="bl-lead">Once: the two keys of your app on ICICI Direct's API page. They go straight from these fields to this
      Jupyter server, never through a cell, an output or the history.</p>
    <label>App key<input type="password" name="app_key" autocomplete="off" spellcheck="false" maxlength="256" required></label>
    <label>Secret key<input type="password" name="secret" autocomplete="off" spellcheck="false" maxlength="256" required></label>
    <div class="bl-redirect"><span>Redirect address to register for that app</span>
      <code class="bl-callback"></code><button class="bl-copy" type="button">Copy</button></div>
    <button class="bl-save" type="submit">Save the keys</button>
  </form>
  <details class="bl-paste" hidden><summary>The page did not come back? Paste anything it showed</summary>
    <form autocomplete="off"><input type="password" name="text" autocomplete="off" spellcheck="false" maxlength="8192"
      aria-label="What the page showed" placeholder="the whole address, the form's data, or the bare session">
      <button type="submit">Use it</button></form></details>
  <div class="bl-other" role="alert" hidden><span></span><button type="button">Use this account</button></div>
  <p class="bl-trouble" role="alert" hidden></p>
  <div class="bl-small"><span class="bl-vault"></span><span class="bl-links"></span></div>`;

/** One login panel: in a notebook, and in JupyterLab's sidebar (`compact`). */
class LoginPanel {
  constructor(el, { compact = false, on_absent = () => {} } = {}) {
    this.clock = session_clock();
    this.on_absent = on_absent;
    this.compact = compact;
    this.own_account = false; // the practice market is good, but the person wants their account
    this.root = element("div", "breeze-lab-login");
    this.root.classList.toggle("bl-compact", compact);
    this.root.dataset.lmSuppressShortcuts = "true";
    this.root.innerHTML = LOGIN_FRAME;
    el.append(this.root);
    this.part("main").addEventListener("click", () => this.go());
    this.part("other").lastChild.addEventListener("click", () => {
      this.post("api/login/confirm", { serial: this.clock.facts?.confirm?.serial ?? "" });
    });
    this.part("copy").addEventListener("click", async () => {
      const done = await copy_text(this.part("callback").textContent);
      this.part("copy").textContent = done ? "Copied" : "Copy it by hand";
    });
    this.part("keys-form").addEventListener("submit", (event) => this.save(event));
    this.root.querySelector(".bl-paste form").addEventListener("submit", (event) => this.paste(event));
    this.root.addEventListener("keydown", (event) => event.stopPropagation());
    this.end_theme = follow_page_theme(this.root);
    this.end = this.clock.subscribe(() => this.show());
  }

  part(name) {
    return this.root.querySelector(`.bl-${name}`);
  }

  /** "keys", "ready", "pending", "good", "ended", or why nothing is known. */
  get state() {
    const { clock } = this;
    const { facts, state } = clock;
    if (!["good", "ended", "none"].includes(state)) return state;
    if (facts.pending) return "pending";
    if (state === "good" && !(this.own_account && facts.practice && !facts.rehearsal)) return "good";
    if (facts.practice && !facts.rehearsal && !this.own_account) return "ended";
    if (!facts.credentials) return "keys";
    return state === "ended" ? "ended" : "ready";
  }

  show() {
    const { clock, state } = this;
    const facts = clock.facts ?? {};
    if (state === "absent" && !this.told) {
      this.told = true;
      this.on_absent();
    }
    this.root.dataset.state = state;
    const broker = facts.rehearsal ? "the practice login page" : "ICICI Direct";
    const name = {
      good: clock.account, ended: clock.account || "Session ended",
      keys: "Breeze Lab", ready: "Not logged in", pending: `Waiting for ${broker}`,
    }[state] ?? "Breeze Lab";
    const words = {
      keys: "no app key yet", ready: "one button, and the broker's own page",
      pending: "log in there; this turns green by itself", ended: "session ended",
    }[state] ?? clock.says;
    put(this.part("name"), name);
    put(this.part("clock"), words);
    const main = {
      ready: `Log in at ${broker}`, ended: facts.practice && !facts.rehearsal ? "Log in" : `Log in at ${broker}`,
      pending: "Open it again",
    }[state];
    this.part("main").hidden = !main;
    put(this.part("main"), main ?? "");
    this.part("keys-form").hidden = state !== "keys";
    put(this.part("callback"), facts.callback ?? "");
    this.part("paste").hidden = state !== "pending";
    const other = facts.confirm;
    this.part("other").hidden = !other;
    if (other) {
      put(this.part("other").firstChild, `Last time the account was ${other.last}; this login is of ${other.name} (${other.user_id}). If it is not yours, log in again.`);
    }
    const trouble = this.trouble ?? clock.error ?? (state === "good" ? null : facts.error);
    this.part("trouble").hidden = !trouble;
    put(this.part("trouble"), trouble ?? "");
    this.part("trouble").dataset.bad = "true";
    const { vault } = facts;
    put(this.part("vault"), vault ? (this.compact ? `Vault: ${vault.backend}` : vault.says) : "");
    this.part("vault").title = facts.vault?.says ?? "";
    this.part("vault").dataset.lasting = String(facts.vault?.lasting ?? true);
    this.links(state, facts);
  }

  links(state, facts) {
    const wanted = [];
    if (state === "good" && !facts.practice) wanted.push(["Log out", () => this.post("api/logout")]);
    if (facts.practice && !facts.rehearsal && !this.own_account) {
      wanted.push(["Use my ICICI Direct account", () => this.own(true)]);
    }
    if (this.own_account && facts.practice) wanted.push(["Back to the practice market", () => this.own(false)]);
    if (facts.credentials && state !== "pending") {
      wanted.push(["Forget the keys", () => this.post(`api/credentials?broker=${this.clock.broker}`, undefined, "DELETE")]);
    }
    const names = wanted.map(([name]) => name).join();
    const place = this.part("links");
    if (place.dataset.names === names) return; // a button under the mouse must stay the same button
    place.dataset.names = names;
    place.replaceChildren(...wanted.map(([name, act]) => {
      const button = element("button", "", name);
      button.type = "button";
      button.addEventListener("click", act);
      return button;
    }));
  }

  own(yes) {
    this.own_account = yes;
    this.show();
  }

  /** The one button. */
  go() {
    this.trouble = null;
    this.clock.log_in({ account: this.own_account });
  }

  async save(event) {
    event.preventDefault();
    const form = event.target;
    const data = Object.fromEntries(["app_key", "secret"].map((name) => [name, form.elements[name].value.trim()]));
    form.reset(); // before anything else can happen
    await this.post("api/credentials", { ...data, broker: this.clock.broker });
  }

  async paste(event) {
    event.preventDefault();
    const field = event.target.elements.text;
    const text = field.value.trim();
    field.value = "";
    if (text) await this.post("api/login/paste", { text, broker: this.clock.broker });
  }

  async post(route, data = {}, method = "POST") {
    this.trouble = null;
    const { status, body } = await ask_server(route, { method, data: method === "DELETE" ? undefined : data });
    if (status === 200 && body?.state) this.clock.take(body);
    else {
      this.trouble = body?.message ?? (typeof body?.error === "string" ? body.error : null)
        ?? (status ? `The Jupyter server answered HTTP ${status}.` : "The Jupyter server does not answer.");
      this.show();
      this.clock.poll();
    }
  }

  close() {
    this.end();
    this.end_theme();
    this.root.remove();
  }
}

function render_login({ model, el }) {
  const below = element("div", "breeze-lab-below");
  const broker = model.get("broker");
  if (broker) session_clock().broker = broker; // a rehearsal
  const panel = new LoginPanel(el, {
    // VS Code, a bare kernel: the form of the kernel's own.
    on_absent: () => {
      panel_root().hidden = true;
      model.send({ op: "form" });
    },
  });
  function panel_root() {
    return el.querySelector(".breeze-lab-login");
  }
  el.append(below);
  const form = () => show_child(model, "form", below);
  model.on("change:form", form);
  if (model.get("form")) form();
  return () => {
    model.off("change:form", form);
    panel.close();
  };
}
