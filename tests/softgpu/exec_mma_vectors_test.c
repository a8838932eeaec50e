/* Exact tensor-core sums against vectors/mma_vectors.inc, which a program in exact integers made
 * (vectors/make_mma_vectors.py): every type of mma.sync and wmma, each rule of adding, and operands
 * with NaN, infinities, signed zeros, subnormals, overflow, underflow and cancelling terms. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "fragment.h"

typedef struct Row {
    const char *name;
    int arch, kind;
    uint64_t hash;
} Row;

static const Row rows[] = {
#define FORM(name, arch, kind, hash) {name, arch, kind, UINT64_C(hash)},
#include "vectors/mma_vectors.inc"
};

static const struct {
    const char *name;
    int fraction, exponent, bits; /* bits: of an element in its register */
} types[] = {{"f16", 10, 5, 16}, {"bf16", 7, 8, 16}, {"tf32", 23, 8, 32},
             {"e4m3", 3, 4, 8},  {"e5m2", 2, 5, 8},  {"f32", 23, 8, 32}};
enum { TYPE_COUNT = sizeof types / sizeof *types, E4M3 = 3, F32 = 5 };

typedef struct Form {
    int m, n, k, a, b, acc;
    bool wmma;
} Form;

static int type_named(const char *s, size_t n) {
    for (int i = 0; i < TYPE_COUNT; i++)
        if (strlen(types[i].name) == n && memcmp(types[i].name, s, n) == 0) return i;
    fail_msg("no type '%.*s'", (int)n, s);
    return -1;
}

/* "m16n8k16.f32.f16.f16.f32"; wmma of halves names its accumulators only. */
static Form form_of(const char *name) {
    Form f = {.wmma = strncmp(name, "wmma.", 5) == 0};
    if (f.wmma) name += 5;
    assert_int_equal(sscanf(name, "m%dn%dk%d", &f.m, &f.n, &f.k), 3);
    int type[4] = {0}, n = 0;
    for (const char *p = strchr(name, '.'); p && n < 4; p = strchr(p + 1, '.'))
        type[n++] = type_named(p + 1, strcspn(p + 1, "."));
    f.acc = type[0];
    f.a = n == 4 ? type[1] : 0;
    f.b = n == 4 ? type[2] : 0;
    return f;
}

static uint32_t next(uint32_t *x) {
    *x ^= *x << 13;
    *x ^= *x >> 17;
    return *x ^= *x << 5;
}

/* As draw() of make_mma_vectors.py. */
static uint32_t draw(uint32_t *x, int type, int kind) {
    const int fraction = types[type].fraction, exponent = types[type].exponent;
    const uint32_t top = (1u << exponent) - 1, bias = top >> 1;
    const uint32_t bits = next(x), choice = next(x), sign = bits >> 31;
    uint32_t mantissa = bits & ((1u << fraction) - 1),
             field = (bits >> 23) % (top + (type == E4M3));
    if (kind == 0 || kind == 6) field = bias - 2 + (bits >> 23) % 4;
    if (kind == 4) field = top - 1 - (bits >> 23) % 3;
    if (kind == 5) field = (bits >> 23) % 3;
    if (kind == 5 && exponent == 8 && type != F32 && (choice & 64)) /* near the least f32 */
        field = bias - 74 - (bits >> 23) % 3;
    if (kind != 0 && choice % 8 == 0) field = mantissa = 0;
    if (kind == 2 && choice % 24 == 1) {
        field = top;
        mantissa = 0;
    }
    if (kind == 3 && choice % 48 < 2) {
        field = top;
        mantissa = choice % 48 ? mantissa : 0;
    } else if (type == E4M3 && field == top && mantissa == 7) {
        mantissa = 6;
    }
    return sign << (fraction + exponent) | field << fraction | mantissa;
}

typedef struct Matrices {
    uint32_t a[32][32], b[32][32], c[32][32];
} Matrices;

static void fill(const Form *f, Matrices *m, uint32_t seed, int kind) {
    uint32_t x = seed;
    const uint32_t minus = 1u << (types[f->b].fraction + types[f->b].exponent);
    for (int i = 0; i < f->m; i++)
        for (int k = 0; k < f->k; k++) m->a[i][k] = draw(&x, f->a, kind);
    for (int k = 0; k < f->k; k++)
        for (int j = 0; j < f->n; j++) m->b[k][j] = draw(&x, f->b, kind);
    for (int i = 0; i < f->m; i++)
        for (int j = 0; j < f->n; j++) m->c[i][j] = draw(&x, f->acc, kind);
    for (int k = 1; kind == 6 && k < f->k; k += 2) {
        for (int i = 0; i < f->m; i++) m->a[i][k] = m->a[i][k - 1] ^ (next(&x) % 8 == 0);
        for (int j = 0; j < f->n; j++) m->b[k][j] = m->b[k - 1][j] ^ minus;
    }
}

