"""Settings: what is missing or wrong is named, never shown."""

from dataclasses import fields
from typing import Any

import pytest

from mainstay.kernel import settings

GOOD = {
    "DATABASE_URL": "postgresql://u:hidden-password@127.0.0.1/db",
    "MAINSTAY_SECRET": "hidden-" + "a" * 40,
    "JWT_ACCESS_SECRET": "hidden-" + "b" * 40,
    "JWT_REFRESH_SECRET": "hidden-" + "r" * 40,
}


def test_the_least_settings_are_a_closed_production() -> None:
    loaded = settings.load(GOOD)
    assert loaded.profile == "production"
    assert loaded.metrics_public is False
    assert loaded.brand == "NovaPulse"
    assert [loaded.port, loaded.queue_concurrency] == [8080, None]


@pytest.mark.contract("HL-A-03", "HL-C-01", "NP-C-05", "NP-C-06")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
        ({"DATABASE_URL": "mysql://hidden"}, "DATABASE_URL"),
        ({"MAINSTAY_SECRET": ""}, "MAINSTAY_SECRET"),
        ({"MAINSTAY_SECRET": "hidden-short"}, "MAINSTAY_SECRET"),
        ({"JWT_ACCESS_SECRET": ""}, "JWT_ACCESS_SECRET"),
        ({"JWT_ACCESS_SECRET": "hidden-" + "b" * 24}, "JWT_ACCESS_SECRET must have at least 32"),
        ({"JWT_ACCESS_SECRET": GOOD["MAINSTAY_SECRET"]}, "must differ"),
        ({"JWT_ACCESS_SECRET_PREVIOUS": "hidden-short"}, "JWT_ACCESS_SECRET_PREVIOUS"),
        ({"JWT_REFRESH_SECRET": ""}, "JWT_REFRESH_SECRET is missing"),
        ({"JWT_REFRESH_SECRET": "hidden-" + "r" * 24}, "JWT_REFRESH_SECRET must have at least 32"),
        ({"JWT_REFRESH_SECRET": GOOD["JWT_ACCESS_SECRET"]}, "JWT_ACCESS_SECRET and JWT_REFRESH_SECRET must differ"),
        ({"JWT_REFRESH_SECRET": GOOD["MAINSTAY_SECRET"]}, "MAINSTAY_SECRET and JWT_REFRESH_SECRET must differ"),
        ({"JWT_REFRESH_SECRET_PREVIOUS": GOOD["JWT_ACCESS_SECRET"]}, "must differ"),
        ({"MAINSTAY_SECRET_PREVIOUS": "hidden-short"}, "MAINSTAY_SECRET_PREVIOUS"),
        ({"INTERNAL_TOKEN": "hidden-" + "t" * 24}, "INTERNAL_TOKEN must have at least 32"),
        ({"PORT": "70000"}, "PORT"),
        ({"PORT": "hidden"}, "PORT"),
        ({"METRICS_PUBLIC": "perhaps"}, "METRICS_PUBLIC"),
        ({"PROFILE": "test"}, "PROFILE"),
        ({"BRAND": "No Spaces"}, "BRAND"),
        ({"BRAND": "x" * 41}, "BRAND"),
        ({"OUTBOUND_ALLOW": "10.0.0.0/99"}, "OUTBOUND_ALLOW"),
        ({"QUEUE_CONCURRENCY": "0.5"}, "QUEUE_CONCURRENCY"),
        ({"QUEUE_CONCURRENCY_OVERRIDES": "nova:webhook=many"}, "QUEUE_CONCURRENCY_OVERRIDES"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
        ({"SHUTDOWN_SECONDS": "nan"}, "SHUTDOWN_SECONDS"),
        ({"PARTS": "hidden"}, "PARTS must name some of"),
        ({"OBJECT_STORE": "hidden"}, "OBJECT_STORE must read"),
        ({"OBJECT_STORE": "file://hidden/x"}, "OBJECT_STORE must read"),
        ({"OBJECT_STORE": "file:///"}, "OBJECT_STORE must read"),
        ({"OBJECT_STORE_EU": "s3:///hidden"}, "OBJECT_STORE_EU must read"),
        ({"S3_ENDPOINT": "hidden:9000"}, "S3_ENDPOINT"),
        ({"AWS_ACCESS_KEY_ID": "hidden"}, "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(change: dict[str, str], named: str) -> None:
    with pytest.raises(settings.SettingsError) as refused:
        settings.load(GOOD | change)
    assert named in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.contract("NP-C-05", "NP-C-06")
def test_the_sample_file_gives_no_secret_to_start_with() -> None:
    sample = dict(line.split("=", 1) for line in settings.example().splitlines() if line and line[0] != "#")
    with pytest.raises(settings.SettingsError) as refused:
        settings.load({**sample, "DATABASE_URL": GOOD["DATABASE_URL"]})
    assert "JWT_ACCESS_SECRET is missing" in str(refused.value)
    with pytest.raises(settings.SettingsError, match="JWT_REFRESH_SECRET is missing"):
        settings.load({**sample, **{name: GOOD[name] for name in GOOD if name != "JWT_REFRESH_SECRET"}})


def test_development_makes_its_refresh_secret_of_the_master_secret() -> None:
    development = {**GOOD, "PROFILE": "development", "JWT_REFRESH_SECRET": ""}
    first = settings.load(development)
    assert len(first.jwt_refresh_secret) == 64
    assert first.jwt_refresh_secret == settings.load(development).jwt_refresh_secret
    assert first.jwt_refresh_secret != settings.load(development | {"MAINSTAY_SECRET": "o" * 32}).jwt_refresh_secret
    previous = settings.load(GOOD | {"JWT_REFRESH_SECRET_PREVIOUS": f"{'p' * 32}, {'q' * 32}"})
    assert previous.jwt_refresh_secret_previous == ("p" * 32, "q" * 32)


@pytest.mark.contract("HL-A-03", "HL-C-01")
def test_a_token_of_thirty_two_characters_is_long_enough() -> None:
    assert settings.load(GOOD | {"INTERNAL_TOKEN": "t" * 32}).internal_token == "t" * 32
    with pytest.raises(settings.SettingsError):
        settings.load(GOOD | {"INTERNAL_TOKEN": "t" * 31})


@pytest.mark.contract("NP-C-04")
def test_a_mongodb_address_alone_points_to_postgresql() -> None:
    for profile in ("development", "production"):
        alone: dict[str, Any] = {"MONGO_URI": "mongodb://hidden", "PROFILE": profile}
        with pytest.raises(settings.SettingsError) as refused:
            settings.load(alone)
        assert "DATABASE_URL" in str(refused.value)
        assert "hidden" not in str(refused.value)
        assert settings.load(GOOD | alone).database_url == GOOD["DATABASE_URL"]
    assert settings.unused({"MONGO_URI": "mongodb://hidden"}) == ["MONGO_URI"]
    assert settings.unused({"MONGO_URI": " "}) == []


BAD = ("hidden", "hidden=1", "a=hidden,b=1/hidden", "hidden/99", "-hidden", "[hidden", "hidden://hidden:hidden@hidden")


@pytest.mark.parametrize("env", [one.metadata["env"] for one in fields(settings.Settings)])
def test_no_setting_whatever_it_holds_shows_it_when_refused(env: str) -> None:
    (one,) = [one for one in fields(settings.Settings) if one.metadata["env"] == env]
    for bad in BAD:
        loaded, told = outcome_of(GOOD | {env: bad})
        assert "hidden" not in told
        assert loaded is not None or env in told
        assert not one.metadata["secret"] or "hidden" not in repr(loaded)


def outcome_of(environment: dict[str, str]) -> tuple[settings.Settings | None, str]:
    """The settings, or what is said where they are refused."""
    try:
        return settings.load(environment), ""
    except settings.SettingsError as refused:
        return None, str(refused)


def test_the_names_of_amazon_stand_in_for_ours() -> None:
    loaded = settings.load(GOOD | {"AWS_S3_BUCKET": "events-1", "AWS_REGION": "eu-west-1"})
    assert (loaded.object_store, loaded.s3_region) == ("s3://events-1", "eu-west-1")
    own = {"OBJECT_STORE": "file:///srv/objects", "S3_REGION": "us-west-2"}
    loaded = settings.load(GOOD | {"AWS_S3_BUCKET": "events-1", "AWS_REGION": "eu-west-1"} | own)
    assert (loaded.object_store, loaded.s3_region) == ("file:///srv/objects", "us-west-2")
    for bad in ("ab", "a" * 64, "Upper", "-a-", "a/b"):
        with pytest.raises(settings.SettingsError, match="AWS_S3_BUCKET"):
            settings.load(GOOD | {"AWS_S3_BUCKET": bad})
    assert settings.load(GOOD | {"AWS_S3_BUCKET": "a" * 63}).object_store == "s3://" + "a" * 63


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, {"operators": ["INTERNAL_TOKEN"]}),
        ({"PROFILE": "development", "PARTS": "functions"}, {}),
        ({"PARTS": "none"}, {}),
        ({"PARTS": "functions, archive"},
         {"functions": ["INNGEST_EVENT_KEY", "INNGEST_SIGNING_KEY"], "archive": ["OBJECT_STORE"]}),
        ({"PARTS": "archive", "OBJECT_STORE_EU": "s3://b"}, {}),
        ({"PARTS": "archive", "AWS_S3_BUCKET": "bucket"}, {}),
        ({"PARTS": "operators", "INTERNAL_TOKEN": "t" * 32}, {}),
    ],
)  # fmt: skip
def test_production_lacks_what_its_parts_need(given: dict[str, str], missing: dict[str, list[str]]) -> None:
    assert settings.load(GOOD | given).missing == missing


