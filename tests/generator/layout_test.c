/* Layouts: the emitted functions, compiled by the C compiler, against the formulas of the PTX ISA
 * and a brute-force walk over bank groups; layouts that are wrong must not pass the proof. */
#include "tests/generator/gen_test.h"

#include <dlfcn.h>
#include <unistd.h>

#include "base/files.h"

/* A spec with one layout, emitted; the text of its functions, from the arena of `edit`. */
static Status emit_layout(Edit *edit, const char *layout, char **text, Error *err) {
    GenLibrary *lib = NULL;
    GenOutput out = {0};
    edit_replace(edit, "scripts/kernels/probe.lua", "    S = frag", layout);
    edit_put(
        edit, "templates/probe/wide.cu",
        "//% lib base\nvoid probe_first() {\n//% slot mask\n//% slot load\n}\n//% slot tail\n");
    Status status = gen_open_tree(&edit->tree, &lib, err);
    if (status != ST_OK) return status;
    GenProblem problem = problem_of(lib, "width=96");
    GenConfig config = config_of(lib, "tile_m=32 warps=2 packed=0 unused=7");
    GpuInfo gpu = gpu_of("sm_80");
    status = gen_emit(&problem, &gpu, &config, edit->arena, &out, err);
    gen_close(lib);
    if (status != ST_OK) return status;
    const char *from = strstr(out.source, "#line 1 \"/seqtune/generated/X\"");
    assert_non_null(from);
    const char *to = strstr(from + 1, "#line");
    *text = arena_strndup(edit->arena, from, (size_t)(to - from));
    return ST_OK;
}

typedef int (*Function)(int, int);

/* The emitted text as C: the enumerators' type and the function qualifiers are all that differ. */
static void *compile_c(Edit *edit, const char *text) {
    char base[] = "/tmp/seqtune-layout-XXXXXX";
    Error err;
    assert_non_null(mkdtemp(base));
    const char *source = arena_printf(edit->arena, "%s/layout.c", base);
    const char *object = arena_printf(edit->arena, "%s/layout.so", base);
    Str c = {0};
    for (const char *p = text; *p;) {
        if (str_starts(p, "enum : int"))
            p += strlen("enum : int"), str_puts(&c, "enum");
        else if (str_starts(p, "__device__ constexpr "))
            p += strlen("__device__ constexpr ");
        else
            str_putc(&c, *p++);
    }
    assert_ok(files_publish(source, str_text(&c), c.len, 0600, &err), err);
    str_free(&c);
    const char *command = arena_printf(edit->arena, "%s -shared -fPIC -w -O1 -o %s %s",
                                       SEQTUNE_TEST_CC, object, source);
    assert_int_equal(system(command), 0);
    void *lib = dlopen(object, RTLD_NOW);
    assert_non_null(lib);
    unlink(object);
    unlink(source);
    rmdir(base);
    return lib;
}

static Function function_of(void *lib, const char *name) {
    void *symbol = dlsym(lib, name);
    Function f;
    assert_non_null(symbol);
    memcpy(&f, &symbol, sizeof f);
    return f;
}

static int enumerator(const char *text, const char *name) {
    const char *at = strstr(text, name);
    if (!at) fail_msg("no enumerator %s in %s", name, text);
    return atoi(at + strlen(name) + 3);
}

/* ---- registers ---- */

typedef struct Place {
    int row, col;
} Place;

/* PTX ISA, matrix fragments of mma.m16n8k16 and m16n8k8: groupID = laneid >> 2,
 * threadID_in_group = laneid % 4. Written out register by register. */
static Place ptx_acc(int i, int lane) {
    int group = lane >> 2, thread = lane % 4;
    Place places[4] = {{group, thread * 2},
                       {group, thread * 2 + 1},
                       {group + 8, thread * 2},
                       {group + 8, thread * 2 + 1}};
    return places[i];
}

static Place ptx_a_k16(int i, int lane) {
    int group = lane >> 2, thread = lane % 4;
    Place places[8] = {{group, thread * 2},         {group, thread * 2 + 1},
                       {group + 8, thread * 2},     {group + 8, thread * 2 + 1},
                       {group, thread * 2 + 8},     {group, thread * 2 + 9},
                       {group + 8, thread * 2 + 8}, {group + 8, thread * 2 + 9}};
    return places[i];
}

