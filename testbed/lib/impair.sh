# shellcheck shell=bash
# Providers that delay, lose, reorder, duplicate or throttle: tools/impair.c between each router and the core, in the
# router's namespace. topology N M WORDS… puts it there; impair HOST N WORDS… changes it at run time.

IMPAIR=${IMPAIR:-}
declare -A IMPAIR_PID IMPAIR_CHANGES

# build_impair: compiles it, once per run.
build_impair() {
    [ -z "$IMPAIR" ] || return 0
    command -v gcc >/dev/null || skip "no C compiler for testbed/tools/impair.c (testbed/install-deps)"
    IMPAIR=$RUN_BASE/impair
    gcc -std=gnu11 -O2 -Wall -Wextra -Werror -o "$IMPAIR" "$TOOLS/impair.c" || die "cannot compile impair.c"
}

impair_log() { printf '%s/impair-%s.log' "$(logs_dir)" "$1"; }
impair_settings() { printf '%s/impair-%s.settings' "$(logs_dir)" "$1"; }

# impairment_of HOST N WORDS…: those of the words that concern this provider. "A1:loss=5%" is for provider 1 of A,
# a word without a colon for all.
impairment_of() {
    local provider=$1$2 word; shift 2
    for word in "$@"; do
        case $word in
            "$provider":*) printf '%s\n' "${word#*:}" ;;
            [AB][0-9]*:*) ;;
            *) printf '%s\n' "$word" ;;
        esac
    done
}

# link_impaired ROUTER: a link from the router to the core that goes through the program.
link_impaired() {
    local r=$1 end
    build_impair
    link "$r" core "$r" near
    link "$r" far core "$r"
    for end in near far; do
        # Frames only: no addresses, no neighbour discovery of their own, nothing merged.
        sysctl_on "$r" "net.ipv6.conf.$end.disable_ipv6=1"
        [ "$TOPO_MODE" = T ] || on "$r" ethtool -K "$end" gro off >/dev/null 2>&1
    done
    spawn "$r" "$IMPAIR" near far "$(impair_settings "$r")" >"$(impair_log "$r")" 2>&1
    IMPAIR_PID[$WORLD$r]=$SPAWNED IMPAIR_CHANGES[$WORLD$r]=0
    busywait 5 grep -q '^ready' "$(impair_log "$r")" || die "impair on $r: $(cat "$(impair_log "$r")")"
}

# impair HOST N [WORDS…]: what holds from now on at that provider, all of it; without words a perfect line.
impair() {
    local r n; r=$(router_of "$1" "$2"); shift 2
    [ -n "${IMPAIR_PID[$WORLD$r]:-}" ] || die "impair: the topology was made without impairments"
    printf '%s\n' "$@" >"$(impair_settings "$r")"
    n=$((IMPAIR_CHANGES[$WORLD$r] + 1))
    IMPAIR_CHANGES[$WORLD$r]=$n
    kill -HUP "${IMPAIR_PID[$WORLD$r]}"
    busywait 5 grep -q "^\(settings\|refused\) $n" "$(impair_log "$r")" || die "impair on $r does not answer"
    ! grep "^refused $n" "$(impair_log "$r")"
}

# impairment HOST N JQ: its counts now, e.g. impairment A 1 .out.lost
impairment() {
    local r before; r=$(router_of "$1" "$2")
    before=$(grep -c '^counts' "$(impair_log "$r")")
    kill -USR1 "${IMPAIR_PID[$WORLD$r]}" || return 1
    counted() { [ "$(grep -c '^counts' "$(impair_log "$r")")" -gt "$before" ]; }
    busywait 5 counted || return 1
    sed -n 's/^counts //p' "$(impair_log "$r")" | tail -n 1 | jq -r "$3"
}
