from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from scorewire_contract.service.settings import SettingError, flag, parse_collector
from scorewire_server.settings import Settings, describe, read_settings, variable


def test_nothing_given_is_the_defaults() -> None:
    assert read_settings({}, {}) == Settings()


def test_a_flag_wins_over_its_variable_and_that_over_the_default() -> None:
    environment = {"SCOREWIRE_MAX_ROWS": "7", "SCOREWIRE_THREADS": "3"}
    settings = read_settings({"max_rows": "8", "threads": None}, environment)
    assert (settings.max_rows, settings.threads) == (8, 3)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("models", "some/where", Path("some/where")),
        ("listen", "0.0.0.0:8500", "0.0.0.0:8500"),
        ("listen", "[::1]:0", "[::1]:0"),
        ("listen", "my-host.example:65535", "my-host.example:65535"),
        ("metrics_port", "0", 0),
        ("max_rows", " 12 ", 12),
        ("drain_seconds", "0.25", 0.25),
        ("grace_seconds", "0", 0.0),
        ("traces_share", "0.5", 0.5),
        ("traces_service_name", "scores of shop", "scores of shop"),
        ("log_format", "json", "json"),
    ],
)
def test_texts_become_values(name: str, text: str, value: object) -> None:
    assert getattr(read_settings({name: text}, {}), name) == value
    assert getattr(read_settings({}, {variable(name): text}), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("models", ""),
        ("listen", "8500"),
        ("listen", "localhost"),
        ("listen", "localhost:65536"),
        ("listen", "local host:1"),
        ("listen", "::1:80"),
        ("metrics_port", "-1"),
        ("metrics_port", "65536"),
        ("threads", "1025"),
        ("graph_threads", "0"),
        ("engine", "other"),
        ("pin_threads", "yes"),
        ("spin_us", "1001"),
        ("batch_threads", "257"),
        ("max_rows", "0"),
        ("max_rows", "1e3"),
        ("max_rows", "ten"),
        ("max_message_bytes", "1023"),
        ("max_in_flight", "0"),
        ("max_streams", "0"),
        ("max_metadata_bytes", "4095"),
        ("drain_seconds", "-1"),
        ("drain_seconds", "nan"),
        ("grace_seconds", "inf"),
        ("max_connection_age_seconds", "soon"),
        ("traces_share", "1.01"),
        ("traces_share", "-0.1"),
        ("traces_share", "nan"),
        ("traces_per_second", "0"),
        ("traces_service_name", ""),
        ("traces_service_name", "a\nb"),
        ("traces_service_name", "x" * 201),
        ("log_format", "xml"),
        ("log_level", "loud"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_range(name: str, text: str) -> None:
    with pytest.raises(SettingError) as by_flag:
        read_settings({name: text}, {})
    assert flag(name) in str(by_flag.value)
    assert "must be" in str(by_flag.value)
    with pytest.raises(SettingError) as by_variable:
        read_settings({}, {variable(name): text})
    assert variable(name) in str(by_variable.value)


@pytest.mark.parametrize(
    ("listen", "control", "access", "controllable"),
    [
        ("127.0.0.1:8500", "auto", None, True),
        ("127.0.0.1:8500", "on", None, True),
        ("127.0.0.1:8500", "off", None, False),
        ("127.0.0.1:8500", "off", "access.toml", False),
        ("0.0.0.0:8500", "auto", None, False),
        ("0.0.0.0:8500", "off", None, False),
        ("0.0.0.0:8500", "auto", "access.toml", True),
        ("0.0.0.0:8500", "on", "access.toml", True),
        ("[::]:8500", "off", "access.toml", False),
    ],
)
def test_calls_may_change_something_on_loopback_or_by_right(
    listen: str, control: str, access: str | None, controllable: bool
) -> None:
    given = {"listen": listen, "control": control, "access": access}
    assert read_settings(given, {}).controllable == controllable


@pytest.mark.parametrize("listen", ["0.0.0.0:8500", "[::]:8500", "scores.example:8500"])
def test_changes_by_everybody_are_refused_where_others_reach_the_server(listen: str) -> None:
    with pytest.raises(SettingError, match=r"give --access, .* or listen on a loopback address"):
        read_settings({"listen": listen, "control": "on"}, {})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"tls_client_ca": "ca.pem"}, "--tls-client-ca needs --tls-cert"),
        (
            {"tls_client_crl": "crl.pem", "tls_cert": "cert.pem", "tls_key": "key.pem"},
            "--tls-client-crl needs --tls-client-ca",
        ),
    ],
)
def test_settings_of_client_certificates_need_others(given: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingError, match=missing):
        read_settings(given, {})


@pytest.mark.parametrize("given", ["tls_cert", "tls_key"])
def test_half_a_certificate_is_refused(given: str) -> None:
    with pytest.raises(SettingError, match="together"):
        read_settings({given: "file.pem"}, {})


