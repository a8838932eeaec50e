/* The driver table against the toolkit's stub library and header, and against the software GPU. */
#include "tests/runtime/test.h"

#include <ctype.h>
#include <dlfcn.h>

#include "base/arena.h"
#include "base/files.h"
#include "base/log.h"
#include "runtime/device.h"
#include "softgpu/softgpu.h"

static const char *const stubs[] = {"/usr/local/cuda/lib64/stubs/libcuda.so",
                                    "/usr/local/cuda/targets/x86_64-linux/lib/stubs/libcuda.so",
                                    "/usr/lib/x86_64-linux-gnu/stubs/libcuda.so"};
static const char *const headers[] = {"/usr/local/cuda/include/cuda.h", "/usr/include/cuda.h"};

static const char *first_there(const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (files_exists(list[i])) return list[i];
    return NULL;
}

static void every_symbol_of_the_table_is_in_the_toolkits_stub(void **state) {
    (void)state;
    const char *path = first_there(stubs, sizeof stubs / sizeof stubs[0]);
    if (path == NULL) skip();
    void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (handle == NULL) fail_msg("%s", dlerror());
    size_t n = 0;
    const DriverSymbol *symbols = driver_symbols(&n);
    assert_true(n > 40);
    for (size_t i = 0; i < n; i++)
        if (dlsym(handle, symbols[i].name) == NULL) fail_msg("no %s in %s", symbols[i].name, path);
    dlclose(handle);
}

static void no_symbol_is_newer_than_cuda_12_0(void **state) {
    (void)state;
    size_t n = 0;
    const DriverSymbol *symbols = driver_symbols(&n);
    for (size_t i = 0; i < n; i++) {
        if (symbols[i].since > 12000) fail_msg("%s is of %d", symbols[i].name, symbols[i].since);
        assert_true(symbols[i].since >= 2000);
    }
}

/* The value of `name = NUMBER` in a C header's text; fails the test when absent. */
static long header_value(const char *text, const char *name) {
    size_t n = strlen(name);
    for (const char *p = strstr(text, name); p != NULL; p = strstr(p + n, name)) {
        const char *q = p + n;
        if (p > text && (isalnum((unsigned char)p[-1]) || p[-1] == '_')) continue;
        q += strspn(q, " ");
        if (*q == '=') return strtol(q + 1, NULL, 0);
    }
    fail_msg("cuda.h has no %s", name);
    return 0;
}

static void the_projects_numbers_are_those_of_the_toolkits_header(void **state) {
    (void)state;
    static const struct {
        const char *name;
        long value;
    } numbers[] = {
#define ABI(name, value) {#name, value},
        CUDA_ABI_NUMBERS(ABI)
#undef ABI
    };
    const char *path = first_there(headers, sizeof headers / sizeof headers[0]);
    if (path == NULL) skip();
    Error err = {0};
    Arena *arena = arena_new();
    char *text = NULL;
    size_t size = 0;
    assert_ok(files_read(arena, path, 1 << 24, &text, &size, &err), err);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_int_equal(header_value(text, numbers[i].name), numbers[i].value);
    arena_free(arena);
}

static void the_stub_library_is_refused_with_a_reason(void **state) {
    (void)state;
    const char *path = first_there(stubs, sizeof stubs / sizeof stubs[0]);
    if (path == NULL) skip();
    Error err = {0};
    Driver *driver = NULL;
    assert_int_not_equal(driver_open(path, &driver, &err), ST_OK);
    assert_null(driver);
    assert_has(err.message, path);
}

static void a_driver_that_does_not_exist_is_named(void **state) {
    (void)state;
    Error err = {0};
    Driver *driver = NULL;
    assert_int_equal(driver_open("/nonexistent/libcuda.so", &driver, &err), ST_NOT_FOUND);
    assert_has(err.message, "/nonexistent/libcuda.so");
    assert_int_equal(driver_open("hard", &driver, &err), ST_INVALID);
    assert_has(err.message, "\"hard\"");
    assert_has(err.message, "\"soft\"");
}

