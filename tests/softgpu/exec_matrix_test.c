/* mma, ldmatrix, stmatrix, movmatrix against the literal fragment formulas of the PTX ISA. */
#include "exec_help.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "softgpu/exec/half.h"

typedef struct MmaCase {
    const char *form;
    int k, a_regs, b_regs;
    bool bf16;
} MmaCase;

static const MmaCase mma_cases[] = {
    {"m16n8k16.row.col.f32.f16.f16.f32", 16, 4, 2, false},
    {"m16n8k16.row.col.f32.bf16.bf16.f32", 16, 4, 2, true},
    {"m16n8k8.row.col.f32.f16.f16.f32", 8, 2, 1, false},
    {"m16n8k8.row.col.f32.bf16.bf16.f32", 8, 2, 1, true},
};

static void list(Str *s, char letter, int n) {
    str_putc(s, '{');
    for (int i = 0; i < n; i++) str_printf(s, "%s%%%c%d", i ? "," : "", letter, i);
    str_putc(s, '}');
}

/* Register i of lane l of A is at 64 i + 4 l + 0, of B at 1024 + ..., C at 2048, D at 3072. */
static void mma_text(Str *s, const MmaCase *c) {
    str_puts(s,
             PTX_HEADER ".visible .entry t(.param .u64 p) {\n.reg .b32 %a<4>; .reg .b32 %b<2>; "
                        ".reg .f32 %c<4>; .reg .b32 %r<4>; .reg .b64 %rd<4>;\n"
                        "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n"
                        "add.s64 %rd0, %rd0, %rd1;\n");
    for (int i = 0; i < c->a_regs; i++)
        str_printf(s, "ld.global.u32 %%a%d, [%%rd0+%d];\n", i, 128 * i);
    for (int i = 0; i < c->b_regs; i++)
        str_printf(s, "ld.global.u32 %%b%d, [%%rd0+%d];\n", i, 1024 + 128 * i);
    for (int i = 0; i < 4; i++)
        str_printf(s, "ld.global.f32 %%c%d, [%%rd0+%d];\n", i, 2048 + 128 * i);
    str_printf(s, "mma.sync.aligned.%s ", c->form);
    list(s, 'c', 4);
    str_puts(s, ", ");
    list(s, 'a', c->a_regs);
    str_puts(s, ", ");
    list(s, 'b', c->b_regs);
    str_puts(s, ", ");
    list(s, 'c', 4);
    str_puts(s, ";\n");
    for (int i = 0; i < 4; i++)
        str_printf(s, "st.global.f32 [%%rd0+%d], %%c%d;\n", 3072 + 128 * i, i);
    str_puts(s, "ret;\n}\n");
}

static uint32_t narrow(const MmaCase *c, float v) {
    return c->bf16 ? f32_to_bf16(v) : f32_to_f16(v);
}
static float wide(const MmaCase *c, uint32_t h) {
    return c->bf16 ? bf16_to_f32(h) : f16_to_f32(h);
}

/* The formulas of "Matrix fragments for mma.m16n8k16 with floating point type" (and k8):
 * groupID = lane >> 2, threadID_in_group = lane % 4;
 * A: row = groupID for a0 a1 a4 a5, groupID + 8 otherwise; col = 2 threadID + (i & 1), + 8 for i >=
 * 4; B: row = 2 threadID + (i & 1), + 8 for i >= 2; col = groupID. */
static void fill(Bench *b, const MmaCase *c, double A[16][16], double B[16][8], double C[16][8]) {
    uint8_t *const mem = (uint8_t *)b->buffer;
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane >> 2, t = lane % 4;
        for (int i = 0; i < 2 * c->a_regs; i++) {
            const int row = i % 4 < 2 ? g : g + 8, col = 2 * t + (i & 1) + (i >= 4 ? 8 : 0);
            const uint16_t h = (uint16_t)narrow(c, (float)(rand() % 2001 - 1000) / 300.0f);
            A[row][col] = (double)wide(c, h);
            memcpy(mem + 128 * (i / 2) + 4 * lane + 2 * (i & 1), &h, 2);
        }
        for (int i = 0; i < 2 * c->b_regs; i++) {
            const int row = 2 * t + (i & 1) + (i >= 2 ? 8 : 0);
            const uint16_t h = (uint16_t)narrow(c, (float)(rand() % 2001 - 1000) / 300.0f);
            B[row][g] = (double)wide(c, h);
            memcpy(mem + 1024 + 128 * (i / 2) + 4 * lane + 2 * (i & 1), &h, 2);
        }
        for (int i = 0; i < 4; i++) {
            const int row = i < 2 ? g : g + 8, col = 2 * t + (i & 1);
            const float v = (float)(rand() % 2001 - 1000) / 100.0f;
            C[row][col] = (double)v;
            memcpy(mem + 2048 + 128 * i + 4 * lane, &v, 4);
        }
    }
}

