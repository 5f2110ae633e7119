// Breeze Lab in JupyterLab: a place in the sidebar, one in the status bar, and commands.
//
// Written by hand in the form JupyterLab loads prebuilt extensions in: no build chain. What fills
// the places comes from the server extension (static/lab.js), after JupyterLab is on the screen, so
// that it is always of the server's version, and where there is no such server nothing is loaded.

(() => {
  const NAME = "breeze-lab";
  const ICON = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16"><g class="jp-icon3"
    fill="#616161"><rect x="2" y="5" width="3" height="6" rx=".6"/><rect x="3" y="2.5" width="1" height="11"/><rect
    x="6.5" y="3.5" width="3" height="5.5" rx=".6"/><rect x="7.5" y="1" width="1" height="11"/><rect x="11" y="6.5"
    width="3" height="6" rx=".6"/><rect x="12" y="4" width="1" height="11"/></g></svg>`;
  let scope = null;

  /** Return one of JupyterLab's own packages, whatever its version. */
  const take = async (name) => {
    const versions = scope[name];
    if (!versions) throw new Error(`JupyterLab shares no ${name}`);
    return (await Object.values(versions)[0].get())();
  };

  const make_plugin = async () => {
    const [application, apputils, notebook, statusbar, ui, lumino, start] = await Promise.all([
      "@jupyterlab/application", "@jupyterlab/apputils", "@jupyterlab/notebook",
      "@jupyterlab/statusbar", "@jupyterlab/ui-components", "@lumino/widgets", "@jupyterlab/launcher",
    ].map(take));

    const activate = (app, shell, palette, notebooks, bar, restorer, launcher) => {
      const icon = new ui.LabIcon({ name: `${NAME}:icon`, svgstr: ICON });
      const side = new lumino.Widget();
      side.id = `${NAME}-side`;
      side.title.icon = icon;
      side.title.caption = "Breeze Lab: search, watchlist, session";
      side.node.setAttribute("role", "region");
      side.node.setAttribute("aria-label", "Breeze Lab");
      side.node.style.minWidth = "240px";
      shell?.add(side, "left", { rank: 450 });
      restorer?.add(side, side.id);
      let status = null;
      if (bar) {
        status = new lumino.Widget();
        bar.registerStatusItem(`${NAME}:session`, { item: status, align: "right", rank: 90 });
      }

      /** Put code into a new cell below the active one; say whether there was a notebook. */
      const insert_code = async (code, { run = false } = {}) => {
        const panel = notebooks?.currentWidget;
        if (!panel) return false;
        await panel.context.ready;
        const { content, sessionContext } = panel;
        const known = content.widgets.some((cell) => /^\s*import breeze_lab\b/m.test(cell.model.sharedModel.getSource()));
        notebook.NotebookActions.insertBelow(content);
        content.activeCell.model.sharedModel.setSource(known ? code : `import breeze_lab\n${code}`);
        if (run) notebook.NotebookActions.run(content, sessionContext); // its end is not waited for
        return true;
      };
      const show_side = () => shell?.activateById(side.id);

      let ours = null; // what lab.js gave us
      const note = (words) => {
        side.node.innerHTML = '<p style="margin:12px;color:var(--jp-ui-font-color2)"></p>';
        side.node.firstChild.textContent = words;
      };
      let loading = null;
      const load = () => {
        loading ??= (async () => {
          const base = new URL(app.serviceManager.serverSettings.baseUrl, window.location.href).href;
          const place = `${base}breeze-lab/static/`;
          const there = await fetch(`${place}lab.css`, { credentials: "same-origin" });
          if (!there.ok) {
            note(there.status === 404
              ? "This Jupyter server runs without Breeze Lab's server extension. To have it: jupyter server extension enable breeze_lab_server, then start the server again."
              : `Breeze Lab's server extension answered HTTP ${there.status}.`);
            return null;
          }
          const sheet = document.createElement("style");
          sheet.textContent = await there.text();
          document.head.append(sheet);
          const { begin } = await import(`${place}lab.js`);
          const lab = { insert_code, show_side, open_page };
          window.__breeze_lab_app = lab;
          ours = begin({ side: side.node, status: status?.node, lab });
          return ours;
        })().catch((error) => {
          loading = null; // the server was away: the next look tries again
          note(`Breeze Lab could not be loaded: ${error.message}`);
          return null;
        });
        return loading;
      };
      // After everything JupyterLab does to get on the screen.
      app.restored.then(() => {
        const soon = window.requestIdleCallback ?? ((then) => setTimeout(then, 200));
        soon(() => load(), { timeout: 3000 });
      });

      /** What is selected in the active cell, or the word at its cursor. */
      const selected = () => {
        const editor = notebooks?.activeCell?.editor;
        if (!editor) return "";
        const { start, end } = editor.getSelection();
        const text = editor.model.sharedModel.getSource();
        const [from, to] = [start, end].map((place) => editor.getOffsetAt(place)).sort((a, b) => a - b);
        const chosen = from === to ? editor.getTokenAtCursor().value : text.slice(from, to);
        return chosen.trim().replace(/^["']|["']$/g, "").slice(0, 80);
      };
      const commands = [
        ["search", "Search Instruments", async () => {
          show_side();
          (await load())?.search();
        }],
        ["log-in", "Log In", async () => {
          (await load())?.log_in();
        }],
        ["chart-selected", "Chart of the Selected Name", async () => {
          const name = selected();
          if (name && !/\n/.test(name)) await insert_code(`breeze_lab.candles(${JSON.stringify(name)}, "1m")`, { run: true });
          else {
            show_side();
            (await load())?.search();
          }
        }],
      ];
      const open_page = (path) => {
        window.open(new URL(path, new URL(app.serviceManager.serverSettings.baseUrl, window.location.href)));
      };
      commands.push(["jobs", "Scheduled Notebooks", () => open_page("breeze-lab/jobs")]);
      commands.push(["dashboards", "Dashboards", () => open_page("breeze-lab/dash/market")]);
      for (const [id, label, execute] of commands) {
        const command = `${NAME}:${id}`;
        app.commands.addCommand(command, {
          label: `Breeze Lab: ${label}`, icon: ["search", "dashboards"].includes(id) ? icon : undefined, execute,
          describedBy: { args: { type: "object", properties: {} } },
        });
        palette?.addItem({ command, category: "Breeze Lab" });
      }
      launcher?.add({ command: `${NAME}:dashboards`, category: "Breeze Lab", rank: 1 });
    };

    return {
      id: `${NAME}:plugin`,
      description: "Search, watchlist and session clock for Breeze Lab.",
      autoStart: true,
      optional: [application.ILabShell, apputils.ICommandPalette, notebook.INotebookTracker,
        statusbar.IStatusBar, application.ILayoutRestorer, start.ILauncher],
      activate,
    };
  };

  /** The field of the scheduling form that takes market time: it fills in a parameter. */
  const make_market_time = async () => {
    const [scheduler, react] = await Promise.all(["@jupyterlab/scheduler", "react"].map(take));
    const NAME_OF_IT = "market_time";
    const PHRASES = ["after F&O close on trading days", "20m after cash close on trading days", "09:00 on trading days",
      "every 15m while the market is open", "15:00 on expiry days", "18:00 on the last trading day of the month"];
    const h = react.createElement;
    const Field = ({ model, handleModelChange }) => {
      const all = model.parameters ?? [];
      const fixed = !("createType" in model); // what is looked at, not made
      const value = all.find((one) => one.name === NAME_OF_IT)?.value ?? "";
      const change = (event) => {
        const parameters = all.filter((one) => one.name !== NAME_OF_IT);
        if (event.target.value) parameters.push({ name: NAME_OF_IT, value: event.target.value });
        handleModelChange({ ...model, parameters, createType: "JobDefinition" });
      };
      if (fixed && !value) return null;
      return h("label", { className: "breeze-lab-market-time", style: { display: "block" } }, "Market time",
        h("input", { value, readOnly: fixed, onChange: change, list: `${NAME}-phrases`, placeholder: PHRASES[0],
          "aria-label": "Market time", className: "jp-mod-styled", style: { display: "block", width: "100%", padding: "8px" } }),
        h("datalist", { id: `${NAME}-phrases` }, PHRASES.map((one) => h("option", { key: one, value: one }))),
        fixed ? null : h("small", null, "By the exchange calendar, in the place of the interval below."));
    };
    return { id: `${NAME}:market-time`, description: "Market time in the scheduling form.", autoStart: true,
      provides: scheduler.Scheduler.IAdvancedOptions, activate: () => Field };
  };

  const container = {
    init: (shared) => {
      scope = shared;
      return Promise.resolve();
    },
    get: async (module) => {
      if (module !== "./extension") throw new Error(`${NAME} has no ${module}`);
      const plugins = [await make_plugin()];
      // Where the form is not installed there is nothing to fill in.
      if (scope["@jupyterlab/scheduler"]) plugins.push(await make_market_time());
      return () => ({ __esModule: true, default: plugins });
    },
  };
  (window._JUPYTERLAB ??= {})[NAME] = container;
})();