static Place ptx_a_k8(int i, int lane) {
    return ptx_acc(i, lane);
}

static Place ptx_b_k16(int i, int lane) {
    int group = lane >> 2, thread = lane % 4;
    Place places[4] = {{thread * 2, group},
                       {thread * 2 + 1, group},
                       {thread * 2 + 8, group},
                       {thread * 2 + 9, group}};
    return places[i];
}

static Place ptx_b_k8(int i, int lane) {
    Place places[2] = {{lane % 4 * 2, lane >> 2}, {lane % 4 * 2 + 1, lane >> 2}};
    return places[i];
}

static const struct {
    const char *atom;
    Place (*at)(int, int);
    int regs, rows, cols;
} atoms[] = {
    {"acc_m16n8", ptx_acc, 4, 16, 8}, {"a_m16k16", ptx_a_k16, 8, 16, 16},
    {"a_m16k8", ptx_a_k8, 4, 16, 8},  {"b_k16n8", ptx_b_k16, 4, 16, 8},
    {"b_k8n8", ptx_b_k8, 2, 8, 8},
};

static void check_register_layout(size_t atom, int row_reps, int col_reps) {
    Edit edit = edit_new();
    Error err;
    char *text = NULL;
    const char *lua =
        arena_printf(edit.arena, "    X = frag.%s:rep_row(%d):rep_col(\"%d\"), S = frag",
                     atoms[atom].atom, row_reps, col_reps);
    assert_ok(emit_layout(&edit, lua, &text, &err), err);
    void *lib = compile_c(&edit, text);
    Function row_of = function_of(lib, "X_row"), col_of = function_of(lib, "X_col");
    int n = atoms[atom].regs, blocks = row_reps * col_reps;
    assert_int_equal(enumerator(text, "X_regs"), n * blocks);
    assert_int_equal(enumerator(text, "X_rows"), atoms[atom].rows * row_reps);
    assert_int_equal(enumerator(text, "X_cols"), atoms[atom].cols * col_reps);
    for (int reg = 0; reg < n * blocks; reg++)
        for (int lane = 0; lane < 32; lane++) {
            Place want = atoms[atom].at(reg % n, lane);
            want.row += reg / n / col_reps * atoms[atom].rows;
            want.col += reg / n % col_reps * atoms[atom].cols;
            assert_int_equal(row_of(reg, lane), want.row);
            assert_int_equal(col_of(reg, lane), want.col);
        }
    dlclose(lib);
    edit_free(&edit);
}

static void emitted_register_functions_equal_the_formulas_of_the_ptx_isa(void **state) {
    (void)state;
    for (size_t atom = 0; atom < sizeof atoms / sizeof *atoms; atom++)
        check_register_layout(atom, 1, 1);
    check_register_layout(0, 2, 12); /* block_n = 96: not a power of two */
    check_register_layout(0, 3, 1);
    check_register_layout(0, 1, 10);
    check_register_layout(1, 2, 8);
    check_register_layout(3, 5, 2);
}

/* ---- shared tiles ---- */

/* Distinct bank groups (16 bytes of the 128 that one wavefront serves) of eight offsets. */
static int groups(const int *offsets) {
    unsigned seen = 0;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(offsets[i] % 16, 0);
        seen |= 1u << (offsets[i] / 16 % 8);
    }
    return __builtin_popcount(seen);
}

