"""What `mainstay doctor` says of settings: which part lacks which, and what it is for; never a value."""

import pytest

from mainstay.cli import checks
from tests.cli.running import called

SECRETS = {"MAINSTAY_SECRET": "m" * 40, "JWT_ACCESS_SECRET": "a" * 40, "JWT_REFRESH_SECRET": "r" * 40}


def verdicts(**environment: str) -> dict[str, tuple[str, str]]:
    """What each part is told to be."""
    return {one.name: (one.verdict, one.detail) for one in checks.explain_parts(environment)}


def test_each_part_says_what_it_lacks_and_what_that_is_for() -> None:
    found = verdicts(PARTS="functions,operators", INNGEST_EVENT_KEY="hidden-" * 4, **SECRETS)
    assert found["part people"][0] == "pass"
    assert found["part core"][0] == found["part functions"][0] == found["part operators"][0] == "fail"
    assert found["part archive"][0] == "skip"
    assert "INNGEST_SIGNING_KEY is missing: signs" in found["part functions"][1]
    assert "INNGEST_EVENT_KEY" not in found["part functions"][1]
    assert "DATABASE_URL is missing: where all data are kept" in found["part core"][1]
    assert "hidden" not in str(found)


def test_development_does_without() -> None:
    assert {verdict for verdict, _ in verdicts(PROFILE="development").values()} == {"skip"}


def test_the_names_of_amazon_make_the_archive_complete() -> None:
    assert verdicts(PARTS="archive", AWS_S3_BUCKET="b")["part archive"][0] == "pass"
    assert verdicts(PARTS="archive", OBJECT_STORE_EU="s3://b")["part archive"][0] == "pass"
    assert verdicts(PARTS="archive")["part archive"][0] == "fail"


@pytest.mark.contract("NP-C-04")
def test_a_mongodb_address_beside_a_database_is_one_line() -> None:
    ran = called(
        "migrate", env={**SECRETS, "DATABASE_URL": "postgresql://u@127.0.0.1:1/x", "MONGO_URI": "mongodb://hidden/db"}
    )
    assert ran.err.count("MONGO_URI") == 1
    assert "MONGO_URI is set and has no effect" in ran.err
    assert "hidden" not in ran.err + ran.out
