#!/bin/sh
# Sees to it that Chromium and PostgreSQL are there for the tests; installs them where it may, else says how.
set -eu

have_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; }
have_postgresql() { command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

missing=""
have_chromium || missing="chromium"
have_postgresql || missing="$missing postgresql"
[ -z "$missing" ] && exit 0

if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo"; else as_root="no"; fi
    if [ "$as_root" != no ]; then
        echo "Installing$missing for the tests …"
        export DEBIAN_FRONTEND=noninteractive
        $as_root apt-get update -qq
        # shellcheck disable=SC2086  # a list of package names
        $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
        exit 0
    fi
fi
echo "The tests need: $missing. Install them with your system's package manager, then call make test again." >&2
exit 1
