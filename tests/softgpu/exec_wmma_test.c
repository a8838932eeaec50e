/* wmma against the product of the matrices as they lie in memory. Values are small integers, so
 * that every type's sums are exact and order does not matter. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "softgpu/exec/half.h"

typedef enum Type { F16, BF16, TF32, F32, S8, U8, S32, F64 } Type;
static const char *const type_names[] = {"f16", "bf16", "tf32", "f32", "s8", "u8", "s32", "f64"};
static const int type_bytes[] = {2, 2, 4, 4, 1, 1, 4, 8};

typedef struct Form {
    int m, n, k;
    Type a, c, d;
    int a_regs, b_regs, c_regs, d_regs; /* PTX ISA, "Matrix fragments for WMMA" */
    const char *tail;
} Form;

static const Form forms[] = {
    {16, 16, 16, F16, F32, F32, 8, 8, 8, 8, "f32.f32"},
    {16, 16, 16, F16, F16, F16, 8, 8, 4, 4, "f16.f16"},
    {16, 16, 16, F16, F16, F32, 8, 8, 4, 8, "f32.f16"},
    {16, 16, 16, F16, F32, F16, 8, 8, 8, 4, "f16.f32"},
    {32, 8, 16, F16, F32, F32, 8, 8, 8, 8, "f32.f32"},
    {32, 8, 16, F16, F16, F16, 8, 8, 4, 4, "f16.f16"},
    {8, 32, 16, F16, F32, F32, 8, 8, 8, 8, "f32.f32"},
    {8, 32, 16, F16, F16, F16, 8, 8, 4, 4, "f16.f16"},
    {16, 16, 16, BF16, F32, F32, 4, 4, 8, 8, "f32.bf16.bf16.f32"},
    {32, 8, 16, BF16, F32, F32, 8, 2, 8, 8, "f32.bf16.bf16.f32"},
    {8, 32, 16, BF16, F32, F32, 2, 8, 8, 8, "f32.bf16.bf16.f32"},
    {16, 16, 8, TF32, F32, F32, 4, 4, 8, 8, "f32.tf32.tf32.f32"},
    {16, 16, 16, S8, S32, S32, 2, 2, 8, 8, "s32.s8.s8.s32"},
    {32, 8, 16, U8, S32, S32, 4, 1, 8, 8, "s32.u8.u8.s32"},
    {8, 32, 16, S8, S32, S32, 1, 4, 8, 8, "s32.s8.s8.s32"},
    {8, 32, 16, U8, S32, S32, 1, 4, 8, 8, "s32.u8.u8.s32.satfinite"},
    {8, 8, 4, F64, F64, F64, 1, 1, 2, 2, "f64.f64.f64.f64"},
};

enum { A_AT = 0, B_AT = 4096, C_AT = 8192, D_AT = 16384, BYTES = 24576, TRIPS = 4 };

typedef struct Layout {
    bool row[4]; /* A, B, C, D */
    int extra;   /* added to the natural stride, in units of 16 bytes; 0: no stride operand */
    const char *space;
} Layout;

static int lines(const Form *f, int x, int *line) { /* of matrix x by rows: rows and their length */
    *line = x == 0 ? f->k : f->n;
    return x == 1 ? f->k : f->m;
}
static Type type_of(const Form *f, int x) {
    return x < 2 ? f->a : x == 2 ? f->c : f->d;
}
static int stride_of(const Form *f, const Layout *l, int x) {
    int line = 0;
    const int rows = lines(f, x, &line);
    return (l->row[x] ? line : rows) + l->extra * 16 / type_bytes[type_of(f, x)];
}

static void list(Str *s, char letter, int n) {
    str_putc(s, '{');
    for (int i = 0; i < n; i++) str_printf(s, "%s%%%c%d", i ? "," : "", letter, i);
    str_putc(s, '}');
}

