"""What a person can set about a process, read once where it starts and passed on as one typed object.

Every setting has one environment variable (below, beside its field) and, on the command line, one option; an option
wins over the environment. Nothing else in the product reads the environment for these.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from connectors.state_folder import state_folder
from schemas.errors import CognistreamError
from schemas.topics import GROUP, full_name

Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]
Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

CODECS: dict[Compression, int] = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""Number of a codec in the attributes of a record batch."""


class SettingsError(CognistreamError):
    """A setting that cannot be used: which one, what it was, what it may be."""


def _variable(name: str, default: Any, about: str, **limits: Any) -> Any:
    """A field that is read from the environment variable `name`."""
    return Field(default, description=about, json_schema_extra={"env": name}, **limits)


class Settings(BaseModel):
    """All settings; `Settings.read()` makes one from the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = _variable("BOOTSTRAP_SERVERS", "127.0.0.1:9092", "Kafka brokers, host:port, by comma")
    security_protocol: Protocol = _variable("SECURITY_PROTOCOL", "PLAINTEXT", "How brokers are talked to")
    sasl_mechanism: Mechanism = _variable("SASL_MECHANISM", "PLAIN", "Login method for SASL_*")
    sasl_username: str = _variable("SASL_USERNAME", "", "Login name for SASL_*")
    sasl_password: SecretStr = _variable("SASL_PASSWORD", SecretStr(""), "Password for SASL_*")
    ssl_ca: Path | None = _variable("SSL_CA", None, "Certificates to trust (PEM); without it, the system's")
    ssl_certificate: Path | None = _variable("SSL_CERTIFICATE", None, "Own certificate (PEM), for brokers that ask")
    ssl_key: Path | None = _variable("SSL_KEY", None, "Private key of the own certificate (PEM)")
    ssl_key_password: SecretStr | None = _variable("SSL_KEY_PASSWORD", None, "Password of the private key")

    registry_url: str | None = _variable("SCHEMA_REGISTRY_URL", None, "Schema registry; without it, local ids")
    prefix: str = _variable(
        "COGNISTREAM_PREFIX", "", "In front of topics and group; none: live", pattern=r"^([a-z0-9-]{3,32})?$"
    )
    state: Path = _variable("COGNISTREAM_STATE", None, "Folder for compiled kernels, local Kafka, logs")
    policy_file: Path | None = _variable("COGNISTREAM_POLICY", None, "Policy (TOML); without it, the built-in one")
    compression: Compression = _variable("COGNISTREAM_COMPRESSION", "none", "Codec of what is written")
    port: int = _variable("COGNISTREAM_PORT", 9464, "Port of /ready and /metrics; 0: any free one", ge=0, le=65535)
    host: str = _variable("COGNISTREAM_HOST", "127.0.0.1", "Address that the port listens on")
    threads: int = _variable("COGNISTREAM_THREADS", 0, "Lanes decided at the same time; 0: one per core", ge=0, le=256)
    lane_bytes: int = _variable(
        "COGNISTREAM_LANE_BYTES", 16 << 20, "Bytes that may wait in a lane before fetching pauses", ge=1 << 16
    )
    fetch_bytes: int = _variable("COGNISTREAM_FETCH_BYTES", 4 << 20, "Bytes of one partition in a fetch", ge=1 << 16)
    standbys: int = _variable(
        "COGNISTREAM_STANDBYS", 0, "Other workers that keep a warm copy of a partition's state", ge=0, le=8
    )
    gateway_host: str = _variable("COGNISTREAM_GATEWAY_HOST", "127.0.0.1", "Address that the gateway listens on")
    gateway_port: int = _variable(
        "COGNISTREAM_GATEWAY_PORT", 8464, "Port of the gateway; 0: any free one", ge=0, le=65535
    )
    gateway_rules: Path | None = _variable("COGNISTREAM_GATEWAY_RULES", None, "Rules of the gateway (TOML)")
    gateway_certificate: Path | None = _variable(
        "COGNISTREAM_GATEWAY_CERTIFICATE", None, "Certificate (PEM) of the gateway; without it, plain HTTP"
    )
    gateway_key: Path | None = _variable("COGNISTREAM_GATEWAY_KEY", None, "Private key (PEM) of that certificate")
    redis_url: SecretStr = _variable(
        "REDIS_URL", SecretStr(""), "Redis of the limits, redis://HOST:PORT/0; without it, each gateway has its own"
    )
    tick_seconds: float = _variable("COGNISTREAM_TICK_SECONDS", 5.0, "Seconds between ticks of an idle lane", gt=0)

    @model_validator(mode="before")
    @classmethod
    def _default_state(cls, given: Any) -> Any:
        return {"state": state_folder(), **given} if isinstance(given, dict) else given

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None, **options: Any) -> Settings:
        """From `environment` (default: the process's) and `options`, which win; an option of None is not given.

        Raises `SettingsError` naming each setting that is wrong and its variable.
        """
        environment = os.environ if environment is None else environment
        found: dict[str, Any] = {name: environment[v] for name, v in variables().items() if environment.get(v)}
        found |= {name: value for name, value in options.items() if value is not None}
        try:
            return cls(**found)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None

    @property
    def group(self) -> str:
        """The consumer group of the workers."""
        return full_name(self.prefix, GROUP)

    @property
    def live(self) -> bool:
        """Whether this works on the live topics, not on those of a demo, replay or test."""
        return not self.prefix

    @property
    def codec(self) -> int:
        """Number of the codec in a record batch."""
        return CODECS[self.compression]

    def topic(self, name: str) -> str:
        """Full name of the topic `name`."""
        return full_name(self.prefix, name)

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS connections need; None where the protocol has no TLS. SettingsError for files that do not fit."""
        if "SSL" not in self.security_protocol:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca)
            if self.ssl_certificate:
                password = self.ssl_key_password.get_secret_value() if self.ssl_key_password else None
                context.load_cert_chain(self.ssl_certificate, self.ssl_key, password)
        except OSError as error:
            raise SettingsError(f"SSL_CA, SSL_CERTIFICATE or SSL_KEY cannot be used: {error}") from None
        return context

    def aiokafka(self) -> dict[str, Any]:
        """Connection arguments of aiokafka's clients."""
        given: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
        }
        if self.security_protocol.startswith("SASL"):
            given |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value(),
            }
        return given

    def confluent(self) -> dict[str, str]:
        """Connection configuration of confluent-kafka's clients."""
        given = {"bootstrap.servers": self.bootstrap_servers, "security.protocol": self.security_protocol}
        if self.security_protocol.startswith("SASL"):
            given |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.sasl_password.get_secret_value(),
            }
        files = {
            "ssl.ca.location": self.ssl_ca,
            "ssl.certificate.location": self.ssl_certificate,
            "ssl.key.location": self.ssl_key,
        }
        if "SSL" in self.security_protocol:
            given |= {name: str(path) for name, path in files.items() if path}
            if self.ssl_key_password:
                given["ssl.key.password"] = self.ssl_key_password.get_secret_value()
        return given


def variables() -> dict[str, str]:
    """Field -> environment variable."""
    found: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict):
            found[name] = str(extra["env"])
    return found


def _explain(error: ValidationError) -> str:
    names = variables()
    lines = []
    for problem in error.errors():
        field = str(problem["loc"][0]) if problem["loc"] else "settings"
        got = "" if "password" in field else f", got {problem['input']!r}"
        lines.append(f"{names.get(field, field)} ({field}): {problem['msg']}{got}")
    return "settings that cannot be used: " + "; ".join(lines)
