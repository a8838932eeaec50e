// Slot output: what cells give is h.
enum : int { output_bytes = 0 };
static_assert(projection == 0, "no projection");

struct Output {};

__device__ __forceinline__ void output_begin(Output &, const RnnDirection &, const Lane &) {}

// The buffers change places, unless the cells have written h where it was.
__device__ __forceinline__ void make_output(const Output &, const Lane &, u32 &h, u32 &made, int) {
    if (cells_in_place) return;
    const u32 swap = h;
    h = made;
    made = swap;
}