static void check_mma(const MmaCase *c, const char *level) {
    static double A[16][16], B[16][8], C[16][8];
    Str text = {0};
    mma_text(&text, c);
    Bench b;
    bench_open(&b, "sm_80", str_text(&text), 4096);
    for (int round = 0; round < 20; round++) {
        fill(&b, c, A, B, C);
        assert_false(bench_run(&b, "t", 1, 32));
        for (int lane = 0; lane < 32; lane++)
            for (int i = 0; i < 4; i++) {
                const int row = (lane >> 2) + (i < 2 ? 0 : 8), col = 2 * (lane % 4) + (i & 1);
                double want = C[row][col], size = fabs(want);
                for (int k = 0; k < c->k; k++) {
                    want += A[row][k] * B[k][col];
                    size += fabs(A[row][k] * B[k][col]);
                }
                float got = 0;
                memcpy(&got, (uint8_t *)b.buffer + 3072 + 128 * i + 4 * lane, 4);
                /* one f32 rounding per term at most */
                if (!(fabs((double)got - want) <= size * 0x1p-23 * 17))
                    fail_msg("%s %s: D[%d][%d] is %g, not %g", level, c->form, row, col,
                             (double)got, want);
            }
    }
    assert_int_equal(b.launch.counters.mma, 1);
    assert_int_equal(b.launch.counters.mma_flops, 2 * 16 * 8 * c->k);
    bench_close(&b);
    str_free(&text);
}

static void check_all_mma(const char *level) {
    for (size_t i = 0; i < sizeof mma_cases / sizeof *mma_cases; i++)
        check_mma(&mma_cases[i], level);
}

static void mma_equals_the_product_by_the_fragment_formulas(void **state) {
    (void)state;
    each_simd_level(check_all_mma);
}

/* 512 bytes of shared memory hold 32 rows of 16 bytes, value = index; rows in scrambled order. */
static const char matrix_text[] = PTX_HEADER
    ".shared .align 128 .b8 sm[512];\n"
    ".visible .entry t(.param .u64 p) {\n"
    ".reg .b32 %%r<16>; .reg .b64 %%rd<4>; .reg .b32 %%d<4>;\n"
    "ld.param.u64 %%rd0, [p]; mov.u32 %%r0, %%tid.x; mul.wide.u32 %%rd1, %%r0, 4;\n"
    "add.s64 %%rd0, %%rd0, %%rd1; mov.u32 %%r1, sm; shl.b32 %%r2, %%r0, 4; add.s32 %%r3, %%r1, "
    "%%r2;\n"
    "shl.b32 %%r4, %%r0, 3; add.s32 %%r5, %%r4, 1; shl.b32 %%r5, %%r5, 16; or.b32 %%r6, %%r4, "
    "%%r5;\n"
    "add.s32 %%r7, %%r6, 0x20002; add.s32 %%r8, %%r6, 0x40004; add.s32 %%r9, %%r6, 0x60006;\n"
    "st.shared.v4.u32 [%%r3], {%%r6, %%r7, %%r8, %%r9};\n"
    "bar.sync 0;\n"
    "mov.u32 %%d0, 0; mov.u32 %%d1, 0; mov.u32 %%d2, 0; mov.u32 %%d3, 0;\n"
    "xor.b32 %%r10, %%r2, %d; add.s32 %%r10, %%r10, %%r1;\n"
    "ldmatrix.sync.aligned.m8n8.x%d%s.shared.b16 %s, [%%r10];\n"
    "st.global.u32 [%%rd0], %%d0; st.global.u32 [%%rd0+128], %%d1;\n"
    "st.global.u32 [%%rd0+256], %%d2; st.global.u32 [%%rd0+384], %%d3; ret; }\n";

static void check_ldmatrix(int count, bool trans, int scramble) {
    static const char *const regs[] = {"", "{%d0}", "{%d0, %d1}", "", "{%d0, %d1, %d2, %d3}"};
    char text[4096];
    snprintf(text, sizeof text, matrix_text, scramble, count, trans ? ".trans" : "", regs[count]);
    Bench b;
    bench_open(&b, "sm_80", text, 4096);
    if (bench_run(&b, "t", 1, 32)) fail_msg("%s", b.launch.fault.text);
    const uint32_t *const out = (const uint32_t *)b.buffer;
    for (int m = 0; m < 4; m++)
        for (int lane = 0; lane < 32; lane++)
            for (int e = 0; e < 2; e++) {
                /* element (row, col) of matrix m is at row address of lane 8 m + row */
                int row = lane / 4, col = 2 * (lane % 4) + e;
                if (trans) {
                    const int t = row;
                    row = col;
                    col = t;
                }
                const int line = (8 * m + row) ^ (scramble >> 4);
                const uint32_t want = m < count ? (uint32_t)(8 * line + col) : 0;
                assert_int_equal(out[32 * m + lane] >> (16 * e) & 0xffff, want);
            }
    assert_int_equal(b.launch.counters.ldmatrix, 1);
    assert_int_equal(b.launch.counters.shared_conflicts, 0);
    bench_close(&b);
}

