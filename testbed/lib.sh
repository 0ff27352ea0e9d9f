# shellcheck shell=bash
# The testbed's library: source it from a bash script.
#
#   lib.sh            results (TAP), waiting, verbose command wrappers, clean-up
#   lib/topology.sh   network namespaces: hosts, provider routers, core; cutting and repairing
#   lib/impair.sh     delay, loss, reordering, duplication, rate of a provider
#   lib/daemon.sh     shim6d and shim6ctl per host
#   lib/flows.sh      traffic applications and captures
#
# Everything lives in network namespaces named "s6-<pid>…", so several runs do not disturb each
# other and nothing of the machine itself is changed. An EXIT trap ends the processes started here
# and deletes the namespaces.
#
# Environment:
#   VERBOSE=1           print every command that is run on a simulated host
#   SHIM6_EXPECT_ALL=1  a skip is a failure
#   SHIM6_BIN_DIR=DIR   take shim6d and shim6ctl from DIR instead of building them
#   OUT=DIR             where logs, captures and results go (default: a fresh directory in /tmp)
#   KEEP=1              leave the namespaces and processes alone at exit and say how to enter them

# How many times slower than a real machine this one is: testbed/vm sets it, because it emulates every instruction.
# All limits grow by it, and bulk transfers shrink.
SLOW=${SHIM6_SLOW:-1}

set -u
TESTBED=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(dirname "$TESTBED")
TOOLS=$TESTBED/tools
export PYTHONDONTWRITEBYTECODE=1

NS_PREFIX=${NS_PREFIX:-s6-$$}
VERBOSE=${VERBOSE:-0}
KEEP=${KEEP:-0}

# Result codes, as an exit status of a case.
readonly RC_PASS=0 RC_FAIL=1 RC_SKIP=4 RC_ABSENT=5

# ---------------------------------------------------------------------------------------------
# Saying things

say()  { printf '%s\n' "$*"; }
note() { printf '# %s\n' "$*"; }
die()  { printf 'testbed: %s\n' "$*" >&2; exit 1; }

# The time that all namespaces and all tools share: CLOCK_BOOTTIME in seconds (10 ms steps).
now() { local up _; read -r up _ </proc/uptime; printf '%s' "$up"; }

# calc EXPR: arithmetic with fractions; prints the value. holds EXPR: the same as a condition.
calc()  { awk "BEGIN { printf \"%.3f\", ($*) }"; }
holds() { awk "BEGIN { exit !($*) }"; }

# ---------------------------------------------------------------------------------------------
# Waiting: always for something that can be observed, always with a deadline

# busywait SECONDS CMD…: runs CMD every 50 ms until it succeeds; status 1 when the time is over.
busywait() {
    local deadline; deadline=$(calc "$(now) + $1"); shift
    while ! "$@" >/dev/null 2>&1; do
        holds "$(now) < $deadline" || return 1
        # Looking costs processes; where those are slow, look less often.
        if [ "$SLOW" = 1 ]; then sleep 0.05; else sleep 0.5; fi
    done
}

# wait_for SECONDS TEXT CMD…: busywait that says what it waited for in vain.
wait_for() {
    local seconds=$1 what=$2; shift 2
    [ "$SLOW" = 1 ] || seconds=$(calc "$seconds * $SLOW")
    busywait "$seconds" "$@" || { note "no sign of \"$what\" within $seconds s: $*"; return 1; }
}

