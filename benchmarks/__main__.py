"""Runs every benchmark and says which aims were missed: exit code 1 if one was.

python -m benchmarks [scoring|training_set|snapshot|spark|parse|stages|nights|overhead|pages|check|impact
                      |dbt_in_airflow]
python -m benchmarks year [--trials 4] [--home FOLDER]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks import (
    check,
    dbt_in_airflow,
    impact,
    nights,
    overhead,
    pages,
    parse,
    scoring,
    snapshot,
    spark,
    stages,
    training_set,
    year,
)

BENCHMARKS = (
    "scoring",
    "training_set",
    "snapshot",
    "spark",
    "parse",
    "stages",
    "nights",
    "overhead",
    "pages",
    "check",
    "impact",
    "dbt_in_airflow",
)


def main(
    which: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(BENCHMARKS)}; all by default.")] = None,
    rows: Annotated[list[int] | None, typer.Option(help="Rows to score: 1 M and 10 M, on Spark 30 M too.")] = None,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds of which the medians are shown.")] = 3,
    kind: Annotated[
        list[str] | None, typer.Option(help=f"Kinds of question to score: {', '.join(scoring.ALL_WAYS)}; all.")
    ] = None,
    *,
    trials: Annotated[int, typer.Option(help="year: search trials of each training; 0: as the spec says.")] = 0,
    home: Annotated[Path | None, typer.Option(help="year: a folder to keep, or to go on with.")] = None,
) -> None:
    """Run the benchmarks and print their tables; `year`, which takes an hour, only if it is named."""
    chosen = which or list(BENCHMARKS)
    missed: list[str] = []
    if "scoring" in chosen:
        missed += scoring.run(rows or [1_000_000, 10_000_000], rounds, kind or list(scoring.ALL_WAYS))
    if "training_set" in chosen:
        missed += training_set.run(rows or [1_000_000, 3_000_000], rounds)
    if "snapshot" in chosen:
        for size in rows or [snapshot.ROWS]:
            missed += snapshot.run(size, rounds)
    if "spark" in chosen:
        missed += spark.run(rows or [1_000_000, 10_000_000, 30_000_000], rounds)
    if "parse" in chosen:
        missed += parse.run([1, 50], rounds)
    if "stages" in chosen:
        missed += stages.run()
    if "nights" in chosen:
        missed += nights.run()
    if "overhead" in chosen:
        missed += overhead.run()
    if "pages" in chosen:
        missed += pages.run()
    if "check" in chosen:
        missed += check.run()
    if "impact" in chosen:
        missed += impact.run()
    if "year" in chosen:
        missed += year.run(trials=trials, home=home)
    if "dbt_in_airflow" in chosen:
        missed += dbt_in_airflow.run(list(dbt_in_airflow.MODELS), rounds)
    for line in missed:
        print(f"MISSED: {line}")
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
