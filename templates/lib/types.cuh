// Short names of fixed-width types, and values that fill one 4-, 8- or 16-byte access.
// Knows nothing of the problem; NVRTC offers no standard header, so the names are made here.
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

// What one access of a fragment register moves: 16 bits x 2.
struct alignas(16) Bytes16 {
    u32 word[4];
};
static_assert(sizeof(u16) == 2 && sizeof(u32) == 4 && sizeof(u64) == 8, "type widths");
static_assert(sizeof(Bytes16) == 16, "one 16-byte access");