/* Where the operands lie: of mma.sync register i of lane l at 128 i + 4 l; of wmma row-major. */
enum { A_AT = 0, B_AT = 4096, C_AT = 8192, D_AT = 12288, BYTES = 16384 };

static void store(uint8_t *at, int bits, uint32_t v) {
    memcpy(at, &v, (size_t)bits / 8);
}
static uint32_t load(const uint8_t *at, int bits) {
    uint32_t v = 0;
    memcpy(&v, at, (size_t)bits / 8);
    return v;
}

/* Elements of a register lie side by side. */
static size_t place(int bits, int lane, int i) {
    const int per = 32 / bits;
    return (size_t)(128 * (i / per) + 4 * lane + bits / 8 * (i % per));
}

static void put_fragments(const Form *f, const Matrices *m, uint8_t *mem) {
    const int bits = types[f->a].bits, cbits = types[f->acc].bits;
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane >> 2, t = lane % 4;
        int row = 0, col = 0;
        for (int i = 0; i < f->k / 2; i++) { /* 16 k elements over 32 lanes */
            place_a(bits, g, t, i, &row, &col);
            store(mem + A_AT + place(bits, lane, i), bits, m->a[row][col]);
        }
        for (int i = 0; i < f->k / 4; i++) {
            place_b(bits, g, t, i, &row, &col);
            store(mem + B_AT + place(bits, lane, i), bits, m->b[row][col]);
        }
        for (int i = 0; i < 4; i++) {
            place_c(g, t, i, &row, &col);
            store(mem + C_AT + place(cbits, lane, i), cbits, m->c[row][col]);
        }
    }
}

static void get_fragments(const Form *f, const uint8_t *mem, uint32_t d[32][32]) {
    const int bits = types[f->acc].bits;
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            int row = 0, col = 0;
            place_c(lane >> 2, lane % 4, i, &row, &col);
            d[row][col] = load(mem + D_AT + place(bits, lane, i), bits);
        }
}

static void put_matrices(const Form *f, const Matrices *m, uint8_t *mem) {
    const int bits = types[f->a].bits, cbits = types[f->acc].bits;
    for (int i = 0; i < f->m; i++)
        for (int k = 0; k < f->k; k++)
            store(mem + A_AT + (i * f->k + k) * bits / 8, bits, m->a[i][k]);
    for (int k = 0; k < f->k; k++)
        for (int j = 0; j < f->n; j++)
            store(mem + B_AT + (k * f->n + j) * bits / 8, bits, m->b[k][j]);
    for (int i = 0; i < f->m; i++)
        for (int j = 0; j < f->n; j++)
            store(mem + C_AT + (i * f->n + j) * cbits / 8, cbits, m->c[i][j]);
}

static void get_matrix(const Form *f, const uint8_t *mem, uint32_t d[32][32]) {
    const int bits = types[f->acc].bits;
    for (int i = 0; i < f->m; i++)
        for (int j = 0; j < f->n; j++) d[i][j] = load(mem + D_AT + (i * f->n + j) * bits / 8, bits);
}

static void list(Str *s, char letter, int n) {
    str_puts(s, letter == 'd' || letter == 'w' ? " {" : ", {");
    for (int i = 0; i < n; i++)
        str_printf(s, "%s%%%c%d", i ? "," : "", letter == 'w' ? 'a' : letter, i);
    str_putc(s, '}');
}

static void text_of_mma(Str *s, const Form *f, const char *name) {
    const int regs[4] = {f->k / 2 * types[f->a].bits / 32, f->k / 4 * types[f->a].bits / 32,
                         types[f->acc].bits / 8, types[f->acc].bits / 8};
    for (int x = 0; x < 3; x++)
        for (int i = 0; i < regs[x]; i++)
            str_printf(s, "ld.global.b32 %%%c%d, [%%rd1+%d];\n", "abc"[x], i, 4096 * x + 128 * i);
    const int shape = (int)strcspn(name, ".");
    str_printf(s, "mma.sync.aligned.%.*s.row.col%s", shape, name, name + shape);
    list(s, 'd', regs[3]);
    for (int x = 0; x < 3; x++) list(s, "abc"[x], regs[x]);
    str_puts(s, ";\n");
    for (int i = 0; i < regs[3]; i++)
        str_printf(s, "st.global.b32 [%%rd1+%d], %%d%d;\n", D_AT + 128 * i, i);
}

