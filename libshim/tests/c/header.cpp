// The header in C++: it stands alone, its structures have the sizes of the RFC, its functions link.
#include <shim.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <type_traits>

static_assert(sizeof(shim_locator) == 32 && offsetof(shim_locator, lc_flags) == 28, "RFC 6316, 8.1");
static_assert(sizeof(shim_pathexplore) == 12, "RFC 6316, 8.2");
static_assert(sizeof(shim6_pathexplore) == 12, "RFC 6316, 6.13");
static_assert(sizeof(shim_feedback) == 4, "RFC 6316, 8.3");
static_assert(std::is_trivially_copyable<shim_status>::value, "can be copied");

struct closer {
    void operator()(shim_handle *h) const { shim_close(h); }
};

int main() {
    shim_handle *raw = nullptr;
    if (shim_open("/nonexistent/control.sock", 100, &raw) != SHIM_ERR_NO_DAEMON || raw != nullptr)
        return 1;
    std::unique_ptr<shim_handle, closer> handle(raw);
    shim_status status{};
    if (shim_get_status(handle.get(), 0, &status, sizeof status) != SHIM_ERR_NULL)
        return 2;
    return std::strcmp(shim_strerror(SHIM_OK), "success") == 0 ? 0 : 3;
}
