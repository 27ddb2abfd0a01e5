"""The environment becomes one object; a wrong value is refused by its variable's name."""

import os
import stat
from pathlib import Path

import pytest

from live.core.command import settings_of
from live.core.settings import SettingsError, load, unknown

SECRET = "0123456789abcdef"


def test_defaults_are_a_laptop(tmp_path: Path) -> None:
    settings = load({"SHOWCART_DATA_DIR": str(tmp_path)})
    assert (settings.host, settings.port, settings.udp_port, settings.workers) == ("127.0.0.1", 8000, 8000, 1)
    assert settings.loopback
    assert settings.effective_database_url == f"sqlite:///{tmp_path}/showcart.db"


def test_every_variable_is_read(tmp_path: Path) -> None:
    settings = load(
        {
            "SHOWCART_HOST": "0.0.0.0",
            "SHOWCART_PORT": "80",
            "SHOWCART_MEDIA_PORT": "3478",
            "SHOWCART_PUBLIC_IPS": "192.0.2.1, 2001:db8::1",
            "SHOWCART_DATABASE_URL": "postgresql://shop@db/shop",
            "SHOWCART_REDIS_URL": "rediss+cluster://u:p@a:7001,b",
            "SHOWCART_SECRET": SECRET,
            "SHOWCART_ORIGINS": "https://shop.example",
            "SHOWCART_TURN_URLS": "stun:s.example, turn:[2001:db8::2]:3478,turns:t.example:443?transport=tcp",
            "SHOWCART_TURN_SECRET": "shared with coturn",
            "SHOWCART_DSCP": "34",
            "SHOWCART_FORWARDED_HEADER": "Forwarded",
            "SHOWCART_DATA_DIR": str(tmp_path),
            "PATH": "/bin",
        }
    )
    assert settings.public_ips == ("192.0.2.1", "2001:db8::1")
    assert settings.turn_urls[2] == "turns:t.example:443?transport=tcp"
    assert (settings.turn_secret, settings.dscp) == ("shared with coturn", 34)
    assert (settings.udp_port, settings.forwarded_header) == (3478, "forwarded")
    assert settings.effective_database_url == "postgresql://shop@db/shop"
    assert settings.origins == ("https://shop.example",)
    assert not settings.loopback


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"SHOWCART_PORT": "http"}, "SHOWCART_PORT"),
        ({"SHOWCART_PORT": "65536"}, "SHOWCART_PORT"),
        ({"SHOWCART_MEDIA_PORT": "-1"}, "SHOWCART_MEDIA_PORT"),
        ({"SHOWCART_WORKERS": "0"}, "SHOWCART_WORKERS"),
        ({"SHOWCART_WORKERS": "65"}, "SHOWCART_WORKERS"),
        ({"SHOWCART_HOST": "shop.example"}, "SHOWCART_HOST"),
        ({"SHOWCART_PUBLIC_IPS": "here"}, "SHOWCART_PUBLIC_IPS"),
        ({"SHOWCART_DATABASE_URL": "mysql://db"}, "SHOWCART_DATABASE_URL"),
        ({"SHOWCART_REDIS_URL": "http://cache"}, "SHOWCART_REDIS_URL"),
        ({"SHOWCART_REDIS_URL": "redis+cluster://a:6379,"}, "SHOWCART_REDIS_URL"),
        ({"SHOWCART_REDIS_URL": "rediss+cluster://a/1"}, "SHOWCART_REDIS_URL"),
        *(
            ({"SHOWCART_REDIS_URL": url}, f"SHOWCART_REDIS_URL: .*{said}")
            for url, said in (
                ("redis+cluster://127.0.0.1:1?ssl_ca_cert=/x", "'ssl_ca_cert'"),
                ("redis+cluster://a,redis://b", "scheme stands once"),
                ("redis+cluster://a:b", "'b'"),
                ("redis://127.0.0.1:abc", "'abc'"),
                ("redis://127.0.0.1:65536", "65535"),
                ("redis://127.0.0.1?colour=red", "'colour'"),
                ("redis://127.0.0.1/shop", "'shop' is not a database"),
                ("redis://127.0.0.1?db=shop", "'db'"),
                ("redis://", "host"),
                ("redis://:6379", "host"),
                ("unix://", "path"),
            )
        ),
        ({"SHOWCART_PORT": "65535", "SHOWCART_WORKERS": "2"}, "SHOWCART_PORT: .* at most 65534"),
        ({"SHOWCART_MEDIA_PORT": "65535", "SHOWCART_WORKERS": "2"}, "SHOWCART_MEDIA_PORT: "),
        ({"SHOWCART_TRUSTED_PROXIES": "10.0.0.0/8,0.0.0.0/0"}, "SHOWCART_TRUSTED_PROXIES: .*everybody"),
        ({"SHOWCART_TRUSTED_PROXIES": "::/0"}, "SHOWCART_TRUSTED_PROXIES: .*everybody"),
        (
            {"SHOWCART_FORWARDED_HEADER": "via"},
            "SHOWCART_FORWARDED_HEADER: 'via' is none of x-forwarded-for, forwarded",
        ),
        ({"SHOWCART_SECRET": "short"}, "SHOWCART_SECRET"),
        ({"SHOWCART_HOST": "0.0.0.0"}, "SHOWCART_SECRET"),
        ({"SHOWCART_HOST": "0.0.0.0", "SHOWCART_SECRET": SECRET, "SHOWCART_DEMO": "1"}, "SHOWCART_HOST"),
        ({"SHOWCART_ORIGINS": "https://shop.example,*"}, "SHOWCART_ORIGINS"),
        ({"SHOWCART_PICTURE_ORIGINS": "https://a.example;script-src"}, "SHOWCART_PICTURE_ORIGINS"),
        ({"SHOWCART_DATA_DIR": "/dev/null/x"}, "SHOWCART_DATA_DIR"),
        ({"SHOWCART_LOG_LEVEL": "loud"}, "SHOWCART_LOG_LEVEL"),
        ({"SHOWCART_HOLD_TTL_S": "0"}, "SHOWCART_HOLD_TTL_S"),
        ({"SHOWCART_WEBHOOK_NETWORKS": "10.0.0.0/8,erp"}, "SHOWCART_WEBHOOK_NETWORKS"),
        ({"SHOWCART_WEBHOOK_KEPT_DAYS": "0"}, "SHOWCART_WEBHOOK_KEPT_DAYS"),
        ({"SHOWCART_DSCP": "64"}, "SHOWCART_DSCP"),
        ({"SHOWCART_TURN_URLS": "turn:t.example"}, "SHOWCART_TURN_SECRET"),
        ({"SHOWCART_TURN_URLS": "stun:s.example", "SHOWCART_TURN_SECRET": "x"}, "SHOWCART_TURN_URLS"),
        ({"SHOWCART_TURN_SECRET": "x"}, "SHOWCART_TURN_URLS"),
        *(
            ({"SHOWCART_TURN_URLS": url, "SHOWCART_TURN_SECRET": "x"}, "SHOWCART_TURN_URLS")
            for url in (
                "https://t.example",
                "turn:t.example?transport=sctp",
                "turn:t.example>; rel=x",
                'turn:t".example',
                "turn://t.example",
                "turn:a b",
                "stun:s.example?transport=udp",
            )
        ),
    ],
)
def test_a_wrong_value_names_its_variable(environ: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}"):
        load(environ)


