# shellcheck shell=bash
# shim6d on the hosts of the testbed, one per namespace, and its command line.

declare -A SHIM6D_PID
SHIM6_BIN_DIR=${SHIM6_BIN_DIR:-}

# find_cargo: sets CARGO, also under sudo, where rustup's directory is not on the PATH.
find_cargo() {
    local home
    CARGO=$(command -v cargo) && return 0
    for home in "${HOME:-/root}" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
        [ -x "$home/.cargo/bin/cargo" ] && { CARGO=$home/.cargo/bin/cargo; return 0; }
    done
    return 1
}

# build_shim6: shim6d and shim6ctl as a release, unless SHIM6_BIN_DIR names ready ones.
build_shim6() {
    local as=()
    if [ -z "$SHIM6_BIN_DIR" ]; then
        find_cargo || die "no cargo found: install Rust 1.95 or later (https://rustup.rs), or set SHIM6_BIN_DIR"
        # A build by sudo must not leave root's files in the user's tree.
        [ "$(id -u)" != 0 ] || [ -z "${SUDO_USER:-}" ] || [ "$SUDO_USER" = root ] ||
            as=(sudo -u "$SUDO_USER" -H env "PATH=$(dirname "$CARGO"):$PATH")
        note "building shim6d and shim6ctl (release)"
        (cd "$REPO" && "${as[@]}" "$CARGO" build -q --release --bins) || die "the build failed"
        SHIM6_BIN_DIR=${CARGO_TARGET_DIR:-$REPO/target}/release
    fi
    SHIM6_BIN_DIR=$(cd "$SHIM6_BIN_DIR" && pwd) || die "no directory $SHIM6_BIN_DIR"
    [ -x "$SHIM6_BIN_DIR/shim6d" ] && [ -x "$SHIM6_BIN_DIR/shim6ctl" ] ||
        die "no shim6d and shim6ctl in $SHIM6_BIN_DIR"
}

# shim6_dir HOST: configuration, state and run-time directory of its daemon.
shim6_dir() { printf '%s/%s%s' "$RUN_BASE" "${WORLD:+$WORLD-}" "$1"; }

shim6d_log() { printf '%s/shim6d-%s.log' "$(logs_dir)" "$1"; }

# configure HOST <TOML: the daemon's configuration, all of it. Without a call it is empty.
configure() { mkdir -p "$(shim6_dir "$1")"; cat >"$(shim6_dir "$1")/shim6d.toml"; }

# fast_timers [SECONDS]: a short Send Timeout.
fast_timers() {
    cat <<TOML
[reap]
send_timeout = ${1:-2}
keepalive_timeout = ${1:-2}
TOML
}

# launch_shim6d HOST: starts it without waiting for anything; pid in SHIM6D_PID.
launch_shim6d() {
    local host=$1 dir; dir=$(shim6_dir "$1")
    mkdir -p "$dir/state" "$dir/run"
    [ -f "$dir/shim6d.toml" ] || : >"$dir/shim6d.toml"
    spawn "$host" env "SHIM6_LOG=${SHIM6_LOG:-info}" RUST_BACKTRACE=1 "$SHIM6_BIN_DIR/shim6d" \
        --config "$dir/shim6d.toml" --state-dir "$dir/state" --runtime-dir "$dir/run" \
        ${SHIM6_QUEUE_BACKEND:+--queue-backend "$SHIM6_QUEUE_BACKEND"} \
        ${SHIM6_TIER:+--tier "$SHIM6_TIER"} \
        ${SHIM6_RECORD:+--record "$SHIM6_RECORD-$host.jsonl"} \
        >>"$(shim6d_log "$host")" 2>&1
    SHIM6D_PID[$WORLD$host]=$SPAWNED
}

# start_shim6d HOST…: starts the daemons, and waits until they answer and their addresses are usable.
start_shim6d() {
    local host
    for host in "$@"; do launch_shim6d "$host"; done
    for host in "$@"; do
        wait_for 20 "answer of shim6d on $host" ctl_ok "$host" status || return 1
        wait_for 20 "identity addresses on $host" has_identity "$host" || return 1
    done
}

