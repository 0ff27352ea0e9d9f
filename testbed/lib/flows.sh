# shellcheck shell=bash
# Traffic from A to B between ULID_A and ULID_B, and captures of the provider links.
# Logs and captures of the present world lie in logs_dir.

TCP_PORT=5001 UDP_PORT=5002 PING_PORT=5003 ULID_A='' ULID_B=''
declare -A FLOW_PID CAPTURE_PID

logs_dir() {
    local d=${CASE_OUT:-$OUT}${WORLD:+/$WORLD}
    [ -d "$d" ] || mkdir -p "$d"
    printf '%s' "$d"
}

# flow_log NAME: the log of tcp-recv, tcp-send, udp-send, udp-echo, udp-sink, ping-type or ping-serve.
flow_log() { printf '%s/%s.jsonl' "$(logs_dir)" "$1"; }

has_event() { [ -f "$1" ] && grep -q "\"ev\": \"$2\"" "$1"; }

# use_plain_ulids: the hand-made addresses of the first providers, as without shim6d.
use_plain_ulids() { ULID_A=$(address_of A 1) ULID_B=$(address_of B 1); }

# start_flow NAME ROLE CMD…: a traffic application with its log; waits for its first line.
start_flow() {
    local name=$1 role=$2 log tool=$3; log=$(flow_log "$1"); shift 3
    rm -f "$log"
    spawn "$role" "$TOOLS/$tool" "$@" --log "$log"
    FLOW_PID[$WORLD$name]=$SPAWNED
    wait_for 10 "start of $name" has_event "$log" start
}

# start_tcp OCTETS [RATE] [--mptcp]: a checked transfer from A to B.
start_tcp() {
    start_flow tcp-recv B flow-tcp recv --bind "$ULID_B" --port "$TCP_PORT" "${@:3}" &&
        start_flow tcp-send A flow-tcp send --bind "$ULID_A" --to "$ULID_B" --port "$TCP_PORT" \
            --bytes "$1" --rate "${2:-0}" "${@:3}"
}

# start_udp SECONDS [SIZE] [INTERVAL_MS]: numbered datagrams from A, echoed by B.
start_udp() {
    start_flow udp-echo B flow-udp echo --bind "$ULID_B" --port "$UDP_PORT" &&
        start_flow udp-send A flow-udp send --bind "$ULID_A" --to "$ULID_B" --port "$UDP_PORT" \
            --seconds "$1" --size "${2:-1200}" --interval-ms "${3:-20}"
}

# start_sink SECONDS [SIZE] [INTERVAL_MS]: numbered datagrams from A that B receives without a word.
start_sink() {
    start_flow udp-sink B flow-udp sink --bind "$ULID_B" --port "$UDP_PORT" &&
        start_flow udp-send A flow-udp send --bind "$ULID_A" --to "$ULID_B" --port "$UDP_PORT" \
            --seconds "$1" --size "${2:-1200}" --interval-ms "${3:-20}"
}

# start_ping SECONDS [--sctp]: somebody at A types on B.
start_ping() {
    start_flow ping-serve B flow-ping serve --bind "$ULID_B" --port "$PING_PORT" "${@:2}" &&
        start_flow ping-type A flow-ping type --bind "$ULID_A" --to "$ULID_B" --port "$PING_PORT" \
            --seconds "$1" "${@:2}"
}

# flow_ended NAME: its log has its last line.
flow_ended() { has_event "$(flow_log "$1")" end; }

# stop_flow NAME…: ends them early; their logs get their last line.
stop_flow() {
    local name pid
    for name in "$@"; do
        pid=${FLOW_PID[$WORLD$name]:-}
        [ -z "$pid" ] || reap "$pid"
        unset "FLOW_PID[$WORLD$name]"
    done
}

stop_flows() { stop_flow tcp-send udp-send ping-type tcp-recv udp-echo ping-serve; }

# flow_total NAME: octets that it has counted so far (to the last 100 ms).
flow_total() { tail -n 20 "$(flow_log "$1")" | jq -s '[.[] | .total? // empty] | last // 0'; }

# flow_beyond NAME TOTAL: it has got further than that. flow_still NAME TOTAL: it is exactly there.
flow_beyond() { [ "$(flow_total "$1")" -gt "$2" ]; }
flow_still() { [ "$(flow_total "$1")" = "$2" ]; }

# flow_end NAME JQ: a field of the last line, e.g. flow_end tcp-send .identical
flow_end() { jq -r "select(.ev == \"end\") | $2" "$(flow_log "$1")"; }

# flow_stat NAME CUT_TIME JQ: what tools/flowstat says of the log around the cut.
flow_stat() { "$TOOLS/flowstat" "$(flow_log "$1")" --cut "$2" | jq -r "$3"; }

# ---------------------------------------------------------------------------------------------
# Captures: one pcap per provider link, taken at the router's side facing the host

# start_capture [FILTER]: all providers of both hosts; default: all IPv6.
start_capture() {
    local host i r file
    for host in A B; do
        for ((i = 1; i <= $(providers "$host"); i++)); do
            r=$(router_of "$host" "$i")
            file=$(logs_dir)/$r.pcap
            spawn "$r" tcpdump -q -n -i host -s 0 -U --immediate-mode -Z root -w "$file" \
                ${1:+"$1"} 2>"$file.log"
            CAPTURE_PID[$WORLD$r]=$SPAWNED
        done
    done
    for host in A B; do
        for ((i = 1; i <= $(providers "$host"); i++)); do
            wait_for 10 "start of tcpdump" grep -q 'listening on' \
                "$(logs_dir)/$(router_of "$host" "$i").pcap.log" || return 1
        done
    done
}

stop_capture() {
    local key
    for key in "${!CAPTURE_PID[@]}"; do
        case $key in "$WORLD"[ab][1-9]) reap "${CAPTURE_PID[$key]}" INT; unset "CAPTURE_PID[$key]" ;; esac
    done
}

# pcap_of HOST N
pcap_of() { printf '%s/%s.pcap' "$(logs_dir)" "$(router_of "$1" "$2")"; }

# decode HOST N: every Shim6 packet of that link, one JSON object per line.
decode() { "$TOOLS/shim6decode.py" --json "$(pcap_of "$1" "$2")"; }

# wire_check [--ulids A B] [--mtu N]: the independent decoder and the packet rules over all captures
# of the present world; prints what is wrong.
wire_check() { "$TOOLS/wirecheck" "$@" "$(logs_dir)"/[ab][1-9].pcap; }

# count_messages HOST N JQ: Shim6 packets on that link that match, e.g. '.type == "Probe"'
count_messages() { decode "$1" "$2" | jq -s "map(select($3)) | length"; }

# count_packets HOST N FILTER: packets on that link that tcpdump's filter selects.
count_packets() { tcpdump -n -r "$(pcap_of "$1" "$2")" "$3" 2>/dev/null | wc -l; }

# tshark_checksums: control messages in all captures whose checksum tshark does not call good.
tshark_checksums() {
    local file
    for file in "$(logs_dir)"/[ab][1-9].pcap; do
        tshark -n -r "$file" -Y 'shim6.p == 0 && shim6.checksum.status != 1' \
            -T fields -e frame.number -e shim6.type 2>/dev/null | sed "s|^|$(basename "$file"): frame |"
    done
}
