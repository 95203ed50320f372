"""HTTP of what a company demands of its members, and of resetting the factor of somebody who lost theirs."""

from typing import Annotated

from fastapi import APIRouter, Depends

from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid
from mainstay.mfa import demanding, resetting
from mainstay.mfa.demanding import Demand
from mainstay.mfa.schemas import DemandAnswer, DemandRequest, DemandShown, MemberWithout, ResetAnswer, ResetShown
from mainstay.web import problem
from mainstay.web.callers import Caller, May, Operator
from mainstay.web.json import json_body, openapi_body

_Securer = Annotated[Caller, Depends(May("company.secure"))]
_FreshSecurer = Annotated[Caller, Depends(May("company.secure", fresh=True))]
_FreshChanger = Annotated[Caller, Depends(May("members.change", fresh=True))]
_Demand = Annotated[DemandRequest, Depends(json_body(DemandRequest, most=1_024))]
_DEMAND_PROBLEMS = problem.responses(
    {
        400: "`from` is no day, or lies over 366 days ahead.",
        403: "Only owners may, and only after a recent proof (`step-up-required`).",
        409: "`mfa-not-on`: set up your own second factor first.",
    }
)
_RESET_PROBLEMS = problem.responses(
    {
        403: "Your own, an owner's, or of a person with other companies.",
        404: "The company has no such member.",
        409: "`mfa-not-on`.",
    }
)


def add_company_routes(routes: APIRouter, db: Database) -> None:
    """Adds the routes of companies and operators."""
    _add_demand(routes, db)
    _add_resets(routes, db)


def _add_demand(routes: APIRouter, db: Database) -> None:
    described = dict(openapi_body(DemandRequest))

    @routes.get("/api/v1/company/mfa", tags=["people"])
    async def forecast(caller: _Securer) -> DemandAnswer:
        """What the company demands, and who would be locked out: members without a second factor."""
        return _demand_shown(await demanding.forecast(db, caller.company_id))

    @routes.put("/api/v1/company/mfa", tags=["people"], openapi_extra=described, responses=_DEMAND_PROBLEMS)
    async def demand(caller: _FreshSecurer, body: _Demand) -> DemandAnswer:
        """The company demands a second factor from that day on, at once where none is given, or not any more."""
        if not body.required:
            if body.since is not None:
                raise Invalid(faults=[Fault("goes with required: true", "#/from")])
            return _demand_shown(await demanding.relent(db, caller))
        since = None if body.since is None else demanding.moment_of(body.since)
        return _demand_shown(await demanding.demand(db, caller, since=since))


def _add_resets(routes: APIRouter, db: Database) -> None:
    @routes.post("/api/v1/members/{person_id}/mfa/reset", tags=["people"], responses=_RESET_PROBLEMS)
    async def reset_member(caller: _FreshChanger, person_id: str) -> ResetAnswer:
        """A member who lost app and codes has no second factor any more, and is signed out everywhere."""
        ended = await resetting.reset_member(db, caller, person_id)
        return ResetAnswer(data=ResetShown(person_id=person_id, sessions_ended=ended))

    @routes.post("/internal/people/{person_id}/mfa/reset", tags=["operators"], responses=_RESET_PROBLEMS)
    async def reset_person(caller: Operator, person_id: str) -> ResetAnswer:
        """The same for anybody, whatever their companies."""
        ended = await resetting.reset_by_operator(db, caller.actor, person_id)
        return ResetAnswer(data=ResetShown(person_id=person_id, sessions_ended=ended))


def _demand_shown(demand: Demand) -> DemandAnswer:
    shown = DemandShown(
        required=demand.since is not None,
        since=None if demand.since is None else iso(demand.since),
        members=demand.members,
        without_factor=demand.without,
        people=[MemberWithout(id=one.id, name=one.name, email=one.email, role=one.role) for one in demand.people],
    )
    return DemandAnswer(data=shown)
