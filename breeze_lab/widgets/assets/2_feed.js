// The feed: one websocket to the relay, past the kernel; the kernel's comm where there is none.

const SUBPROTOCOL = "breeze-lab.1.json";
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 10_000;

/**
 * Keep one subscription alive until the returned function is called.
 *
 * `on_message` gets the relay's messages, `on_link` "open", "lost" or a sentence. A socket that
 * was never opened because the server has no such route is replaced by the kernel's comm; without
 * a `model` there is no kernel, and "absent" is said.
 */
function open_feed({ model, client, instruments, bars, market, on_message, on_link }) {
  const base = base_url();
  const address = `${base}breeze-lab/`;
  const subscribe = {
    op: "subscribe", id: 1, instruments, delivery: "latest", bars, ticks: true, market,
  };
  let socket = null;
  let timer = null;
  let wait = FIRST_WAIT_MS;
  let closed = false;
  let by_kernel = false;

  const later = () => {
    if (closed || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      connect();
    }, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  };

  const connect = () => {
    let opened = false;
    socket = new WebSocket(`${address.replace(/^http/, "ws")}api/feed`, SUBPROTOCOL);
    socket.onopen = () => {
      opened = true;
      socket.send(JSON.stringify({ op: "hello", client, flush_ms: 40 }));
      socket.send(JSON.stringify(subscribe));
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.op === "welcome") on_link("open"); // the server answers before the relay does
      if (message.op === "snapshot") wait = FIRST_WAIT_MS;
      on_message(message);
    };
    socket.onclose = async () => {
      if (closed) return;
      on_link("lost");
      if (!opened && (await route_is_missing())) ask_kernel();
      else later();
    };
  };

  const route_is_missing = async () => {
    try {
      const answer = await fetch(`${address}api/status`, { credentials: "same-origin" });
      if (answer.status === 403) on_link("Sign in to Jupyter again");
      return answer.status === 404;
    } catch {
      return false; // the server itself is away
    }
  };

  const ask_kernel = () => {
    if (!model) {
      on_link("absent");
      return;
    }
    by_kernel = true;
    on_link("Waiting for the kernel"); // it answers when no cell runs
    model.send({ op: "feed", flush_ms: 40 });
  };
  const from_kernel = (message) => {
    if (!by_kernel || closed || message.op !== "frame") return;
    if (message.link) {
      on_link(message.link);
      return;
    }
    const inner = JSON.parse(message.text);
    if (inner.op === "welcome") on_link("open");
    on_message(inner);
  };
  model?.on("msg:custom", from_kernel);
  if (base === null) ask_kernel();
  else connect();

  // A laptop that wakes up, or a page shown again, need not wait for the back-off to end.
  const hurry = () => {
    if (document.hidden || timer === null) return;
    clearTimeout(timer);
    timer = null;
    connect();
  };
  window.addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);

  return () => {
    closed = true;
    clearTimeout(timer);
    window.removeEventListener("online", hurry);
    document.removeEventListener("visibilitychange", hurry);
    model?.off("msg:custom", from_kernel);
    if (by_kernel) model.send({ op: "unfeed" });
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  };
}

/** Return BokehJS of exactly `version`: the page's own, the server's or the kernel's file. */
function load_bokeh(version, model) {
  if (window.Bokeh?.version === version) return Promise.resolve(window.Bokeh);
  const loading = (window.__breeze_lab_bokeh ??= new Map());
  if (!loading.has(version)) {
    const base = base_url();
    const by_kernel = () => from_kernel_file(model).then((url) => from_script(url, version));
    const found = base === null ? by_kernel()
      : from_script(`${base}breeze-lab/static/bokeh.min.js?v=${version}`, version).catch(by_kernel);
    found.catch(() => loading.delete(version));
    loading.set(version, found);
  }
  return loading.get(version);
}

/** Run a script and take the Bokeh it leaves, giving the page back the one it had. */
function from_script(url, version) {
  return new Promise((resolve, reject) => {
    const before = window.Bokeh;
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => {
      const ours = window.Bokeh;
      if (before) window.Bokeh = before;
      if (ours?.version === version) resolve(ours);
      else reject(new Error(`BokehJS ${version} was expected, ${ours?.version} was served.`));
    };
    script.onerror = () => reject(new Error(`BokehJS could not be loaded from ${url}.`));
    document.head.append(script);
  });
}

function from_kernel_file(model) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("Neither server nor kernel sent BokehJS.")), 20_000);
    const take = (message, buffers) => {
      if (message.op !== "bokeh") return;
      clearTimeout(timer);
      model.off("msg:custom", take);
      resolve(URL.createObjectURL(new Blob([buffers[0]], { type: "text/javascript" })));
    };
    model.on("msg:custom", take);
    model.send({ op: "bokeh" });
  });
}
