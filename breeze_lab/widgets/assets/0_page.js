// The page: its server, its colours and the few things every widget does to it.

/** Return the base URL of the Jupyter server behind this page, or null where there is none. */
function base_url() {
  try {
    const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
    const path = config.baseUrl || "/";
    return new URL(path.endsWith("/") ? path : `${path}/`, window.location.href).href;
  } catch {
    return null; // VS Code and the like: the kernel helps
  }
}

function page_theme() {
  const light = document.body.dataset.jpThemeLight;
  if (light !== undefined) return light === "false" ? "dark" : "light";
  if (document.body.classList.contains("vscode-dark")) return "dark";
  return "light";
}

/** Keep `root.dataset.theme` what the page's is; return what ends that. */
function follow_page_theme(root) {
  const put_on = () => {
    root.dataset.theme = page_theme();
  };
  put_on();
  const watcher = new MutationObserver(put_on);
  watcher.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  return () => watcher.disconnect();
}

/** Return Jupyter's token against forged requests, which it keeps in a cookie of the page. */
function xsrf_token() {
  const found = /(?:^|;\s*)_xsrf=([^;]*)/.exec(document.cookie);
  return found ? decodeURIComponent(found[1]) : "";
}

/**
 * Ask one of our routes; return {status, body}. Status 0: the server cannot be reached.
 * A body that is no JSON is null.
 */
async function ask_server(route, { method = "GET", data = undefined, signal = undefined } = {}) {
  const headers = { "X-XSRFToken": xsrf_token() };
  if (data !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(`${base_url()}breeze-lab/${route}`, {
      method, headers, signal, credentials: "same-origin", cache: "no-store",
      body: data === undefined ? undefined : JSON.stringify(data),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { status: 0, body: null };
  }
  let body = null;
  try {
    body = await answer.json();
  } catch {
    // a page of somebody else's, a proxy's for instance
  }
  return { status: answer.status, body };
}

/** Put text on the clipboard; the old way where the page has no secure context. */
async function copy_text(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = document.createElement("textarea");
    box.value = text;
    box.style.cssText = "position:fixed;opacity:0";
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    return done;
  }
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Show a widget of the kernel's below the search, where the page can. */
async function show_child(model, name, el) {
  const id = model.get(name);
  if (!id || !model.widget_manager) return;
  try {
    const child = await model.widget_manager.get_model(id.replace("IPY_MODEL_", ""));
    const view = await model.widget_manager.create_view(child);
    el.replaceChildren(view.el);
    view.trigger?.("displayed");
  } catch (error) {
    el.textContent = `The chart cannot be shown here: ${error.message}`;
  }
}

/** Set an element's text only when it changed, so that a selection in it lives on. */
function put(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
