/* Hostile scripts: nothing outside is reached, everything ends, lack of memory is survived. */
#include "tests/generator/gen_test.h"

#include <time.h>

#include "base/mem.h"

/* Opens the probe tree with one more spec; returns the error text in `err`. */
static Status run_script(const char *script, Error *err) {
    Edit edit = edit_new();
    GenLibrary *lib = NULL;
    edit_put(&edit, "scripts/kernels/hostile.lua", script);
    Status status = gen_open_tree(&edit.tree, &lib, err);
    gen_close(lib);
    edit_free(&edit);
    return status;
}

static void check_refused(const char *script, const char *want) {
    Error err = {0};
    if (run_script(script, &err) == ST_OK) fail_msg("was taken: %s", script);
    if (!strstr(err.message, want))
        fail_msg("%s\ngives:\n%s\nwithout:\n%s", script, err.message, want);
    assert_contains(err.message, "scripts/kernels/hostile.lua");
}

static void the_world_outside_is_not_there(void **state) {
    (void)state;
    static const char *const globals[] = {
        "io",     "os",       "package",      "debug",        "load",      "loadstring",
        "dofile", "loadfile", "pcall",        "xpcall",       "coroutine", "collectgarbage",
        "print",  "warn",     "setmetatable", "getmetatable", "rawset",    "rawget",
        "rawlen", "rawequal", "next",         "utf8",         "_G",        "_VERSION",
        "arg",    "module",   "unpack",       "setfenv",      "newproxy",  "bit32"};
    static const char *const members[] = {"string.find",   "string.match",    "string.gmatch",
                                          "string.gsub",   "string.dump",     "string.pack",
                                          "string.unpack", "string.packsize", "table.move",
                                          "math.random",   "math.randomseed"};
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        char script[128], want[64];
        snprintf(script, sizeof script, "local x = %s", globals[i]);
        snprintf(want, sizeof want, "hostile.lua:1: unknown name '%s'", globals[i]);
        check_refused(script, want);
    }
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        char script[128];
        snprintf(script, sizeof script, "local x = %s('a', 'a')", members[i]);
        check_refused(script, "hostile.lua:1: attempt to call a nil value");
    }
    check_refused("local x = ('a'):gsub('a', 'b')", "attempt to call a nil value");
    check_refused("local m = ('').format; local x = m.x.y", "attempt to index");
}

static void globals_cannot_be_made(void **state) {
    (void)state;
    check_refused("x = 1", "'x' would be global; write 'local x'");
    check_refused("function f() end", "'f' would be global");
    check_refused("local function f() _ENV.y = 2 end f()", "'y' would be global");
}

static void binary_chunks_are_refused(void **state) {
    (void)state;
    check_refused("\x1bLua\x54", "attempt to load a binary chunk");
}

static void require_sees_the_library_folder_only(void **state) {
    (void)state;
    static const char *const names[] = {
        "../kernels/probe", "/etc/passwd", "os", "", "a.b", "x/y", "..", "io\\0x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char script[128];
        snprintf(script, sizeof script, "\n  local x = require '%s'", names[i]);
        check_refused(script, "hostile.lua:2: require: ");
    }
    check_refused("require(nil)", "bad argument #1 to 'require'");
    Edit edit = edit_new();
    GenLibrary *lib = NULL;
    Error err = {0};
    edit_put(&edit, "scripts/lib/snake.lua", "return require 'snake'");
    edit_put(&edit, "scripts/kernels/hostile.lua", "require 'snake'");
    assert_int_equal(gen_open_tree(&edit.tree, &lib, &err), ST_SYNTAX);
    assert_contains(err.message,
                    "scripts/lib/snake.lua:1: require: module 'snake' requires itself");
    edit_put(&edit, "scripts/lib/snake.lua", "local x = 1");
    assert_int_equal(gen_open_tree(&edit.tree, &lib, &err), ST_SYNTAX);
    assert_contains(err.message, "module 'snake' returns nothing");
    edit_put(&edit, "scripts/lib/snake.lua", "local a = {}\nlocal b = a.b.c");
    assert_int_equal(gen_open_tree(&edit.tree, &lib, &err), ST_SYNTAX);
    assert_contains(err.message, "scripts/lib/snake.lua:2: attempt to index a nil value");
    edit_free(&edit);
}

