/* Forms newer than a module's .version or .target, and those that are left out, are refused by
 * name. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char text_format[] =
    ".version %d.%d\n.target sm_%s\n.address_size 64\n.visible .entry t(.param .u64 p) {\n"
    ".shared .align 16 .b8 sm[64];\n.reg .b16 %%h<4>; .reg .b32 %%r<16>; .reg .f32 %%f<16>; .reg "
    ".f64 %%d<12>; .reg .b64 %%rd<8>; .reg .pred %%p<4>;\n%s\nret; }\n";

/* Loads on a GPU that has everything; the message, or "" when it loads. */
static const char *load(const char *code, int version, const char *target, Error *err) {
    char text[2048];
    SgModule *module = NULL;
    snprintf(text, sizeof text, text_format, version / 10, version % 10, target, code);
    err->message[0] = '\0';
    const bool special = strchr(target, 'a') != NULL;
    (void)sg_module_load(text, strlen(text),
                         gpu_arch_find(special && strstr(target, "90") ? "sm_90a" : "sm_100a"),
                         13000, 0, &module, err);
    sg_module_free(module);
    return err->message;
}

typedef struct Row {
    const char *code;
    int version, target;
} Row;

#define ARCHITECTURE(n) (-(n))
#include "exec_features.inc"

static int before(const int *list, int n, int value) {
    int last = 0;
    for (int i = 0; i < n && list[i] < value; i++) last = list[i];
    return last;
}

static void newer_forms_are_refused_with_what_they_need(void **state) {
    (void)state;
    static const int versions[] = {63, 64, 65, 70, 71, 72, 73, 74, 75, 76, 77,
                                   78, 80, 81, 82, 83, 84, 85, 86, 87, 88, 90};
    static const int targets[] = {75, 80, 86, 89, 90, 100};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const Row *const r = &rows[i];
        const bool one = r->target < 0;
        const int needs = abs(r->target), older = before(versions, 22, r->version);
        const int lower = one ? needs : before(targets, 6, needs);
        char target[16], want[128];
        Error err;
        snprintf(target, sizeof target, "%d%s", needs ? needs : 75, one ? "a" : "");
        if (*load(r->code, r->version, target, &err)) fail_msg("%s: %s", r->code, err.message);
        snprintf(want, sizeof want, "needs .version %d.%d or later; the module says %d.%d",
                 r->version / 10, r->version % 10, older / 10, older % 10);
        if (!strstr(load(r->code, older, target, &err), want))
            fail_msg("%s at %d: '%s'", r->code, older, err.message);
        if (!lower) continue;
        snprintf(want, sizeof want, "needs .target sm_%s or later; the module says sm_%d", target,
                 lower);
        snprintf(target, sizeof target, "%d", lower);
        if (!strstr(load(r->code, r->version, target, &err), want))
            fail_msg("%s at sm_%d: '%s'", r->code, lower, err.message);
    }
}

static void the_number_of_operands_decides_too(void **state) {
    (void)state;
    static const char three[] = "min.f32 %f0, %f1, %f2, %f3;";
    Error err;
    assert_string_equal(load(three, 88, "100", &err), "");
    assert_non_null(strstr(load(three, 87, "100", &err), "need .version 8.8"));
    assert_non_null(strstr(load(three, 88, "90", &err), ".target sm_100"));
}

static void what_belongs_to_later_hardware_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *code, *why;
    } left_out[] = {
        {"wgmma.fence.sync.aligned;", "Hopper's wgmma is not emulated"},
        {"wgmma.commit_group.sync.aligned;", "Hopper's wgmma is not emulated"},
        {"cp.async.bulk.commit_group;", "bulk and tensor copies (TMA) are not emulated"},
        {"cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%rd0], 16, "
         "[%r1];",
         "bulk and tensor copies (TMA) are not emulated"},
        {"cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], "
         "[%rd0, "
         "{%r1, %r2}], [%r3];",
         "bulk and tensor copies (TMA) are not emulated"},
        {"setmaxnreg.inc.sync.aligned.u32 240;", "register reallocation is not emulated"},
        {"mapa.shared::cluster.u32 %r0, %r1, %r2;", "thread block clusters are not emulated"},
        {"barrier.cluster.arrive.aligned;", "thread block clusters are not emulated"},
        {"barrier.cluster.wait.aligned;", "thread block clusters are not emulated"},
        {"ld.shared::cluster.u32 %r0, [%r1];", "thread block clusters are not emulated"},
        {"st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r1], %r2, [%r3];",
         "thread block clusters are not emulated"},
        {"prefetch.tensormap [%rd0];", "tensor maps are not emulated"},
        {"mma.sync.aligned.m8n8k32.row.col.s32.s4.s4.s32 {%r0,%r1}, {%r2}, {%r3}, {%r4,%r5};",
         "matrices of sub-byte integers are not emulated"},
        {"vadd.u32.u32.u32 %r0, %r1, %r2;", "this video instruction is not emulated"},
        {"cvt.rn.e4m3x2.f32 %h0, %f0, %f1;", "cvt.rn.satfinite"},
        {"cvt.rs.f16x2.f32 %r0, %f0, %f1, %r1;", "conversions with random bits"},
        {"add.relu.f16 %h0, %h1, %h2;", "this instruction is not emulated"},
        {"vote.all.pred %p0, %p1;", "gone from sm_70 on; use vote.sync"},
        {"shfl.up.b32 %r0, %r1, 1, 0;", "gone from sm_70 on; use vote.sync, shfl.sync"},
        {"shfl.sync.up.f32 %r0, %r1, 1, 0, -1;", "this instruction is not emulated"},
        {"no.such.thing %r0;", "this instruction is not emulated"},
    };
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++) {
        Error err;
        const char *const message = load(left_out[i].code, 80, "90a", &err);
        char form[128];
        snprintf(form, sizeof form, "%.*s", (int)strcspn(left_out[i].code, " ;"), left_out[i].code);
        if (!strstr(message, left_out[i].why) || !strstr(message, form))
            fail_msg("%s: '%s'", left_out[i].code, message);
    }
    Error err; /* tcgen05 came with PTX 8.6 and sm_100a */
    assert_non_null(strstr(load("tcgen05.fence::before_thread_sync;", 86, "100a", &err),
                           "Blackwell's tcgen05 is not emulated"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newer_forms_are_refused_with_what_they_need),
        cmocka_unit_test(the_number_of_operands_decides_too),
        cmocka_unit_test(what_belongs_to_later_hardware_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