def test_only_a_start_that_can_wait_does_without_a_database() -> None:
    without = {name: value for name, value in GOOD.items() if name != "DATABASE_URL"}
    with pytest.raises(settings.SettingsError, match="DATABASE_URL is missing"):
        settings.load(without)
    waiting = settings.load(without, needs_database=False)
    assert waiting.missing["core"] == ["DATABASE_URL"]
    with pytest.raises(settings.SettingsError, match="JWT_ACCESS_SECRET"):
        settings.load(without | {"JWT_ACCESS_SECRET": "short"}, needs_database=False)


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    shown = repr(settings.load(GOOD | {"INTERNAL_TOKEN": "hidden-" + "c" * 40}))
    assert "hidden" not in shown
    assert "brand='NovaPulse'" in shown


def test_lists_and_numbers_have_their_types() -> None:
    loaded = settings.load(
        GOOD
        | {
            "MAINSTAY_SECRET_PREVIOUS": f"{'x' * 32}, {'y' * 32}",
            "QUEUE_CONCURRENCY": "5",
            "QUEUE_CONCURRENCY_OVERRIDES": "nova:webhook=100,nova:report=1",
            "PORT": "5000",
            "METRICS_PUBLIC": "true",
            "SERVICE_NAME": "one",
            "OTEL_SERVICE_NAME": "two",
        }
    )
    assert loaded.secret_previous == ("x" * 32, "y" * 32)
    assert loaded.queue_concurrency_overrides == {"nova:webhook": 100, "nova:report": 1}
    assert [loaded.queue_concurrency, loaded.port, loaded.metrics_public] == [5, 5000, True]
    assert loaded.service_name == "two"
