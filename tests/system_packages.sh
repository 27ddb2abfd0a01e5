#!/bin/sh
# Sees to it that Chromium and PostgreSQL are there for the tests; installs them where it may, else says how.
# coturn and iproute2 come along: without them the tests of TURN, and those between network namespaces (which need root
# too), are skipped, so they fail nothing.
set -eu

have_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; }
have_postgresql() { command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }
have_coturn() { command -v turnserver >/dev/null; }
have_iproute2() { command -v ip >/dev/null || [ -x /usr/sbin/ip ]; }

missing=""
have_chromium || missing="chromium"
have_postgresql || missing="$missing postgresql"
wanted=""
have_coturn || wanted="coturn"
have_iproute2 || wanted="$wanted iproute2"
[ -z "$missing$wanted" ] && exit 0

if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo"; else as_root="no"; fi
    if [ "$as_root" != no ]; then
        echo "Installing $missing $wanted for the tests …"
        export DEBIAN_FRONTEND=noninteractive
        $as_root apt-get update -qq
        # shellcheck disable=SC2086  # lists of package names
        [ -z "$missing" ] || $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
        [ -z "$wanted" ] || $as_root apt-get install -y -qq --no-install-recommends $wanted >/dev/null ||
            echo "Not to be had: $wanted. The tests that need them are skipped." >&2
        exit 0
    fi
fi
if [ -n "$wanted" ]; then echo "Not installed: $wanted. The tests that need them are skipped." >&2; fi
[ -z "$missing" ] && exit 0
echo "The tests need: $missing. Install them with your system's package manager, then call make test again." >&2
exit 1
