# shellcheck shell=bash
# Programs that use libshim, as users of a host.

# build_steer: the shared library beside shim6d, unless it is there, and libshim's example program with it; STEER is
# the program. Status 1 without a C compiler.
build_steer() {
    local profile
    command -v cc >/dev/null || return 1
    if [ ! -e "$SHIM6_BIN_DIR/libshim.so" ]; then
        find_cargo || die "no libshim.so in $SHIM6_BIN_DIR and no cargo to build it"
        case $SHIM6_BIN_DIR in */debug) profile=dev ;; *) profile=release ;; esac
        note "building libshim ($profile)"
        (cd "$REPO" && "$CARGO" build -q -p libshim --profile "$profile" \
            --target-dir "$(dirname "$SHIM6_BIN_DIR")") || die "the build failed"
    fi
    # Where every user can read it.
    install -d "$RUN_BASE/libshim"
    install -m 755 "$SHIM6_BIN_DIR/libshim.so" "$RUN_BASE/libshim/libshim.so.0"
    STEER=$RUN_BASE/libshim/steer
    cc -Wall -Wextra -Werror -I"$REPO/include" "$REPO/libshim/examples/steer.c" -pthread -o "$STEER" \
        "$RUN_BASE/libshim/libshim.so.0" -Wl,-rpath,"$RUN_BASE/libshim" || die "steer.c does not compile"
}

# as_user ROLE UID SOCKET-OF CMD…: runs CMD on a host as an ordinary user, who finds the daemon of host SOCKET-OF.
as_user() {
    local role=$1 uid=$2 socket; socket=$(shim6_dir "$3")/run/control.sock
    shift 3
    on "$role" setpriv --reuid "$uid" --regid "$uid" --clear-groups \
        env "SHIM6_SOCKET=$socket" timeout 60 "$@"
}

# steer_said NAME KEY: the value in a line of the program's output in the logs.
steer_said() { sed -n "s/^$2 //p" "$(logs_dir)/$1.txt"; }
