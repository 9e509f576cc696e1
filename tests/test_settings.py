"""Settings: read once, from the environment and the command line, and refused in words."""

from __future__ import annotations

import pytest

from agents.settings import Settings, SettingsError, variables


def test_without_a_word_a_worker_is_live_on_loopback() -> None:
    settings = Settings.read({})
    assert (settings.bootstrap_servers, settings.live, settings.group) == ("127.0.0.1:9092", True, "cognistream")
    assert settings.aiokafka()["ssl_context"] is None
    assert settings.confluent() == {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "PLAINTEXT"}


def test_a_prefix_isolates_group_and_topics() -> None:
    settings = Settings.read({"COGNISTREAM_PREFIX": "demo-1"})
    assert (settings.live, settings.group) == (False, "demo-1.cognistream")
    assert settings.topic("audit.log") == "demo-1.audit.log"


def test_an_option_wins_over_the_environment_and_none_is_no_option() -> None:
    environment = {"BOOTSTRAP_SERVERS": "a:1", "COGNISTREAM_PORT": "1234", "COGNISTREAM_COMPRESSION": "lz4"}
    settings = Settings.read(environment, bootstrap_servers="b:2", port=None)
    assert (settings.bootstrap_servers, settings.port, settings.codec) == ("b:2", 1234, 3)


def test_an_empty_variable_is_no_setting() -> None:
    assert Settings.read({"SCHEMA_REGISTRY_URL": "", "COGNISTREAM_PORT": ""}).port == 9464


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("COGNISTREAM_PREFIX", "No", "COGNISTREAM_PREFIX (prefix)"),
        ("COGNISTREAM_PORT", "70000", "less than or equal to 65535, got '70000'"),
        ("COGNISTREAM_COMPRESSION", "rar", "'none', 'gzip', 'snappy', 'lz4' or 'zstd'"),
        ("SECURITY_PROTOCOL", "HTTPS", "SECURITY_PROTOCOL (security_protocol)"),
    ],
)
def test_a_mistake_is_told_with_its_variable(variable: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({variable: value})
    assert said in str(refused.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"COGNISTREAM_PORT.*COGNISTREAM_THREADS"):
        Settings.read({"COGNISTREAM_PORT": "x", "COGNISTREAM_THREADS": "-1"})


def test_passwords_reach_the_clients_and_nothing_else() -> None:
    settings = Settings.read(
        {
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SASL_MECHANISM": "SCRAM-SHA-512",
            "SASL_USERNAME": "me",
            "SASL_PASSWORD": "shh",
        }
    )
    assert "shh" not in repr(settings)
    told = {settings.aiokafka()["sasl_plain_password"], settings.confluent()["sasl.password"]}
    assert told == {"shh"}
    assert settings.aiokafka()["ssl_context"] is not None


def test_certificates_are_named_to_librdkafka() -> None:
    settings = Settings.read({"SECURITY_PROTOCOL": "SSL", "SSL_CA": "/ca.pem", "SSL_CERTIFICATE": "/me.pem"})
    assert settings.confluent()["ssl.ca.location"] == "/ca.pem"
    assert settings.confluent()["ssl.certificate.location"] == "/me.pem"


def test_certificates_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(SettingsError, match="SSL_CA, SSL_CERTIFICATE or SSL_KEY"):
        Settings.read({"SECURITY_PROTOCOL": "SSL", "SSL_CA": "/no/such/file.pem"}).ssl_context()


def test_every_field_has_a_variable_of_its_own() -> None:
    names = variables()
    assert set(names) == set(Settings.model_fields)
    assert len(set(names.values())) == len(names)