static void a_library_without_the_symbols_is_refused_by_the_first_it_lacks(void **state) {
    (void)state;
    Error err = {0};
    Driver *driver = NULL;
    /* Any shared library that is no driver will do: the C library's own, where it is loaded. */
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, "qsort");
    assert_true(dladdr(symbol, &info) != 0);
    assert_int_equal(driver_open(info.dli_fname, &driver, &err), ST_DRIVER);
    assert_has(err.message, "cuInit");
}

static void the_side_doors_structs_are_the_same_on_both_sides(void **state) {
    (void)state;
    assert_int_equal(sizeof(DeviceTraits), sizeof(SoftgpuTraits));
#define SAME(field)                                                                                \
    assert_int_equal(offsetof(DeviceTraits, field), offsetof(SoftgpuTraits, field));               \
    assert_int_equal(sizeof(((DeviceTraits *)0)->field), sizeof(((SoftgpuTraits *)0)->field))
    SAME(size);
    SAME(modelled);
    SAME(deterministic);
    SAME(can_sample);
    SAME(model);
    SAME(description);
    SAME(factor);
#undef SAME
    assert_int_equal(sizeof(DeviceLaunchStats), sizeof(SoftgpuLaunchStats));
#define SAME(field)                                                                                \
    assert_int_equal(offsetof(DeviceLaunchStats, field), offsetof(SoftgpuLaunchStats, field));     \
    assert_int_equal(sizeof(((DeviceLaunchStats *)0)->field),                                      \
                     sizeof(((SoftgpuLaunchStats *)0)->field))
    SAME(size);
    SAME(seconds);
    SAME(bound);
    SAME(waves);
    SAME(blocks_per_sm);
    SAME(limiter);
    SAME(blocks);
    SAME(warp_instructions);
    SAME(shared_wavefronts);
    SAME(global_sectors);
    SAME(local_access);
    SAME(max_async_groups);
    SAME(at_least);
    SAME(high);
#undef SAME
    assert_int_equal(sizeof(DeviceCounter), sizeof(SoftgpuCounter));
    assert_int_equal(sizeof(DeviceLine), sizeof(SoftgpuLine));
#define SAME(field)                                                                                \
    assert_int_equal(offsetof(DeviceCounter, field), offsetof(SoftgpuCounter, field))
    SAME(name);
    SAME(unit);
    SAME(modelled);
    SAME(adds);
    SAME(value);
#undef SAME
#define SAME(field) assert_int_equal(offsetof(DeviceLine, field), offsetof(SoftgpuLine, field))
    SAME(place);
    SAME(instruction);
    SAME(kind);
    SAME(ptx_line);
    SAME(warps);
    SAME(lanes);
    SAME(wavefronts);
    SAME(conflicts);
    SAME(sectors);
    SAME(divergent);
    SAME(share);
    SAME(caller);
#undef SAME
}

static void the_software_gpu_has_every_symbol_and_says_what_it_is(void **state) {
    (void)state;
    Error err = {0};
    Driver *driver = NULL;
    assert_ok(driver_open("soft", &driver, &err), err);
    assert_true(driver->version >= 12000);
    DeviceTraits traits = driver_traits(driver, 0);
    assert_int_equal(traits.modelled, 1);
    assert_true(traits.model[0] != '\0');
    assert_true(traits.factor > 0);
    driver_close(driver);
}

static void a_modelled_device_has_the_key_of_its_model(void **state) {
    (void)state;
    Error err = {0};
    Driver *driver = NULL;
    Device device;
    char key[256];
    assert_ok(driver_open("soft", &driver, &err), err);
    assert_ok(device_query(driver, 0, &device, &err), err);
    const GpuModel *model = gpu_model_find(device.traits.model);
    assert_non_null(model);
    GpuInfo info = gpu_info_of_model(model);
    gpu_key(&info, key, sizeof key);
    assert_string_equal(device.key, key);
    assert_false(device.gpu.measured);
    assert_ptr_equal(device.gpu.arch, model->arch);
    assert_int_equal(device_query(driver, 99, &device, &err), ST_INVALID);
    assert_has(err.message, "99");
    driver_close(driver);
}

