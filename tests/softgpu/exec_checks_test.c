/* SOFTGPU_CHECKS: which words it takes, and that a bad one stops the load. */
#include "exec_help.h"

#include <stdlib.h>
#include <string.h>

#include "softgpu/exec/module.h"

static const char text[] = ".version 8.0\n.target sm_80\n.address_size 64\n"
                           ".visible .entry k() { ret; }\n";

static SgChecks parsed(const char *words) {
    Error err;
    SgChecks checks = SG_CHECK_ALL;
    if (sg_checks_parse(words, &checks, &err) != ST_OK) fail_msg("%s", err.message);
    return checks;
}

static void words_choose_checks(void **state) {
    (void)state;
    assert_int_equal(parsed(NULL), SG_CHECK_NONE);
    assert_int_equal(parsed(""), SG_CHECK_NONE);
    assert_int_equal(parsed("none"), SG_CHECK_NONE);
    assert_int_equal(parsed("init"), SG_CHECK_INIT);
    assert_int_equal(parsed("race,async"), SG_CHECK_RACE | SG_CHECK_ASYNC);
    assert_int_equal(parsed("address,sync,none"), SG_CHECK_ADDRESS | SG_CHECK_SYNC);
    assert_int_equal(parsed("all"), SG_CHECK_INIT | SG_CHECK_RACE | SG_CHECK_ASYNC | SG_CHECK_SYNC |
                                        SG_CHECK_ADDRESS);
}

static void an_unknown_word_is_named_and_the_known_ones_are_listed(void **state) {
    (void)state;
    static const char *const bad[] = {"races", "init,races", "races,init", "init,,race",
                                      "init,", ",init",      "init race",  "INIT"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error err;
        SgChecks checks = SG_CHECK_ALL;
        assert_int_equal(sg_checks_parse(bad[i], &checks, &err), ST_INVALID);
        assert_int_equal(checks, SG_CHECK_NONE);
        assert_non_null(strstr(err.message, "init, race, async, sync, address, all and none"));
    }
    Error err;
    SgChecks checks = SG_CHECK_NONE;
    sg_checks_parse("init,races", &checks, &err);
    assert_non_null(strstr(err.message, "'races' is no check"));
}

static void a_module_is_loaded_with_the_checks_of_its_environment(void **state) {
    (void)state;
    Error err;
    SgModule *module = NULL;
    setenv("SOFTGPU_CHECKS", "init,address", 1);
    assert_int_equal(
        sg_module_load(text, strlen(text), gpu_arch_find("sm_80"), 13000, 0, &module, &err), ST_OK);
    assert_int_equal(module->checks, SG_CHECK_INIT | SG_CHECK_ADDRESS);
    sg_module_free(module);
    setenv("SOFTGPU_CHECKS", "everything", 1);
    assert_non_null(strstr(load_error("sm_80", text, &err), "'everything' is no check"));
    unsetenv("SOFTGPU_CHECKS");
    assert_int_equal(
        sg_module_load(text, strlen(text), gpu_arch_find("sm_80"), 13000, 0, &module, &err), ST_OK);
    assert_int_equal(module->checks, SG_CHECK_NONE);
    sg_module_free(module);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_choose_checks),
        cmocka_unit_test(an_unknown_word_is_named_and_the_known_ones_are_listed),
        cmocka_unit_test(a_module_is_loaded_with_the_checks_of_its_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
