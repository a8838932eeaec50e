/* seqtune run-ptx told wrong things: every kind of mistake in a description or the command is shown
 * at its place, with the exit code of the command line. */
#include "tests/tuner/run_ptx_kernels.h"

typedef struct Bad {
    const char *desc; /* one line each, so that the caret can be looked for */
    const char *text;
} Bad;

#define GO "launch { entry = 'scale', grid = 1, block = 1, params = { ptr 'x' } }"
#define X  "buffer 'x' { dtype = 'f32', count = 4 }\n"

static void mistakes_in_a_description_are_shown_at_their_place(void **state) {
    (void)state;
    static const Bad rows[] = {
        {"", "d.lua: there is no launch { ... } in it"},
        {"bufer 'x' {}", "d.lua:1: unknown name 'bufer'; did you mean 'buffer'?"},
        {"buffer 'x' { count = 4 }", "d.lua:1: buffer 'x': 'dtype' is missing"},
        {"buffer 'x' { dtype = 'f31', count = 4 }", "unknown dtype 'f31'; did you mean 'f32'?"},
        {"buffer 'x' { dtype = 'f32' }", "how many elements?"},
        {"buffer 'x' { dtype = 'f32', cout = 4 }", "unknown key 'cout'; did you mean 'count'?"},
        {"buffer 'x' { dtype = 'f32', count = 5, shape = { 2, 2 } }", "shape holds 4"},
        {"buffer 'x' { dtype = 'f32', shape = { 2, 0 } }", "shape[2] must be"},
        {"buffer 'x' { dtype = 'f32', count = -1 }", "count = -1 is not within"},
        {"buffer 'x' { dtype = 'f32', count = 1, align = 3 }", "align must be a power of two"},
        {"buffer 'x' { dtype = 'u8', count = 1, fill = 256 }", "256 is not a number that u8"},
        {"buffer 'x' { dtype = 'u8', count = 1, fill = 'ones' }", "'ones' is no rule"},
        {"buffer 'x' { dtype = 'u8', count = 1, fill = true }", "'fill' is a boolean"},
        {"buffer 'x' { dtype = 'u8', count = 1, fill = { 1, 2 } }", "a list of 2 elements, not 1"},
        {"buffer 'x' { dtype = 'u8', count = 1, fill = {} }", "file or a list is wanted, not 0"},
        {"buffer 'x' { dtype = 'u8', count = 1, fill = 'normal' }", "normal is for floats"},
        {"buffer 'x' { dtype = 'f32', count = 1, fill = { uniform = { 2, 1 } } }", "least, most"},
        {"buffer 'x' { dtype = 'f32', count = 1, fill = { uniform = 2 } }", "wants two numbers"},
        {"buffer 'x' { dtype = 'u8', count = 2, fill = function(i) return i - 1 end }",
         "element 0: -1 is not a number that u8 can hold"},
        {"buffer 'x' { dtype = 'u8', count = 2, fill = function(i) return 'a' end }",
         "element 0 is a string"},
        {"buffer 'x' { dtype = 'u8', count = 2, fill = function(i) return i.y end }",
         "d.lua:1: attempt to index"},
        {"buffer 'x' { dtype = 'u8', count = 2, fill = { file = '/etc/passwd' } }", "below ."},
        {"buffer 'x' { dtype = 'u8', count = 2, fill = { file = 'a/../../b' } }", "below ."},
        {"buffer 'x' { dtype = 'u8', count = 2, fill = { file = 'absent' } }", "absent"},
        {"buffer 'x' { dtype = 'u8', count = 9999, fill = { file = 'd.lua' } }", "the file holds"},
        {X "buffer 'x' { dtype = 'u8', count = 2 }", "d.lua:2: buffer 'x': the name is taken"},
        {"buffer 'x'", "d.lua: there is no launch"},
        {"buffer { }", "wants a name in quotes"},
        {"buffer 'x' 'y'", "wants one table"},
        {"local y = at('x', 0)", "at: there is no buffer 'x'"},
        {X "local y = at('x', 0)", "d.lua:2: at: 'x' has no first contents"},
        {"buffer 'x' { dtype = 'u8', count = 2, fill = 3 } local y = at('x', 2)", "element 2 of"},
        {"local y = as('f99', 1)", "as wants a type and a number"},
        {"local y = cdiv(1, 0)", "cdiv wants"},
        {X "launch { grid = 1 }", "d.lua:2: launch: 'block' is missing"},
        {X "launch { grid = 0, block = 1 }", "'grid' wants integers from 1"},
        {X "launch { grid = { 1, 1, 1, 1 }, block = 1 }", "one to three numbers"},
        {X "launch { grid = 1, block = 1, params = { 5 } }", "params[1] is a number; a value"},
        {X "launch { grid = 1, block = 1, params = { i8(128) } }", "i8 cannot hold 128"},
        {X "launch { grid = 1, block = 1, params = { i32 'x' } }", "i32 wants one number"},
        {X "launch { grid = 1, block = 1, params = { ptr 'z' } }", "d.lua:2: ptr: there is no "
                                                                   "buffer 'z'"},
        {X "launch { grid = 1, block = 1, params = { ptr(1) } }", "ptr wants a buffer's name"},
        {X "local s = struct { [0] = ptr 'x' }", "size = bytes is wanted"},
        {X "local s = struct { size = 8, [4] = ptr 'x' }", "field at 4 of 8 bytes ends after 8"},
        {X "local s = struct { size = 16, [0] = ptr 'x', [4] = i32(1) }", "overlaps that at 0"},
        {X "local s = struct { size = 16, [0] = 5 }", "struct[0] is a number"},
        {X "local s = struct { sise = 16 }", "struct: unknown key 'sise'"},
        {X "expect 'x' { }", "'equals' is missing"},
        {X "expect 'x' { equals = 1, abs = -1 }", "'abs' must be a number of 0 or more"},
        {X "expect 'x' { equals = 1, from = 5 }", "from = 5 is not within 0..4"},
        {X "expect 'y' { equals = 1 }", "expect: there is no buffer 'y' above this line"},
        {X "output 'x' { save = '../x' }", "must be a path below"},
        {"io.open('x')", "unknown name 'io'"},
        {"while true do end", "no end within 2 s"},
        {X GO "\nx = 1", "d.lua:3: 'x' would be global"},
        {X "launch { entry = 'nosuch', grid = 1, block = 1 }", "there is no entry 'nosuch'"},
        {X "launch { entry = 's', grid = 1, block = 1 }", "'s' fits"},
        {X "launch { grid = 1, block = 1 }", "7 entries; name one with --entry"},
        {X "launch { entry = 'scale', grid = 1, block = 1 }",
         "d.lua:2: scale has 1 parameters (.u64 of 8 bytes); 0 given"},
        {X "launch { entry = 'scale', grid = 1, block = 1, params = { u32(1) } }",
         "d.lua:2: parameter 1 (x, .u64 of 8 bytes): u32 of 4 bytes given"},
        {X "launch { entry = 'scale', grid = 1, block = 1, params = { f64(1) } }",
         "parameter 1 (x, .u64 of 8 bytes): f64 given"},
        {X "launch { entry = 'far', grid = 1, block = 1, params = { ptr 'x', f32(1) } }",
         "parameter 2 (by, .s32 of 4 bytes): f32 given"},
        {X "launch { entry = 'fields', grid = 1, block = 1, params = { struct { size = 24 } } }",
         "parameter 1 (p, .b8 array of 32 bytes): a struct of 24 bytes given"},
        {X "launch { entry = 'scale', grid = 1, block = 1, smem = 200000, params = { ptr 'x' } }",
         "smem = 200000: beside its 0 bytes"},
        {"global 'none' { dtype = 'f32', count = 1 }\n" X GO, "the module has no variable 'none'"},
        {"global 'bias' { dtype = 'f32', count = 3 }\n" X GO, "the variable has 8"},
        {"global 'bias' { dtype = 'f32', count = 1, align = 8 }", "unknown key 'align'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Ran ran = run_desc(rows[i].desc, "--run-limit 2s");
        const bool hung = strstr(rows[i].desc, "while") != NULL;
        if (!hung) program_expect(&ran, EXIT_USAGE, NULL);
        program_expect(&ran, ran.code, rows[i].text);
        if (ran.out[0]) program_fail(&ran, "nothing was expected on stdout");
        program_free(&ran);
    }
}

static void a_mistake_is_quoted_with_a_caret(void **state) {
    (void)state;
    expect_run(X "  output 'x' { first = -1 }", "", EXIT_USAGE,
               "    output 'x' { first = -1 }\n                 ^");
}

static void what_is_not_there_or_no_ptx_is_said(void **state) {
    (void)state;
    put("k.ptx", kernels);
    put("d.lua", X GO);
    put("not.ptx", "hello\n");
    put("broken.ptx", ".version 7.0\n.target sm_75\n.address_size 64\n"
                      ".visible .entry scale(.param .u64 x) {\n  frobnicate.u32;\n  ret;\n}\n");
    put("head.ptx", ".visible .entry scale(.param .u64) {}\n");
    static const struct {
        const char *args;
        int code;
        const char *text;
    } rows[] = {
        {"run-ptx k.ptx", EXIT_USAGE, "wants --launch DESC.lua"},
        {"run-ptx", EXIT_USAGE, "wants FILE"},
        {"run-ptx absent.ptx --launch d.lua", EXIT_USAGE, "there is no file absent.ptx"},
        {"run-ptx k.ptx --launch absent.lua", EXIT_USAGE, "there is no file absent.lua"},
        {"run-ptx not.ptx --launch d.lua --gpu soft", EXIT_USAGE, "there is no .entry in it"},
        {"run-ptx head.ptx --launch d.lua --gpu soft", EXIT_USAGE, "a parameter without a name"},
        {"run-ptx broken.ptx --launch d.lua --gpu soft", EXIT_FAILED, "frobnicate"},
        {"run-ptx k.ptx --launch d.lua --gpu soft:x99", EXIT_USAGE, "unknown GPU model"},
        {"run-ptx k.ptx --launch d.lua --gpu soft --set nonsense", EXIT_USAGE, "not name=value"},
        {"run-ptx k.ptx --launch d.lua --gpu soft --ptxas-log k.ptx", EXIT_USAGE,
         "says nothing of entry scale"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Ran ran = program_run("%s", rows[i].args);
        program_expect(&ran, rows[i].code, rows[i].text);
        program_free(&ran);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_in_a_description_are_shown_at_their_place),
        cmocka_unit_test(a_mistake_is_quoted_with_a_caret),
        cmocka_unit_test(what_is_not_there_or_no_ptx_is_said),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
