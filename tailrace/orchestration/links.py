"""The links on a task in Airflow's pages: each leads where the task said, once it has said so.

Registered in a plugin they are made in the api-server, at the moment somebody looks: also for tasks that run or failed.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink

from tailrace.lineage import xcom_keys
from tailrace.orchestration import task_results


class TaskLink(BaseOperatorLink):
    """A link whose address the task left under its name."""

    # On the class as well, where Airflow declares it abstract.
    name = ""

    def __init__(self, name: str) -> None:
        self.name = name

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address, absolute; empty if the task left none. It was written by a task: only web pages are led to."""
        from airflow.configuration import conf

        address = _left(ti_key, self.name)
        if not isinstance(address, str) or not address:
            return ""
        if urlsplit(address).scheme:
            return address if urlsplit(address).scheme in ("http", "https") else ""
        return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/{address.lstrip('/')}"


LINKS = tuple(map(TaskLink, task_results.LINK_NAMES))
"""For a plugin's `global_operator_extra_links`."""


def _left(ti_key: Any, name: str) -> Any:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    wanted = XComModel.get_many(
        key=xcom_keys.LINK + name,
        run_id=ti_key.run_id,
        dag_ids=ti_key.dag_id,
        task_ids=ti_key.task_id,
        map_indexes=ti_key.map_index,
    ).with_only_columns(XComModel.value)
    with create_session() as session:
        found = session.execute(wanted).first()
    held = found.value if found else None
    # Tasks leave it as JSON, Airflow's own code as the JSON's text.
    return json.loads(held) if isinstance(held, str) and held.startswith('"') else held
