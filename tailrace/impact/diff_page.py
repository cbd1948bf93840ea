"""A diff as one HTML file: its charts are inside it, so it needs no network."""

from __future__ import annotations

from typing import Any

from tailrace.impact import diff_words, words
from tailrace.impact.comparing import QUANTILES, Compared
from tailrace.impact.diffing import Diff
from tailrace.impact.pipeline_diff import PipelineDiff


def html(found: Diff) -> str:
    """The page."""
    from tailrace.reporting import templating

    return templating.render(
        "diff.html.j2",
        conclusion=diff_words.conclusion(found),
        failed=found.failed,
        base=f"{found.impact.base.short} ({found.impact.base.words})",
        pipelines=[_pipeline(each) for each in found.pipelines],
        impact="\n".join(words.lines(found.impact)),
        built=found.built,
    )


def _pipeline(each: PipelineDiff) -> dict[str, Any]:
    from tailrace.impact import diff_drawings

    tables = (("Features", each.features), ("Outcomes", each.outcomes), ("Predictions", each.predictions))
    return {
        "name": each.pipeline,
        "headline": diff_words.headline(each),
        "beyond": each.beyond,
        "error": each.error,
        "said": [*(f"Tonight would refuse: {it}" for it in each.refusals),
                 *(f"Tonight would warn: {it}" for it in each.warnings),
                 *(f"Tonight would no longer say: {it}" for it in each.lifted),
                 *(f"Beyond what the champion learned from: {name} ({it})" for name, it in each.left_range.items()),
                 *(diff_words.metric_words(one) for one in each.metrics)],
        "tables": [(name, _rows(table)) for name, table in tables if table is not None and table.moved],
        "slices": each.slices,
        "pictures": diff_drawings.of_pipeline(each),
    }  # fmt: skip


def _rows(table: Compared) -> list[dict[str, str]]:
    return [
        {
            "column": each.column,
            "changed": f"{each.changed:,} ({each.share:.1%})",
            "missing": f"{each.missing[0]:,} → {each.missing[1]:,}",
            "before": _quantiles(each.before),
            "after": _quantiles(each.after),
            "difference": _quantiles(each.difference),
            "values": "; ".join(
                f"{what}: {', '.join(values[:6])}"
                for what, values in (("new", each.new), ("gone", each.gone))
                if values
            ),
        }
        for each in table.moved
    ]


def _quantiles(values: tuple[float, ...]) -> str:
    """The 5 %, 50 % and 95 % quantiles."""
    wanted = [QUANTILES.index(each) for each in (0.05, 0.5, 0.95)]
    return " / ".join(f"{values[place]:.4g}" for place in wanted) if values else ""
