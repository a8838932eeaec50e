// Narrow rows, or no asynchronous copies.
//% lib base
extern "C" __global__ void probe_first(const __grid_constant__ ProbeParams p) {
    int lane = threadIdx.x % 32, sum = 0;
    //% slot load
    //% for k = 1, 3
    sum += $(k) * lane; // one line, three times
    //% end
    //% slot mask
    reinterpret_cast<int *>(p.out)[threadIdx.x] = twice(sum) + S_row(0, lane);
}

//% slot tail
