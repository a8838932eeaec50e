/* Forms newer than a module's .version or .target, and those that are left out, are refused by
 * name. */
#include "exec_help.h"

#include <stdio.h>
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

/* From the notes of each instruction in PTX ISA 9.0. */
static const Row rows[] = {
    {"ld.shared::cta.u32 %r0, [%rd0];", 78, 0},
    {"ld.relaxed.cluster.global.u32 %r0, [%rd0];", 78, 90},
    {"ld.mmio.relaxed.sys.u32 %r0, [%rd0];", 82, 0},
    {"ld.global.L1::no_allocate.u32 %r0, [%rd0];", 74, 0},
    {"ld.global.L2::256B.u32 %r0, [%rd0];", 74, 80},
    {"ld.global.v4.b64 {%rd0, %rd1, %rd2, %rd3}, [%rd4];", 88, 100},
    {"st.global.v8.f32 [%rd0], {%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7};", 88, 100},
    {"{ .reg .b128 %q<2>; atom.exch.b128 %q0, [%rd0], %q1; }", 83, 90},
    {"atom.global.add.noftz.bf16 %h0, [%rd0], %h1;", 78, 90},
    {"red.global.add.v4.f32 [%rd0], {%f0, %f1, %f2, %f3};", 81, 90},
    {"cp.async.ca.shared.global [%r0], [%rd0], 4;", 70, 80},
    {"mbarrier.init.shared.b64 [%r0], 1;", 70, 80},
    {"mbarrier.try_wait.parity.shared.b64 %p0, [%r0], 0;", 78, 90},
    {"mbarrier.arrive.expect_tx.shared.b64 %rd0, [%r0], 1;", 80, 90},
    {"elect.sync %r0|%p0, -1;", 80, 90},
    {"griddepcontrol.wait;", 78, 90},
    {"redux.sync.add.u32 %r0, %r1, -1;", 70, 80},
    {"ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%r1];", 65, 75},
    {"movmatrix.sync.aligned.m8n8.trans.b16 %r0, %r1;", 78, 75},
    {"stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r1], {%r0};", 78, 90},
    {"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1}, {%r2}, "
     "{%f0,%f1,%f2,%f3};",
     65, 75},
    {"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r2,%r3}, "
     "{%r4,%r5}, {%f0,%f1,%f2,%f3};",
     70, 80},
    {"mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e5m2.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r2,%r3}, "
     "{%r4,%r5}, {%f0,%f1,%f2,%f3};",
     84, 89},
    {"mma.sync.aligned.m16n8k16.row.col.f32.e4m3.e5m2.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1}, {%r4}, "
     "{%f0,%f1,%f2,%f3};",
     87, 89},
    {"mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64 {%d0,%d1,%d2,%d3}, {%d4,%d5}, {%d6}, "
     "{%d0,%d1,%d2,%d3};",
     78, 90},
    {"wmma.load.a.sync.aligned.row.m16n16k8.tf32 {%r0,%r1,%r2,%r3}, [%rd0];", 70, 80},
    {"bmsk.clamp.b32 %r0, %r1, %r2;", 76, 0},
    {"tanh.approx.f32 %f0, %f1;", 70, 75},
    {"add.bf16x2 %r0, %r1, %r2;", 78, 90},
    {"fma.rn.bf16 %h0, %h1, %h2, %h3;", 70, 80},
    {"min.NaN.f32 %f0, %f1, %f2;", 70, 80},
    {"fma.rn.relu.f16 %h0, %h1, %h2, %h3;", 70, 80},
    {"add.u16x2 %r0, %r1, %r2;", 80, 90},
    {"cvt.rn.bf16.f32 %h0, %f0;", 70, 80},
    {"cvt.rn.bf16.s32 %h0, %r0;", 78, 90},
    {"cvt.rn.satfinite.e4m3x2.f32 %h0, %f0, %f1;", 78, 89},
    {"cvt.rn.satfinite.f16.f32 %h0, %f0;", 81, 0},
    {"min.xorsign.abs.bf16x2 %r0, %r1, %r2;", 72, 86},
    {"add.f32.f16 %f0, %h0, %f1;", 86, 100},
    {"fence.proxy.async;", 80, 90},
    {"barrier.cta.sync 0;", 78, 0},
};

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
        char target[16], want[128];
        Error err;
        snprintf(target, sizeof target, "%d", r->target ? r->target : 75);
        if (*load(r->code, r->version, target, &err)) fail_msg("%s: %s", r->code, err.message);
        const int older = before(versions, 22, r->version), lower = before(targets, 6, r->target);
        snprintf(want, sizeof want, "needs .version %d.%d or later; the module says %d.%d",
                 r->version / 10, r->version % 10, older / 10, older % 10);
        if (!strstr(load(r->code, older, target, &err), want))
            fail_msg("%s at %d: '%s'", r->code, older, err.message);
        if (!lower) continue;
        snprintf(target, sizeof target, "%d", lower);
        snprintf(want, sizeof want, "needs .target sm_%d or later; the module says sm_%d",
                 r->target, lower);
        if (!strstr(load(r->code, r->version, target, &err), want))
            fail_msg("%s at sm_%d: '%s'", r->code, lower, err.message);
    }
}

static void forms_of_one_architecture_need_its_suffix(void **state) {
    (void)state;
    static const char code[] = "redux.sync.min.f32 %f0, %f1, -1;";
    Error err;
    assert_string_equal(load(code, 86, "100a", &err), "");
    /* the number of operands decides */
    static const char three[] = "min.f32 %f0, %f1, %f2, %f3;";
    assert_string_equal(load(three, 88, "100", &err), "");
    assert_non_null(strstr(load(three, 87, "100", &err), "need .version 8.8"));
    assert_non_null(strstr(load(three, 88, "90", &err), ".target sm_100"));
    assert_non_null(strstr(load(code, 86, "100", &err),
                           "needs .target sm_100a or later; the module says sm_100"));
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
        cmocka_unit_test(forms_of_one_architecture_need_its_suffix),
        cmocka_unit_test(what_belongs_to_later_hardware_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
