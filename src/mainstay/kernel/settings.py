"""Every setting, read once from the environment: one field a setting, no secret with a default."""

import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import combinations
from typing import Any, Literal

from mainstay.kernel.addresses import AllowList, parse_allow_list
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.parts import PARTS, missing_of

_SECRET_CHARACTERS = 32
_EVENT_KEY_CHARACTERS = 16
_MOST_CALLS, _MOST_WINDOW_SECONDS = 1_000_000_000, 86_400
_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_NOTHING_ALLOWED = parse_allow_list("")


class SettingsError(Exception):
    """A setting is missing or wrong; the message names settings, never values."""


def _setting(env: str, doc: str, default: Any = MISSING, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"env": env, "doc": doc, "secret": secret})


def _amounts(env: str, doc: str) -> Any:
    return field(default_factory=dict, metadata={"env": env, "doc": doc, "secret": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration of one process."""

    profile: Literal["development", "production"] = _setting(
        "PROFILE", "production asks for every secret and closes what is open for development", "production"
    )
    parts: tuple[str, ...] = _setting(
        "PARTS",
        "what this installation uses, comma separated, of operators, functions and archive, or none; production is not"
        " ready without their settings",
        ("operators",),
    )
    database_url: str = _setting(
        "DATABASE_URL", "PostgreSQL 15 or newer; may be PgBouncer in transaction mode", secret=True
    )
    database_direct_url: str | None = _setting(
        "DATABASE_DIRECT_URL",
        "straight to PostgreSQL, for LISTEN and migrations behind a pooler; default DATABASE_URL",
        None,
        secret=True,
    )
    database_url_us: str | None = _setting(
        "DATABASE_URL_US",
        "database of its own for the data of companies in the US; default DATABASE_URL",
        None,
        secret=True,
    )
    database_url_eu: str | None = _setting(
        "DATABASE_URL_EU",
        "database of its own for the data of companies in the EU; default DATABASE_URL",
        None,
        secret=True,
    )
    database_url_apac: str | None = _setting(
        "DATABASE_URL_APAC",
        "database of its own for the data of companies in APAC; default DATABASE_URL",
        None,
        secret=True,
    )
    database_direct_url_us: str | None = _setting(
        "DATABASE_DIRECT_URL_US", "straight to the database of the US, as DATABASE_DIRECT_URL", None, secret=True
    )
    database_direct_url_eu: str | None = _setting(
        "DATABASE_DIRECT_URL_EU", "straight to the database of the EU, as DATABASE_DIRECT_URL", None, secret=True
    )
    database_direct_url_apac: str | None = _setting(
        "DATABASE_DIRECT_URL_APAC", "straight to the database of APAC, as DATABASE_DIRECT_URL", None, secret=True
    )
    database_pool_size: int = _setting("DATABASE_POOL_SIZE", "connections a process may hold", 10)
    database_statement_cache: int = _setting(
        "DATABASE_STATEMENT_CACHE", "prepared statements kept a connection; 0 behind a transaction pooler", 512
    )
    object_store: str | None = _setting(
        "OBJECT_STORE",
        "where archives go: s3://bucket/prefix or file:///directory; unset, nothing is archived",
        None,
    )
    object_store_us: str | None = _setting(
        "OBJECT_STORE_US", "the same for companies in the US; default OBJECT_STORE", None
    )
    object_store_eu: str | None = _setting(
        "OBJECT_STORE_EU", "the same for companies in the EU; default OBJECT_STORE", None
    )
    object_store_apac: str | None = _setting(
        "OBJECT_STORE_APAC", "the same for companies in APAC; default OBJECT_STORE", None
    )
    s3_endpoint: str | None = _setting(
        "S3_ENDPOINT", "address of an S3 server other than AWS; a store's own is s3://bucket?endpoint=", None
    )
    s3_region: str | None = _setting(
        "S3_REGION", "AWS region of the buckets, default us-east-1; a store's own is s3://bucket?region=", None
    )
    aws_s3_bucket: str | None = _setting(
        "AWS_S3_BUCKET", "bucket where archives go where OBJECT_STORE is unset, as s3://bucket", None
    )
    aws_region: str | None = _setting("AWS_REGION", "AWS region of the buckets where S3_REGION is unset", None)
    aws_access_key_id: str | None = _setting(
        "AWS_ACCESS_KEY_ID", "who we are to S3; unset, the machine's or container's own role", None
    )
    aws_secret_access_key: str | None = _setting("AWS_SECRET_ACCESS_KEY", "its secret", None, secret=True)
    retention_delete: bool = _setting(
        "RETENTION_DELETE", "delete events without archive a grace period after they left the retention window", False
    )
    archive_cut: bool = _setting(
        "ARCHIVE_CUT", "take archived events out of the database a grace period after their archive was verified", False
    )
    host: str = _setting("HOST", "address that the API listens on", "127.0.0.1")
    port: int = _setting("PORT", "port that the API listens on (examples elsewhere show 3000 and 5000)", 8080)
    worker_metrics_port: int = _setting("WORKER_METRICS_PORT", "port of the worker's /metrics on HOST; 0 for none", 0)
    public_url: str | None = _setting(
        "PUBLIC_URL", "address under which people reach the API; default from HOST and PORT", None
    )
    brand: str = _setting(
        "BRAND", "product name in webhook headers and mails: 1 to 40 letters, digits or dashes", "NovaPulse"
    )
    secret: str = _setting(
        "MAINSTAY_SECRET",
        "master secret of 32 characters or more: seals stored secrets, cursors, checkpoints",
        secret=True,
    )
    secret_previous: tuple[str, ...] = _setting(
        "MAINSTAY_SECRET_PREVIOUS",
        "older master secrets, comma separated, still able to open what they sealed",
        (),
        secret=True,
    )
    jwt_access_secret: str = _setting(
        "JWT_ACCESS_SECRET", "signs access tokens of people: 32 characters or more", secret=True
    )
    jwt_access_secret_previous: tuple[str, ...] = _setting(
        "JWT_ACCESS_SECRET_PREVIOUS",
        "older ones, comma separated, under which access tokens are still good",
        (),
        secret=True,
    )
    jwt_refresh_secret: str = _setting(
        "JWT_REFRESH_SECRET",
        "signs refresh tokens of people: 32 characters or more; only development makes one of MAINSTAY_SECRET",
        "",
        secret=True,
    )
    jwt_refresh_secret_previous: tuple[str, ...] = _setting(
        "JWT_REFRESH_SECRET_PREVIOUS",
        "older ones, comma separated, under which refresh tokens are still good",
        (),
        secret=True,
    )
    internal_token: str | None = _setting(
        "INTERNAL_TOKEN",
        "operators' token for /internal and, in production, /metrics: 32 characters or more",
        None,
        secret=True,
    )
    console_operators: tuple[str, ...] = _setting(
        "CONSOLE_OPERATORS",
        "emails of people who may operate the whole service in the console (queues), comma separated",
        (),
    )
    inngest_event_key: str | None = _setting(
        "INNGEST_EVENT_KEY",
        "key under which applications send events for functions to POST /e/{key}: 16 characters or more; unset, none",
        None,
        secret=True,
    )
    inngest_signing_key: str | None = _setting(
        "INNGEST_SIGNING_KEY",
        "signs what passes between functions and applications that serve some, such as signkey-prod-0123abcd…",
        None,
        secret=True,
    )
    metrics_public: bool = _setting("METRICS_PUBLIC", "serve /metrics without the token in production", False)
    queue_concurrency: int | None = _setting(
        "QUEUE_CONCURRENCY",
        "base for all queues in the ratio 1, 2, 0.6, 0.4; unset, each queue has its own default",
        None,
    )
    queue_concurrency_overrides: Mapping[str, int] = field(
        default_factory=dict,
        metadata={
            "env": "QUEUE_CONCURRENCY_OVERRIDES",
            "doc": "per queue, such as nova:webhook=100,nova:report=1",
            "secret": False,
        },
    )
    modules: tuple[str, ...] = _setting(
        "MODULES",
        "Python modules of your own whose tasks, schedules and functions run here, comma separated, such as shop.jobs",
        (),
    )
    outbound_allow: AllowList = _setting(  # noqa: RUF009 - frozen
        "OUTBOUND_ALLOW",
        "private hosts and networks that webhooks may reach (development): 127.0.0.0/8,localhost",
        _NOTHING_ALLOWED,
    )
    plan_export_rows: Mapping[str, int | None] = _amounts(
        "PLAN_EXPORT_ROWS", "rows of one export by plan, where they differ from the usual: free=10000,enterprise=none"
    )
    plan_retention_days: Mapping[str, int | None] = _amounts(
        "PLAN_RETENTION_DAYS", "days that events are kept by plan, where they differ: free=7,starter=30,enterprise=none"
    )
    plan_event_quotas: Mapping[str, int | None] = _amounts(
        "PLAN_EVENT_QUOTAS", "events a month by plan, where they differ: free=10000,starter=100000,enterprise=none"
    )
    shutdown_seconds: float = _setting(
        "SHUTDOWN_SECONDS", "time that running requests and jobs get to end at a stop", 20.0
    )
    redis_url: str | None = _setting(
        "REDIS_URL",
        "Redis for rate limits and caches, redis:// or rediss://; unset, the service runs without one",
        None,
        secret=True,
    )
    rate_limit_redis_url: str | None = _setting(
        "RATE_LIMIT_REDIS_URL", "a Redis for rate limits alone, ahead of REDIS_URL", None, secret=True
    )
    rate_limit_redis_token: str | None = _setting(
        "RATE_LIMIT_REDIS_TOKEN", "password of the Redis at RATE_LIMIT_REDIS_URL", None, secret=True
    )
    rate_limit_store: Literal["auto", "memory", "postgresql", "redis"] = _setting(
        "RATE_LIMIT_STORE",
        "where rate limits are counted: auto (Redis where set, else PostgreSQL once a second API node runs, else"
        " memory), memory, postgresql or redis",
        "auto",
    )
    rate_limit_closed: tuple[str, ...] = _setting(
        "RATE_LIMIT_CLOSED",
        "limits that refuse with 503 while their store is away, such as purge,credit_charge; all others let pass",
        (),
    )
    rate_limit_general: int = _setting(
        "RATE_LIMIT_GENERAL", "calls a minute that /api/v1 takes for each company, address and route", 100
    )
    rate_limits: Mapping[str, tuple[int, int] | None] = field(
        default_factory=dict,
        metadata={
            "env": "RATE_LIMITS",
            "doc": "limits with other figures, as name=calls/seconds or name=none: login=20/60,invites=50/60,all=none",
            "secret": False,
        },
    )
    rate_limit_headers: Literal["draft", "legacy", "both", "none"] = _setting(
        "RATE_LIMIT_HEADERS",
        "fields that tell of limits: draft (RateLimit, RateLimit-Policy), legacy (RateLimit-Limit, -Remaining, -Reset),"
        " both or none",
        "draft",
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "TRUSTED_PROXIES",
        "networks of proxies whose X-Forwarded-For is believed, comma separated, such as 10.0.0.0/8; unset, nobody's",
        (),
    )
    service_name: str = _setting("SERVICE_NAME", "name in logs and traces; OTEL_SERVICE_NAME wins", "mainstay")
    log_level: str = _setting("LOG_LEVEL", "DEBUG, INFO, WARNING or ERROR", "INFO")

    @property
    def missing(self) -> dict[str, list[str]]:
        """The settings that production cannot do without and that are not there, by part; empty in development."""
        if self.profile != "production":
            return {}
        by_env = {one.metadata["env"]: one.name for one in fields(self)}
        stored = {"OBJECT_STORE"} if self.region_stores else set()
        return missing_of(self.parts, lambda env: env in stored or bool(getattr(self, by_env[env])))

    @property
    def direct_url(self) -> str:
        """Where LISTEN and migrations go."""
        return self.database_direct_url or self.database_url

    @property
    def region_urls(self) -> dict[str, str]:
        """The database of each region that has one of its own."""
        own = {"US": self.database_url_us, "EU": self.database_url_eu, "APAC": self.database_url_apac}
        return {region: url for region, url in own.items() if url is not None and url != self.database_url}

    @property
    def region_stores(self) -> dict[str, str]:
        """The object store of each region that has one of its own."""
        own = {"US": self.object_store_us, "EU": self.object_store_eu, "APAC": self.object_store_apac}
        return {region: url for region, url in own.items() if url is not None}

    def direct_url_of(self, url: str) -> str:
        """Where LISTEN and migrations of that database go."""
        direct = {
            self.database_url_apac: self.database_direct_url_apac,
            self.database_url_eu: self.database_direct_url_eu,
            self.database_url_us: self.database_direct_url_us,
            self.database_url: self.database_direct_url,
        }
        return direct.get(url) or url

    @property
    def base_url(self) -> str:
        """The address under which people reach the API, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


def load(environment: Mapping[str, str] | None = None, *, needs_database: bool = True) -> Settings:
    """The settings of this environment; SettingsError names everything that is missing or wrong, without values.

    Where it may start without DATABASE_URL, that is an empty text then.
    """
    given = os.environ if environment is None else environment
    _refuse_mongo(given)
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for one in fields(Settings):
        env = one.metadata["env"]
        text = given.get(env, "").strip()
        if text:
            try:
                values[one.name] = _parse(one.name, getattr(one.type, "__name__", str(one.type)), text)
            except ValueError as error:
                wrong.append(f"{env}: {error}")
        elif env == "DATABASE_URL" and not needs_database:
            values[one.name] = ""
        elif one.default is MISSING and one.default_factory is MISSING:
            wrong.append(f"{env} is missing: {one.metadata['doc']}")
    if given.get("OTEL_SERVICE_NAME", "").strip():
        values["service_name"] = given["OTEL_SERVICE_NAME"].strip()
    if wrong:
        raise SettingsError("; ".join(wrong))
    if values.get("profile") == "development" and "jwt_refresh_secret" not in values:
        values["jwt_refresh_secret"] = Keyring(values["secret"]).derive("refresh tokens in development").hex()
    if "aws_region" in values:
        values.setdefault("s3_region", values["aws_region"])
    if "aws_s3_bucket" in values:
        values.setdefault("object_store", f"s3://{values['aws_s3_bucket']}")
    settings = Settings(**values)
    _check(settings)
    return settings


def unused(environment: Mapping[str, str]) -> list[str]:
    """The settings of this environment that are known, and have no effect."""
    return [env for env in ("MONGO_URI",) if environment.get(env, "").strip()]


def _refuse_mongo(given: Mapping[str, str]) -> None:
    if given.get("MONGO_URI", "").strip() and not given.get("DATABASE_URL", "").strip():
        raise SettingsError("MONGO_URI is set and not used: set DATABASE_URL to a PostgreSQL of version 15 or newer")


def _parse(name: str, kind: str, text: str) -> Any:
    if name == "outbound_allow":
        return _allowed(text)
    if name == "queue_concurrency_overrides":
        pairs = [part.rpartition("=") for part in text.split(",")]
        return {queue.strip(): _whole(number, least=1) for queue, _, number in pairs}
    if name.startswith("plan_"):
        return _amounts_of(text)
    if name == "parts" and text == "none":
        return ()
    if name == "rate_limits":
        return parse_rates(text)
    if name == "trusted_proxies":
        return _networks_of(text)
    if name.endswith("secret_previous") or name in ("console_operators", "modules", "parts", "rate_limit_closed"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind.startswith("int"):
        return _whole(text, least=0)
    if kind.startswith("float"):
        return _seconds(text)
    if kind.startswith("bool"):
        if text.lower() not in ("1", "0", "true", "false", "yes", "no"):
            raise ValueError("must be true or false")
        return text.lower() in ("1", "true", "yes")
    return text


def _amounts_of(text: str) -> dict[str, int | None]:
    pairs = [part.rpartition("=") for part in text.split(",")]
    if not all(plan.strip().isalnum() for plan, _, _ in pairs):
        raise ValueError("must be such as free=7,starter=30,enterprise=none")
    return {
        plan.strip(): None if amount.strip().lower() == "none" else _whole(amount, least=1) for plan, _, amount in pairs
    }


def parse_rates(text: str) -> dict[str, tuple[int, int] | None]:
    """The figures of RATE_LIMITS by name, as calls and seconds, None for no limit; ValueError."""
    found: dict[str, tuple[int, int] | None] = {}
    for name, sign, figures in (part.strip().rpartition("=") for part in text.split(",") if part.strip()):
        calls, stroke, seconds = figures.partition("/")
        if not (name and sign and (stroke or figures.lower() == "none")):
            raise ValueError("must be such as login=20/60,invites=50/60,general=none")
        found[name.strip()] = (_whole(calls, least=1), _whole(seconds, least=1)) if stroke else None
        if stroke and (int(calls) > _MOST_CALLS or int(seconds) > _MOST_WINDOW_SECONDS):
            raise ValueError(f"at most {_MOST_CALLS} calls in {_MOST_WINDOW_SECONDS} seconds")
    return found


def _allowed(text: str) -> AllowList:
    try:
        return parse_allow_list(text)
    except ValueError:
        raise ValueError("must be networks, addresses and host names such as 127.0.0.0/8,localhost,::1") from None


def _networks_of(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8,fd00::/8") from None


def _whole(text: str, *, least: int) -> int:
    if not text.strip().isdigit() or int(text) < least:
        raise ValueError(f"must be a whole number of {least} or more")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise ValueError("must be a number of seconds, such as 20 or 1.5")
    return float(text)


def _check(settings: Settings) -> None:
    wrong = []
    if not set(settings.parts) <= PARTS.keys():
        wrong.append(f"PARTS must name some of {', '.join(PARTS)}")
    if settings.profile not in ("development", "production"):
        wrong.append("PROFILE must be development or production")
    for env, value in (
        ("MAINSTAY_SECRET", settings.secret),
        ("JWT_ACCESS_SECRET", settings.jwt_access_secret),
        ("INTERNAL_TOKEN", settings.internal_token),
        ("JWT_REFRESH_SECRET", settings.jwt_refresh_secret or None),
        *(("MAINSTAY_SECRET_PREVIOUS", old) for old in settings.secret_previous),
        *(("JWT_ACCESS_SECRET_PREVIOUS", old) for old in settings.jwt_access_secret_previous),
        *(("JWT_REFRESH_SECRET_PREVIOUS", old) for old in settings.jwt_refresh_secret_previous),
    ):
        if value is not None and len(value) < _SECRET_CHARACTERS:
            wrong.append(f"{env} must have at least {_SECRET_CHARACTERS} characters")
    if settings.inngest_event_key is not None and len(settings.inngest_event_key) < _EVENT_KEY_CHARACTERS:
        wrong.append(f"INNGEST_EVENT_KEY must have at least {_EVENT_KEY_CHARACTERS} characters")
    if not settings.jwt_refresh_secret:
        wrong.append("JWT_REFRESH_SECRET is missing: it signs refresh tokens of people, with 32 characters or more")
    wrong += _place_faults(settings) + _same_secrets(settings) + _limit_faults(settings)
    brand = settings.brand.replace("-", "")
    if not (brand.isascii() and brand.isalnum() and len(settings.brand) <= 40):
        wrong.append("BRAND must be 1 to 40 letters, digits or dashes")
    if not 1 <= settings.port <= 65_535:
        wrong.append("PORT must be from 1 to 65535")
    if settings.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        wrong.append("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR")
    if wrong:
        raise SettingsError("; ".join(wrong))


def _place_faults(settings: Settings) -> list[str]:
    """What is wrong with the settings of where data are kept."""
    wrong = []
    if settings.database_url and not settings.database_url.startswith(("postgresql://", "postgres://")):
        wrong.append("DATABASE_URL must begin with postgresql://")
    wrong += [
        f"DATABASE_URL_{region} must begin with postgresql://"
        for region, url in settings.region_urls.items()
        if not url.startswith(("postgresql://", "postgres://"))
    ]
    wrong += [
        f"{env} must read s3://bucket/prefix or file:///directory"
        for env, url in (
            ("OBJECT_STORE", settings.object_store),
            *((f"OBJECT_STORE_{region}", url) for region, url in settings.region_stores.items()),
        )
        if url is not None and not _is_store(url)
    ]
    if settings.s3_endpoint is not None and not settings.s3_endpoint.startswith(("http://", "https://")):
        wrong.append("S3_ENDPOINT must begin with http:// or https://")
    if (settings.aws_access_key_id is None) != (settings.aws_secret_access_key is None):
        wrong.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together")
    if settings.aws_s3_bucket is not None and not re.fullmatch(_BUCKET, settings.aws_s3_bucket):
        wrong.append("AWS_S3_BUCKET must be the name of a bucket: 3 to 63 of a-z, 0-9, dots and dashes")
    return wrong


def _same_secrets(settings: Settings) -> list[str]:
    """One secret for two purposes would let a token of one kind pass for the other."""
    uses = {
        "MAINSTAY_SECRET": (settings.secret, *settings.secret_previous),
        "JWT_ACCESS_SECRET": (settings.jwt_access_secret, *settings.jwt_access_secret_previous),
        "JWT_REFRESH_SECRET": (settings.jwt_refresh_secret, *settings.jwt_refresh_secret_previous),
    }
    return [
        f"{one} and {other} must differ, and from what the other was before"
        for (one, known), (other, others) in combinations(uses.items(), 2)
        if set(known) & set(others)
    ]


def _limit_faults(settings: Settings) -> list[str]:
    """What is wrong with the settings of Redis and of where limits are counted."""
    urls = {"REDIS_URL": settings.redis_url, "RATE_LIMIT_REDIS_URL": settings.rate_limit_redis_url}
    wrong = [
        f"{env} must begin with redis:// or rediss://"
        for env, url in urls.items()
        if url is not None and not url.startswith(("redis://", "rediss://"))
    ]
    if settings.rate_limit_redis_token is not None and settings.rate_limit_redis_url is None:
        wrong.append("RATE_LIMIT_REDIS_TOKEN belongs to RATE_LIMIT_REDIS_URL")
    if settings.rate_limit_store not in ("auto", "memory", "postgresql", "redis"):
        wrong.append("RATE_LIMIT_STORE must be auto, memory, postgresql or redis")
    if not 1 <= settings.rate_limit_general <= _MOST_CALLS:
        wrong.append(f"RATE_LIMIT_GENERAL must be from 1 to {_MOST_CALLS}")
    if settings.rate_limit_headers not in ("draft", "legacy", "both", "none"):
        wrong.append("RATE_LIMIT_HEADERS must be draft, legacy, both or none")
    if settings.rate_limit_store == "redis" and not any(urls.values()):
        wrong.append("RATE_LIMIT_STORE=redis needs RATE_LIMIT_REDIS_URL or REDIS_URL")
    return wrong


def _is_store(url: str) -> bool:
    kind, _, rest = url.partition("://")
    return (kind == "s3" and rest[:1].isalnum()) or (kind == "file" and rest[:1] == "/" and bool(rest.strip("/")))


def example() -> str:
    """The text of `.env.example`: every setting with its meaning and, where it has one, its default."""
    lines = ["# Every setting that Mainstay reads. Lines that begin with '#' show the default."]
    for one in fields(Settings):
        lines += ["", f"# {one.metadata['doc']}"]
        if one.default is MISSING and one.default_factory is MISSING:
            lines.append(f"{one.metadata['env']}=")
        else:
            default = one.default
            shown = "" if default in (None, "", (), MISSING) or isinstance(default, AllowList) else str(default)
            shown = ",".join(default) if isinstance(default, tuple) else shown
            lines.append(f"# {one.metadata['env']}={shown}")
    lines += [
        "",
        "# name in logs and traces as OpenTelemetry spells it; wins over SERVICE_NAME",
        "# OTEL_SERVICE_NAME=",
    ]
    lines += ["", "# known and not used: set DATABASE_URL instead", "# MONGO_URI="]
    return "\n".join(lines) + "\n"
