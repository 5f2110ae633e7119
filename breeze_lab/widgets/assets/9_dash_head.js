// The line above every dashboard: where one is, where one can go, how the session stands.

const DASH_LOOK_MS = 1000;

/** Come back by itself when the process of the pages went away: the address holds what is shown. */
function watch_connection(root) {
  const bar = root.querySelector(".bl-dash-lost");
  let lost = false;
  const back = async () => {
    const { status } = await ask_server("api/dashboards");
    if (status === 200) window.location.reload(); // the server starts the process for the page
    else setTimeout(back, DASH_LOOK_MS);
  };
  const on_lost = () => {
    if (lost) return;
    lost = true;
    root.dataset.link = "lost";
    bar.hidden = false;
    setTimeout(back, DASH_LOOK_MS);
  };
  for (const document of window.Bokeh?.documents ?? []) document.on_event("connection_lost", on_lost);
}

function render_dash_head({ model, el }) {
  const root = element("div", "breeze-lab-dash bl-dash-top");
  root.innerHTML = `
    <div class="bl-dash-line"><strong class="bl-dash-brand">Breeze Lab</strong><nav aria-label="Dashboards"></nav>
      <div class="bl-dash-clock" role="status"><i></i><span></span><button class="bl-log-in" type="button" hidden>Log in</button></div></div>
    <div class="bl-dash-lost" role="alert" hidden>The dashboards went away. This page comes back by itself.</div>`;
  const nav = root.querySelector("nav");
  const theme = new URLSearchParams(window.location.search).get("theme");
  for (const [path, title] of model.pages) {
    const link = element("a", "", title);
    link.href = `${base_url()}breeze-lab/dash/${path}${theme ? `?theme=${encodeURIComponent(theme)}` : ""}`;
    if (path === model.page) link.setAttribute("aria-current", "page");
    nav.append(link);
  }
  el.replaceChildren(root);
  follow_page_theme(root);
  const place = root.querySelector(".bl-dash-clock");
  const button = place.querySelector("button");
  button.addEventListener("click", () => session_clock().log_in());
  session_clock().subscribe((clock) => {
    root.dataset.session = clock.state;
    const pending = clock.facts?.pending;
    const words = pending ? "Waiting for the broker's login page" : [clock.account, clock.says].filter(Boolean).join(" · ");
    put(place.querySelector("span"), clock.error ?? words);
    place.title = clock.facts?.ended ?? "";
    const way_back = ["ended", "none"].includes(clock.state) && (clock.facts?.credentials || clock.facts?.practice);
    button.hidden = !way_back || Boolean(pending);
  });
  watch_connection(root);
}
