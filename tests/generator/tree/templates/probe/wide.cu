// Wide rows. The text below is CUDA but for the control lines.
//% lib more
//% lib base
extern "C" __global__ void probe_first(const __grid_constant__ ProbeParams p) {
    int lane = threadIdx.x % 32, sum = 0;
    //% slot load
    //% if tile_rows >= 32
    sum += four_times(lane); // two blocks of rows
    //% else
    sum += twice(lane); // one block of rows
    //% end
    //% for i = 0, warps - 1
    sum += S_col($(i), lane);
      //% if gpu.cp_async
    sum += K_offset($(i), 8 * $(i));
      //% end
    //% end
    //% slot mask
    reinterpret_cast<int *>(p.out)[threadIdx.x] = sum + S_row(0, lane);
}

//% slot tail
