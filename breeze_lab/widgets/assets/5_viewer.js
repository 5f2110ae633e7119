// The page of a shared link: our chart or a frozen document, its source and its age, and its end.

/** The indicators of a shared chart: computed where the bars come from, and only shown here. */
class SharedIndicators extends Indicators {
  begin() {}
  ask() {}
  touch() {}

  hear({ t, answer }) {
    this.told_t = t;
    this.heard_at = Date.now();
    if (answer.op === "opened" || answer.op === "values") this.accept(answer);
  }
}

/** Our chart without what only its owner may do. */
class SharedChart extends Chart {
  constructor(model, el, { live, stamp }) {
    super(model, el);
    Object.assign(this, { live, stamp });
  }

  add_indicators() {
    this.choose = () => {};
    this.menu = { refresh() {}, close() {} };
    this.indicators = new SharedIndicators(this.model, this.bars, this.model.get("indicators"), {
      on_opened: () => this.redraw_indicators(),
      on_values: (closed) => {
        this.valued = true;
        this.refilled ||= closed;
        this.schedule();
      },
    });
    this.plot.indicators = new IndicatorView(this.plot, this.indicators);
    viewer_line.follow_indicators((message) => this.indicators.hear(message));
  }

  badge() {
    if (this.live) {
      super.badge();
      return;
    }
    this.root.dataset.state = "still";
    put(this.part("age"), this.stamp);
  }
}

/** Say a moment in IST: "26 Nov 2026 21:03 IST". */
function say_moment(ms) {
  return `${say_time(ms / 1000, 60).slice(4)} IST`;
}

/** What our script knows of a widget's model: values that nobody changes and nobody hears of. */
function still_model({ config, figure, bars, indicators }) {
  const table = Float64Array.from(bars.flat());
  const values = {
    config: JSON.stringify(config), figure: JSON.stringify(figure),
    bars: new Uint8Array(table.buffer), indicators,
  };
  return { get: (name) => values[name], set() {}, save_changes() {}, send() {}, on() {}, off() {} };
}

async function view() {
  const told = (id) => JSON.parse(document.getElementById(id).textContent);
  const facts = told("bl-facts");
  const target = told("bl-target");
  const part = (name) => document.querySelector(`.bl-${name}`);
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  const put_on = () => {
    document.body.dataset.jpThemeLight = String(!scheme.matches);
  };
  put_on();
  scheme.addEventListener("change", put_on);

  // Ages are by the server's clock: a viewer's may be wrong.
  const ahead_ms = facts.now_ms - performance.now();
  const now_ms = () => performance.now() + ahead_ms;
  const live = facts.data === "practice";
  let timer = null;
  let chart = null;
  const end = () => {
    clearInterval(timer);
    viewer_line.close();
    chart?.close();
    document.querySelector("main").replaceChildren();
    for (const place of [document.querySelector("header"), document.querySelector("footer")]) place.remove();
    part("ended-page").hidden = false;
    document.title = "This link has ended";
    document.body.dataset.state = "ended";
  };

  const kind = part("kind");
  const show_kind = (connected) => {
    const words = { practice: "Live", snapshot: "Snapshot", lagged: "30 days old or more" };
    kind.dataset.kind = !connected ? "lost" : live ? "live" : "still";
    put(kind, connected ? words[facts.data] : `${words[facts.data]} · not connected`);
  };
  show_kind(true);
  put(part("source"), facts.source);
  put(part("made"), `Shared from Breeze Lab ${say_moment(facts.made_ms)} · to look at only`
    + (facts.controls ? " · its controls reach nobody" : ""));
  put(part("end"), `Ends ${say_moment(facts.expires_ms)}`);
  const show_age = () => {
    if (now_ms() >= facts.expires_ms) {
      end();
      return;
    }
    const heard = live && chart ? chart.tick?.[4] ?? chart.bars.last?.t * 1000 : facts.as_of_s * 1000;
    const as_of = Number.isFinite(heard) ? heard : facts.made_ms;
    const age = Math.max(0, (now_ms() - as_of) / 1000);
    // A practice market may have a time of its own.
    put(part("page-age"), `as of ${say_moment(as_of)}, ${say_age(age)} ago`);
  };
  viewer_line = new ViewerLine(
    new URL(`${facts.here}feed`, window.location.href).href.replace(/^http/, "ws"), end);
  viewer_line.on_state = show_kind;
  show_age();
  timer = setInterval(show_age, 500);

  const place = part("target");
  try {
    if (facts.kind === "chart") {
      const stamp = facts.data === "lagged" ? "30 days old or more" : `Snapshot of ${say_moment(facts.made_ms)}`;
      chart = new SharedChart(still_model(target), place, { live, stamp });
      await chart.start();
    } else {
      place.classList.add("bl-document");
      await window.Bokeh.embed.embed_item(target.item, place);
    }
    document.body.dataset.state = "shown";
    document.body.dataset.shownMs = Math.round(performance.now());
  } catch (error) {
    console.error(error);
    document.body.dataset.state = "broken";
    place.textContent = `This cannot be drawn: ${error.message}`;
  }
}
