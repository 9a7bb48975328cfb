#!/usr/bin/env bash
# Keeps vecferry's contract for following by PostgreSQL's own means, for tests of the bench's
# driver: no safety, no way to go on after a failure. FAULT plants what the bench must notice.
set -euo pipefail
FAULT=none

while [[ ${1:-} == --* ]]; do
    case $1 in
    --source) S=$2; shift ;;
    --target) T=$2; shift ;;
    esac
    shift
done
command=$1
shift
switch=
while (($#)); do
    [[ $1 == --switch ]] && switch=$2
    shift
done
name=stand_in_${T##*/}

q() { "$VECFERRY_PG_BIN_DIR/psql" -XqAt -v ON_ERROR_STOP=1 -d "$1" -c "$2"; }
until_true() { until [[ $(q "$1" "$2") == t ]]; do sleep 0.02; done; }
now() { date +%s.%N; }

subscribe() { # AT FROM OPTIONS
    q "$1" "CREATE SUBSCRIPTION $name CONNECTION '$2' PUBLICATION $name
              WITH (binary = true, origin = none, $3)"
}
unsubscribe() { # AT: the slot of the other side goes with it
    q "$1" "ALTER SUBSCRIPTION $name DISABLE"
    q "$1" "DROP SUBSCRIPTION $name"
}
fence() {
    q "$1" "CREATE FUNCTION fence() RETURNS trigger LANGUAGE plpgsql AS
                \$\$ BEGIN RAISE EXCEPTION 'fenced'; END \$\$;
            CREATE TRIGGER fence BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON items
                FOR EACH STATEMENT EXECUTE FUNCTION fence()"
}
drain() { # FROM
    local lsn
    lsn=$(q "$1" "SELECT pg_current_wal_insert_lsn()")
    until_true "$1" "SELECT bool_and(confirmed_flush_lsn >= '$lsn') FROM pg_replication_slots
                      WHERE slot_name = '$name'"
}
switch_to() { # TO, started
    VECFERRY_SWITCH_URL=$1 sh -c "$switch"
    local seconds
    seconds=$(echo "$(now) $2" | awk '{ printf "%.3f", $1 - $2 }')
    echo "{\"version\": 1, \"downtime_seconds\": $seconds,
           \"steps\": [{\"name\": \"all\", \"seconds\": $seconds}]}"
}

case $command in
migrate)
    "$VECFERRY_PG_BIN_DIR/pg_dump" -d "$S" --schema-only | q "$T" "\\i /dev/stdin" >/dev/null
    q "$S" "CREATE PUBLICATION $name FOR TABLE items"
    subscribe "$T" "$S" "copy_data = true"
    until_true "$T" "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
    ;;
status)
    echo '{"version": 1, "follow": {"lag_bytes": 0, "lag_seconds": 0, "state": "streaming"}}'
    ;;
cutover)
    started=$(now)
    fence "$S"
    drain "$S"
    if [[ $FAULT == loses-a-row ]]; then
        # The writer's ids are not told from others by looking, so all rows of one of its bots.
        q "$T" "DELETE FROM items WHERE id = (SELECT id FROM items
                 WHERE source LIKE 's3://documents/01%' ORDER BY id LIMIT 1)"
    fi
    unsubscribe "$T"
    q "$T" "CREATE PUBLICATION $name FOR TABLE items"
    subscribe "$S" "$T" "copy_data = false"
    switch_to "$T" "$started"
    ;;
rollback)
    started=$(now)
    fence "$T"
    drain "$T"
    unsubscribe "$S"
    q "$S" "DROP FUNCTION fence CASCADE" 2>/dev/null
    switch_to "$S" "$started"
    ;;
cleanup)
    for side in "$S" "$T"; do
        if [[ $(q "$side" "SELECT count(*) FROM pg_subscription WHERE subname = '$name'
                             AND subdbid = (SELECT oid FROM pg_database
                                             WHERE datname = current_database())") == 1 ]]; then
            unsubscribe "$side"
        fi
        q "$side" "DROP PUBLICATION IF EXISTS $name" 2>/dev/null
        q "$side" "DROP FUNCTION IF EXISTS fence CASCADE" 2>/dev/null
    done
    if [[ $FAULT == leaves-a-slot ]]; then
        q "$S" "SELECT pg_create_logical_replication_slot('$name', 'pgoutput')" >/dev/null
    fi
    echo '{"version": 1, "removed": true, "leftovers": []}'
    ;;
*)
    echo "error: no command $command" >&2
    exit 2
    ;;
esac
