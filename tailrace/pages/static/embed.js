// Shows a page of Tailrace inside Airflow's UI. Airflow loads this as a React app; React is Airflow's own.
// The frame has no sandbox, so that links to runs and forms lead Airflow itself there, and it follows the theme.

const MENU = "/plugin/models";

const basePath = () => new URL(document.baseURI).pathname.replace(/\/$/, "");

/** The page for where Airflow is: a run, a DAG, or what the address says below the menu entry. */
function pageOf({ dagId, runId }) {
  if (runId) return `runs/${encodeURIComponent(dagId)}/${encodeURIComponent(runId)}/dbt`;
  if (dagId) return dagId.includes("__") ? encodeURIComponent(dagId.split("__").slice(1).join("__")) : "";
  const [, rest = ""] = location.pathname.split(MENU);
  return rest.replace(/^\//, "");
}

function Tailrace(props) {
  const [source] = globalThis.React.useState(() => {
    const page = pageOf(props);
    return `${basePath()}/tailrace/pages${page && `/${page}`}`;
  });
  return globalThis.React.createElement("iframe", {
    src: source,
    title: "Tailrace",
    style: { border: 0, display: "block", flexGrow: 1, height: "100%", minHeight: "75vh", width: "100%" },
  });
}

for (const name of ["Models", "Model days", "dbt"]) globalThis[name] = Tailrace;