static void errors_carry_the_call_and_the_drivers_name_for_the_result(void **state) {
    (void)state;
    Error err = {0};
    Driver *driver = NULL;
    assert_ok(driver_open("soft", &driver, &err), err);
    assert_int_equal(driver_check(driver, CUDA_ERROR_INVALID_VALUE, "cuTest", &err), ST_DRIVER);
    assert_has(err.message, "cuTest");
    assert_has(err.message, "CUDA_ERROR_INVALID_VALUE");
    assert_int_equal(driver_check(driver, CUDA_ERROR_OUT_OF_MEMORY, "cuTest", &err), ST_NO_MEMORY);
    driver_close(driver);
}

static void note_warning(void *context, LogLevel level, const char *channel, const char *line) {
    (void)channel;
    if (level == LOG_WARN) snprintf(context, 512, "%s", line);
}

static void without_a_gpu_the_software_gpu_is_taken_and_said(void **state) {
    (void)state;
    Error err = {0};
    Driver *driver = NULL;
    char line[512] = "";
    log_set_sink(note_warning, line);
    Status st = driver_open(NULL, &driver, &err);
    log_set_sink(NULL, NULL);
    assert_ok(st, err);
    bool real = strstr(driver->path, "libcuda") != NULL;
    if (!real) assert_has(line, "software GPU");
    assert_true(real == (driver_traits(driver, 0).modelled == 0));
    driver_close(driver);
    if (!real) {
        assert_int_not_equal(driver_open("cuda", &driver, &err), ST_OK);
        assert_has(err.message, "libcuda.so.1");
    }
}

static void an_unknown_model_is_answered_with_the_known_ones(void **state) {
    (void)state;
    static const char *const names[] = {"soft:nope", "soft:a100,nope", "soft:", "soft:a100,"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        Error err = {0};
        Driver *driver = NULL;
        assert_int_equal(driver_open(names[i], &driver, &err), ST_NOT_FOUND);
        assert_null(driver);
        assert_has(err.message, "a100");
        assert_has(err.message, i < 2 ? "\"nope\"" : "\"\"");
    }
}

static void another_model_than_the_loaded_one_is_refused(void **state) {
    (void)state;
    Error err = {0};
    Driver *driver = NULL;
    assert_ok(driver_open("soft", &driver, &err), err);
    const char *loaded = driver_traits(driver, 0).model;
    const char *other = strcmp(loaded, "t4") == 0 ? "soft:a100" : "soft:t4";
    Driver *second = NULL;
    assert_int_equal(driver_open(other, &second, &err), ST_BUSY);
    assert_null(second);
    assert_has(err.message, other + strlen("soft:"));
    driver_close(driver);
}

int main(void) {
    /* The default model, whatever the caller's environment says. */
    unsetenv("SOFTGPU_DEVICES");
    unsetenv("SEQTUNE_DRIVER");
    const struct CMUnitTest tests[] = {
        /* Before the stub is loaded, whose soname is libcuda.so.1 and which then stays. */
        cmocka_unit_test(without_a_gpu_the_software_gpu_is_taken_and_said),
        cmocka_unit_test(every_symbol_of_the_table_is_in_the_toolkits_stub),
        cmocka_unit_test(no_symbol_is_newer_than_cuda_12_0),
        cmocka_unit_test(the_projects_numbers_are_those_of_the_toolkits_header),
        cmocka_unit_test(the_stub_library_is_refused_with_a_reason),
        cmocka_unit_test(a_driver_that_does_not_exist_is_named),
        cmocka_unit_test(a_library_without_the_symbols_is_refused_by_the_first_it_lacks),
        cmocka_unit_test(the_side_doors_structs_are_the_same_on_both_sides),
        cmocka_unit_test(the_software_gpu_has_every_symbol_and_says_what_it_is),
        cmocka_unit_test(a_modelled_device_has_the_key_of_its_model),
        cmocka_unit_test(errors_carry_the_call_and_the_drivers_name_for_the_result),
        cmocka_unit_test(an_unknown_model_is_answered_with_the_known_ones),
        cmocka_unit_test(another_model_than_the_loaded_one_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
