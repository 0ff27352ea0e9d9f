# shellcheck shell=bash
# What most cases share. A case sets TOML to add sections to both daemons' configuration.

SEND_TIMEOUT=2
CASE_RATE=1000000    # octets per second of the file transfer
[ "$SLOW" = 1 ] || CASE_RATE=100000
CUT=0                # when the failure happened
TOML=${TOML:-}

# bring_up: captures, daemons with fast timers on A and B, ULIDs, event logs.
bring_up() {
    start_capture ip6 || return 1
    bring_up_host A && bring_up_host B && use_identity_ulids
}

# bring_up_host HOST
bring_up_host() {
    { fast_timers "$SEND_TIMEOUT"; printf '%s\n' "$TOML"; } | configure "$1"
    start_shim6d "$1" || { dump_on_failure; return 1; }
    monitor "$1"
}

# begin_flows SECONDS: stream, typing and a transfer of so many seconds; waits for the context, and
# until the transfer has moved on for a second after that.
begin_flows() {
    require "the programs start" start_programs "$1"
    require "the context of the flows is ESTABLISHED on both hosts" wait_established 15
    settle
}

# On a slow machine all waits are longer, so the transfer has to be, too.
start_programs() {
    start_udp 600 && start_ping 600 &&
        start_tcp "$(calc "$CASE_RATE * $1 * $SLOW" | cut -d. -f1)" "$CASE_RATE"
}

# settle [OCTETS]: waits until the transfer has moved by so much, a second's worth by default.
settle() {
    local from; from=$(flow_total tcp-recv)
    wait_for 30 "progress of the transfer" moved_or_ended $((from + ${1:-CASE_RATE})) || return 1
    flow_beyond tcp-recv $((from + ${1:-CASE_RATE})) ||
        note "the transfer ended at $from octets, before the failure was looked at: it is too short for this machine"
}

moved_or_ended() { flow_beyond tcp-recv "$1" || flow_ended tcp-send; }

# end_flows SECONDS: waits for the end of the transfer, at most so long, and ends the others.
end_flows() {
    wait_for "$1" "end of the transfer" flow_ended tcp-send
    stop_flow udp-send ping-type
    stop_flows
}

# cut_now CMD…: a failure; remembers when.
cut_now() { CUT=$(now); "$@"; }

at_most() { holds "$1 <= $2" || { note "it is $1, allowed $2"; return 1; }; }
equal() { [ "$1" = "$2" ] || { note "it is \"$1\", expected \"$2\""; return 1; }; }
differs() { [ "$1" != "$2" ] || { note "it is \"$1\" on both sides"; return 1; }; }
more_than() { [ "${1:-0}" -gt "$2" ] || { note "it is ${1:-0}, expected more than $2"; return 1; }; }
contains() { case $1 in *"$2"*) ;; *) note "\"$1\" lacks \"$2\""; return 1 ;; esac; }
empty() { [ -z "$1" ] || { note "it is:"; printf '%s\n' "$1" | head -n 20 | sed 's/^/#   /'; return 1; }; }

# recovered_within LOG SECONDS: the flow came back in time after CUT and did not stall again. A flow whose longest
# silence is below half a second was never away: that may lie anywhere on a busy machine.
recovered_within() {
    local stat most=$2
    [ "$SLOW" = 1 ] || most=$(calc "$most * $SLOW")
    stat=$("$TOOLS/flowstat" "$(flow_log "$1")" --cut "$CUT")
    jq -e --argjson most "$most" \
        '.recovered != null and (.recovered <= $most or .longest_gap < 0.5) and .stalls == 0' \
        >/dev/null <<<"$stat" || { note "$1: $stat"; return 1; }
}

no_errors() {
    local found; found=$(jq -c 'select(.ev == "error")' "$(logs_dir)"/{tcp,udp,ping}-*.jsonl 2>&1)
    empty "$found"
}

# expect_flows SECONDS: what the applications noticed: at most a silence.
expect_flows() {
    check "the file arrives identical" equal "$(flow_end tcp-send .identical)" true
    check "no application sees an error" no_errors
    check "the file transfer flows again within $1 s" recovered_within tcp-recv "$1"
    check "the stream flows again within $1 s" recovered_within udp-send "$1"
    check "the typing is answered again within $1 s" recovered_within ping-type "$1"
    check "no datagram is damaged" equal "$(flow_end udp-send .damaged)" 0
}

# expect_undisturbed SECONDS: no silence longer than that in any flow, from the first octet on.
expect_undisturbed() {
    local log gap
    check "the file arrives identical" equal "$(flow_end tcp-send .identical)" true
    check "no application sees an error" no_errors
    for log in tcp-recv udp-send ping-type; do
        gap=$(flow_end "$log" .longest_gap)
        check "$log: no silence longer than $1 s" at_most "${gap:-999}" "$1"
    done
}

# expect_wire [ARGS]: both independent decoders over all captures of the case.
expect_wire() {
    stop_capture
    wire_check ${ULID_A:+--ulids "$ULID_A" "$ULID_B"} "$@" >"$(logs_dir)/wire.json"
    check "the captures hold packets that can be judged" judged
    check "no format error, wrong order, size or checksum on the wire" \
        empty "$(jq -r '.problems[]' "$(logs_dir)/wire.json" 2>&1)"
    if command -v tshark >/dev/null; then
        check "tshark calls the checksum of every control message good" empty "$(tshark_checksums)"
    fi
}

judged() { jq -e '.packets | length > 0' "$(logs_dir)/wire.json" >/dev/null; }

# on_wire KIND: how many packets of that kind (I1, Probe, Payload…) all captures hold together.
on_wire() { jq -r --arg k "$1" '.packets[$k] // 0' "$(logs_dir)/wire.json"; }

# sends_from HOST N: its current pair begins with the locator of its provider N.
sends_from() {
    local prefix; prefix=$(prefix_of "$1" "$2")
    [[ $(context "$1" .current.local) == "${prefix%:/64}"* ]]
}

# host_state HOST: everything in the kernel that the daemon may touch, in a form to compare.
host_state() {
    {
        on "$1" nft list ruleset
        ip_on "$1" -o address show scope global | sed 's/\\.*//; s/^[0-9]*: //' | sort
        ip_on "$1" -o address show dev lo | sed 's/\\.*//' | sort
        ip_on "$1" addrlabel list | sort
        ip_on "$1" rule show
        ip_on "$1" route show table all | grep -v '^\(local\|multicast\|anycast\|ff00\|fe80\)' |
            sed 's/ expires [0-9]*sec//' | sort
        on "$1" cat /proc/net/netfilter/nfnetlink_queue
    } 2>/dev/null
}

# rules_present HOST: the daemon's table is there.
rules_present() { on "$1" nft list table ip6 shim6; }
