/* Device memory: bounds, guards, delayed reuse, zeroing, limits, concurrency. */
#include "softgpu/memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const uint64_t GIB = UINT64_C(1) << 30;
static const uint64_t DEVICE = UINT64_C(80) << 30;
static int owner_a, owner_b;

static uint64_t take(uint64_t size) {
    uint64_t at = 0;
    assert_int_equal(sg_mem_alloc(0, &owner_a, size, DEVICE, &at, NULL), ST_OK);
    return at;
}

static void allocations_are_aligned_zeroed_and_counted(void **state) {
    (void)state;
    const uint64_t before = sg_mem_used(0);
    const uint64_t a = take(1), b = take(100000), c = take(5 << 20);
    assert_int_equal(a % 512, 0);
    assert_int_equal(b % 512, 0);
    assert_int_equal(c % 512, 0);
    assert_int_equal(sg_mem_used(0) - before, 512 + 100352 + (5 << 20));
    const unsigned char *bytes = (const unsigned char *)(uintptr_t)c;
    for (size_t i = 0; i < 5 << 20; i += 4096) assert_int_equal(bytes[i], 0);
    assert_int_equal(sg_mem_free(a, NULL), ST_OK);
    assert_int_equal(sg_mem_free(b, NULL), ST_OK);
    assert_int_equal(sg_mem_free(c, NULL), ST_OK);
    assert_int_equal(sg_mem_used(0), before);
}

static void bounds_are_those_of_the_bytes_asked_for(void **state) {
    (void)state;
    const uint64_t sizes[] = {1, 511, 512, 513, 4096, 1 << 20, (1 << 20) + 1, 2 << 20, 4 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const uint64_t n = sizes[i], a = take(n), after = take(n);
        assert_true(sg_mem_ok(a, n));
        assert_true(sg_mem_ok(a + n - 1, 1));
        assert_false(sg_mem_ok(a, n + 1));
        assert_false(sg_mem_ok(a + n, 1));
        assert_false(sg_mem_ok(a - 1, 1));
        assert_false(sg_mem_ok(a, UINT64_MAX));
        assert_int_equal(sg_mem_find(a + n - 1)->base, a);
        assert_true(after > a + n); /* a guard lies between neighbours */
        assert_false(sg_mem_ok(a + n + 16, 16));
        sg_mem_free(a, NULL);
        sg_mem_free(after, NULL);
    }
}

static void host_pointers_are_never_device_memory(void **state) {
    (void)state;
    int on_stack;
    assert_false(sg_mem_ok((uint64_t)(uintptr_t)&on_stack, 4));
    assert_null(sg_mem_find((uint64_t)(uintptr_t)&owner_a));
    assert_false(sg_mem_ok(0, 4));
    char text[256];
    sg_mem_describe((uint64_t)(uintptr_t)&on_stack, 4, text, sizeof text);
    assert_non_null(strstr(text, "host pointer"));
}

static void a_freed_allocation_is_told_apart(void **state) {
    (void)state;
    const uint64_t small = take(4096), large = take(3 << 20);
    sg_mem_free(small, NULL);
    sg_mem_free(large, NULL);
    char text[256];
    assert_false(sg_mem_ok(small, 4));
    assert_false(sg_mem_find(small)->live);
    sg_mem_describe(small + 8, 4, text, sizeof text);
    assert_non_null(strstr(text, "use after free"));
    sg_mem_describe(large + 8, 4, text, sizeof text);
    assert_non_null(strstr(text, "use after free"));
    assert_int_equal(sg_mem_free(small, NULL), ST_INVALID);
    assert_int_equal(sg_mem_free(large, NULL), ST_INVALID);
    for (int i = 0; i < 100; i++) sg_mem_free(take(4096), NULL);
    sg_mem_describe(small, 4, text, sizeof text);
    assert_non_null(strstr(text, "use after free"));
}

static void an_overrun_names_the_allocation_and_the_distance(void **state) {
    (void)state;
    const uint64_t a = take(4096);
    char text[256], wish[64];
    snprintf(wish, sizeof wish, "32 bytes past the end of allocation %u (4096 bytes",
             sg_mem_find(a)->id);
    sg_mem_describe(a + 4096 + 32, 16, text, sizeof text);
    assert_non_null(strstr(text, wish));
    sg_mem_describe(a + 4090, 16, text, sizeof text);
    assert_non_null(strstr(text, "crosses the end"));
    assert_int_equal(sg_mem_free(a + 512, NULL), ST_INVALID);
    sg_mem_free(a, NULL);
}

static void the_device_size_is_the_limit(void **state) {
    (void)state;
    uint64_t a = 0, b = 0;
    Error err;
    assert_int_equal(sg_mem_alloc(1, &owner_a, 3 * GIB, 4 * GIB, &a, NULL), ST_OK);
    assert_int_equal(sg_mem_alloc(1, &owner_a, 2 * GIB, 4 * GIB, &b, &err), ST_NO_MEMORY);
    assert_int_equal(sg_mem_alloc(2, &owner_a, 2 * GIB, 4 * GIB, &b, NULL), ST_OK);
    assert_int_equal(sg_mem_alloc(1, &owner_a, UINT64_MAX, 4 * GIB, &b, NULL), ST_NO_MEMORY);
    assert_int_equal(sg_mem_alloc(1, &owner_a, 0, 4 * GIB, &b, NULL), ST_INVALID);
    sg_mem_free_owner(&owner_a);
    assert_int_equal(sg_mem_used(1), 0);
    assert_int_equal(sg_mem_used(2), 0);
}

