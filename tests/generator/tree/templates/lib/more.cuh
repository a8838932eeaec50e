//% lib base
// Comes after base, whoever names it first.
__device__ inline int four_times(int x) { return twice(twice(x)); }
