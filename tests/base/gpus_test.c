/* The GPU table: its invariants, lookups and keys. */
#include "tests/base/test.h"

#include "base/gpus.h"
#include "base/str.h"

static void every_architecture_is_whole(void **state) {
    (void)state;
    for (size_t i = 0; i < gpu_arch_count(); i++) {
        const GpuArch *a = gpu_arch(i);
        assert_ptr_equal(gpu_arch_find(a->name), a);
        char name[16];
        snprintf(name, sizeof name, "sm_%d%s", a->cc, str_ends(a->name, "a") ? "a" : "");
        assert_string_equal(name, a->name);
        assert_true(a->smem_block + a->smem_reserved <= a->smem_sm);
        assert_int_equal(a->regs_sm, 65536);
        assert_int_equal(a->regs_thread, 255);
        assert_true(a->warps_sm * 32 <= 2048 && a->blocks_sm <= 32);
        if (gpu_has(a, GPU_HAS_mma_k16)) assert_true(gpu_has(a, GPU_HAS_mma_k8));
        if (gpu_has(a, GPU_HAS_mma_bf16)) assert_true(gpu_has(a, GPU_HAS_cvt_bf16));
    }
    assert_null(gpu_arch(gpu_arch_count()));
    assert_null(gpu_arch_find("sm_70"));
    for (unsigned f = 0; f < GPU_FEATURE_COUNT; f++) {
        assert_non_null(gpu_feature_name((GpuFeature)f));
    }
}

