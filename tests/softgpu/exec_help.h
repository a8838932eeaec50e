/* What the executor's tests share: load PTX text, run an entry over one buffer in device memory. */
#ifndef SEQTUNE_TESTS_SOFTGPU_EXEC_HELP_H
#define SEQTUNE_TESTS_SOFTGPU_EXEC_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "softgpu/exec/exec.h"
#include "softgpu/memory.h"

#define PTX_HEADER ".version 8.0\n.target sm_80\n.address_size 64\n"

typedef struct Bench {
    SgModule *module;
    uint64_t buffer; /* device address, also of the host */
    uint64_t size;
    Arena *arena;
    SgLaunch launch; /* as of the last run */
    Error err;
} Bench;

/* What SOFTGPU_CHECKS says from now on, and back to what the running group is tested with. */
void checks_set(const char *list);
void checks_reset(void);
/* Leaves `init` or all of them out until checks_reset: for kernels that read what nothing wrote,
 * and for what a mistake does where no check looks. */
void checks_without_init(void);
void checks_off(void);
/* Both tables of handlers are tested: the group runs with every check, then with none. A list in
 * the environment is the only one then. */
int checks_all(void **state);
int checks_none(void **state);
bool checks_wanted(const char *list);
#define run_with_and_without_checks(tests)                                                         \
    ((checks_wanted("none")                                                                        \
          ? cmocka_run_group_tests_name("without checks", tests, checks_none, NULL)                \
          : 0) +                                                                                   \
     (checks_wanted("all") ? cmocka_run_group_tests_name("with checks", tests, checks_all, NULL)   \
                           : 0))

/* Fails the test with the message when the text does not load. The buffer is zeros, and counts as
 * written by the host. */
void bench_open(Bench *b, const char *arch, const char *text, uint64_t buffer_bytes);
/* The same, but nothing wrote the buffer. */
void bench_open_unwritten(Bench *b, const char *arch, const char *text, uint64_t buffer_bytes);
void bench_close(Bench *b);
/* Runs `entry` with one parameter, the buffer's address. Returns whether it faulted. */
bool bench_run(Bench *b, const char *entry, uint32_t blocks, uint32_t threads);
/* As bench_run with b->launch filled by the caller but for kernel and params. */
bool bench_launch(Bench *b, const char *entry);
/* The message of a load that must fail. */
const char *load_error(const char *arch, const char *text, Error *err);
/* Calls `check` with SOFTGPU_SIMD set to each level that this host has, by name; unset after. */
void each_simd_level(void (*check)(const char *level));

#endif
