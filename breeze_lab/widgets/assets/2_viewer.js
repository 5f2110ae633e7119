// What stands for the Jupyter server where a page is a shared link: nothing is asked of anybody.

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 10_000;
const ENDED = 4404; // the close code of a link that counts no more

/** A viewer has no session of the broker's, so none can end. */
function session_clock() {
  return { ended: () => false };
}

function mark_session() {
  return () => {};
}

function load_bokeh() {
  return Promise.resolve(window.Bokeh);
}

/** Hear what the page's one line says of the chart; the line itself is the page's. */
function open_feed({ on_message, on_link }) {
  viewer_line.listener = (message) => {
    if (message.op === "link") on_link(message.says);
    else if (message.op === "indicators") viewer_line.hear_indicators(message);
    else {
      if (message.says) on_link(message.says);
      on_message(message);
    }
  };
  viewer_line.on_lost = () => on_link("lost");
  viewer_line.catch_up();
  return () => {
    viewer_line.listener = viewer_line.on_lost = null;
  };
}

/** The page's websocket. It only hears; nothing is ever sent. */
class ViewerLine {
  constructor(address, on_end) {
    Object.assign(this, { address, on_end, listener: null, on_lost: null, on_state: () => {} });
    this.waiting = [];
    this.early = []; // values that came before there was a plot
    this.wait = FIRST_WAIT_MS;
    window.addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => this.hurry());
    this.connect();
  }

  connect() {
    this.timer = null;
    this.socket = new WebSocket(this.address);
    this.socket.onopen = () => {
      this.wait = FIRST_WAIT_MS;
      this.on_state(true);
    };
    this.socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (this.listener) this.listener(message);
      else this.waiting.push(message);
    };
    this.socket.onclose = (event) => {
      if (this.closed) return;
      if (event.code === ENDED) {
        this.close();
        this.on_end();
        return;
      }
      this.on_state(false);
      this.on_lost?.();
      this.timer = setTimeout(() => this.connect(), this.wait * (0.75 + Math.random() / 2));
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
    };
  }

  hear_indicators(message) {
    if (this.on_indicators) this.on_indicators(message);
    else this.early.push(message);
  }

  follow_indicators(listener) {
    this.on_indicators = listener;
    for (const message of this.early.splice(0)) listener(message);
  }

  catch_up() {
    for (const message of this.waiting.splice(0)) this.listener?.(message);
  }

  hurry() {
    if (document.hidden || this.timer === null || this.closed) return;
    clearTimeout(this.timer);
    this.connect();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}

let viewer_line = null;
