// What pages do in the browser: charts, the calendar's keys, forms that start runs through Airflow's REST API.

/** A figure whose colours such as "--accent" are those of the style sheet, as the theme has them now. */
function themed(value) {
  if (typeof value === "string") return value.startsWith("--") ? resolved(value) : value;
  if (Array.isArray(value)) return value.map(themed);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, themed(part)]));
  }
  return value;
}

/** The colour that a custom property stands for: light-dark() is resolved by giving it to an element. */
function resolved(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

function draw(element) {
  const { data, layout } = themed(JSON.parse(element.dataset.figure));
  const text = { color: resolved("--text"), family: getComputedStyle(document.body).fontFamily, size: 12 };
  const axis = { gridcolor: resolved("--line"), zerolinecolor: resolved("--line"), automargin: true };
  Plotly.react(
    element,
    data,
    {
      ...layout,
      font: text,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 8, t: 36, b: 8 },
      // above the marks of new champions, where a chart has them
      legend: { orientation: "h", x: 0, y: layout.annotations?.length ? 1.1 : 1.02, yanchor: "bottom" },
      showlegend: data.length > 1,
      hovermode: "closest",
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
    },
    { displayModeBar: false, responsive: true },
  );
}

function drawAll() {
  if (globalThis.Plotly) document.querySelectorAll("[data-figure]").forEach(draw);
}

/** One day at a time is in the tab order; arrows go to its neighbours, and what it is about is said beside it. */
function calendar(element) {
  const days = [...element.querySelectorAll("a.day")];
  const about = document.getElementById("day-about");
  const select = (day) => {
    days.forEach((each) => each.setAttribute("tabindex", each === day ? "0" : "-1"));
    about.textContent = day.dataset.about;
  };
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7, PageUp: -30, PageDown: 30 };
  element.addEventListener("keydown", (event) => {
    const place = days.indexOf(document.activeElement);
    const ends = { Home: 0, End: days.length - 1 };
    const step = steps[event.key];
    if (place < 0 || (step === undefined && ends[event.key] === undefined)) return;
    event.preventDefault();
    const next = ends[event.key] ?? Math.min(Math.max(place + step, 0), days.length - 1);
    days[next].focus();
  });
  days.forEach((day) => {
    day.addEventListener("focus", () => select(day));
    day.addEventListener("pointerenter", () => (about.textContent = day.dataset.about));
  });
}

/** What a form says, in the types of the DAG's parameters; fields left empty keep the DAG's default. */
function values(form) {
  const found = {};
  for (const input of form.querySelectorAll("[data-param]")) {
    const { param, kind } = input.dataset;
    if (kind === "checkbox") found[param] = input.checked;
    else if (input.value === "") {
      if (input.dataset.nullable) found[param] = null;
    } else found[param] = kind === "number" ? Number(input.value) : input.value;
  }
  return found;
}

/** The offset of a time zone at a day's midnight, such as -05:00. */
function offsetOf(day, zone) {
  const parts = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" }).formatToParts(
    new Date(`${day}T12:00:00Z`),
  );
  const name = parts.find((part) => part.type === "timeZoneName").value.replace("GMT", "");
  return name === "" ? "+00:00" : name;
}

function request(form) {
  const { dag, action, zone } = form.dataset;
  const conf = values(form);
  if (action !== "backfill") {
    return { path: `/dags/${encodeURIComponent(dag)}/dagRuns`, body: { logical_date: null, conf } };
  }
  const [first, last, atOnce] = ["from", "to", "at_once"].map((name) => form.elements[name].value);
  return {
    path: "/backfills",
    body: {
      dag_id: dag,
      from_date: `${first}T00:00:00${offsetOf(first, zone)}`,
      to_date: `${last}T23:59:59${offsetOf(last, zone)}`,
      max_active_runs: Number(atOnce),
      reprocess_behavior: "completed",
      run_backwards: false,
      dag_run_conf: conf,
    },
  };
}

/** A refusal of Airflow's as a sentence. */
function sentence(status, answer) {
  const detail = answer?.detail ?? answer?.title;
  if (Array.isArray(detail)) return detail.map((each) => `${each.loc?.at(-1) ?? ""}: ${each.msg}`).join(" ");
  if (status === 401) return "You are no longer logged in. Log in to Airflow and try again.";
  if (status === 403) return "You have no right to start this. Ask an administrator of Airflow for it.";
  return typeof detail === "string" ? detail : JSON.stringify(detail ?? answer);
}

/** Airflow's answer to a request of the logged-in user. */
async function ask(form, method, path, body) {
  const response = await fetch(`${form.dataset.airflow}/api/v2${path}`, {
    method,
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: body && JSON.stringify(body),
  });
  return { response, answer: await response.json().catch(() => null) };
}