# watch_for SECONDS CMD…: CMD has to hold all the time; status 1 as soon as it does not.
watch_for() {
    local deadline; deadline=$(calc "$(now) + $1"); shift
    while holds "$(now) < $deadline"; do
        "$@" >/dev/null 2>&1 || return 1
        sleep 0.1
    done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# ---------------------------------------------------------------------------------------------
# Results: one TAP line per case, its checks indented below

TAP_COUNT=0 TAP_PASSED=0 TAP_FAILED=0 TAP_SKIPPED=0
CHECKS=0 CHECKS_FAILED=0

# check TEXT CMD…: one assertion of the running case. The case goes on after a failure.
check() {
    local what=$1; shift
    CHECKS=$((CHECKS + 1))
    if "$@"; then
        printf '    ok %d - %s\n' "$CHECKS" "$what"
    else
        CHECKS_FAILED=$((CHECKS_FAILED + 1))
        printf '    not ok %d - %s\n' "$CHECKS" "$what"
        return 1
    fi
}

# require TEXT CMD…: an assertion without which the rest of the case makes no sense.
require() { check "$@" || { dump_on_failure; exit $RC_FAIL; }; }

# skip REASON: ends the case. A skip is loud, and a failure when everything is expected to run.
skip() { printf '    # SKIP %s\n' "$*"; exit $RC_SKIP; }

# absent REASON: ends a case about something that this kernel does not have and that nobody could install: as loud
# as a skip, but no failure when everything is expected to run.
absent() { printf '    # SKIP absent here: %s\n' "$*"; exit $RC_ABSENT; }

case_result() { [ "$CHECKS" -gt 0 ] && [ "$CHECKS_FAILED" -eq 0 ]; }

# tap NAME STATUS [REASON]: counts and prints the line of one case.
tap() {
    local name=$1 status=$2 reason=${3:-}
    TAP_COUNT=$((TAP_COUNT + 1))
    if [ "$status" -eq $RC_SKIP ] && [ "${SHIM6_EXPECT_ALL:-0}" = 1 ]; then
        status=$RC_FAIL; reason="skipped although everything is expected to run: $reason"
    fi
    case $status in
        "$RC_PASS") TAP_PASSED=$((TAP_PASSED + 1)); say "ok $TAP_COUNT - $name" ;;
        "$RC_SKIP" | "$RC_ABSENT") TAP_SKIPPED=$((TAP_SKIPPED + 1)); say "ok $TAP_COUNT - $name # SKIP $reason" ;;
        *) TAP_FAILED=$((TAP_FAILED + 1)); say "not ok $TAP_COUNT - $name${reason:+ # $reason}" ;;
    esac
}

tap_summary() { say "$TAP_PASSED passed, $TAP_FAILED failed, $TAP_SKIPPED skipped"; }

# ---------------------------------------------------------------------------------------------
# Namespaces and processes of our own

NAMESPACES=()
PIDS=()

# The world is the set of hosts that a command refers to. One script may hold several worlds at a
# time (the demo runs one with shim6d and one without); names do not clash, addresses are equal.
WORLD=${WORLD:-}

# ns ROLE: the name of a namespace, e.g. ns A, ns a1 (the router of A's first provider), ns core.
# The hosts are A and B, the routers a1… and b1…: a file system that folds case cannot mix them.
ns() { printf '%s%s-%s' "$NS_PREFIX" "${WORLD:+-$WORLD}" "$1"; }

setup_ns() {
    local role name
    for role in "$@"; do
        name=$(ns "$role")
        ip netns add "$name" || die "cannot create the network namespace $name (are you root?)"
        NAMESPACES+=("$name")
        ip -n "$name" link set lo up
    done
}

# on ROLE CMD…: runs CMD in the namespace of ROLE.
on() {
    local role=$1; shift
    [ "$VERBOSE" = 0 ] || printf '+ [%s%s] %s\n' "${WORLD:+$WORLD }" "$role" "$*" >&2
    ip netns exec "$(ns "$role")" "$@"
}

# ip_on ROLE ARGS…: ip(8), IPv6, on a host, without the cost of entering the namespace twice.
ip_on() {
    local role=$1; shift
    [ "$VERBOSE" = 0 ] || printf '+ [%s%s] ip %s\n' "${WORLD:+$WORLD }" "$role" "$*" >&2
    ip -6 -n "$(ns "$role")" "$@"
}

