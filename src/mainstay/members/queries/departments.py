"""Statements on departments and who is in them."""

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_SHOWN = """d.id, d.name, d.created_at, (select count(*) from mainstay.department_members i
         where i.company_id = $1 and i.department_id = d.id) as members"""
_INSERT = Sql(
    "members.insert_department",
    """insert into mainstay.departments (company_id, id, name, name_key) values ($1, $2, $3, $4)
       on conflict (company_id, name_key) do nothing""",
)
_COUNT = Sql("members.count_departments", "select count(*) from mainstay.departments where company_id = $1")
_LIST = Sql(
    "members.list_departments",
    f"""select {_SHOWN} from mainstay.departments d where d.company_id = $1 and ($2::uuid is null or d.id > $2)
        order by d.id limit $3""",  # noqa: S608 (constants)
)
_ONE = f"select {_SHOWN} from mainstay.departments d where d.company_id = $1 and d.id = $2"  # noqa: S608 (constants)
_GET = Sql("members.get_department", _ONE)
_LOCK = Sql("members.lock_department", _ONE + " for update")
_RENAME = Sql(
    "members.rename_department",
    """update mainstay.departments d set name = $3, name_key = $4 where company_id = $1 and id = $2
         and not exists (select from mainstay.departments o
           where o.company_id = $1 and o.name_key = $4 and o.id <> d.id)""",
)
_DELETE = Sql("members.delete_department", "delete from mainstay.departments where company_id = $1 and id = $2")
_JOIN = Sql(
    "members.join_department",
    """insert into mainstay.department_members (company_id, department_id, person_id) values ($1, $2, $3)
       on conflict (department_id, person_id) do nothing""",
)
_LEAVE = Sql(
    "members.leave_department",
    "delete from mainstay.department_members where company_id = $1 and department_id = $2 and person_id = $3",
)


async def insert_department(tx: Tx, company_id: str, department_id: str, name: str, name_key: str) -> bool:
    """Whether there is a new department; not where the company has one of that name."""
    return count_of(await tx.run(_INSERT, company_id, department_id, name, name_key)) == 1


async def count_departments(db: Connection, company_id: str) -> int:
    """How many departments the company has."""
    return int(await db.value(_COUNT, company_id))


async def list_departments(db: Connection, company_id: str, after: str | None, limit: int) -> list[Record]:
    """Departments in the order of their ids, with how many are in each."""
    return await db.rows(_LIST, company_id, after, limit)


async def find_department(db: Connection, company_id: str, department_id: str) -> Record | None:
    """One department."""
    return await db.row(_GET, company_id, department_id)


async def lock_department(tx: Tx, company_id: str, department_id: str) -> Record | None:
    """One department, which nobody else changes meanwhile."""
    return await tx.row(_LOCK, company_id, department_id)


async def rename_department(tx: Tx, company_id: str, department_id: str, name: str, name_key: str) -> bool:
    """Whether the department has that name now; not where another one of the company has it."""
    return count_of(await tx.run(_RENAME, company_id, department_id, name, name_key)) == 1


async def delete_department(tx: Tx, company_id: str, department_id: str) -> None:
    """The department is gone, and nobody is in it any more."""
    await tx.run(_DELETE, company_id, department_id)


async def join_department(tx: Tx, company_id: str, department_id: str, person_id: str) -> bool:
    """Whether the member came into the department just now."""
    return count_of(await tx.run(_JOIN, company_id, department_id, person_id)) == 1


async def leave_department(tx: Tx, company_id: str, department_id: str, person_id: str) -> bool:
    """Whether the member was in the department until now."""
    return count_of(await tx.run(_LEAVE, company_id, department_id, person_id)) == 1
