/* What the tests of waiting and of the check `sync` share: kernels with registers and shared memory
 * at hand, runs of a resident grid and of one block. */
#ifndef SEQTUNE_TESTS_SOFTGPU_EXEC_SYNC_HELP_H
#define SEQTUNE_TESTS_SOFTGPU_EXEC_SYNC_HELP_H

#include "exec_help.h"

#define HEADER_90 ".version 8.0\n.target sm_90\n.address_size 64\n"
#define ENTRY(body)                                                                                \
    HEADER_90 ".shared .align 128 .b8 sm[1024];\n"                                                 \
              ".visible .entry t(.param .u64 p) {\n"                                               \
              ".reg .b32 %r<24>; .reg .b64 %rd<16>; .reg .pred %p<8>; .reg .b64 %s<4>;\n"          \
              "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n"          \
              "add.s64 %rd2, %rd0, %rd1; mov.u32 %r1, sm; shl.b32 %r15, %r0, 2;\n"                 \
              "add.s32 %r14, %r1, %r15; setp.eq.u32 %p0, %r0, 0;\n" body "\n}\n"

uint32_t word(const Bench *b, size_t i); /* of the buffer */
/* A run that does not fault. */
void run_grid(Bench *b, const char *text, uint32_t blocks, uint32_t threads, uint64_t seed);
/* Runs one block with the check `sync`, or without; returns whether it faulted. */
bool run_checked(Bench *b, const char *text, uint32_t threads, bool checked);
/* A run of one block with the check that ends in this fault. */
void faults(const char *text, uint32_t threads, int result, const char *part);

#endif