static void move(Str *s, const Form *f, const Layout *l, int x, int at, int regs) {
    const char letter = "abcd"[x];
    str_printf(s, "wmma.%s.%c.sync.aligned.%s.m%dn%dk%d%s.%s ", x == 3 ? "store" : "load", letter,
               l->row[x] ? "row" : "col", f->m, f->n, f->k, l->space, type_names[type_of(f, x)]);
    if (x < 3) list(s, letter, regs);
    if (x < 3) str_puts(s, ", ");
    str_printf(s, "[%%rd1+%d]", at);
    if (x == 3) str_puts(s, ", ");
    if (x == 3) list(s, letter, regs);
    if (l->extra) str_printf(s, ", %d", stride_of(f, l, x));
    str_puts(s, ";\n");
}

/* Copies the buffer to shared memory and the result back. */
static void copy(Str *s, const char *from, const char *to, int bytes) {
    str_printf(s,
               "bar.sync 0; mov.u32 %%r1, %%tid.x; shl.b32 %%r1, %%r1, 2;\nL%s: cvt.u64.u32 %%rd3, "
               "%%r1; add.s64 %%rd4, %%rd0, "
               "%%rd3;\nadd.s64 %%rd5, %%rd2, %%rd3; ld.%s.u32 %%r2, [%s]; st.%s.u32 [%s], %%r2;\n"
               "add.u32 %%r1, %%r1, 128; setp.lt.u32 %%p0, %%r1, %d; @%%p0 bra L%s; bar.sync 0;\n",
               from, from, strcmp(from, "global") == 0 ? "%rd4" : "%rd5", to,
               strcmp(to, "global") == 0 ? "%rd4" : "%rd5", bytes, from);
}

static void text_of(Str *s, const Form *f, const Layout *l, const char *arch) {
    const bool shared = strcmp(l->space, ".shared") == 0;
    const char kind = f->a == F64 ? 'd' : 'r';
    str_printf(
        s,
        ".version 7.8\n.target %s\n.address_size 64\n.visible .entry t(.param .u64 p) {\n"
        ".shared .align 128 .b8 sm[%d];\n"
        ".reg .b%d %%a<8>, %%b<8>, %%c<8>, %%d<8>; .reg .b32 %%r<4>; .reg .b64 %%rd<8>; .reg "
        ".pred %%p<2>;\nld.param.u64 %%rd0, [p]; mov.u64 %%rd2, sm;\n",
        arch, BYTES, kind == 'd' ? 64 : 32);
    if (shared) copy(s, "global", "shared", BYTES);
    str_printf(s, "mov.u64 %%rd1, %%rd%d;\n", shared ? 2 : 0);
    move(s, f, l, 0, A_AT, f->a_regs);
    move(s, f, l, 1, B_AT, f->b_regs);
    move(s, f, l, 2, C_AT, f->c_regs);
    str_printf(s, "wmma.mma.sync.aligned.%s.%s.m%dn%dk%d.%s ", l->row[0] ? "row" : "col",
               l->row[1] ? "row" : "col", f->m, f->n, f->k, f->tail);
    list(s, 'd', f->d_regs);
    str_puts(s, ", ");
    list(s, 'a', f->a_regs);
    str_puts(s, ", ");
    list(s, 'b', f->b_regs);
    str_puts(s, ", ");
    list(s, 'c', f->c_regs);
    str_puts(s, ";\n");
    move(s, f, l, 3, D_AT, f->d_regs);
    if (shared) copy(s, "shared", "global", BYTES);
    str_puts(s, "ret;\n}\n");
}

static void put(uint8_t *at, Type t, int v) {
    uint64_t u = 0;
    const double wide = v;
    switch (t) {
    case F16: u = f32_to_f16((float)v); break;
    case BF16: u = f32_to_bf16((float)v); break;
    case TF32:
    case F32: u = half_f32_bits((float)v); break;
    case F64: memcpy(&u, &wide, 8); break;
    default: u = (uint64_t)(int64_t)v;
    }
    memcpy(at, &u, (size_t)type_bytes[t]);
}
static int get(const uint8_t *at, Type t) {
    uint64_t u = 0;
    double wide = 0;
    memcpy(&u, at, (size_t)type_bytes[t]);
    memcpy(&wide, &u, 8);
    return t == F16   ? (int)f16_to_f32((uint32_t)u)
           : t == F64 ? (int)wide
           : t == S32 ? (int32_t)u
                      : (int)half_bits_f32((uint32_t)u);
}

