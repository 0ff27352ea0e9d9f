# shellcheck shell=bash
# How long a flow is silent when its path becomes a black hole: one run, with MPTCP or with shim6d. Each MODE is a world
# of its own; all are alike: two providers each, 20 ms round trip, 20 Mbit/s.

# Linux's default, whatever this machine prefers: BBR, for one, paces for seconds by what it saw during the silence.
GAP_CONTROL=${GAP_CONTROL:-cubic}
GAP_WORDS=(delay=5ms rate=20mbit queue=50)
declare -A GAP_ULID_A GAP_ULID_B

# gap_world MODE: builds it: mptcp, fast (detection = "fast") or rfc (no configuration at all).
gap_world() {
    local host
    WORLD=$1
    topology 2 2 "${GAP_WORDS[@]}"
    case $1 in
        mptcp)
            # Defaults, but for the second address, which somebody has to tell the kernel.
            on A ip mptcp limits set subflows 2 add_addr_accepted 2
            on B ip mptcp limits set subflows 2 add_addr_accepted 2
            on A ip mptcp endpoint add "$(address_of A 2)" dev p2 subflow || return 1
            use_plain_ulids ;;
        *)
            for host in A B; do
                if [ "$1" = fast ]; then printf '[reap]\ndetection = "fast"\n'; fi | configure "$host"
            done
            start_shim6d A B && monitor A B || return 1
            use_identity_ulids ;;
    esac
    GAP_ULID_A[$1]=$ULID_A GAP_ULID_B[$1]=$ULID_B
}

# carried N: octets that A's provider N has taken from the host so far.
carried() { on "$(router_of A "$1")" cat /sys/class/net/host/statistics/rx_bytes; }

subflows() { [ "$(on A ss -Htn state established "dport = :$TCP_PORT" | wc -l)" = "$1" ]; }

gap_flow() {
    local extra=()
    [ "$1" != mptcp ] || extra=(--mptcp)
    case $2 in
        bulk | paced)
            GAP_LOG=tcp-recv
            start_flow tcp-recv B flow-tcp recv --bind "$ULID_B" --port "$TCP_PORT" --gap 0.01 "${extra[@]}" || return 1
            extra+=(--control "$GAP_CONTROL")
            [ "$2" = bulk ] || extra+=(--rate 240000 --chunk 1200)
            start_flow tcp-send A flow-tcp send --bind "$ULID_A" --to "$ULID_B" --port "$TCP_PORT" --bytes 10G "${extra[@]}" ;;
        echo) GAP_LOG=udp-echo; start_udp 600 1200 5 ;;
        oneway) GAP_LOG=udp-sink; start_sink 600 1200 5 ;;
    esac
}

gap_calm() { "$TOOLS/gaps" one "$(flow_log "$GAP_LOG")" --cut "$CUT" | jq -e .calm; }

# gap_run MODE FLOW: one blackhole of the provider that carries more of the flow; GAP is the silence at the receiver
# in seconds, GAP_BEFORE the longest one before, GAP_PROVIDER that provider, GAP_BACK no if the
# flow did not come back. Repairs it.
gap_run() {
    local mode=$1 flow=$2 one two try most status=0
    WORLD=$mode ULID_A=${GAP_ULID_A[$1]} ULID_B=${GAP_ULID_B[$1]}
    # Each run has a port of its own: dead connections of earlier ones may linger.
    TCP_PORT=$((TCP_PORT + 10))
    on A ip tcp_metrics flush 2>/dev/null; on B ip tcp_metrics flush 2>/dev/null
    # A connection that MPTCP could not join a second subflow to says nothing about two of them.
    for try in 1 2 3; do
        gap_flow "$mode" "$flow" || return 1
        [ "$mode" = mptcp ] || break
        ! wait_for 5 "the second subflow" subflows 2 || break
        stop_flow tcp-send tcp-recv
        [ "$try" != 3 ] || return 1
    done
    [ "$mode" = mptcp ] || wait_established 15 || status=1
    wait_for 10 "traffic" flow_beyond "$GAP_LOG" 240000 || status=1
    one=$(carried 1) two=$(carried 2)
    moved() { [ "$(calc "$(carried 1) + $(carried 2) - $one - $two >= 120000")" = 1.000 ]; }
    wait_for 10 "half a second of traffic" moved || status=1
    GAP_PROVIDER=1
    [ $(($(carried 1) - one)) -ge $(($(carried 2) - two)) ] || GAP_PROVIDER=2
    cut_now cut_silent A "$GAP_PROVIDER"
    # A flow that does not come back has been silent at least so long.
    GAP_BACK=yes most=12
    [ "$mode" != rfc ] || most=25
    wait_for "$most" "the flow again" gap_calm || GAP_BACK=no
    read -r GAP GAP_BEFORE < <("$TOOLS/gaps" one "$(flow_log "$GAP_LOG")" --cut "$CUT" | jq -r '"\(.gap) \(.before)"')
    stop_flow tcp-send udp-send tcp-recv udp-echo udp-sink
    repair A "$GAP_PROVIDER"
    wait_for 10 "the repaired provider" reaches "$(address_of A "$GAP_PROVIDER")" "$(address_of B 1)" || status=1
    [ "$mode" = mptcp ] || wait_for 20 "calm" gap_operational || status=1
    return $status
}

gap_operational() { operational A && operational B; }
