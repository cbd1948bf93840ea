"""The pages: each one checks rights, collects its data, and shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from tailrace import days
from tailrace.lineage import dag_ids
from tailrace.pages import access, catalog, charts, day_records, forms, histories, overview, pipeline, previews
from tailrace.pages import day as day_page
from tailrace.pages.histories import Shown
from tailrace.pages.web import AppParts, AppPartsDep, ReadableDep, ShownDep, forbidden, shown
from tailrace.spec import zone

router = APIRouter(prefix="/pages")


@router.get("")
def show_overview(request: Request, parts: AppPartsDep, user: GetUserDep) -> HTMLResponse:
    """Every pipeline that the user may read."""
    specs, broken = catalog.read()
    problems = histories.without_spec(parts.sources, specs, broken)
    allowed = access.readable(user, [*specs, *problems])
    gathered = overview.gather(
        parts.sources,
        [spec for name, spec in specs.items() if name in allowed],
        {name: problem for name, problem in problems.items() if name in allowed},
    )
    if gathered.nights and not access.may_read_dag(user, dag_ids.WAREHOUSE):
        gathered = replace(gathered, nights=None)
    missed = [row.name for row in gathered.rows if row.missed_training]
    return shown(
        request,
        "overview",
        page=gathered,
        hidden=len(specs) + len(problems) - len(allowed),
        may_train={name for name in missed if access.may_trigger(user, dag_ids.train(name))},
        may_catch_up=gathered.nights is not None and access.may_trigger(user, dag_ids.WAREHOUSE),
    )


@router.get("/forms/catch_up")
def show_catch_up(request: Request, parts: AppPartsDep, user: GetUserDep) -> HTMLResponse:
    """The form that builds the nights that were missed; the days that its address gives are filled in."""
    params = _params(parts, user, forms.CATCH_UP.dag, "look at the pages")
    form = forms.build_catch_up(params, request.query_params)
    return shown(request, "form", form=replace(form, paused=parts.sources.activity.is_paused(forms.CATCH_UP.dag)))


@router.get("/{name}")
def show_pipeline(
    request: Request, parts: AppPartsDep, known: ShownDep, user: GetUserDep, until: str = ""
) -> HTMLResponse:
    """One pipeline; `until` is the last day of its calendar."""
    spec = known.spec
    gathered = pipeline.gather(parts.sources, spec, days.parse(until, "until") if until else None)
    rows = gathered.performance or ()
    gate, monitor = (None, None) if known.problem else (spec.gate, spec.monitor)
    drawn = {
        "performance": charts.performance(rows, gathered.metric, gathered.decisions, gate) if rows else None,
        "drift": charts.drift(rows, gathered.decisions, monitor) if rows else None,
    }
    return shown(request, "pipeline", page=gathered, charts=drawn, may=_allowed(user, known), problem=known.problem)


@router.get("/{name}/forms/{action}")
def show_form(request: Request, parts: AppPartsDep, spec: ReadableDep, action: str, user: GetUserDep) -> HTMLResponse:
    """A form that starts a run; values from the page's address are filled in."""
    kind = forms.kind_of(action, spec.name)
    if kind is None:
        raise HTTPException(404, f"There is no form {action!r}.")
    params = _params(parts, user, kind.dag, f"look at {spec.name}")
    given = dict(request.query_params)
    if action == "predict" and (following := day_records.next_day(parts.sources, spec)):
        given.setdefault("day", str(following))
    form = forms.build(action, kind, spec, params=params, given=given, today=parts.sources.today(zone(spec)))
    form = replace(form, paused=parts.sources.activity.is_paused(kind.dag))
    previewed = previews.of(parts.sources, spec, given) if action == "backfill" and "preview" in given else None
    return shown(request, "form", form=form, previewed=previewed)


@router.get("/{name}/{day}")
def show_day(request: Request, parts: AppPartsDep, known: ShownDep, day: str, user: GetUserDep) -> HTMLResponse:
    """One day of a pipeline."""
    spec = known.spec
    gathered = day_page.gather(parts.sources, spec, days.parse(day, "day"))
    version = gathered.commit.metadata.get("model_version", "") if gathered.commit else ""
    drawn = charts.histogram(gathered.histogram, gathered.day, version) if gathered.histogram else None
    refused = gathered.refused
    evidence = (
        charts.histogram(refused.histogram, gathered.day, refused.version) if refused and refused.histogram else None
    )
    docs = {
        suite: found
        for suite in ("features", "predictions")
        if (found := newest_validation(parts.data_docs, spec.name, suite, str(gathered.day)))
    }
    may = _allowed(user, known)
    return shown(
        request,
        "day",
        page=gathered,
        chart_figure=drawn,
        evidence_figure=evidence,
        docs=docs,
        may=may,
        problem=known.problem,
    )


@router.get("/runs/{dag_id}/{run_id:path}/dbt")
def show_nodes(request: Request, parts: AppPartsDep, dag_id: str, run_id: str, user: GetUserDep) -> HTMLResponse:
    """The results of dbt's nodes in a run."""
    if not access.may_read_dag(user, dag_id):
        raise forbidden(f"the DAG {dag_id!r}")
    nodes = parts.sources.activity.nodes(dag_id, run_id)
    return shown(request, "nodes", nodes=nodes, dag_id=dag_id, run_id=run_id, pipeline=dag_id.partition("__")[2])


def _params(parts: AppParts, user: GetUserDep, dag: str, may: str) -> Mapping[str, Mapping[str, Any]]:
    """The DAG's parameters, for a user who may start runs of it; `may` is what they may do anyway."""
    if not access.may_trigger(user, dag):
        raise HTTPException(403, f"You may {may}, but not start runs of {dag}.")
    params = parts.sources.activity.form(dag)
    if params is None:
        raise HTTPException(404, f"Airflow has no DAG {dag}. Its import errors, on Airflow's start page, say why.")
    return params


def newest_validation(root: Path, pipeline: str, suite: str, day: str) -> str | None:
    """The path, below Data Docs, of the newest validation of that suite and day, if there is one."""
    pages = sorted((root / "validations" / pipeline / suite / day).glob("*/*.html"))
    return pages[-1].relative_to(root).as_posix() if pages else None


def _allowed(user: GetUserDep, known: Shown) -> dict[str, bool]:
    """Which forms the user may send: none for a pipeline that nothing can run."""
    if known.problem:
        return dict.fromkeys(forms.ACTIONS, False)
    spec = known.spec
    dags = {action: kind.dag for action in forms.ACTIONS if (kind := forms.kind_of(action, spec.name))}
    may = {dag: access.may_trigger(user, dag) for dag in set(dags.values())}
    return {action: may[dag] for action, dag in dags.items()}