# stop_shim6d HOST… : SIGTERM, and wait until it is gone.
stop_shim6d() {
    local host pid
    for host in "$@"; do
        pid=${SHIM6D_PID[$WORLD$host]:-}
        [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null
    done
    for host in "$@"; do
        pid=${SHIM6D_PID[$WORLD$host]:-}
        [ -z "$pid" ] && continue
        wait_for 10 "end of shim6d on $host" gone "$pid" || { kill -KILL "$pid"; return 1; }
        wait "$pid"; SHIM6D_STATUS=$?
        unset "SHIM6D_PID[$WORLD$host]"
    done
}

# signal_shim6d HOST SIGNAL
signal_shim6d() { kill -"$2" "${SHIM6D_PID[$WORLD$1]}"; }

# kill_shim6d HOST: SIGKILL, no farewell.
kill_shim6d() {
    local pid=${SHIM6D_PID[$WORLD$1]}
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    unset "SHIM6D_PID[$WORLD$1]"
}

alive_shim6d() { local pid=${SHIM6D_PID[$WORLD$1]:-}; [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; }

# ctl HOST ARGS…: shim6ctl of that host's daemon.
ctl() {
    local host=$1; shift
    on "$host" timeout 10 "$SHIM6_BIN_DIR/shim6ctl" --socket "$(shim6_dir "$host")/run/control.sock" "$@"
}
ctl_ok() { ctl "$@" >/dev/null 2>&1; }

# ---------------------------------------------------------------------------------------------
# Addresses of the identity

# identity_addresses HOST N: usable global addresses in the prefix of provider N other than the
# hand-made one.
identity_addresses() {
    ip_on "$1" -j address show dev "p$2" scope global |
        jq -r --arg own "$(address_of "$1" "$2")" \
            '.[].addr_info[]? | select(.local != null and .local != $own and (.tentative | not)) | .local' 2>/dev/null
}

has_identity() {
    local i
    for ((i = 1; i <= $(providers "$1"); i++)); do
        [ -n "$(identity_addresses "$1" "$i")" ] || return 1
    done
}

# identity_of HOST N
identity_of() { identity_addresses "$1" "$2" | head -n 1; }

# use_identity_ulids [NA] [NB]: ULIDs from the identities, by default in the first prefixes.
use_identity_ulids() { ULID_A=$(identity_of A "${1:-1}") ULID_B=$(identity_of B "${2:-1}"); }

# ---------------------------------------------------------------------------------------------
# Control state. Contexts are found by key, wherever the listing puts them.

# contexts HOST: the contexts, one JSON object per line.
contexts() {
    ctl "$1" context list --json 2>/dev/null |
        jq -c '.. | objects | select(has("ulid_local") and has("state"))' 2>/dev/null
}

# context HOST JQ: a value of the default context between ULID_A and ULID_B.
context() {
    local host=$1 local_ulid=$ULID_A peer=$ULID_B
    [ "$host" = A ] || { local_ulid=$ULID_B; peer=$ULID_A; }
    contexts "$host" | jq -r --arg l "$local_ulid" --arg p "$peer" \
        "select(.ulid_local == \$l and .ulid_peer == \$p and .fii == 0) | $2"
}

context_id() { context "$1" .id; }

# context_is HOST JQ-CONDITION
context_is() { [ "$(context "$1" "$2")" = true ]; }

established() { context_is "$1" '.state == "ESTABLISHED"'; }

# wait_established [SECONDS]: the context of the flows, on both hosts.
wait_established() {
    wait_for "${1:-15}" "ESTABLISHED on A" established A &&
        wait_for "${1:-15}" "ESTABLISHED on B" established B
}

# switched HOST: it sends on another pair than the ULIDs, with the payload header.
switched() { context_is "$1" '.tagged and (.current.local != .ulid_local or .current.peer != .ulid_peer)'; }

operational() { context_is "$1" '.reap_state == "Operational"'; }

# counter HOST NAME: one of the daemon's counters, 0 if it never counted.
counter() {
    ctl "$1" stats --json 2>/dev/null | jq -r --arg n "$2" '[.. | objects | .[$n]? // empty | numbers] | first // 0'
}

# monitor HOST…: follows their events, single probes too, into events-HOST.jsonl of the logs. Nothing
# that happens after it has returned is missed.
monitor() {
    local host ready
    for host in "$@"; do
        ready=$(logs_dir)/events-$host.err
        rm -f "$ready"
        spawn "$host" "$SHIM6_BIN_DIR/shim6ctl" --socket "$(shim6_dir "$host")/run/control.sock" \
            monitor --verbose --json >"$(logs_dir)/events-$host.jsonl" 2>"$ready"
        wait_for 10 "subscription to events of $host" grep -q waiting "$ready" || return 1
    done
}

# saw_event HOST TYPE [JQ-CONDITION]
saw_event() {
    jq -e -s --arg t "$2" "map(.event? // .) | any(.type == \$t and (${3:-true}))" \
        "$(logs_dir)/events-$1.jsonl" >/dev/null 2>&1
}

# dump_on_failure: what a reader needs to see first; once per case.
dump_on_failure() {
    local host
    [ -z "${DUMPED:-}" ] || return 0
    DUMPED=1
    for host in A B; do
        [ -n "${SHIM6D_PID[$WORLD$host]:-}" ] || continue
        note "contexts of $host: $(contexts "$host" | tr '\n' ' ')"
        note "last lines of shim6d on $host:"
        tail -n 15 "$(shim6d_log "$host")" 2>/dev/null | sed 's/^/#   /'
    done
}
