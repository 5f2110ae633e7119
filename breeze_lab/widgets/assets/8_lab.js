// JupyterLab's sidebar and status bar. What JupyterLab is asked to do comes in as `lab`:
// insert_code(code, {run}), show_side(), open_page(path).

/** The session in one line of the status bar; a click is the way back. */
class StatusClock {
  constructor(el, { on_good }) {
    this.clock = session_clock();
    this.root = element("button", "breeze-lab-clock");
    this.root.type = "button";
    this.root.append(element("i", ""), element("span", ""));
    el.append(this.root);
    this.root.addEventListener("click", () => {
      const { state, facts } = this.clock;
      const one_button = state === "ended" && (facts.credentials || facts.practice);
      if (one_button) this.clock.log_in();
      else on_good();
    });
    follow_page_theme(this.root);
    this.clock.subscribe(() => this.show());
  }

  show() {
    const { clock } = this;
    const { state, facts } = clock;
    this.root.dataset.state = state;
    // Where there is no server extension there is nothing to say, and nothing is said.
    this.root.hidden = state === "absent" || state === "asking";
    const name = facts?.name ?? "Breeze Lab";
    const words = {
      good: clock.left_s === null ? name : `${name} · ${say_left(clock.left_s)}`,
      ended: facts?.pending ? "waiting for the login page" : "session ended: log in", none: facts?.pending ? "waiting for the login page" : "Breeze Lab: log in",
      away: "Breeze Lab: no answer", refused: "Breeze Lab: sign in to Jupyter again",
    }[state] ?? "Breeze Lab";
    put(this.root.lastChild, words);
    this.root.title = state === "good" ? `${clock.account}: ${clock.says}` : facts?.ended ? `Session ended: ${facts.ended}` : clock.says;
  }
}

/** The source of the sidebar's search: only the server, whatever the kernels do. */
class SideSource {
  constructor(lab) {
    this.lab = lab;
  }

  async ask(text) {
    const found = await search_server(text, "");
    if (found === null) throw new Error("This Jupyter server has no Breeze Lab extension.");
    return found;
  }

  async pick(item) {
    return (await this.chart(item)) ?? "";
  }

  async chart(item) {
    if (await this.lab.insert_code(code_line(item.key), { run: true })) return `A new cell charts ${item.key}.`;
    const done = await copy_text(code_line(item.key));
    return done ? `No notebook is open: copied ${code_line(item.key)}` : "Open a notebook first.";
  }

  async watch(item) {
    return (await watch_server(item.key)) ?? "The watchlist does not answer.";
  }
}

/** Fill the two places JupyterLab gave us; return what its commands do. */
function begin({ side, status, lab }) {
  const root = element("div", "breeze-lab-side");
  follow_page_theme(root);
  side.replaceChildren(root);
  const login = new LoginPanel(root, { compact: true });
  const source = new SideSource(lab);
  const box = new SearchBox(root, source, { compact: true, placeholder: "Search instruments" });
  new Watchlist(root, { chart: (key) => source.chart({ key }).then((words) => box.say(words)) });
  if (lab.open_page) {
    const pages = element("nav", "bl-side-pages");
    pages.setAttribute("aria-label", "Pages");
    for (const [words, path] of [["Dashboards", "dash/market"], ["Chart board", "dash/board"], ["Jobs", "dash/jobs"], ["Published", "dash/published"]]) {
      const button = element("button", "", words);
      button.type = "button";
      button.addEventListener("click", () => lab.open_page(`breeze-lab/${path}`));
      pages.append(button);
    }
    root.append(pages);
  }
  if (status) new StatusClock(status, { on_good: () => lab.show_side() });
  session_clock().subscribe((clock) => {
    root.dataset.session = clock.state;
  });
  return {
    search(text) {
      if (text) box.input.value = text;
      const focus = () => {
        if (document.activeElement === box.input) return;
        box.input.focus();
        box.input.select();
      };
      focus();
      setTimeout(focus, 120); // the command palette gives the focus back to where it was, as it closes
      if (text) box.typed();
    },
    log_in() {
      if (["keys", "good"].includes(login.state)) lab.show_side();
      else login.go();
    },
  };
}
