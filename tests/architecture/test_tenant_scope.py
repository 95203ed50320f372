"""Whose rows a statement may touch is in the shape of its function, of its table, and of its keys."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGE, declared_tables, imports_of, python_files, shown, tree_of

SCOPES = {"company_id", "workspace_id"}
QUERIES = sorted([*PACKAGE.glob("*/queries.py"), *PACKAGE.glob("*/queries/*.py")])

WITHOUT_COMPANY = {
    "limit_modes": "a limit is enforced, watched or off for every company",
    "attempt_batches": "many companies' tries in one row, gone within seconds",
    "companies": "its id is the company",
    "people": "people are global, memberships tie them to companies (D-10)",
    "sign_in_tries": "counts guesses at an email or from an address, before anybody knows whose they are",
    "mfa_factors": "belongs to a person, who is global (D-10)",
    "recovery_codes": "the same",
    "restrictions": "closes the routes of people of every company",
    "meter_closings": "the calendar's months, which are everybody's",
    "signing_keys": "the service's own keys, which sign for every company",
    "attempts": "belongs to a delivery, which has the company",
    "job_attempts": "belongs to a job, which has the company",
    "queues": "the engine's own; queues serve every company",
    "workers": "the engine's own; workers serve every company",
    "queue_minutes": "the engine's own; depths of a whole queue",
    "bulk_acts": "operators' acts over all companies",
    "test_runs": "operators' own; the job has the company",
    "enqueue_requests": "ids of the jobs that a request made, which have their companies",
    "queue_tallies": "the engine's own; counts of a whole queue",
    "job_kinds": "the engine's own; kinds serve every company",
    "kind_pauses": "the engine's own; a pause holds for every company",
    "kind_minutes": "the engine's own; figures of a whole kind",
    "schedule_runs": "the engine's own; schedules are the service's",
    "schedule_jobs": "the same",
    "schedules": "the same",
    "rate_limits": "counts by a key, which names whose calls they are",
    "api_nodes": "the service's own processes",
    "system_figures": "of a whole database",
    "function_steps": "belongs to a run, which has the company",
    "function_holds": "belongs to a run, which has the company",
    "function_apps": "applications of those who run the service; what they serve is for every company",
    "function_paces": "counts starts by a function's own key, which may span companies",
    "function_keys": "digests of keys seen in the last day; an event's id is its sender's",
}
COMPANY_MAY_BE_ABSENT = {
    "announcements": "facts of the operator belong to no company",
    "jobs": "upkeep serves no company",
    "limit_overrides": "figures may be set for everybody",
    "limit_refusals": "who logs in is nobody's yet",
    "auth_log": "the same",
    "finished_jobs": "upkeep serves no company",
    "dead_jobs": "upkeep serves no company",
    "function_runs": "what the service's own application or the clock starts belongs to no company",
    "function_gathers": "the same",
    "letters": "what goes to a person may concern no company, or all of theirs",
    "one_time_links": "the same",
}
NOT_ABOUT_ROWS = {
    r"plan_\w+": "steers how the rest of the caller's transaction is planned",
    r"begin_by_\w+": "opens such a transaction",
    r"server": "asks what the server is, not what a table holds",
}
SQL_ELSEWHERE = {
    "src/mainstay/events/filters.py": "turns a request's filters into conditions of the statements in queries.py",
}


def statements(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The public functions of a queries module; methods of its classes are not statements."""
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("path", QUERIES, ids=shown)
def test_every_query_is_bound_to_a_tenant_or_says_that_it_is_not(path: Path) -> None:
    unbound = [
        f"{shown(path)}:{function.lineno} {function.name}"
        for function in statements(path)
        if _takes_connection(function)
        and not function.name.endswith("_everywhere")
        and not SCOPES & _arguments(function)
        and not any(re.fullmatch(pattern, function.name) for pattern in NOT_ABOUT_ROWS)
    ]
    assert unbound == []


@pytest.mark.parametrize("path", QUERIES, ids=shown)
def test_a_query_uses_the_tenant_that_it_takes(path: Path) -> None:
    unused = [
        f"{shown(path)}:{function.lineno} {function.name} ignores {scope}"
        for function in statements(path)
        for scope in SCOPES & _arguments(function)
        if not any(isinstance(node, ast.Name) and node.id == scope for node in ast.walk(function))
    ]
    assert unused == []


def test_statements_stand_in_queries_alone() -> None:
    elsewhere = {
        shown(path)
        for path in python_files("src/mainstay")
        if path.name not in ("queries.py", "tables.py") and not {"kernel", "queries"} & set(path.parts)
        for _, module, name in imports_of(path)
        if module.startswith("sqlalchemy") or (module == "mainstay.kernel.db" and name in ("Sql", "compose"))
    }
    assert elsewhere == set(SQL_ELSEWHERE)


def test_every_tenant_table_names_its_company() -> None:
    without = {table.name for table in declared_tables() if "company_id" not in table.c}
    assert without == set(WITHOUT_COMPANY)


def test_a_company_is_required_where_rows_are_a_tenants() -> None:
    optional = {table.name for table in declared_tables() if "company_id" in table.c and table.c.company_id.nullable}
    assert optional == set(COMPANY_MAY_BE_ABSENT)


def test_every_table_is_home_or_regional() -> None:
    assert [table.name for table in declared_tables() if table.info.get("scope") not in ("home", "regional")] == []


def test_no_foreign_key_crosses_from_one_region_to_another() -> None:
    crossing = [
        f"{table.name}.{key.parent.name} -> {key.column.table.name}"
        for table in declared_tables()
        for key in table.foreign_keys
        if key.column.table.info["scope"] != table.info["scope"]
    ]
    assert crossing == []


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    given = function.args
    return {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}


def _takes_connection(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it asks the database: only those are statements, the others build parts of one."""
    return bool({"tx", "db", "connection"} & _arguments(function))
