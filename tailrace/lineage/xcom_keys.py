"""The keys of the XComs that a task leaves for people. Airflow's history has them: never change one."""

from __future__ import annotations

RESULT = "tailrace_result"
"""The fields of the stage's result; a list of them if a task worked day by day."""
LINK = "tailrace_link."
"""Before the name of a link, one XCom each: a URL, or a path below Airflow's own address."""
ERROR = "tailrace_error"
"""The sentence that a failed task ended with."""
NODES = "tailrace_nodes"
"""Of the task `build`: the result of each dbt node."""
STOPPED = "tailrace_stopped"
"""Of the task `build`, if it failed on some nodes, or had no day: a sentence for each pipeline that may not go on."""
NOT_LANDED = "tailrace_not_landed"
"""Of the task `ingest`, if it landed the extracts of some sources only: a sentence for each table of the others."""
NO_DAY = "tailrace_no_day"
"""Of the task `ingest`, if no source has the run's days: the sentence."""