static void text_of_wmma(Str *s, const Form *f, const char *name) {
    const char *const shape = name + 5, *const tail = strchr(shape, '.');
    const int n = (int)(tail - shape);
    const bool tf32 = types[f->a].bits == 32, halves = f->a == 0;
    const int of_a = tf32 ? 4 : halves ? 8 : f->m / 4, of_b = tf32 ? 4 : halves ? 8 : f->n / 4;
    const int regs[4] = {of_a, of_b, types[f->acc].bits / 4, types[f->acc].bits / 4};
    for (int x = 0; x < 3; x++) {
        str_printf(s, "wmma.load.%c.sync.aligned.row.%.*s.global.%s {", "abc"[x], n, shape,
                   types[x == 2 ? f->acc : f->a].name);
        for (int i = 0; i < regs[x]; i++) str_printf(s, "%s%%%c%d", i ? "," : "", "abc"[x], i);
        str_printf(s, "}, [%%rd0+%d];\n", 4096 * x);
    }
    str_printf(s, "wmma.mma.sync.aligned.row.row.%s", shape);
    list(s, 'd', regs[3]);
    for (int x = 0; x < 3; x++) list(s, "abc"[x], regs[x]);
    str_printf(s, ";\nwmma.store.d.sync.aligned.row.%.*s.global.%s [%%rd0+%d], {", n, shape,
               types[f->acc].name, D_AT);
    for (int i = 0; i < regs[3]; i++) str_printf(s, "%s%%d%d", i ? "," : "", i);
    str_puts(s, "};\n");
}

static void open_form(Bench *b, const Form *f, const char *name, const char *arch) {
    Str s = {0};
    str_printf(&s,
               ".version 8.7\n.target %s\n.address_size 64\n.visible .entry t(.param .u64 p) {\n"
               ".reg .b32 %%a<8>, %%b<8>, %%c<8>, %%d<8>, %%r<2>; .reg .b64 %%rd<2>;\n"
               "ld.param.u64 %%rd0, [p]; mov.u32 %%r0, %%tid.x; mul.wide.u32 %%rd1, %%r0, 4; "
               "add.s64 %%rd1, %%rd0, %%rd1;\n",
               arch);
    (f->wmma ? text_of_wmma : text_of_mma)(&s, f, name);
    str_puts(&s, "ret;\n}\n");
    bench_open(b, arch, str_text(&s), BYTES);
    str_free(&s);
}

static uint64_t hash_of(const Form *f, uint32_t d[32][32]) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < f->m; i++)
        for (int j = 0; j < f->n; j++)
            for (int byte = 0; byte < 4; byte++)
                h = (h ^ (d[i][j] >> 8 * byte & 255)) * UINT64_C(0x100000001b3);
    return h;
}

/* Row `first` and those behind it that differ in the kind of operands only, on `arch`. Returns
 * wrong rows. */
static int check_form(size_t first, uint32_t index, const char *arch, const char *level) {
    static Matrices m;
    static uint32_t d[32][32];
    const Form f = form_of(rows[first].name);
    Bench b;
    int wrong = 0;
    open_form(&b, &f, rows[first].name, arch);
    uint8_t *const mem = (uint8_t *)b.buffer;
    for (size_t i = first; i < sizeof rows / sizeof *rows && rows[i].arch == rows[first].arch &&
                           strcmp(rows[i].name, rows[first].name) == 0;
         i++) {
        fill(&f, &m, 1 + 97 * index + (uint32_t)rows[i].kind, rows[i].kind);
        (f.wmma ? put_matrices : put_fragments)(&f, &m, mem);
        if (bench_run(&b, "t", 1, 32)) fail_msg("%s", b.launch.fault.text);
        (f.wmma ? get_matrix : get_fragments)(&f, mem, d);
        if (hash_of(&f, d) == rows[i].hash) continue;
        wrong++;
        print_error("%s on %s: D differs from what\n  python3 tests/softgpu/vectors/"
                    "make_mma_vectors.py %s sm_%d %d\nprints; its first row here:",
                    level, arch, rows[i].name, rows[i].arch, rows[i].kind);
        for (int j = 0; j < f.n; j++) print_error(" %08x", d[0][j]);
        print_error("\n");
    }
    bench_close(&b);
    return wrong;
}

static int check_arch(int arch, const char *played, const char *level) {
    uint32_t index = 0;
    int wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (i && strcmp(rows[i].name, rows[i - 1].name) != 0) index++;
        if (rows[i].arch == arch && rows[i].kind == 0) wrong += check_form(i, index, played, level);
    }
    return wrong;
}

static void check_level(const char *level) {
    assert_int_equal(check_arch(75, "sm_75", level), 0);
    assert_int_equal(check_arch(80, "sm_80", level), 0);
    assert_int_equal(check_arch(89, "sm_89", level), 0);
    assert_int_equal(check_arch(90, "sm_90", level), 0);
}

static void exact_sums_are_those_of_the_program_in_integers(void **state) {
    (void)state;
    setenv("SOFTGPU_MMA", "exact", 1);
    each_simd_level(check_level);
    unsetenv("SOFTGPU_MMA");
}

/* The rules hold for the architectures between, too. */
static void each_architecture_adds_by_its_generation(void **state) {
    (void)state;
    setenv("SOFTGPU_MMA", "exact", 1);
    const int wrong = check_arch(80, "sm_86", "best") + check_arch(80, "sm_87", "best") +
                      check_arch(90, "sm_100", "best") + check_arch(90, "sm_120", "best");
    unsetenv("SOFTGPU_MMA");
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_sums_are_those_of_the_program_in_integers),
        cmocka_unit_test(each_architecture_adds_by_its_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