def test_certificates_of_clients_need_tls_and_their_revocation_lists_an_authority() -> None:
    files = {"tls_cert": "server.pem", "tls_key": "server.key"}
    with pytest.raises(SettingError, match="--tls-client-ca needs --tls-cert"):
        read_settings({"tls_client_ca": "ca.pem"}, {})
    with pytest.raises(SettingError, match="--tls-client-crl needs --tls-client-ca"):
        read_settings({**files, "tls_client_crl": "crl.pem"}, {})
    read = read_settings({**files, "tls_client_ca": "ca.pem", "tls_client_crl": "crl.pem"}, {})
    assert read.tls_client_crl == Path("crl.pem")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app@db/scores",
        "postgres://db",
        "postgresql://one:5432,two:5433/scores?target_session_attrs=read-write",
        "postgresql:///scores?host=/run/postgresql&passfile=/etc/password",
        "postgresql://app%40corp@[::1]:5432,[fe80::1]/scores",
        "postgresql://db:5432/scores?user=app@corp&application_name=",
    ],
)
def test_records_may_go_to_a_database(url: str) -> None:
    assert read_settings({"records": "records", "records_to": url}, {}).records_to == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://app:hunter2@db/scores", "--records-password-file"),
        ("postgresql://app:@db/scores", "--records-password-file"),
        ("postgresql://db/scores?user=app&password=hunter2", "--records-password-file"),
        ("postgresql://db/scores?sslpassword=hunter2", "--records-password-file"),
        ("mysql://app:hunter2@db/scores", "--records-password-file"),
        ("mysql://hunter2@db/scores", "must be a URL"),
        ("host=db password=hunter2", "must be a URL"),
        ("postgresql://app:hunter2@[db/scores", "--records-password-file"),
        ("postgresql://hunter2@[db/scores", "must be a URL"),
        # What ends a password for a parser of URLs does not end it for libpq.
        ("postgresql://app:hunter2#1@db/scores", "--records-password-file"),
        ("postgresql://app:1?hunter2@db/scores", "--records-password-file"),
        ("postgresql://app:hunter2/1@db/scores", "must be a URL"),
        ("postgresql://app:1/hunter2@db/scores", "must be a URL"),
        ("postgresql://db/scores?user=app;password=hunter2", "--records-password-file"),
        ("postgresql://db/scores?hunter2", "must be a URL"),
        ("postgresql://db/scores#hunter2", "must be a URL"),
        ("POSTGRESQL://hunter2@db/scores", "must be a URL"),
    ],
)
def test_a_bad_url_of_a_database_is_refused_and_not_shown(url: str, expected: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings({"records": "records", "records_to": url}, {})
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ("records_to", "--records,"),
        ("records_policy", "--records,"),
        ("records_password_file", "--records-to"),
    ],
)
def test_a_setting_of_records_needs_the_setting_that_it_belongs_to(given: str, needed: str) -> None:
    with pytest.raises(SettingError, match=f"needs {needed}"):
        read_settings({given: "postgresql://db"}, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://collector",
        "http://127.0.0.1:4317/",
        "https://otlp.example:443",
        "https://[::1]:4317",
    ],
)
def test_traces_may_go_to_a_collector(url: str) -> None:
    assert read_settings({"traces": url}, {}).traces == url


@pytest.mark.parametrize(
    "url",
    [
        "collector:4317",
        "grpc://hunter2",
        "http://",
        "http://user:hunter2@collector",
        "http://hunter2@collector:4317",
        "http://collector:0",
        "http://collector:65536",
        "http://collector/v1/traces?token=hunter2",
        "http://collector#hunter2",
        "HTTP://hunter2",
        "http://a b",
    ],
)
def test_a_bad_url_of_a_collector_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingError, match="--traces must be a URL like http://HOST:4317") as caught:
        read_settings({"traces": url}, {})
    assert "hunter2" not in str(caught.value)


def test_a_port_of_a_collector_may_be_left_out() -> None:
    assert parse_collector("http://collector") == ("collector:4317", False)
    assert parse_collector("https://[::1]:443/") == ("[::1]:443", True)


def test_headers_of_traces_need_a_collector() -> None:
    with pytest.raises(SettingError, match="needs --traces"):
        read_settings({"traces_headers_file": "headers"}, {})


def test_every_setting_is_described_with_its_variable() -> None:
    described = describe()
    assert list(described) == [each.name for each in fields(Settings)]
    for name, description in described.items():
        assert variable(name) in str(description)
        assert str(description).startswith(description.purpose)


def test_every_default_is_a_value_that_may_be_given() -> None:
    texts = {each.name: str(each.default) for each in fields(Settings) if each.default is not None}
    assert read_settings(dict(texts), {}) == Settings()


def test_settings_cannot_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().max_rows = 5  # type: ignore[misc] # that it cannot is the point


def test_records_have_memory_for_the_largest_message() -> None:
    assert read_settings({"max_message_bytes": "1000000"}, {}).ring_bytes == 2_000_000
    assert read_settings({"max_message_bytes": "1073741824"}, {}).ring_bytes == 1 << 30
    assert read_settings({"records_ring_bytes": "65536"}, {}).ring_bytes == 1 << 16
    with pytest.raises(SettingError, match="--records-ring-bytes is 65535; it must be at least 65536"):
        read_settings({"records_ring_bytes": "65535"}, {})