/** Why a run would not start, because its DAG is paused; "" if it would. Unpauses the DAG if the form says so. */
async function stillPaused(form) {
  const { dag } = form.dataset;
  const path = `/dags/${encodeURIComponent(dag)}`;
  const now = await ask(form, "GET", path);
  const paused = now.response.ok && now.answer?.is_paused === true;
  document.getElementById("paused").hidden = !paused;
  if (!paused) return "";
  if (!form.elements.unpause.checked) {
    return `Nothing was started: ${dag} is paused, so a run would wait until somebody unpauses it. Tick “Unpause it”, and send the form again.`;
  }
  const { response, answer } = await ask(form, "PATCH", `${path}?update_mask=is_paused`, { is_paused: false });
  return response.ok ? "" : `Nothing was started: Airflow did not unpause ${dag}. ${sentence(response.status, answer)}`;
}

async function send(form) {
  const status = form.querySelector("[role=status]");
  const button = form.querySelector("button[type=submit]");
  const say = (text, kind) => {
    status.textContent = text;
    status.className = kind;
  };
  const [first, last] = form.elements.from ? ["from", "to"] : ["first_day", "day"];
  if (form.elements[first] && form.elements[first].value > form.elements[last]?.value) {
    say("The first day is after the last one.", "error");
    return;
  }
  button.disabled = true;
  say("Asking Airflow …", "");
  try {
    const waits = await stillPaused(form);
    if (waits) {
      say(waits, "error");
      button.disabled = false;
      return;
    }
    const { path, body } = request(form);
    const { response, answer } = await ask(form, "POST", path, body);
    if (!response.ok) {
      say(`Airflow refused: ${sentence(response.status, answer)}`, "error");
      button.disabled = false;
      return;
    }
    const dag = encodeURIComponent(form.dataset.dag);
    const where = answer.dag_run_id ? `/runs/${encodeURIComponent(answer.dag_run_id)}` : "/backfills";
    const link = document.createElement("a");
    link.href = `${form.dataset.airflow}/dags/${dag}${where}`;
    link.target = "_top";
    link.textContent = answer.dag_run_id ? "Open the run" : "Open the backfill";
    say("Started. ", "done");
    status.append(link);
    link.focus();
  } catch (error) {
    say(`Airflow could not be reached: ${error.message}. Probably nothing was started.`, "error");
    button.disabled = false;
  }
}

function filter(input) {
  const rows = [...document.querySelectorAll(input.dataset.filter)];
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    rows.forEach((row) => (row.hidden = !row.textContent.toLowerCase().includes(wanted)));
  });
}

/** Inside Airflow, the page is light or dark as Airflow is, whatever the system prefers. */
function followTheme() {
  const airflow = window.top.document.documentElement;
  const follow = () => {
    document.documentElement.style.colorScheme = getComputedStyle(airflow).colorScheme;
    drawAll();
  };
  new MutationObserver(follow).observe(airflow, { attributes: true, attributeFilter: ["class", "style"] });
  follow();
}

/** Inside Airflow, its address follows the page, so that it can be reloaded and sent to somebody. */
function followAddress() {
  if (window.top === window) return;
  document.documentElement.classList.add("embedded");
  try {
    followTheme();
    const [base, rest] = location.pathname.split("/tailrace/pages");
    const menu = `${base}/plugin/models`;
    if (rest !== undefined && top.location.pathname.startsWith(menu)) {
      top.history.replaceState(top.history.state, "", `${menu}${rest}${location.search}`);
    }
  } catch {
    // A frame of another site: its theme and address cannot be read.
  }
}

followAddress();
// Plotly is large: everything else works before it has loaded.
addEventListener("load", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
document.querySelectorAll(".calendar").forEach(calendar);
document.querySelectorAll("[data-filter]").forEach(filter);
/** Shows what a backfill would do, on the same page: its days, model and force are in the address then. */
function preview(form) {
  const { model, force } = values(form);
  const days = ["from", "to"].map((name) => form.elements[name]);
  const wrong = days.find((each) => !each.reportValidity());
  if (wrong) return;
  const asked = new URLSearchParams({ preview: "1", from: days[0].value, to: days[1].value });
  if (model) asked.set("model", model);
  if (force) asked.set("force", "true");
  location.search = asked.toString();
}

document.querySelectorAll("[data-preview]").forEach((button) =>
  button.addEventListener("click", () => preview(button.form)),
);

document.querySelectorAll("form[data-dag]").forEach((form) =>
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  }),
);
document.documentElement.dataset.ready = "true";