static void reserved_addresses_live_again_and_go_to_nobody_else(void **state) {
    (void)state;
    const uint64_t before = sg_mem_used(0);
    uint64_t a = 0, b = 0;
    char text[256];
    assert_int_equal(sg_mem_reserve(0, 5000, &a, NULL), ST_OK);
    assert_int_equal(sg_mem_used(0), before);
    assert_false(sg_mem_ok(a, 1));
    assert_true(sg_mem_may_become_ok(a + 4999, 1));
    assert_false(sg_mem_may_become_ok(a + 4999, 2));
    sg_mem_describe(a + 8, 4, text, sizeof text);
    assert_non_null(strstr(text, "outside its lifetime"));
    assert_int_equal(sg_mem_free(a, NULL), ST_INVALID);
    uint32_t id = 0;
    for (int life = 0; life < 2; life++) {
        assert_int_equal(sg_mem_back(a, &owner_a, DEVICE, NULL), ST_OK);
        assert_int_equal(sg_mem_back(a, &owner_a, DEVICE, NULL), ST_INVALID);
        assert_true(sg_mem_ok(a, 5000));
        assert_int_not_equal(sg_mem_find(a)->id, id);
        id = sg_mem_find(a)->id;
        assert_int_equal(*(unsigned char *)(uintptr_t)a, 0); /* nothing outlives a life */
        *(unsigned char *)(uintptr_t)a = 1;
        assert_int_equal(sg_mem_used(0) - before, 5120);
        assert_int_equal(sg_mem_free(a, NULL), ST_OK);
        assert_int_equal(sg_mem_used(0), before);
    }
    assert_int_equal(sg_mem_back(a, &owner_a, 5000, NULL), ST_NO_MEMORY); /* 512-byte granules */
    /* Round the whole range twice: the reserved chunk is stepped over. */
    for (int i = 0; i < 8; i++) {
        assert_int_equal(sg_mem_alloc(0, &owner_a, 70 * GIB, DEVICE, &b, NULL), ST_OK);
        assert_true(b > a || b + 70 * GIB <= a);
        sg_mem_free(b, NULL);
        assert_true(sg_mem_may_become_ok(a, 5000));
    }
    sg_mem_unreserve(a);
    assert_false(sg_mem_may_become_ok(a, 1));
    assert_int_equal(sg_mem_back(a, &owner_a, DEVICE, NULL), ST_INVALID);
}

static void an_owner_is_freed_alone(void **state) {
    (void)state;
    uint64_t a = 0, b = 0;
    sg_mem_alloc(0, &owner_a, 64, DEVICE, &a, NULL);
    sg_mem_alloc(0, &owner_b, 64, DEVICE, &b, NULL);
    sg_mem_free_owner(&owner_a);
    assert_false(sg_mem_ok(a, 1));
    assert_true(sg_mem_ok(b, 64));
    sg_mem_free_owner(&owner_b);
    assert_false(sg_mem_ok(b, 1));
}

/* 40 x 60 GiB goes round the range several times; addresses come back, and zeroed. */
static void addresses_are_used_again_after_the_whole_range(void **state) {
    (void)state;
    uint64_t first = 0;
    bool again = false;
    for (int i = 0; i < 40; i++) {
        const uint64_t a = take(60 * GIB), small = take(700);
        unsigned char *bytes = (unsigned char *)(uintptr_t)a;
        assert_int_equal(bytes[30 * GIB], 0);
        assert_int_equal(*(unsigned char *)(uintptr_t)small, 0);
        bytes[30 * GIB] = 1;
        *(unsigned char *)(uintptr_t)small = 1;
        if (i == 0) first = a;
        again |= i > 0 && a < first + 60 * GIB && first < a + 60 * GIB;
        assert_int_equal(sg_mem_free(a, NULL), ST_OK);
        assert_int_equal(sg_mem_free(small, NULL), ST_OK);
        assert_false(sg_mem_ok(a, 1));
    }
    assert_true(again);
}

static void *churn(void *arg) {
    uintptr_t *bad = arg;
    for (int i = 0; i < 2000; i++) {
        uint64_t a = 0;
        const uint64_t n = (uint64_t)(i % 7 == 0 ? 3 << 20 : 100 + i);
        if (sg_mem_alloc(0, bad, n, DEVICE, &a, NULL) != ST_OK || !sg_mem_ok(a, n)) ++*bad;
        *(volatile unsigned char *)(uintptr_t)(a + n - 1) = 7;
        if (sg_mem_ok(a, n + 1) || sg_mem_free(a, NULL) != ST_OK || sg_mem_ok(a, 1)) ++*bad;
    }
    return NULL;
}

static void threads_allocate_and_check_at_once(void **state) {
    (void)state;
    pthread_t threads[4];
    uintptr_t bad[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, &bad[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(bad[i], 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_aligned_zeroed_and_counted),
        cmocka_unit_test(bounds_are_those_of_the_bytes_asked_for),
        cmocka_unit_test(host_pointers_are_never_device_memory),
        cmocka_unit_test(a_freed_allocation_is_told_apart),
        cmocka_unit_test(an_overrun_names_the_allocation_and_the_distance),
        cmocka_unit_test(the_device_size_is_the_limit),
        cmocka_unit_test(reserved_addresses_live_again_and_go_to_nobody_else),
        cmocka_unit_test(an_owner_is_freed_alone),
        cmocka_unit_test(addresses_are_used_again_after_the_whole_range),
        cmocka_unit_test(threads_allocate_and_check_at_once),
    };
    return cmocka_run_group_tests_name("softgpu memory", tests, NULL, NULL);
}
