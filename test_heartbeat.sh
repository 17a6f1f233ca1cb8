#!/usr/bin/env bash
# Starts nm, ss1 and ss1_backup, loses ss1 twice (killed, then frozen), and checks that its backup acts in
# time, that files are read and written meanwhile, and that ss1 acts again with everything it missed.
# Exits with 1 if anything does not happen in time.
#
#   ./test_heartbeat.sh [--fast|--normal]
#
# --fast (the default) finds a silent server within 1.5 s, --normal 15 to 20 s after its last heartbeat.
# PAIRFS names the program to test; without it the release build is brought up to date and used.

set -euo pipefail

pace=--fast
for argument in "$@"; do
    case $argument in
    --fast | --normal) pace=$argument ;;
    -h | --help)
        sed -n '2,10s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        echo "unknown option $argument; try --help" >&2
        exit 2
        ;;
    esac
done

root=$(cd "$(dirname "$0")" && pwd)
if [[ -z ${PAIRFS:-} ]]; then
    (cd "$root" && cargo build --release --quiet)
    PAIRFS=${CARGO_TARGET_DIR:-$root/target}/release/pairfs
fi
unset PAIRFS_DIR PAIRFS_NM

folder=$(mktemp -d "${TMPDIR:-/tmp}/pairfs-heartbeat-XXXXXX")
dir=$folder/data

pairfs() { "$PAIRFS" --dir "$dir" "$@"; }

clean_up() {
    local status=$?
    trap - EXIT
    if [[ $status -ne 0 ]]; then
        for log in "$dir"/*.log; do
            [[ -f $log ]] || continue
            echo "---- the end of $(basename "$log")" >&2
            tail -n 20 "$log" >&2
        done
    fi
    # What is frozen must hear it, too.
    for file in "$dir"/*.pid; do
        [[ -f $file ]] && kill -KILL "$(cat "$file")" 2>/dev/null
    done
    rm -rf "$folder"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*"; }

fail() {
    say "FAILED: $*" >&2
    exit 1
}

now_ms() { date +%s%3N; }

# One field of the first pair in `status`, as JSON writes it but without quotes.
pair_field() {
    { pairfs --json status --timeout 2 2>/dev/null || true; } |
        tr -d '[:space:]' | sed -n 's/.*"pairs":\[\(.*\)/\1/p' |
        { grep -o "\"$1\":[^,}]*" || true; } | sed -n '1s/^[^:]*:"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p'
}

# wait_for SECONDS FIELD VALUE: leaves the time it took, from `since` on, in `took` (ms).
since=0
took=0
wait_for() {
    local seconds=$1 field=$2 value=$3 seen
    while true; do
        seen=$(pair_field "$field")
        took=$(($(now_ms) - since))
        [[ $seen == "$value" ]] && return
        ((took < seconds * 1000)) || fail "$field is '$seen' and not '$value' after $seconds s"
        sleep 0.05
    done
}

settle() {
    since=$(now_ms)
    wait_for 60 state active
    wait_for 60 acting ss1
    wait_for 60 lag_rows 0
}

holds() {
    local seen
    seen=$(pairfs read "$1") || fail "cannot read $1"
    [[ $seen == "$2" ]] || fail "$1 holds '$seen' and not '$2'"
}

write() { printf '%s' "$2" | pairfs write "$1" - >/dev/null || fail "cannot write $1"; }

say "starting nm, ss1 and ss1_backup ($pace)"
if [[ $pace == --fast ]]; then
    pairfs up --detach --fast >/dev/null
else
    pairfs up --detach >/dev/null
fi
write /file "written on ss1"
settle

say "killing ss1 with -9"
since=$(now_ms)
kill -KILL "$(cat "$dir/ss1.pid")"
wait_for 3 acting ss1_backup
say "  ss1_backup acts after $took ms"
holds /file "written on ss1"
write /file "written on ss1_backup"
write /new "new on ss1_backup"
holds /file "written on ss1_backup"

say "starting ss1 again"
pairfs node start ss1 >/dev/null
settle
say "  ss1 acts again after $took ms"
pairfs fsck >/dev/null || fail "the copies differ"
holds /file "written on ss1_backup"
holds /new "new on ss1_backup"

say "freezing ss1"
since=$(now_ms)
kill -STOP "$(cat "$dir/ss1.pid")"
if [[ $pace == --fast ]]; then
    wait_for 3 acting ss1_backup
else
    # 15 to 20 s after the last heartbeat, which came up to 5 s before the signal.
    wait_for 21 acting ss1_backup
    ((took >= 10000)) || fail "ss1 was given up after $took ms already"
fi
say "  ss1_backup acts after $took ms"
holds /file "written on ss1_backup"
write /file "written while ss1 was frozen"

say "waking ss1"
kill -CONT "$(cat "$dir/ss1.pid")"
settle
say "  ss1 acts again after $took ms"
pairfs fsck >/dev/null || fail "the copies differ"
holds /file "written while ss1 was frozen"

say "stopping"
members=$(cat "$dir"/*.pid)
pairfs down >/dev/null
for pid in $members; do
    # One that has ended and only waits to be reaped is not left over.
    state=$(sed -n 's/.*) \([A-Z]\).*/\1/p' "/proc/$pid/stat" 2>/dev/null || true)
    [[ -z $state || $state == Z ]] || fail "process $pid is left over"
done
say "everything happened in time"