static uint8_t *element(uint8_t *base, const Form *f, const Layout *l, int x, int row, int col) {
    const int s = stride_of(f, l, x), i = l->row[x] ? row * s + col : col * s + row;
    return base + i * type_bytes[type_of(f, x)];
}

static void check(const Form *f, const Layout *l, const char *arch) {
    static int A[32][16], B[16][32], C[32][32];
    Str text = {0};
    text_of(&text, f, l, arch);
    Bench b;
    bench_open(&b, arch, str_text(&text), BYTES);
    uint8_t *const mem = (uint8_t *)b.buffer;
    for (int trip = 0; trip < TRIPS; trip++) {
        const int low = f->a == U8 ? 0 : -8;
        memset(mem, 0, BYTES);
        for (int i = 0; i < f->m; i++)
            for (int k = 0; k < f->k; k++)
                put(element(mem + A_AT, f, l, 0, i, k), f->a, A[i][k] = low + rand() % 17);
        for (int k = 0; k < f->k; k++)
            for (int j = 0; j < f->n; j++)
                put(element(mem + B_AT, f, l, 1, k, j), f->a, B[k][j] = low + rand() % 17);
        for (int i = 0; i < f->m; i++)
            for (int j = 0; j < f->n; j++)
                put(element(mem + C_AT, f, l, 2, i, j), f->c, C[i][j] = rand() % 200 - 100);
        if (bench_run(&b, "t", 1, 32)) fail_msg("%s\n%s", b.launch.fault.text, str_text(&text));
        for (int i = 0; i < f->m; i++)
            for (int j = 0; j < f->n; j++) {
                int want = C[i][j];
                for (int k = 0; k < f->k; k++) want += A[i][k] * B[k][j];
                const int got = get(element(mem + D_AT, f, l, 3, i, j), f->d);
                if (got != want)
                    fail_msg("%s D[%d][%d] is %d, not %d\n%s", arch, i, j, got, want,
                             str_text(&text));
            }
    }
    bench_close(&b);
    str_free(&text);
}

static void wmma_multiplies_what_lies_in_memory_in_every_layout(void **state) {
    (void)state;
    static const char *const spaces[] = {"", ".global", ".shared"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        for (int bits = 0; bits < 16; bits++) {
            const Layout l = {.row = {bits & 1, bits & 2, bits & 4, bits & 8},
                              .extra = bits % 3,
                              .space = spaces[(bits + (int)i) % 3]};
            check(&forms[i], &l, "sm_80");
        }
}

static void wmma_runs_on_turing_and_with_its_sums(void **state) {
    (void)state;
    const Layout l = {.row = {true, false, true, true}, .extra = 1, .space = ".global"};
    for (int i = 0; i < 8; i++) check(&forms[i], &l, "sm_75");
    setenv("SOFTGPU_MMA", "exact", 1);
    for (int i = 0; i < 8; i++) check(&forms[i], &l, "sm_75");
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) check(&forms[i], &l, "sm_90a");
    unsetenv("SOFTGPU_MMA");
}

