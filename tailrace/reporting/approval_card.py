"""The card on which a person approves or rejects a challenger: Markdown, every value escaped."""

from __future__ import annotations

from collections.abc import Mapping

from tailrace.champions.gate import Decision
from tailrace.reporting.comparison import CalibrationBin, Comparison
from tailrace.reporting.templating import render
from tailrace.spec import PipelineSpec

SLICES = 30
"""How many slices are shown, largest first; the evaluation report has all of them."""

VERDICTS = {
    "promote": "The gate would promote it.",
    "keep": "The gate would keep the champion.",
    "refuse": "The gate refuses it: an approval will fail.",
}


def write(spec: PipelineSpec, compared: Comparison, decision: Decision, links: Mapping[str, str | None]) -> str:
    """The card; `links` maps names to addresses, and entries with an empty address are left out."""
    ours = {(one.low, one.high): one for one in compared.calibration if one.model == "challenger"}
    theirs = {(one.low, one.high): one for one in compared.calibration if one.model == "champion"}
    bins: list[tuple[tuple[float, float], CalibrationBin | None, CalibrationBin | None]] = [
        (bounds, ours.get(bounds), theirs.get(bounds)) for bounds in sorted({*ours, *theirs})
    ]
    return render(
        "approval.md.j2",
        spec=spec,
        compared=compared,
        verdict=VERDICTS[decision.verdict],
        rules=decision.rules,
        slices=sorted(compared.slices, key=lambda row: -row.rows)[:SLICES],
        more_slices=max(0, len(compared.slices) - SLICES),
        bins=bins,
        calibration=spec.problem.calibration_words,
        links={name: address for name, address in links.items() if address},
        days=f"{spec.gate.approval_days:g}",
    )
