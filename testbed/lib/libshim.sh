# shellcheck shell=bash
# Programs that use libshim, as users of a host.

# build_steer: the shared library beside shim6d, unless it is there, and libshim's example program with it; STEER is
# the program. Status 1 without a C compiler.
build_steer() {
    build_example steer && STEER=$EXAMPLES/steer
}

# build_example NAME…: compiles programs of libshim/examples into $EXAMPLES, with the library and shimrun beside them, where every
# user can read them. Status 1 without a C compiler.
build_example() {
    local profile name
    command -v cc >/dev/null || return 1
    if [ ! -e "$SHIM6_BIN_DIR/libshim.so" ] || [ ! -e "$SHIM6_BIN_DIR/libshim_preload.so" ]; then
        find_cargo || die "no libshim.so in $SHIM6_BIN_DIR and no cargo to build it"
        case $SHIM6_BIN_DIR in */debug) profile=dev ;; *) profile=release ;; esac
        note "building libshim ($profile)"
        (cd "$REPO" && "$CARGO" build -q -p libshim -p libshim-preload --profile "$profile" \
            --target-dir "$(dirname "$SHIM6_BIN_DIR")") || die "the build failed"
    fi
    EXAMPLES=$RUN_BASE/libshim
    install -d "$EXAMPLES"
    install -m 755 "$SHIM6_BIN_DIR/libshim.so" "$EXAMPLES/libshim.so.0"
    install -m 755 "$SHIM6_BIN_DIR/libshim_preload.so" "$REPO/libshim/shimrun" "$EXAMPLES/"
    for name in "$@"; do
        cc -Wall -Wextra -Werror -I"$REPO/include" "$REPO/libshim/examples/$name.c" -pthread -Wl,--as-needed \
            -o "$EXAMPLES/$name" "$EXAMPLES/libshim.so.0" -Wl,-rpath,"$EXAMPLES" || die "$name.c does not compile"
    done
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