/* One line per architecture: what ptxas accepts. */
static void features_are_those_of_the_assembler(void **state) {
    (void)state;
    static const struct {
        const char *arch, *has, *lacks;
    } rows[] = {
        {"sm_75", "mma_k8 ldmatrix", "mma_k16 mma_bf16 cp_async cvt_f16x2 cvt_bf16 mbarrier tma"},
        {"sm_80", "mma_k16 mma_bf16 cp_async cvt_f16x2 cvt_bf16 mbarrier", "mma_fp8 cvt_fp8 tma"},
        {"sm_86", "mma_k16 cp_async", "mma_fp8 stmatrix"},
        {"sm_89", "mma_fp8 cvt_fp8", "tma cluster stmatrix wgmma"},
        {"sm_90", "tma cluster stmatrix", "wgmma setmaxnreg tcgen05"},
        {"sm_90a", "wgmma setmaxnreg", "tcgen05"},
        {"sm_100", "tma stmatrix", "wgmma setmaxnreg tcgen05"},
        {"sm_100a", "tcgen05 setmaxnreg tma", "wgmma"},
        {"sm_103a", "tcgen05 setmaxnreg", "wgmma"},
        {"sm_120", "tma", "wgmma tcgen05 setmaxnreg"},
        {"sm_120a", "tma setmaxnreg mma_fp8", "wgmma tcgen05"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const GpuArch *a = gpu_arch_find(rows[i].arch);
        assert_non_null(a);
        for (unsigned f = 0; f < GPU_FEATURE_COUNT; f++) {
            char word[32], has[128], lacks[128];
            snprintf(word, sizeof word, " %s ", gpu_feature_name((GpuFeature)f));
            snprintf(has, sizeof has, " %s ", rows[i].has);
            snprintf(lacks, sizeof lacks, " %s ", rows[i].lacks);
            if (strstr(has, word)) assert_true(gpu_has(a, (GpuFeature)f));
            if (strstr(lacks, word)) assert_false(gpu_has(a, (GpuFeature)f));
        }
    }
}

static void a_capability_finds_its_architecture(void **state) {
    (void)state;
    assert_string_equal(gpu_arch_for_cc(9, 0, true)->name, "sm_90a");
    assert_string_equal(gpu_arch_for_cc(9, 0, false)->name, "sm_90");
    assert_string_equal(gpu_arch_for_cc(8, 0, true)->name, "sm_80");
    assert_string_equal(gpu_arch_for_cc(8, 8, true)->name, "sm_87");
    assert_string_equal(gpu_arch_for_cc(12, 1, false)->name, "sm_121");
    assert_null(gpu_arch_for_cc(7, 0, true));
    assert_null(gpu_arch_for_cc(6, 1, false));
}

static void every_model_is_whole(void **state) {
    (void)state;
    for (size_t i = 0; i < gpu_model_count(); i++) {
        const GpuModel *m = gpu_model(i);
        assert_ptr_equal(gpu_model_find(m->name), m);
        assert_true(m->sms > 0 && m->clock_mhz > 0 && m->mem_clock_mhz > 0 && m->power_watt > 0);
        assert_true(m->dram_gbs > 0 && m->dram_gbs < m->dram_peak_gbs);
        assert_true(m->l2_gbs > m->dram_gbs && m->mma[GPU_MMA_F16_F32] > 0 && m->fp32_lanes > 0);
        assert_true(m->smem_latency > 0 && m->mma_latency > 0);
        assert_true(m->alu_latency > 0 && m->sfu_latency > 0 && m->shuffle_latency > 0);
        assert_true(m->barrier_latency > 0 && m->spill_port > 0);
        assert_true(m->l2_latency > m->smem_latency && m->dram_latency > m->l2_latency);
        assert_true(m->launch_us > 0 && m->block_us > 0 && m->factor > 0.5 && m->factor < 2);
        /* Memory clock x width x 2 transfers per clock is the peak, within 2 %. */
        double peak = m->mem_clock_mhz * 1e6 * 2 * m->mem_bus_bits / 8 / 1e9;
        assert_true(peak > m->dram_peak_gbs * 0.98 && peak < m->dram_peak_gbs * 1.02);
    }
    assert_ptr_equal(gpu_model_find("A100"), gpu_model_find("a100"));
    assert_int_equal(gpu_model_find("a100")->dram_bytes, INT64_C(80) << 30);
    assert_int_equal(gpu_model_find("a100-40")->dram_bytes, INT64_C(40) << 30);
    assert_null(gpu_model_find("a1000"));
    assert_null(gpu_model(gpu_model_count()));
}

static void every_architecture_has_a_typical_gpu(void **state) {
    (void)state;
    for (size_t i = 0; i < gpu_arch_count(); i++) {
        GpuInfo g = gpu_info_of_arch(gpu_arch(i));
        assert_ptr_equal(g.arch, gpu_arch(i));
        assert_int_equal(g.smem_block, gpu_arch(i)->smem_block);
        assert_true(g.sms > 0 && !g.measured);
        bool same_major = false;
        for (size_t k = 0; k < gpu_model_count(); k++) {
            same_major |= gpu_model(k)->arch->cc / 10 == g.arch->cc / 10;
        }
        assert_true(same_major);
    }
    GpuInfo sm80 = gpu_info_of_arch(gpu_arch_find("sm_80"));
    assert_int_equal(sm80.sms, 108);
    assert_string_equal(sm80.name, "typical sm_80");
}

static void a_spec_sees_features_and_limits(void **state) {
    (void)state;
    GpuInfo g = gpu_info_of_model(gpu_model_find("a100"));
    ExprValue v;
    assert_true(gpu_lookup(&g, "cp_async", &v) && v.kind == EXPR_BOOL && v.i == 1);
    assert_true(gpu_lookup(&g, "wgmma", &v) && v.kind == EXPR_BOOL && v.i == 0);
    assert_true(gpu_lookup(&g, "smem_block", &v) && v.kind == EXPR_INT && v.i == 166912);
    assert_true(gpu_lookup(&g, "cc", &v) && v.i == 80);
    assert_true(gpu_lookup(&g, "sms", &v) && v.i == 108);
    assert_true(gpu_lookup(&g, "warps_sm", &v) && v.i == 64);
    assert_false(gpu_lookup(&g, "name", &v));
}

static void the_key_is_rounded_and_nameless(void **state) {
    (void)state;
    char key[200];
    GpuInfo g = gpu_info_of_model(gpu_model_find("a100-40"));
    size_t n = gpu_key(&g, key, sizeof key);
    assert_string_equal(key, "cc=80 sms=108 clock=1410 mem=1215x5120 l2=40 smem=164 power=400 "
                             "evidence=modelled");
    assert_int_equal(n, strlen(key));
    char again[200];
    snprintf(g.name, sizeof g.name, "another label");
    g.clock_khz += 5000;
    g.power_watt += 5;
    gpu_key(&g, again, sizeof again);
    assert_string_equal(again, key);
    g.measured = true;
    gpu_key(&g, again, sizeof again);
    assert_contains(again, "evidence=measured");
    g.power_watt = 0;
    gpu_key(&g, again, sizeof again);
    assert_contains(again, "power=0 ");
    static const int watts[][2] = {{70, 70},   {75, 76},   {130, 130},  {250, 250},
                                   {300, 300}, {575, 580}, {1000, 1000}};
    for (size_t i = 0; i < sizeof watts / sizeof watts[0]; i++) {
        char part[16];
        g.power_watt = watts[i][0];
        gpu_key(&g, again, sizeof again);
        snprintf(part, sizeof part, "power=%d ", watts[i][1]);
        assert_contains(again, part);
    }
    char cut[10];
    assert_int_equal(gpu_key(&g, cut, sizeof cut), 9);
    assert_string_equal(cut, "cc=80 sms");
    for (size_t i = 0; i < gpu_model_count(); i++) { /* every model has its own key */
        for (size_t k = 0; k < i; k++) {
            GpuInfo a = gpu_info_of_model(gpu_model(i)), b = gpu_info_of_model(gpu_model(k));
            gpu_key(&a, key, sizeof key);
            gpu_key(&b, again, sizeof again);
            assert_string_not_equal(key, again);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_architecture_is_whole),
        cmocka_unit_test(features_are_those_of_the_assembler),
        cmocka_unit_test(a_capability_finds_its_architecture),
        cmocka_unit_test(every_model_is_whole),
        cmocka_unit_test(every_architecture_has_a_typical_gpu),
        cmocka_unit_test(a_spec_sees_features_and_limits),
        cmocka_unit_test(the_key_is_rounded_and_nameless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