static void ldmatrix_gives_rows_or_columns_to_lanes(void **state) {
    (void)state;
    for (int count = 1; count <= 4; count *= 2)
        for (int scramble = 0; scramble <= 5 * 16; scramble += 5 * 16) {
            check_ldmatrix(count, false, scramble);
            check_ldmatrix(count, true, scramble);
        }
}

/* Copies the first 512 bytes of the buffer to shared memory, executes `code` with row addresses in
 * %r2 (lane l names row l ^ 5), and stores %d0 to %d3 at 512 and shared memory at 1024. */
static void run_bytes(Bench *b, const char *code) {
    char text[2048];
    snprintf(
        text, sizeof text,
        ".version 8.6\n.target sm_100a\n.address_size 64\n.shared .align 128 .b8 sm[512];\n"
        ".visible .entry t(.param .u64 p) {\n.reg .b32 %%r<8>, %%d<4>; .reg .b64 %%rd<4>;\n"
        "ld.param.u64 %%rd0, [p]; mov.u32 %%r0, %%tid.x; mul.wide.u32 %%rd1, %%r0, 16; add.s64 "
        "%%rd2, %%rd0, %%rd1;\nmov.u32 %%r1, sm; mad.lo.u32 %%r3, %%r0, 16, %%r1; xor.b32 %%r2, "
        "%%r0, 5; mad.lo.u32 %%r2, %%r2, 16, %%r1;\n"
        "ld.global.v4.u32 {%%r4, %%r5, %%r6, %%r7}, [%%rd2]; "
        "st.shared.v4.u32 [%%r3], {%%r4, %%r5, %%r6, %%r7}; bar.warp.sync -1;\n"
        "mul.wide.u32 %%rd1, %%r0, 4; add.s64 %%rd3, %%rd0, %%rd1;\n"
        "ld.global.u32 %%d0, [%%rd3]; ld.global.u32 %%d1, [%%rd3+128];\n"
        "ld.global.u32 %%d2, [%%rd3+256]; ld.global.u32 %%d3, [%%rd3+384];\n"
        "%s\nbar.warp.sync -1;\nst.global.u32 [%%rd3+512], %%d0; st.global.u32 [%%rd3+640], "
        "%%d1; st.global.u32 [%%rd3+768], %%d2;\nst.global.u32 [%%rd3+896], %%d3; "
        "ld.shared.v4.u32 {%%r4, %%r5, %%r6, %%r7}, [%%r3]; st.global.v4.u32 [%%rd2+1024], "
        "{%%r4, %%r5, %%r6, %%r7}; ret; }\n",
        code);
    bench_open(b, "sm_100a", text, 4096);
    for (int i = 0; i < 512; i++) ((uint8_t *)b->buffer)[i] = (uint8_t)(i * 167 + 13 * (i >> 4));
    if (bench_run(b, "t", 1, 32)) fail_msg("%s\n%s", b->launch.fault.text, text);
}

/* Element i of the row of 16 that lane `lane` names, as `bits` wide. */
static uint32_t packed(const Bench *b, int lane, int i, int bits) {
    const uint8_t *const row = (const uint8_t *)b->buffer + 16 * (lane ^ 5);
    uint32_t v = 0;
    for (int k = 0; k < bits; k++)
        v |= (uint32_t)(row[(i * bits + k) / 8] >> ((i * bits + k) % 8) & 1) << k;
    return v;
}

