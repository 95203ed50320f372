"""What the demonstration's company makes of its audit log: a plan, rules, a schema and thresholds."""

from mainstay import plans, templates
from mainstay.kernel.addresses import AllowList
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Tx
from mainstay.kernel.outbox import Actor

RULES = templates.Rules(
    required_actor_fields=["id", "email"], default_categories={"invoice.*": "billing", "*": "general"}
)
INVOICE = {
    "type": "object",
    "required": ["target"],
    "properties": {"target": {"type": "object", "required": ["id", "type"]}},
}
THRESHOLDS = (
    plans.NewThreshold(kind="soft", unit="percentage", amount=80),
    plans.NewThreshold(kind="hard", unit="percentage", amount=100),
)


async def furnish(
    tx: Tx, actor: Actor, company_id: str, workspace_id: str, *, keyring: Keyring, allow: AllowList
) -> None:
    """The company is on the plan growth with archives; the workspace has a template, one action a schema.

    It is warned at 80 % of its quota.
    """
    await plans.set_plan(tx, actor, company_id, plan="growth")
    await plans.grant_add_on(tx, actor, company_id, code=plans.RETENTION_S3_ARCHIVE)
    for threshold in THRESHOLDS:
        await plans.add_threshold(tx, actor, company_id, new=threshold, keyring=keyring, allow=allow)
    told = templates.NewTemplate(
        name="Who and what", description="Each event says who acted.", mode="flag", rules=RULES
    )
    made = await templates.create(tx, actor, company_id, told)
    await templates.assign(tx, actor, company_id, str(made["id"]), workspace_id)
    schema = templates.NewSchema(
        action="invoice.paid", schema=INVOICE, mode="warn", description="A paid invoice names the invoice."
    )
    await templates.create_schema(tx, actor, company_id, None, schema)