# spawn ROLE CMD…: starts CMD in the background on a host; its pid is in SPAWNED.
spawn() {
    local role=$1; shift
    [ "$VERBOSE" = 0 ] || printf '+ [%s%s] %s &\n' "${WORLD:+$WORLD }" "$role" "$*" >&2
    ip netns exec "$(ns "$role")" "$@" &
    SPAWNED=$!
    PIDS+=("$SPAWNED")
}

# reap PID [SIGNAL]: ends one of our processes and waits for it, at most 5 s.
reap() {
    local pid=$1
    kill -"${2:-TERM}" "$pid" 2>/dev/null
    kill -CONT "$pid" 2>/dev/null
    busywait 5 gone "$pid" || kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    return 0
}

# Ends everything that runs in the namespaces of the present world and deletes them.
destroy_world() {
    local mine name pid rest=() killed=()
    mine=$(ns '')
    for name in "${NAMESPACES[@]}"; do
        case $name in
            "$mine"*)
                for pid in $(ip netns pids "$name" 2>/dev/null); do
                    kill -CONT "$pid"; kill -KILL "$pid"
                    killed+=("$pid")
                done
                ip netns del "$name" ;;
            *) rest+=("$name") ;;
        esac
    done
    NAMESPACES=("${rest[@]}")
    # The next world of this name begins with new identities and without a journal.
    rm -rf "${RUN_BASE:?}/${WORLD:+$WORLD-}"[AB]
    # Take the shell's notice of the killed ones here, where nobody reads it.
    for pid in "${killed[@]}"; do wait "$pid"; done
    return 0
} 2>/dev/null

cleanup() {
    local status=$? pid name
    trap - EXIT INT TERM
    if [ "$KEEP" = 1 ] && [ "${#NAMESPACES[@]}" -gt 0 ]; then
        say "Kept as asked. Enter a host with: ip netns exec $(ns A) bash"
        say "Remove all with: ip netns list | grep -o '^$NS_PREFIX-[^ ]*' | while read -r n; do ip netns pids \$n | xargs -r kill; ip netns del \$n; done"
        exit "$status"
    fi
    # Processes in our own namespaces are ours by construction, the others are known by their pids.
    for pid in "${PIDS[@]}"; do kill -CONT "$pid" 2>/dev/null; kill -TERM "$pid" 2>/dev/null; done
    for pid in "${PIDS[@]}"; do busywait 2 gone "$pid" || kill -KILL "$pid" 2>/dev/null; done
    for name in "${NAMESPACES[@]}"; do
        for pid in $(ip netns pids "$name" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
        ip netns del "$name" 2>/dev/null
    done
    [ -z "${TMP_OUT:-}" ] || [ "$status" -ne 0 ] || rm -rf "$TMP_OUT"
    [ -z "${RUN_BASE:-}" ] || rm -rf "$RUN_BASE"
    exit "$status"
}

# begin: call once, first. Checks for root, makes the output directories, arms the clean-up.
begin() {
    [ "$(id -u)" = 0 ] || die "network namespaces need root: run it with sudo"
    local tool
    for tool in ip nft python3 jq awk; do
        command -v "$tool" >/dev/null || die "$tool is missing: run testbed/install-deps"
    done
    if [ -z "${OUT:-}" ]; then OUT=$(mktemp -d /tmp/shim6-out.XXXXXX); TMP_OUT=$OUT; fi
    mkdir -p "$OUT" || die "cannot write to $OUT"
    OUT=$(cd "$OUT" && pwd)
    # Sockets need short names; state and run-time files of the daemons are gone after the run.
    RUN_BASE=$(mktemp -d /tmp/s6run.XXXXXX)
    chmod 755 "$RUN_BASE"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# shellcheck source=lib/topology.sh
. "$TESTBED/lib/topology.sh"
# shellcheck source=lib/impair.sh
. "$TESTBED/lib/impair.sh"
# shellcheck source=lib/daemon.sh
. "$TESTBED/lib/daemon.sh"
# shellcheck source=lib/flows.sh
. "$TESTBED/lib/flows.sh"