static void everything_ends(void **state) {
    (void)state;
    static const struct {
        const char *script, *want;
    } rows[] = {
        {"while true do end", "endless loop"},
        {"local function f() return f() end f()", "endless loop"},
        {"local function f() return 1 + f() end f()", "64 MiB"},
        {"for i = 1, math.maxinteger do local x = i end", "endless loop"},
        {"::a:: goto a", "endless loop"},
        {"local s = string.rep('x', 1 << 40)", "string.rep: the result would be longer"},
        {"local s = ('x'):rep(1 << 20, 'yy')", "string.rep: the result would be longer"},
        {"local s = string.rep('', 1 << 62)", "string.rep: the result would be longer"},
        {"local s = 'x' while true do s = s .. s end", "needs more than 64 MiB of memory"},
        {"local t = {} for i = 1, 1 << 40 do t[i] = i end", "needs more than 64 MiB of memory"},
        {"local t = {} while true do t = { t } end", ""},
        {"local s = string.format('%5000d', 1)", "hostile.lua:1: invalid conversion"},
        {"local s = string.format('%p', 'x')", "would differ from run to run"},
        {"local s = string.format('%s', {})", "argument 2 is a table"},
        {"local s = string.rep('x', 1 << 20) s = string.format('%s%s', s, s)", "would be longer"},
        {"local t = table.concat({}, 'x', 1, 1 << 40)", "hostile.lua:1: invalid value"},
        {"local t = { table.unpack({}, 1, 1 << 30) }", "too many results to unpack"},
        {"table.insert({}, 1 << 40, 1)", "position out of bounds"},
        {"table.sort({ 3, 2, 1 }, function() while true do end end)", "endless loop"},
        {"for k in pairs({ [print] = 1 }) do end", "unknown name 'print'"},
        {"for k in pairs({ [{}] = 1 }) do end", "pairs: a key is a table"},
        {"error({})", "error() was given no text"},
        {"error('mine')", "hostile.lua:1: mine"},
        {"error()", "error() was given no text"},
        {"assert(false, 'sentence')", "sentence"},
        {"local x <close> = {}", "got a non-closable value"},
        {"(((((", "unexpected symbol"},
        {"return {", "hostile.lua:1:"},
        {"local x = 'abc", "unfinished string"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        check_refused(rows[i].script, rows[i].want);
        clock_gettime(CLOCK_MONOTONIC, &b);
        /* the limit is 5 s; sanitizers and a busy machine get room */
        if (b.tv_sec - a.tv_sec > 30) fail_msg("took too long: %s", rows[i].script);
    }
}

static void a_script_that_spends_its_time_in_c_functions_ends_too(void **state) {
    (void)state;
    /* few instructions, much work: only the clock can stop it */
    check_refused("local s = string.rep('x', 1 << 20)\n"
                  "while true do local t = s:upper():lower():reverse():upper():reverse() end",
                  "the script ran longer than 5 seconds");
}

static void entries_cannot_be_forged_or_opened(void **state) {
    (void)state;
    check_refused("local d = dim 'x' { min = 1, max = 2 } local y = d.kind",
                  "attempt to index a description value");
    check_refused("kernel 'x' { problem = { { kind = 1 } } }", "hostile.lua:1: kernel 'x': ");
    check_refused("local f = require 'fragments' f.acc_m16n8.rep_row = 1",
                  "attempt to index a layout value");
    check_refused("local f = require 'fragments' local m = f.acc_m16n8.__index", "");
    check_refused("local f = require 'fragments' f.acc_m16n8.rep_row(3, 4)", "wants a layout");
    check_refused("shared_tile(1, 2)", "not 2 arguments");
    check_refused("register_layout { atom = 'x', rows = 1, cols = 1, reg = { {1} }, lane = {} }",
                  "reg[1] wants {row, col}");
    check_refused("register_layout { atom = 'x', rows = 1, cols = 1, reg = {}, lane = {} }",
                  "a warp has 5 lane bits, not 0");
}

/* A script that changes shared tables must not be seen by the next one. */
static void scripts_do_not_see_each_other(void **state) {
    (void)state;
    Edit edit = edit_new();
    GenLibrary *lib = NULL;
    Error err = {0};
    const char *text = gen_tree_find(&edit.tree, "scripts/kernels/probe.lua")->text;
    edit_put(&edit, "scripts/kernels/aaa.lua",
             arena_printf(edit.arena,
                          "local f = require 'fragments' f.acc_m16n8 = nil string.rep = nil\n"
                          "local kernel0 = kernel local require0 = require\n"
                          "f.acc_m16n8 = f.a_m16k8 _ENV.dim = dim\n%s",
                          ""));
    assert_int_equal(gen_open_tree(&edit.tree, &lib, &err), ST_SYNTAX); /* describes no kernel */
    char *named = arena_printf(edit.arena, "(require 'fragments').b_k8n8 = nil\n%s", text);
    char *name = strstr(named, "kernel \"probe\"");
    assert_non_null(name);
    memcpy(name, "kernel \"prob0\"", strlen("kernel \"prob0\""));
    edit_put(&edit, "scripts/kernels/aaa.lua", named);
    assert_ok(gen_open_tree(&edit.tree, &lib, &err), err);
    assert_int_equal(gen_spec_count(lib), 2);
    assert_ok(gen_check(lib, &err), err);
    gen_close(lib);
    edit_free(&edit);
}

static void iteration_order_is_fixed(void **state) {
    (void)state;
    Error a = {0}, b = {0};
    const char *script = "local t, s = { x = 1, [3] = 1, b = 1, [true] = 1, [1] = 1, a = 1 }, ''\n"
                         "for k in pairs(t) do s = s .. tostring(k) .. ',' end\n"
                         "error(s .. tostring({}) .. tostring(error))";
    run_script(script, &a);
    run_script(script, &b);
    assert_contains(a.message, "true,1,3,a,b,x,tablefunction");
    assert_string_equal(a.message, b.message);
}

/* ---- memory ---- */

static void gen_open_survives_the_failure_of_every_allocation(void **state) {
    (void)state;
    Edit edit = edit_new(); /* before counting: the texts are in memory */
    GenLibrary *lib = NULL;
    Error err;
    mem_fail_after(0);
    assert_ok(gen_open_tree(&edit.tree, &lib, &err), err);
    unsigned long total = mem_fail_after(0), step = 1;
    gen_close(lib);
    assert_true(total > 100);
    /* every one of the first 200 and of the last 100, and a sample between: one run costs a load */
    for (unsigned long n = 1; n <= total; n += step) {
        step = n < 200 || n + 100 > total ? 1 : 1 + total / 400;
        mem_fail_after(n);
        Status status = gen_open_tree(&edit.tree, &lib, &err);
        mem_fail_after(0);
        /* Lua seeds its string hash from addresses, so that the number of its allocations moves by
         * a few between loads: success may come only there. */
        if (status == ST_OK && n + 8 <= total)
            fail_msg("allocation %lu of %lu failed unseen", n, total);
        if (status == ST_OK) {
            gen_close(lib);
            lib = NULL;
            break;
        }
        if (status != ST_NO_MEMORY) fail_msg("allocation %lu: %s", n, err.message);
        assert_null(lib);
    }
    edit_free(&edit);
}

static void gen_emit_survives_the_failure_of_every_allocation(void **state) {
    (void)state;
    GenLibrary *lib = open_probe();
    GenProblem problem = problem_of(lib, "");
    GenConfig config = config_of(lib, "tile_m=32 warps=2 packed=0 unused=7");
    GpuInfo gpu = gpu_of("sm_80");
    GenOutput out;
    Error err;
    Arena *arena = arena_new();
    Status status = ST_NO_MEMORY;
    unsigned long n = 1;
    for (; status != ST_OK; n++) {
        arena_free(arena);
        arena = arena_new();
        mem_fail_after(n);
        status = gen_emit(&problem, &gpu, &config, arena, &out, &err);
        mem_fail_after(0);
        if (status != ST_OK && status != ST_NO_MEMORY) fail_msg("%lu: %s", n, err.message);
        assert_true(n < 10000);
    }
    assert_true(n > 3);
    arena_free(arena);
    gen_close(lib);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_world_outside_is_not_there),
        cmocka_unit_test(globals_cannot_be_made),
        cmocka_unit_test(binary_chunks_are_refused),
        cmocka_unit_test(require_sees_the_library_folder_only),
        cmocka_unit_test(everything_ends),
        cmocka_unit_test(a_script_that_spends_its_time_in_c_functions_ends_too),
        cmocka_unit_test(entries_cannot_be_forged_or_opened),
        cmocka_unit_test(scripts_do_not_see_each_other),
        cmocka_unit_test(iteration_order_is_fixed),
        cmocka_unit_test(gen_open_survives_the_failure_of_every_allocation),
        cmocka_unit_test(gen_emit_survives_the_failure_of_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