def test_localhost_is_loopback() -> None:
    assert load({"SHOWCART_HOST": "localhost", "SHOWCART_SECRET": SECRET}).loopback


def test_the_secret_of_a_data_folder_is_made_once_and_kept_private(tmp_path: Path) -> None:
    environ = {"SHOWCART_DATA_DIR": str(tmp_path / "new")}
    first, second = load(environ), load(environ)
    assert first.secret == second.secret
    assert len(first.secret) >= 32
    assert stat.S_IMODE(os.stat(tmp_path / "new" / "secret").st_mode) == 0o600


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    with pytest.raises(SettingsError, match="SHOWCART_DATA_DIR"):
        load({"SHOWCART_DATA_DIR": str(tmp_path)})


def test_origins_may_have_ports_and_addresses() -> None:
    origins = "https://shop.example:8443,http://127.0.0.1,http://[::1]:80"
    assert len(load({"SHOWCART_ORIGINS": origins, "SHOWCART_SECRET": SECRET}).origins) == 3


def test_what_looks_like_a_setting_and_is_none_is_named_with_the_one_that_was_meant() -> None:
    misspelt = {
        "SHOWCART_DATABSE_URL": "SHOWCART_DATABASE_URL",
        "SHOWCART_ORIGIN": "SHOWCART_ORIGINS",
        "SHOWCART_PUBLIC_IP": "SHOWCART_PUBLIC_IPS",
        "SHOWCART_SECERT": "SHOWCART_SECRET",
        "Showcart_Port": "SHOWCART_PORT",
    }
    others = {"SHOWCART_PORT_8000_TCP_ADDR": "", "SHOWCART_SERVICE_HOST": "", "SHOWCART_X": ""}
    ours = ("PATH", "SHOWCART_PORT", "SHOWCART_DEMO", "SHOWCART_SIBLINGS", "SHOWCART_LOADTEST_TOKEN")
    assert unknown(dict.fromkeys([*misspelt, *others, *ours], "?")) == misspelt | others


def test_a_start_names_them_in_one_line_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("live.core.command.logs.configure", lambda *_: None)  # the tests' own stay
    for name, value in (("DATA_DIR", str(tmp_path)), ("SECERT", "of no use"), ("X", "1")):
        monkeypatch.setenv(f"SHOWCART_{name}", value)
    assert settings_of({}).data_dir == tmp_path
    said = "not a setting, and without effect: SHOWCART_SECERT (did you mean SHOWCART_SECRET?), SHOWCART_X"
    assert [record.getMessage() for record in caplog.records] == [said]
    monkeypatch.setenv("SHOWCART_SIBLINGS", str(tmp_path))
    settings_of({})
    assert len(caplog.records) == 1, "a worker leaves it to its supervisor"
