"""Schemas of Postgres that are made for one command: dropped at its end, or by the next one if it was killed."""

from __future__ import annotations

import pytest

from tailrace.errors import BadInput
from tailrace.warehouse import throwaway_schemas
from tailrace.warehouse.adapter import DbtAdapter
from tests import shop
from tests.postgres import Database, Server, postgres  # noqa: F401 - a fixture

pytestmark = pytest.mark.services

PREFIX = "tailrace_tried_"


@pytest.fixture(scope="module")
def database(postgres: Server) -> Database:  # noqa: F811
    return postgres.database("throwaway")


@pytest.fixture(scope="module")
def adapter(database: Database, tmp_path_factory: pytest.TempPathFactory) -> DbtAdapter:
    folder = tmp_path_factory.mktemp("shop")
    output = {"type": "postgres", "host": "127.0.0.1", "port": database.port, "user": database.user, "schema": "public"}
    profiles = shop.write(folder / "shop", output | {"password": database.password, "dbname": database.name})
    return DbtAdapter(folder / "shop", work=folder / "work", profiles=profiles, target="prod")


def schemas(server: Server, database: Database) -> set[str]:
    found = server.execute(f"select nspname from pg_namespace where nspname like '{PREFIX}%'", database.name)  # noqa: S608
    return {name for (name,) in found}


def test_what_is_in_use_stays_and_what_a_killed_command_left_goes(
    postgres: Server,  # noqa: F811
    database: Database,
    adapter: DbtAdapter,
) -> None:
    left = f"{PREFIX}1700000000_dead_now"
    postgres.execute(f"create schema {left} authorization {database.user}", database.name)
    with throwaway_schemas.made(adapter, PREFIX, ["now", "then"]) as first:
        assert schemas(postgres, database) == set(first)
        with throwaway_schemas.made(adapter, PREFIX, ["now"]) as second:
            assert schemas(postgres, database) == {*first, *second}
        assert schemas(postgres, database) == set(first)
        # as a kill would end the connection that holds the lock, and so the command
        postgres.execute("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
        with throwaway_schemas.made(adapter, PREFIX, ["now"]) as third:
            assert schemas(postgres, database) == set(third)
    assert schemas(postgres, database) == set()


def test_a_role_that_may_not_create_schemas_is_told_the_grant(
    postgres: Server,  # noqa: F811
    database: Database,
    adapter: DbtAdapter,
) -> None:
    postgres.execute(f"revoke create on database {database.name} from {database.user}")
    try:
        said = f"grant create on database {database.name} to {database.user}"
        with pytest.raises(BadInput, match=said), throwaway_schemas.made(adapter, PREFIX, ["now"]):
            pass
    finally:
        postgres.execute(f"grant create on database {database.name} to {database.user}")
    assert schemas(postgres, database) == set()
