"""What this room does by itself: it closes months, recounts meters, watches thresholds and sends alerts."""

from collections.abc import Mapping
from datetime import time, timedelta

from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.work import Daily, Every, Job, Outcome, Schedule, Task
from mainstay.plans import alerts, caps, periods, reconciling
from mainstay.plans.senders import Recorder, Sender, SlackSender, WebhookSender
from mainstay.plans.standing import Book

ROLL_OVER = "plans.rollover"
RECONCILE = "plans.reconcile"
CHECK = "plans.check_thresholds"
SEND = "plans.send_alerts"
UPKEEP_QUEUE = "mainstay:upkeep"
LONG = timedelta(minutes=30)


def senders_of(outbound: Outbound, *, email: Sender | None = None) -> dict[str, Sender]:
    """The sender of each kind of target; emails are recorded where no sender for them is configured."""
    return {"email": email or Recorder(), "slack": SlackSender(outbound), "webhook": WebhookSender(outbound)}


def tasks(
    home: Database, regional: Database, book: Book, keyring: Keyring, senders: Mapping[str, Sender]
) -> list[Task]:
    """The room's kinds of job for the meters of one region."""
    trigger = alerts.Trigger(regional, keyring, senders)

    async def roll_over(_: Job) -> Outcome:
        await periods.roll_over(regional)
        return None

    async def reconcile(_: Job) -> Outcome:
        await reconciling.reconcile(regional)
        return None

    async def check(_: Job) -> Outcome:
        await caps.settle_all(home, regional, book)
        await alerts.check(home, regional, book)
        return None

    async def send(_: Job) -> Outcome:
        await trigger.run()
        return None

    return [
        Task(kind=ROLL_OVER, queue=UPKEEP_QUEUE, run=roll_over, timeout=LONG),
        Task(kind=RECONCILE, queue=UPKEEP_QUEUE, run=reconcile, timeout=LONG),
        Task(kind=CHECK, queue=UPKEEP_QUEUE, run=check, history="failures"),
        Task(kind=SEND, queue=UPKEEP_QUEUE, run=send, history="failures"),
    ]


def schedules() -> list[Schedule]:
    """When they run (UTC, C-17): daily at 02:00, hourly, and each five minutes."""
    return [
        Schedule(name=ROLL_OVER, slots=Daily(time(2)), kind=ROLL_OVER, title="Billing rollover", family="audit"),
        Schedule(
            name=RECONCILE,
            slots=Every(timedelta(hours=1)),
            kind=RECONCILE,
            title="Usage reconciliation",
            family="audit",
        ),
        Schedule(name=CHECK, slots=Every(timedelta(minutes=5)), kind=CHECK, title="Threshold checker", family="audit"),
        Schedule(
            name=SEND, slots=Every(timedelta(minutes=5)), kind=SEND, title="Alert trigger", family="audit", after=CHECK
        ),
    ]
