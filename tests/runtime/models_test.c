/* Every GPU model of the table as a device of the software GPU: its attributes give back the key of
 * the model, so that what is tuned on it is found again. One process has one set of models, hence
 * a program of its own. */
#include "tests/runtime/test.h"

#include "base/str.h"
#include "runtime/device.h"

static Driver *driver;

static void every_model_has_its_own_key_and_architecture(void **state) {
    (void)state;
    assert_int_equal(driver->device_count, gpu_model_count());
    for (size_t i = 0; i < gpu_model_count(); i++) {
        Error err = {0};
        Device device;
        char key[256];
        const GpuModel *model = gpu_model(i);
        GpuInfo info = gpu_info_of_model(model);
        gpu_key(&info, key, sizeof key);
        assert_ok(device_query(driver, (int)i, &device, &err), err);
        assert_string_equal(device.traits.model, model->name);
        assert_string_equal(device.key, key);
        assert_ptr_equal(device.gpu.arch, model->arch);
        assert_int_equal(device.gpu.smem_block, info.smem_block);
        assert_int_equal(device.gpu.regs_sm, info.regs_sm);
        assert_int_equal(device.gpu.warps_sm, info.warps_sm);
        assert_int_equal(device.gpu.blocks_sm, info.blocks_sm);
        assert_int_equal(device.gpu.dram_bytes, info.dram_bytes);
    }
}

static void every_device_opens_its_own_context(void **state) {
    (void)state;
    for (int i = 0; i < driver->device_count; i++) {
        Error err = {0};
        Device device;
        assert_ok(device_open(driver, i, &device, &err), err);
        assert_int_equal(device.ordinal, i);
        assert_non_null(device.context);
        assert_true(device.retained);
        device_close(driver, &device);
    }
}

static int setup(void **state) {
    (void)state;
    Str name = {0};
    Error err = {0};
    str_puts(&name, "soft:");
    for (size_t i = 0; i < gpu_model_count(); i++)
        str_printf(&name, "%s%s", i > 0 ? "," : "", gpu_model(i)->name);
    Status st = driver_open(str_text(&name), &driver, &err);
    if (st != ST_OK) print_error("%s\n", err.message);
    str_free(&name);
    return st == ST_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    driver_close(driver);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_has_its_own_key_and_architecture),
        cmocka_unit_test(every_device_opens_its_own_context),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