/* D in the registers of A, B or C: all sources are read before D is written. */
static void wmma_may_write_over_its_sources(void **state) {
    (void)state;
    static const char *const d[] = {"{%a0,%a1,%a2,%a3,%a4,%a5,%a6,%a7}",
                                    "{%b7,%b6,%b5,%b4,%b3,%b2,%b1,%b0}",
                                    "{%c4,%c5,%c6,%c7,%c0,%c1,%c2,%c3}"};
    for (int arch = 0; arch < 2; arch++)
        for (size_t i = 0; i < sizeof d / sizeof *d; i++) {
            char text[2048];
            const char *const name = arch ? "sm_80" : "sm_75";
            snprintf(
                text, sizeof text,
                ".version 7.8\n.target %s\n.address_size 64\n.visible .entry t(.param .u64 p) "
                "{\n.reg .b32 %%a<8>, %%b<8>, %%c<8>; .reg .b64 %%rd<2>;\nld.param.u64 %%rd0, "
                "[p];\nwmma.load.a.sync.aligned.row.m16n16k16.f16 {%%a0,%%a1,%%a2,%%a3,%%a4,%%a5,"
                "%%a6,%%a7}, [%%rd0];\nwmma.load.b.sync.aligned.col.m16n16k16.f16 {%%b0,%%b1,"
                "%%b2,%%b3,%%b4,%%b5,%%b6,%%b7}, [%%rd0+512];\n"
                "wmma.load.c.sync.aligned.row.m16n16k16.f32 {%%c0,%%c1,%%c2,%%c3,%%c4,%%c5,%%c6,"
                "%%c7}, [%%rd0+1024];\n"
                "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 %s, {%%a0,%%a1,%%a2,%%a3,%%a4,"
                "%%a5,%%a6,%%a7}, {%%b0,%%b1,%%b2,%%b3,%%b4,%%b5,%%b6,%%b7}, {%%c0,%%c1,%%c2,"
                "%%c3,%%c4,%%c5,%%c6,%%c7};\n"
                "wmma.store.d.sync.aligned.row.m16n16k16.f32 [%%rd0+2048], %s;\nret; }\n",
                name, d[i], d[i]);
            Bench b;
            bench_open(&b, name, text, 4096);
            uint16_t *const h = (uint16_t *)b.buffer;
            float *const c = (float *)(b.buffer + 1024);
            for (int k = 0; k < 512; k++) h[k] = (uint16_t)f32_to_f16((float)(k * 7 % 13 - 6));
            for (int k = 0; k < 256; k++) c[k] = (float)k;
            assert_false(bench_run(&b, "t", 1, 32));
            for (int row = 0; row < 16; row++)
                for (int col = 0; col < 16; col++) {
                    int want = 16 * row + col;
                    for (int k = 0; k < 16; k++)
                        want += ((16 * row + k) * 7 % 13 - 6) * ((256 + 16 * col + k) * 7 % 13 - 6);
                    assert_int_equal((int)c[256 + 16 * row + col], want);
                }
            bench_close(&b);
        }
}

static void wmma_faults_on_wrong_addresses(void **state) {
    (void)state;
    static const struct {
        const char *code, *text;
        int result;
    } rows[] = {
        {"add.s64 %rd0, %rd0, 8;\nwmma.load.a.sync.aligned.row.m16n16k16.global.f16 "
         "{%a0,%a1,%a2,%a3,%a4,%a5,%a6,%a7}, [%rd0];",
         "misaligned matrix", 716},
        {"wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%a0,%a1,%a2,%a3,%a4,%a5,%a6,%a7}, "
         "[%rd0], 12;",
         "multiples of 16", 716},
        {"wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%a0,%a1,%a2,%a3,%a4,%a5,%a6,%a7}, "
         "[%rd0+3616];",
         "out of bounds", 700},
        {"mov.u32 %a0, %laneid; cvt.u64.u32 %rd1, %a0; shl.b64 %rd1, %rd1, 5; add.s64 %rd0, %rd0, "
         "%rd1;\nwmma.load.a.sync.aligned.row.m16n16k16.f16 {%a0,%a1,%a2,%a3,%a4,%a5,%a6,%a7}, "
         "[%rd0];",
         "differs between lanes", 715},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 ".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry t(.param .u64 p) "
                 "{\n.reg .b32 %%a<8>; .reg .b64 %%rd<2>; ld.param.u64 %%rd0, [p];\n%s\nret; }\n",
                 rows[i].code);
        Bench b;
        bench_open(&b, "sm_80", text, 4096);
        assert_true(bench_run(&b, "t", 1, 32));
        assert_int_equal(b.launch.fault.cuda_result, rows[i].result);
        if (!strstr(b.launch.fault.text, rows[i].text)) fail_msg("%s", b.launch.fault.text);
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wmma_multiplies_what_lies_in_memory_in_every_layout),
        cmocka_unit_test(wmma_runs_on_turing_and_with_its_sums),
        cmocka_unit_test(wmma_may_write_over_its_sources),
        cmocka_unit_test(wmma_faults_on_wrong_addresses),
    };
    return run_with_and_without_checks(tests);
}
