# shellcheck shell=bash
# peer.py on a host of the testbed, instead of shim6d. Sourced by the interop cases, after lib.sh.

PEER=$TESTBED/interop/peer.py
declare -A PEER_PID PEER_FD

peer_log() { printf '%s/peer-%s.jsonl' "$(logs_dir)" "$1"; }

# start_peer HOST [ARGS]: a peer with one prefix per provider; waits until it is ready.
start_peer() {
    local host=$1 i args=() fifo fd; shift
    for ((i = 1; i <= $(providers "$host"); i++)); do args+=(--prefix "$(prefix_of "$host" "$i")@p$i"); done
    fifo=$(shim6_dir "$host").peer
    mkfifo "$fifo" || return 1
    exec {fd}<>"$fifo"
    spawn "$host" "$PEER" "${args[@]}" --commands "$fifo" "$@" >"$(peer_log "$host")" 2>"$(peer_log "$host").err"
    PEER_PID[$host]=$SPAWNED PEER_FD[$host]=$fd
    wait_for 20 "peer.py on $host" heard "$host" '.ev == "ready"'
}

# tell HOST COMMAND…: one of its commands.
tell() {
    local host=$1; shift
    [ "$VERBOSE" = 0 ] || printf '+ [%s] peer: %s\n' "$host" "$*" >&2
    printf '%s\n' "$*" >&"${PEER_FD[$host]}"
}

stop_peer() {
    tell "$1" quit
    wait_for 10 "end of peer.py on $1" gone "${PEER_PID[$1]}"
}

# heard HOST JQ [AFTER]: an event that matches is in its log, later than the time AFTER.
heard() {
    jq -e -s --argjson after "${3:-0}" "map(select(.t > \$after)) | any($2)" "$(peer_log "$1")" \
        >/dev/null 2>&1
}

# await HOST SECONDS JQ [AFTER]
await() { wait_for "$2" "event of the peer: $3" heard "$1" "$3" "${4:-0}"; }

# said HOST JQ [AFTER]: the values of JQ over its events, one line each, raw.
said() {
    jq -r -s --argjson after "${3:-0}" "map(select(.t > \$after)) | .[] | $2" "$(peer_log "$1")"
}

# count_said HOST CONDITION [AFTER]
count_said() {
    jq -s --argjson after "${3:-0}" "map(select(.t > \$after and ($2))) | length" "$(peer_log "$1")"
}

# peer_status HOST JQ: a fresh status, e.g. peer_status B '.contexts[0].state'
peer_status() {
    local at; at=$(now)
    tell "$1" status
    # Steps of the clock are 10 ms there; the peer's own are finer.
    busywait 5 heard "$1" '.ev == "status"' "$at" || { note "peer.py on $1 is silent"; return 1; }
    jq -r -s "map(select(.ev == \"status\")) | last | $2" "$(peer_log "$1")"
}

# peer_is HOST JQ-CONDITION
peer_is() { [ "$(peer_status "$1" "$2")" = true ]; }

# peer_ulid HOST [N]
peer_ulid() { jq -r -s "map(select(.ev == \"ready\"))[0].addresses[${2:-1} - 1]" "$(peer_log "$1")"; }

# meet [ARGS]: shim6d on A, peer.py on B, ULIDs from both identities, captures.
meet() {
    start_capture ip6 || return 1
    bring_up_host A || return 1
    start_peer B --send-timeout 2 "$@" || { sed 's/^/# /' "$(peer_log B).err"; return 1; }
    # shellcheck disable=SC2034 # the cases use them
    ULID_A=$(identity_of A 1) ULID_B=$(peer_ulid B)
    tell B peer "$ULID_A"
}

# peer_established: both sides say so, and their tags agree.
peer_established() {
    established A && peer_is B '[.contexts[] | select(.state == "ESTABLISHED")] | length == 1' &&
        [ "$(context A .local_tag)" = "$(peer_status B '.contexts[0].ct_peer')" ] &&
        [ "$(context A .peer_tag)" = "$(peer_status B '.contexts[0].ct_local')" ]
}

# establish_from_b: B starts, both sides get there.
establish_from_b() {
    tell B establish "$ULID_A"
    require "the context is ESTABLISHED on both sides with the same tags" \
        wait_for 15 "a context" peer_established
}

# expect_clean: neither side broke a format, by the peer's word and the other decoders'.
expect_clean() {
    check "the peer found no format error in shim6d's messages" \
        equal "$(peer_status B '.format_errors, .malformed | length' | sort -u)" 0
    stop_peer B
    check "the peer ended without a Python error" empty "$(cat "$(peer_log B).err")"
}

# lose HOST N TYPE: on that provider's link control messages of a type (a number) vanish. repair ends it.
lose() { on "$(router_of "$1" "$2")" nft add rule ip6 provider cut ip6 nexthdr 140 @nh,336,8 "$3" counter drop; }

# lost_some HOST N: something has vanished there.
lost_some() { [ "$(cut_count "$1" "$2")" -gt 0 ]; }

# peer_locators HOST: what shim6d on HOST believes to be its peer's locators, one JSON object per line.
peer_locators() {
    ctl "$1" context show "$(context_id "$1")" --json | jq -c '[.. | .peer_locators? // empty] | first | .[]'
}

# forget_both: neither side knows the other any more.
forget_both() {
    tell B forget
    await B 5 '.ev == "forgot"'
    [ -z "$(context_id A)" ] || ctl A context discard "$(context_id A)" >/dev/null
}