static void check_tile(int rows, int cols, int size) {
    Edit edit = edit_new();
    Error err;
    char *text = NULL;
    const char *lua = arena_printf(edit.arena, "    X = tile.swizzled(%d, \"%d\", %d), S = frag",
                                   rows, cols, size);
    assert_ok(emit_layout(&edit, lua, &text, &err), err);
    void *lib = compile_c(&edit, text);
    Function offset = function_of(lib, "X_offset");
    int bytes = rows * cols * size, chunk = 16 / size, per_row = cols / chunk, offsets[8];
    assert_int_equal(enumerator(text, "X_bytes"), bytes);
    char *seen = arena_alloc(edit.arena, (size_t)bytes);
    for (int row = 0; row < rows; row++)
        for (int col = 0; col < cols; col++) {
            int at = offset(row, col);
            assert_in_range(at, 0, bytes - size);
            assert_int_equal(at % size, 0);
            assert_false(seen[at]);
            seen[at] = 1;
            /* a chunk stays together: 16-byte copies move whole ones */
            assert_int_equal(at, offset(row, col / chunk * chunk) + col % chunk * size);
            /* and in its row, so that rows can be copied one by one */
            assert_int_equal(at / (cols * size), row);
        }
    for (int row = 0; row + 8 <= rows; row += 8)
        for (int c = 0; c < per_row; c++) {
            for (int i = 0; i < 8; i++) offsets[i] = offset(row + i, c * chunk);
            assert_int_equal(groups(offsets), 8);
        }
    for (int first = 0; first + 8 <= rows * per_row; first += 8) {
        for (int i = 0; i < 8; i++)
            offsets[i] = offset((first + i) / per_row, (first + i) % per_row * chunk);
        assert_int_equal(groups(offsets), 8);
    }
    dlclose(lib);
    edit_free(&edit);
}

static void shared_tiles_of_every_head_size_have_no_bank_conflict(void **state) {
    (void)state;
    static const int head_dims[] = {64, 96, 128, 80, 112, 192, 256, 32, 72};
    for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++)
        check_tile(64, head_dims[i], 2);
    check_tile(48, 96, 2);
    check_tile(80, 128, 2);
    check_tile(16, 64, 1);
    check_tile(16, 48, 4);
}

/* ---- what must not pass ---- */

static void wrong_layouts_are_refused_at_emission(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *want; /* a change of scripts/lib/fragments.lua */
    } rows[] = {
        {"{0, 1}, {8, 0} },", "{0, 1}, {0, 1} },", "not one-to-one"},
        {"lane = { {0, 2}, {0, 4}, {1, 0}", "lane = { {0, 4}, {0, 2}, {1, 0}",
         "differs from the operand layout of the PTX ISA"},
        {"reg  = { {0, 1}, {8, 0} }", "reg  = { {8, 0}, {0, 1} }",
         "differs from the operand layout of the PTX ISA"},
        {"reg  = { {0, 1}, {8, 0} }", "reg  = { {0, 1} }", "registers x lanes differ"},
        {"atom = \"acc_m16n8\"", "atom = \"acc_m8n8\"", "no operand of a known instruction"},
        {"{4, 0} },", "{32, 0} },", "not one-to-one"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Edit edit = edit_new();
        Error err = {0};
        char *text = NULL;
        edit_replace(&edit, "scripts/lib/fragments.lua", rows[i].from, rows[i].to);
        assert_int_equal(emit_layout(&edit, "    X = frag.acc_m16n8, S = frag", &text, &err),
                         ST_INTERNAL);
        assert_contains(err.message, rows[i].want);
        assert_contains(err.message, "layout");
        edit_free(&edit);
    }
}

static void tiles_without_whole_chunks_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *tile, *want;
    } rows[] = {
        {"tile.swizzled(16, 60, 2)", "60 columns are no whole 16-byte chunks"},
        {"tile.swizzled(16, 64, 3)", "elements of 3 bytes"},
        {"tile.swizzled(0, 64, 2)", "'0' is 0, not 1..65536"},
        {"tile.swizzled(65536, 64, 2)", "at most 1048576"},
        {"tile.swizzled(\"tile_m - 40\", 64, 2)", "'tile_m - 40' is -8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Edit edit = edit_new();
        Error err = {0};
        char *text = NULL;
        const char *lua = arena_printf(edit.arena, "    X = %s, S = frag", rows[i].tile);
        assert_int_not_equal(emit_layout(&edit, lua, &text, &err), ST_OK);
        assert_contains(err.message, rows[i].want);
        assert_contains(err.message, "scripts/kernels/probe.lua:5");
        edit_free(&edit);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emitted_register_functions_equal_the_formulas_of_the_ptx_isa),
        cmocka_unit_test(shared_tiles_of_every_head_size_have_no_bank_conflict),
        cmocka_unit_test(wrong_layouts_are_refused_at_emission),
        cmocka_unit_test(tiles_without_whole_chunks_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
