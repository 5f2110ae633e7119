// The session: who is logged in and until when, asked once per page for every widget on it.

const SESSION_POLL_MS = 3000;
const PENDING_POLL_MS = 1000; // somebody is at the broker's login page
const ABSENT_POLL_MS = 60_000; // no such server extension; one may come with the next server

/** Say a length of time the way people do: 6 h 12 m, 12 m, 40 s; never broken at a line's end. */
function say_left(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  const words = whole < 60 ? `${whole} s`
    : minutes < 60 ? `${minutes} m` : `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
  return words.replaceAll(" ", "\u00a0");
}

/** The one clock of a page. Widgets subscribe; nobody subscribed, nobody asked. */
class SessionClock {
  constructor() {
    this.facts = null; // the last answer of api/session
    this.link = "asking"; // "known", "absent" (no such route), "refused", "away"
    this.listeners = new Set();
    this.received = 0;
    this.broker = ""; // whose login is meant; the server's own choice unless somebody rehearses
    this.error = null; // why the last attempt to log in did not begin
    this.timer = null;
    this.asking = null;
    this.on_seen = () => {
      if (!document.hidden) this.poll();
    };
  }

  /** Call `listener(clock)` now, on every answer and once a second; return what ends that. */
  subscribe(listener) {
    this.listeners.add(listener);
    if (this.listeners.size === 1) {
      document.addEventListener("visibilitychange", this.on_seen);
      window.addEventListener("focus", this.on_seen);
      this.seconds = setInterval(() => this.tell(), 1000);
      this.poll();
    }
    listener(this);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size) return;
      document.removeEventListener("visibilitychange", this.on_seen);
      window.removeEventListener("focus", this.on_seen);
      clearInterval(this.seconds);
      clearTimeout(this.timer);
      this.timer = null;
    };
  }

  tell() {
    for (const listener of [...this.listeners]) {
      try {
        listener(this);
      } catch (error) {
        console.error(error); // one broken widget must not keep the others from the news
      }
    }
  }

  /** Ask now, and again later while anybody listens. */
  poll() {
    this.asking ??= this.ask().finally(() => {
      this.asking = null;
      clearTimeout(this.timer);
      if (!this.listeners.size) return;
      const wait = this.link === "absent" ? ABSENT_POLL_MS
        : this.facts?.pending ? PENDING_POLL_MS : SESSION_POLL_MS;
      this.timer = setTimeout(() => {
        // Nobody looks: the answer would be thrown away. Seen again, it asks at once.
        if (document.hidden && !this.facts?.pending) return;
        this.poll();
      }, wait);
    });
    return this.asking;
  }

  async ask() {
    if (base_url() === null) {
      this.link = "absent";
      this.tell();
      return;
    }
    const { status, body } = await ask_server(`api/session${this.broker ? `?broker=${this.broker}` : ""}`);
    if (status === 200 && body) this.take(body);
    else {
      this.link = status === 404 ? "absent" : status === 403 || status === 401 ? "refused" : "away";
      this.tell();
    }
  }

  /** Take an answer in the form of api/session. */
  take(facts) {
    // A rehearsal's keys are the practice market's, whichever broker this Lab is for.
    if (facts.rehearsal && !this.broker) this.broker = "practice";
    this.facts = facts;
    this.link = "known";
    this.received = performance.now();
    this.tell();
  }

  /** Seconds until the session ends, or null. */
  get left_s() {
    const { facts } = this;
    if (facts?.state !== "good" || facts.left_s === null || facts.left_s === undefined) return null;
    return Math.max(0, facts.left_s - (performance.now() - this.received) / 1000);
  }

  /** "good", "ended" or "none"; "absent", "refused", "away" or "asking" where that is not known. */
  get state() {
    if (this.link === "absent" || this.link === "refused" || !this.facts) return this.link;
    const { state } = this.facts;
    return state === "good" && this.left_s === 0 ? "ended" : state;
  }

  /** Whether the session of `market` ("icici", "practice") is known to have ended. */
  ended(market) {
    return this.state === "ended" && (!market || !this.facts.broker || this.facts.broker === market);
  }

  /** "good until midnight, 6 h 12 m". */
  get says() {
    const { facts, state } = this;
    if (state === "good") {
      const time = String(facts.until ?? "").slice(11, 16);
      const when = time === "00:00" ? "midnight" : time;
      const left = this.left_s === null ? "" : `, ${say_left(this.left_s)}`;
      return `good until ${when}${left}`;
    }
    return {
      ended: "session ended", none: "not logged in", absent: "no Breeze Lab server extension",
      refused: "sign in to Jupyter again", away: "the Jupyter server does not answer", asking: "…",
    }[state] ?? state;
  }

  get account() {
    const { facts } = this;
    if (!facts) return "";
    const market = facts.rehearsal ? "rehearsal" : facts.practice ? "practice market" : "ICICI Direct";
    const twice = facts.name?.toLowerCase() === market; // the practice account is called so
    return facts.name && !twice ? `${facts.name} · ${market}` : facts.name || market;
  }

  /**
   * The one way back. Call it from a click, because a window may open.
   * The practice market needs no window; an account is asked for at the broker's own page.
   * With `account` it is the account that is wanted, whatever market is there now.
   */
  async log_in({ account = false } = {}) {
    this.error = null;
    const { facts } = this;
    if (facts?.practice && !facts.rehearsal && !account) {
      const { status, body } = await ask_server("api/login/practice", { method: "POST", data: {} });
      if (status === 200 && body) this.take(body);
      else this.fail(status, body);
      return;
    }
    if (facts && !facts.credentials) {
      this.error = "No app key yet: run %breeze_login";
      this.tell();
      return;
    }
    const form = document.createElement("form");
    form.method = "post";
    form.action = `${base_url()}breeze-lab/login`;
    form.target = "_blank";
    form.hidden = true;
    for (const [name, value] of [["_xsrf", xsrf_token()], ["broker", this.broker]]) {
      const field = document.createElement("input");
      field.type = "hidden";
      field.name = name;
      field.value = value;
      form.append(field);
    }
    document.body.append(form);
    form.submit();
    form.remove();
    if (this.facts) this.facts = { ...this.facts, pending: true };
    this.tell();
    setTimeout(() => this.poll(), 400);
  }

  fail(status, body) {
    const words = body?.message ?? body?.error;
    this.error = words || (status ? `The Jupyter server answered HTTP ${status}.` : "The Jupyter server does not answer.");
    this.tell();
  }
}

/** Return the page's one clock, whichever of our scripts came first. */
function session_clock() {
  return (window.__breeze_lab_session ??= new SessionClock());
}

/**
 * Turn `root` red when the session of its market has ended, with the one way back, and plain again
 * by itself. `market` gives the market's name or null for whichever there is; `place` is where the
 * bar goes. `on_change(ended, clock)` hears of it. Return what ends that.
 */
function mark_session(root, market = () => null, place = root, on_change = () => {}) {
  const bar = document.createElement("div");
  bar.className = "bl-ended";
  bar.hidden = true;
  bar.setAttribute("role", "alert");
  bar.innerHTML = '<i></i><span class="bl-ended-says"></span><button class="bl-log-in" type="button">Log in</button>';
  place.append(bar);
  const says = bar.querySelector(".bl-ended-says");
  const button = bar.querySelector("button");
  const clock = session_clock();
  button.addEventListener("click", () => clock.log_in());
  let was = null;
  const show = () => {
    const ended = clock.ended(market());
    root.dataset.session = ended ? "ended" : clock.state;
    bar.hidden = !ended;
    if (ended) {
      const pending = clock.facts?.pending;
      const text = clock.error ?? (pending ? "Waiting for the broker's login page" : "Session ended");
      if (says.textContent !== text) says.textContent = text;
      says.title = clock.facts?.ended ?? "";
    }
    if (ended !== was) {
      was = ended;
      on_change(ended, clock);
    }
  };
  const end = clock.subscribe(show);
  return () => {
    end();
    bar.remove();
  };
}
