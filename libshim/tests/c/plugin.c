/* What a program may load at run time: asks whether a context serves a socket. */
#include <errno.h>
#include <shim.h>

int ask(int fd);

int ask(int fd) {
    int value = -1;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SHIM, SHIM_ASSOCIATED, &value, &len) == 0 ? value : -errno;
}
