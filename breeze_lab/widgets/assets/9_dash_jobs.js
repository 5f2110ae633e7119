// Jobs: what ran, what runs and what is due; a run that went wrong can be tried again.

const JOBS_ASK_MS = 1000;

const JOBS_WHEN = new Intl.DateTimeFormat("en-GB", {
  timeZone: "Asia/Kolkata", weekday: "short", day: "2-digit", month: "2-digit", hour: "2-digit", minute: "2-digit",
});
const said_when = (iso) => JOBS_WHEN.format(new Date(iso));

class JobsPage {
  constructor(el) {
    this.open = new Set(); // runs whose log is shown
    this.root = element("div", "breeze-lab-dash bl-jobs");
    this.root.innerHTML = `
      <section class="bl-card" aria-label="Runs"><h2>Runs <span class="bl-soft bl-service" role="status"></span></h2>
        <p class="bl-counts bl-soft"></p><p class="bl-bad" role="alert"></p><ul class="bl-runs"></ul></section>
      <section class="bl-card" aria-label="Scheduled"><h2>Scheduled</h2><ul class="bl-plans"></ul>
        <p class="bl-soft"><a>Run, pause and cancel on the page of jobs</a></p></section>`;
    el.replaceChildren(this.root);
    follow_page_theme(this.root);
    this.root.querySelector("a").href = `${base_url()}breeze-lab/jobs`;
    this.look();
  }

  part(name) {
    return this.root.querySelector(name);
  }

  async look() {
    if (!document.hidden) await this.ask();
    setTimeout(() => this.look(), JOBS_ASK_MS);
  }

  async ask() {
    const { status, body } = await ask_server("api/jobs");
    const asked = new Date().toLocaleTimeString("en-GB", { timeZone: "Asia/Kolkata" });
    if (status !== 200 || !body) {
      put(this.part(".bl-service"), status ? `No answer (HTTP ${status}); below is what was known` : "The Jupyter server does not answer; below is what was known");
      return;
    }
    put(this.part(".bl-service"), `${body.service ? "the service runs" : "no service runs"} · as of ${asked} IST, from the book of jobs`);
    const counts = {};
    for (const run of body.runs) counts[run.state] = (counts[run.state] ?? 0) + 1;
    put(this.part(".bl-counts"), Object.entries(counts).map(([state, count]) => `${count} ${state}`).join(" · "));
    keep_rows(this.part(".bl-runs"), body.runs, (run) => run.id, (node, run) => this.draw_run(node, run), this.open, "Nothing has run yet.");
    keep_rows(this.part(".bl-plans"), body.jobs, (job) => job.name, draw_plan, this.open,
      'Nothing is scheduled. In a notebook: breeze_lab.schedule("nightly.ipynb", "after F&O close on trading days")');
    for (const run of body.runs.filter((one) => this.open.has(one.id))) {
      const place = this.part(`.bl-runs li[data-key="${run.id}"] pre`);
      const found = await ask_server(`api/jobs/run?run=${run.id}`);
      if (place) put(place, found.body?.log ?? found.body?.message ?? "The log does not answer.");
    }
    this.root.dataset.looks = Number(this.root.dataset.looks ?? 0) + 1;
  }

  draw_run(node, run) {
    node.dataset.state = run.state;
    const line = element("div", "bl-line");
    line.append(element("strong", "", run.job), element("span", "bl-state", run.state));
    if (run.late) line.append(element("span", "bl-chip", "late"));
    const took = run.ended && run.started ? `, took ${say_age(run.ended - run.started)}` : "";
    line.append(element("span", "bl-soft bl-grow", `due ${said_when(run.due)}${took}${run.attempt > 1 ? `, attempt ${run.attempt}` : ""}`));
    const log = this.button(this.open.has(run.id) ? "Hide log" : "Log", `run ${run.id} of ${run.job}`, () => {
      if (!this.open.delete(run.id)) this.open.add(run.id);
    });
    line.append(log);
    if (["failed", "cancelled", "missed", "skipped"].includes(run.state)) {
      line.append(this.button("Retry", `run ${run.id} of ${run.job}`, async () => {
        const { status, body } = await ask_server("api/jobs/do", { method: "POST", data: { do: "retry", run: run.id } });
        put(this.part(".bl-bad"), status === 200 ? "" : body?.message ?? `HTTP ${status}`);
      }));
    }
    node.replaceChildren(line);
    if (run.state === "running" && run.cells) {
      const bar = element("progress", "");
      bar.max = run.cells;
      bar.value = Math.max(run.cell - 0.5, 0);
      bar.setAttribute("aria-label", `cell ${run.cell} of ${run.cells}`);
      node.append(element("div", "bl-soft", `Cell ${run.cell} of ${run.cells}`), bar);
    }
    if (run.message) node.append(element("div", "bl-message", run.message));
    if (run.state === "done" && run.output) node.append(element("div", "bl-soft bl-message", run.output));
    if (this.open.has(run.id)) node.append(element("pre", "", "…"));
  }

  button(text, label, then) {
    const made = element("button", "", text);
    made.type = "button";
    made.setAttribute("aria-label", `${text} ${label}`);
    made.addEventListener("click", async () => {
      made.disabled = true;
      await then();
      await this.ask();
      made.disabled = false;
    });
    return made;
  }
}

function draw_plan(node, job) {
  const line = element("div", "bl-line");
  line.append(element("strong", "", job.name), element("span", "bl-grow", job.phrase || "by hand"));
  if (!job.active) line.append(element("span", "bl-chip", "paused"));
  const next = job.next.length ? `Next: ${job.next.map(said_when).join(" · ")} IST` : "";
  node.replaceChildren(line, element("div", "bl-soft bl-message", [job.notebook, next].filter(Boolean).join(" · ")));
}

/** Show things in a list; a row that did not change is left alone, so that nothing under a finger moves. */
function keep_rows(list, things, key, draw, open, empty) {
  const known = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const nodes = things.map((thing) => {
    const name = String(key(thing));
    const node = known.get(name) ?? element("li", "");
    node.dataset.key = name;
    const drawn = JSON.stringify(thing) + open.has(thing.id);
    if (node.dataset.drawn !== drawn) draw(node, thing);
    node.dataset.drawn = drawn;
    return node;
  });
  if (!nodes.length) nodes.push(known.get("") ?? element("li", "bl-soft", empty));
  if (!things.length) nodes[0].dataset.key = "";
  nodes.forEach((node, at) => {
    if (list.children[at] !== node) list.insertBefore(node, list.children[at] ?? null);
  });
  while (list.children.length > nodes.length) list.lastChild.remove();
}

function render_dash_jobs({ el }) {
  new JobsPage(el);
}
