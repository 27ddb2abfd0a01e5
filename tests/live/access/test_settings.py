"""The settings of a shop's sign-on."""

from pathlib import Path

import pytest

from live.core.settings import Settings, SettingsError, environment, load

_BASE = {"SHOWCART_SECRET": "x" * 32}
_SHOP = _BASE | {"SHOWCART_SIGN_ON_ISSUER": "https://shop.example", "SHOWCART_SIGN_ON_AUDIENCE": "showcart"}


def test_a_shop_is_named_by_where_its_keys_are(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("{}")
    assert load(_BASE).sign_on_keys_url == ""
    for url in ("https://shop.example/jwks.json", "https://10.0.0.7:8443/keys", "http://127.0.0.1:9000/jwks"):
        assert load(_SHOP | {"SHOWCART_SIGN_ON_KEYS_URL": url}).sign_on_keys_url == url
    settings = load(_SHOP | {"SHOWCART_SIGN_ON_KEYS_FILE": str(path), "SHOWCART_SIGN_ON_ONCE": "true"})
    assert (settings.sign_on_keys_file, settings.sign_on_once, settings.sign_on_age_s) == (str(path), True, 600)
    assert load(environment(settings)) == settings
    assert isinstance(settings, Settings)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"KEYS_URL": "http://shop.example/jwks"}, "KEYS_URL"),
        ({"KEYS_URL": "file:///etc/passwd"}, "KEYS_URL"),
        ({"KEYS_URL": "https://shop.example/jwks#x"}, "KEYS_URL"),
        ({"KEYS_FILE": "/nowhere/keys.json"}, "KEYS_FILE"),
        ({"KEYS_URL": "https://shop.example/", "KEYS_FILE": "/etc/passwd"}, "KEYS_FILE"),
        ({"KEYS_URL": "https://shop.example/", "ISSUER": ""}, "ISSUER"),
        ({"KEYS_URL": "https://shop.example/", "AUDIENCE": ""}, "AUDIENCE"),
        ({"AGE_S": "0"}, "AGE_S"),
        ({"AGE_S": "86401"}, "AGE_S"),
        ({"TTL_S": "59"}, "TTL_S"),
        ({"ONCE": "perhaps"}, "ONCE"),
    ],
)
def test_wrong_settings_are_refused_by_their_names(variables: dict[str, str], named: str) -> None:
    given = {f"SHOWCART_SIGN_ON_{name}": value for name, value in variables.items()}
    with pytest.raises(SettingsError, match=f"SHOWCART_SIGN_ON_{named}"):
        load(_SHOP | given)
