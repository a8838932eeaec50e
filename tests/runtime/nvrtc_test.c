/* The search for NVRTC: what is accepted, what is refused, what is said when there is none. */
#include "tests/runtime/test.h"

#include <sys/stat.h>

#include "runtime/nvrtc.h"

static void a_driver_refuses_the_code_of_a_newer_major_version(void **state) {
    (void)state;
    assert_int_equal(nvrtc_fit(13000, 12080), NVRTC_REFUSED);
    assert_int_equal(nvrtc_fit(12090, 12040), NVRTC_CUBIN_ONLY);
    assert_int_equal(nvrtc_fit(12040, 12040), NVRTC_FITS);
    assert_int_equal(nvrtc_fit(11080, 12040), NVRTC_FITS);
    assert_int_equal(nvrtc_fit(13000, 0), NVRTC_FITS);
}

static void none_found_names_the_wheel_for_the_driver(void **state) {
    (void)state;
    static const char *const nowhere[] = {"/nonexistent/*/lib", NULL};
    Error err = {0};
    Nvrtc *nvrtc = NULL;
    assert_int_equal(nvrtc_open_in(nowhere, 13000, &nvrtc, &err), ST_NOT_FOUND);
    assert_null(nvrtc);
    assert_has(err.message, "pip install 'nvidia-cuda-nvrtc==13.0.*'`");
    assert_has(err.message, "SEQTUNE_NVRTC");
    assert_int_equal(nvrtc_open_in(nowhere, 12040, &nvrtc, &err), ST_NOT_FOUND);
    assert_has(err.message, "pip install 'nvidia-cuda-nvrtc-cu12==12.4.*'`");
}

static void a_named_library_that_is_not_there_is_an_error(void **state) {
    (void)state;
    Error err = {0};
    Nvrtc *nvrtc = NULL;
    setenv("SEQTUNE_NVRTC", "/nonexistent", 1);
    Status st = nvrtc_open(13000, &nvrtc, &err);
    unsetenv("SEQTUNE_NVRTC");
    assert_int_equal(st, ST_NOT_FOUND);
    assert_null(nvrtc);
    assert_has(err.message, "SEQTUNE_NVRTC=/nonexistent");
}

static void a_file_that_is_no_library_is_listed_with_the_reason(void **state) {
    (void)state;
    char *dir = scratch_make(), path[4200];
    snprintf(path, sizeof path, "%s/libnvrtc.so.13", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("not a library", f);
    fclose(f);
    const char *const places[] = {dir, NULL};
    Error err = {0};
    Nvrtc *nvrtc = NULL;
    assert_int_equal(nvrtc_open_in(places, 13000, &nvrtc, &err), ST_NOT_FOUND);
    assert_has(err.message, path);
    scratch_remove(dir);
}

static void what_the_search_finds_knows_its_version_and_architectures(void **state) {
    (void)state;
    Error err = {0};
    Nvrtc *nvrtc = NULL;
    if (nvrtc_open(0, &nvrtc, &err) != ST_OK) skip();
    assert_true(nvrtc->version >= 11020);
    assert_true(nvrtc_knows_arch(nvrtc, 80));
    assert_false(nvrtc_knows_arch(nvrtc, 81));
    assert_has(nvrtc->path, "libnvrtc");
    assert_has(nvrtc->toolchain, "nvrtc ");
    nvrtc_close(nvrtc);
}

static void a_library_too_new_for_the_driver_is_found_and_refused(void **state) {
    (void)state;
    Error err = {0};
    Nvrtc *newest = NULL, *nvrtc = NULL;
    if (nvrtc_open(0, &newest, &err) != ST_OK) skip();
    char dir[600];
    snprintf(dir, sizeof dir, "%s", newest->path);
    *strrchr(dir, '/') = '\0';
    const char *const places[] = {dir, NULL};
    int older = newest->version / 1000 * 1000 - 1000; /* a driver one major version back */
    assert_int_equal(nvrtc_open_in(places, older, &nvrtc, &err), ST_NOT_FOUND);
    assert_has(err.message, "found and refused");
    assert_has(err.message, "newer than the driver's CUDA");
    setenv("SEQTUNE_NVRTC", newest->path, 1);
    assert_int_equal(nvrtc_open(older, &nvrtc, &err), ST_UNSUPPORTED);
    unsetenv("SEQTUNE_NVRTC");
    assert_has(err.message, "refuses");
    nvrtc_close(newest);
}

static void a_directory_of_a_wheel_is_searched_by_pattern(void **state) {
    (void)state;
    Error err = {0};
    Nvrtc *found = NULL, *nvrtc = NULL;
    if (nvrtc_open(0, &found, &err) != ST_OK) skip();
    char *dir = scratch_make(), path[4300], pattern[4300];
    snprintf(path, sizeof path, "%s/nvidia/cu13/lib", dir);
    char command[9216];
    snprintf(command, sizeof command, "mkdir -p '%s' && ln -s '%s' '%s/%s'", path, found->path,
             path, found->version >= 13000 ? "libnvrtc.so.13" : "libnvrtc.so.12");
    assert_int_equal(system(command), 0);
    snprintf(pattern, sizeof pattern, "%s/nvidia/*/lib", dir);
    const char *const places[] = {pattern, NULL};
    assert_ok(nvrtc_open_in(places, 0, &nvrtc, &err), err);
    assert_int_equal(nvrtc->version, found->version);
    nvrtc_close(nvrtc);
    nvrtc_close(found);
    scratch_remove(dir);
}

int main(void) {
    unsetenv("SEQTUNE_NVRTC");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_driver_refuses_the_code_of_a_newer_major_version),
        cmocka_unit_test(none_found_names_the_wheel_for_the_driver),
        cmocka_unit_test(a_named_library_that_is_not_there_is_an_error),
        cmocka_unit_test(a_file_that_is_no_library_is_listed_with_the_reason),
        cmocka_unit_test(what_the_search_finds_knows_its_version_and_architectures),
        cmocka_unit_test(a_library_too_new_for_the_driver_is_found_and_refused),
        cmocka_unit_test(a_directory_of_a_wheel_is_searched_by_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
