#!/bin/sh
# Installs the programs that the integration tests run as real peers, where they are missing. Debian and its kin only.
set -eu

missing=""
need() { # program package
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}
need aria2c aria2
need chromium chromium
need chromedriver chromium-driver
need curl curl
need ethtool ethtool
need ip iproute2
need nginx nginx-light
need opentracker opentracker
set -- /usr/lib/postgresql/*/bin/initdb
[ -x "$1" ] || need initdb postgresql
need promtool prometheus
need redis-server redis-server
need systemd-socket-activate systemd
need transmission-daemon transmission-daemon
need unshare util-linux
need wget2 wget2

[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "The tests need:$missing. Install them with your system's package manager." >&2
    exit 1
fi
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "The tests need:$missing. Install them as root." >&2; exit 1; }
    sudo="sudo"
fi
echo "Installing what the tests need:$missing"
$sudo apt-get update -qq
# nginx must not start as a service of its own: the tests run it as a child process.
DEBIAN_FRONTEND=noninteractive $sudo env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
