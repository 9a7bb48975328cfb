#!/bin/sh
# The image's entry point: a worker where a launch of Bedrock Chat asks for one, else whatever vecferry is told.
#
# A launch says which bot by EVENT (v1.2.5 and later) or by the arguments `-u embedding/main.py KEYS` (before), or both.
# vecferry.toml may come as text in VECFERRY_SETTINGS, as ECS hands over a parameter of Systems Manager.
set -eu

if [ -n "${VECFERRY_SETTINGS:-}" ] && [ -z "${VECFERRY_CONFIG:-}" ]; then
    VECFERRY_CONFIG="${TMPDIR:-/tmp}/vecferry.toml"
    (umask 077 && printf '%s\n' "$VECFERRY_SETTINGS" > "$VECFERRY_CONFIG")
    export VECFERRY_CONFIG
    unset VECFERRY_SETTINGS
fi

if [ "${1:-}" = worker ]; then
    exec vecferry "$@"
fi
if [ -n "${EVENT:-}" ] || [ "${1:-}" = -u ]; then
    exec vecferry worker "$@"
fi
exec vecferry "$@"