/* The fragments as they were dumped from an sm_120a by others, and the ISA's figures. */
static void ldmatrix_of_bytes_gives_rows_and_transposes(void **state) {
    (void)state;
    static const struct {
        const char *code;
        int registers, bits;
        bool transposed;
    } rows[] = {
        {"ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%d0, %d1}, [%r2];", 2, 8, true},
        {"ldmatrix.sync.aligned.m16n16.x2.trans.shared.b8 {%d0, %d1, %d2, %d3}, [%r2];", 4, 8,
         true},
        {"ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8x16.b6x16_p32 {%d0, %d1}, [%r2];", 2, 6,
         true},
        {"ldmatrix.sync.aligned.m16n16.x2.trans.shared.b8x16.b4x16_p64 {%d0, %d1, %d2, %d3}, "
         "[%r2];",
         4, 4, true},
        {"ldmatrix.sync.aligned.m8n16.x1.shared.b8x16.b4x16_p64 {%d0}, [%r2];", 1, 4, false},
        {"ldmatrix.sync.aligned.m8n16.x2.shared.b8x16.b6x16_p32 {%d0, %d1}, [%r2];", 2, 6, false},
        {"ldmatrix.sync.aligned.m8n16.x4.shared::cta.b8x16.b6x16_p32 {%d0, %d1, %d2, %d3}, [%r2];",
         4, 6, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Bench b;
        run_bytes(&b, rows[i].code);
        const uint8_t *const out = (const uint8_t *)b.buffer + 512;
        for (int k = 0; k < rows[i].registers; k++)
            for (int lane = 0; lane < 32; lane++)
                for (int e = 0; e < 4; e++) {
                    const int g = lane / 4, t = lane % 4;
                    const uint32_t want =
                        rows[i].transposed
                            ? packed(&b, 16 * (k / 2) + 4 * t + e, g + 8 * (k % 2), rows[i].bits)
                            : packed(&b, 8 * k + g, 4 * t + e, rows[i].bits);
                    if (out[128 * k + 4 * lane + e] != want)
                        fail_msg("%s register %d, lane %d, byte %d", rows[i].code, k, lane, e);
                }
        assert_int_equal(b.launch.counters.shared_conflicts, 0);
        bench_close(&b);
    }
}

/* Byte e of lane 4 g + t: row g + 8 (e / 2), column 2 t + e % 2 of 16 x 8, as D of mma.m16n8. */
static void stmatrix_of_bytes_stores_columns(void **state) {
    (void)state;
    static const char *const code[] = {
        "stmatrix.sync.aligned.m16n8.x1.trans.shared.b8 [%r2], {%d0};",
        "stmatrix.sync.aligned.m16n8.x2.trans.shared.b8 [%r2], {%d0, %d1};",
        "stmatrix.sync.aligned.m16n8.x4.trans.shared.b8 [%r2], {%d0, %d1, %d2, %d3};"};
    for (int i = 0; i < 3; i++) {
        Bench b;
        run_bytes(&b, code[i]);
        const uint8_t *const in = (const uint8_t *)b.buffer, *const out = in + 1024;
        for (int k = 0; k < 4; k++)
            for (int row = 0; row < 16; row++)
                for (int col = 0; col < 8; col++) {
                    const int lane = 4 * (row % 8) + col / 2, e = row / 8 * 2 + col % 2;
                    const int at = 16 * ((8 * k + col) ^ 5) + row;
                    assert_int_equal(out[at], k < 1 << i ? in[128 * k + 4 * lane + e] : in[at]);
                }
        bench_close(&b);
    }
}

static void bank_conflicts_are_counted_in_wavefronts(void **state) {
    (void)state;
    /* 32 lanes, stride S bytes: 4: none; 8: two; 128: all 32 in one bank; 0: a broadcast. */
    static const struct {
        int stride, wavefronts;
    } rows[] = {{4, 1}, {8, 2}, {16, 4}, {128, 32}, {0, 1}, {132, 1}};
    checks_without_init();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 PTX_HEADER ".shared .align 16 .b8 sm[8192];\n.visible .entry t(.param .u64 p) {\n"
                            ".reg .b32 %%r<8>; mov.u32 %%r0, %%tid.x; mov.u32 %%r1, sm;\n"
                            "mad.lo.s32 %%r2, %%r0, %d, %%r1; ld.shared.u32 %%r3, [%%r2]; ret; }\n",
                 rows[i].stride);
        Bench b;
        bench_open(&b, "sm_80", text, 64);
        assert_false(bench_run(&b, "t", 1, 32));
        assert_int_equal(b.launch.counters.shared_wavefronts, rows[i].wavefronts);
        assert_int_equal(b.launch.counters.shared_conflicts, rows[i].wavefronts - 1);
        bench_close(&b);
    }
    checks_reset();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mma_equals_the_product_by_the_fragment_formulas),
        cmocka_unit_test(ldmatrix_gives_rows_or_columns_to_lanes),
        cmocka_unit_test(ldmatrix_of_bytes_gives_rows_and_transposes),
        cmocka_unit_test(stmatrix_of_bytes_stores_columns),
        cmocka_unit_test(bank_conflicts_are_counted_in_wavefronts),
    };
    return run_with_and_without_checks(tests);
}
