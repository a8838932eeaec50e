/* Every mistake in a spec, a template or a workload gives one message with file, line, the text,
 * a caret and, where one is near, the right word. One row per mistake. */
#include "tests/generator/gen_test.h"

static const char spec_path[] = "scripts/kernels/probe.lua";

/* `at`: the text that the caret must stand under; NULL: not looked at. */
typedef struct Row {
    const char *from, *to, *want, *at;
} Row;

/* The message has the form FILE:LINE: TEXT \n line \n caret; checks where the caret points. */
static void check_caret(const char *message, const char *at) {
    const char *line = strchr(message, '\n');
    if (!line) fail_msg("no quoted line in: %s", message);
    const char *caret_line = strchr(line + 1, '\n');
    if (!caret_line) fail_msg("no caret in: %s", message);
    const char *caret = strchr(caret_line, '^');
    if (!caret) fail_msg("no caret in: %s", message);
    const char *under = line + (caret - caret_line);
    if (under >= caret_line || strncmp(under, at, strlen(at)) != 0)
        fail_msg("the caret is not under \"%s\":\n%s", at, message);
}

static void check_rows(const char *path, const Row *rows, size_t count, bool when_used) {
    for (size_t i = 0; i < count; i++) {
        Edit edit = edit_new();
        GenLibrary *lib = NULL;
        Error err = {0};
        edit_replace(&edit, path, rows[i].from, rows[i].to);
        Status status = gen_open_tree(&edit.tree, &lib, &err);
        if (when_used && status == ST_OK)
            status = gen_check(lib, &err);
        else if (when_used)
            fail_msg("the library must open: %s", err.message);
        if (status == ST_OK) fail_msg("\"%s\" was taken", rows[i].to);
        assert_contains(err.message, rows[i].want);
        if (rows[i].at) check_caret(err.message, rows[i].at);
        gen_close(lib);
        edit_free(&edit);
    }
}

static void a_mistake_in_a_problem_is_named(void **state) {
    (void)state;
    static const Row rows[] = {
        {"dim \"dtype\"", "dmi \"dtype\"", "probe.lua:8: unknown name 'dmi'; did you mean 'dim'?",
         "dmi"},
        {"preset = 96", "prest = 96",
         "probe.lua:9: dim 'width': unknown key 'prest'; did you mean 'preset'?", "prest = 96"},
        {"preset = 96", "preset = 97", "dim 'width': preset 97 is not a legal value", "preset"},
        {"preset = 96", "preset = \"x\"", "'preset' must be an integer, not a string", "preset"},
        {"preset = \"causal\"", "preset = \"casual\"", "preset 'casual' is not in its enum",
         "preset"},
        {"static = true, preset = 96", "static = 1", "'static' must be true or false, not a number",
         "static = 1"},
        {"doc = \"of both\"", "doc = 3", "'doc' must be a text in quotes, not a number", "doc"},
        {"key = \"ignore\"", "key = \"ignored\"",
         "key = 'ignored' is not exact, log2/4 or ignore; did you mean 'ignore'?", "ignored"},
        {"min = 1, max = 65535", "min = 1", "dim 'batch': min and max belong together", NULL},
        {"min = 1, max = 65535", "min = 9, max = 5", "min is above max", NULL},
        {"min = 1, max = 65535", "min = 1, max = 65535, ints = { 1 }", "exactly one of enum, ints",
         NULL},
        {"min = 1, max = 65535", "doc = \"x\"", "exactly one of enum, ints", NULL},
        {"{ 64, 96, 128 }, static", "{ 64, 96, 64 }, static", "value 64 is there twice", NULL},
        {"{ 64, 96, 128 }, static", "{ 64, 96.5 }, static", "value 2 must be an integer", NULL},
        {"{ 64, 96, 128 }, static", "{}, static", "0 values, not 1..256", NULL},
        {"{ 64, 96, 128 }, static", "{ 64, x = 1 }, static", "unknown key 'x'", "x = 1"},
        {"{ \"f16\", \"bf16\" }", "{ \"f16\", \"f16\" }", "enum word 'f16' is there twice", NULL},
        {"{ \"f16\", \"bf16\" }", "{ \"f16\", \"b-16\" }", "enum word 'b-16' must be", "b-16"},
        {"{ \"f16\", \"bf16\" }", "{ \"f16\", 16 }", "enum[2] must be a text, not a number", NULL},
        {"dim \"heads\"", "dim \"batch\"", "the name 'batch' is used twice", "batch"},
        {"dim \"heads\"", "dim \"smem\"", "the name 'smem' has a meaning of its own", "smem"},
        {"dim \"heads\"", "dim \"HAS_x\"", "names that begin with HAS_", "HAS_x"},
        {"dim \"heads\"", "dim \"8heads\"", "'8heads' is not a name", "8heads"},
        {"dim \"work\"", "dim \"mask_causal\" { min = 1, max = 2 }, dim \"work\"",
         "its word 'causal' becomes 'mask_causal'", NULL},
        {"dim \"heads\"    {", "dim \"heads\", dim \"x\" {",
         "problem[6]: its table { ... } is missing", NULL},
        {"derive = \"heads // heads_kv\"", "derive = \"heads // head_kv\"",
         "dim 'group' \"heads // head_kv\": unknown name 'head_kv'; did you mean 'heads_kv'?",
         "head_kv"},
        {"derive = \"heads // heads_kv\"", "derive = \"heads // work\"", "unknown name 'work'",
         "work"},
        {"derive = \"heads // heads_kv\"", "derive = \"gpu.sms\"",
         "no GPU is known here: 'gpu.sms'", "gpu.sms"},
        {"derive = \"heads // heads_kv\"", "derive = \"heads //\"", "probe.lua:15:", NULL},
        {"derive = \"heads // heads_kv\"", "derive = \"heads\", preset = 3",
         "a derived dimension has no preset", NULL},
        {"derive = \"width / 2\"", "derive = \"heads / 2\"",
         "static, but derived from a dimension that is not", NULL},
        {"dim \"half\"     {", "axis \"half\" {",
         "problem[10] must be made by 'dim', not by 'axis'", NULL},
        {"need(\"heads % heads_kv == 0\"", "need(\"heads % kv == 0\"", "need \"heads % kv == 0\"",
         "kv == 0"},
        {"need(\"heads % heads_kv == 0\"", "need(\"tile_m == 0\"", "unknown name 'tile_m'",
         "tile_m"},
        {"\"heads_kv must divide heads\")", "3)", "need wants two texts", NULL},
    };
    check_rows(spec_path, rows, sizeof rows / sizeof *rows, false);
}

static void a_mistake_in_a_space_or_formula_is_named(void **state) {
    (void)state;
    static const Row rows[] = {
        {"{ 16, 32, 64, 48 }", "{ 16, 32, 16 }", "axis 'tile_m': value 16 is there twice", NULL},
        {"{ 16, 32, 64, 48 }", "{}", "axis 'tile_m': 0 values", NULL},
        {"{ 16, 32, 64, 48 }", "{ 16, \"32\" }", "value 2 must be an integer, not a string", NULL},
        {"{ 16, 32, 64, 48 }", "(16)", "axis \"tile_m\" wants one table { ... }, not a number",
         "tile_m"},
        {"{ 16, 32, 64, 48 }", "{ 16, 3000000000 }", "does not fit an int", NULL},
        {"{ false, true }", "{ false, 1 }", "booleans are { false, true }", NULL},
        {"{ false, true }", "{ true, true }", "booleans are { false, true }", NULL},
        {"axis \"unused\"", "axis \"rows\"", "the name 'rows' is used twice", "rows"},
        {"let(\"engine\"", "let(\"warps\"", "the name 'warps' is used twice", "warps"},
        {"\"tile_m / warps\"", "\"tile_m / wraps\"",
         "let 'tile_rows' \"tile_m / wraps\": unknown name 'wraps'; did you mean 'warps'?",
         "wraps\""},
        {"\"tile_m / warps\"", "\"regs_each\"", "unknown name 'regs_each'", "regs_each"},
        {"\"tile_m / warps\"", "\"tile_m / (warps\"", "probe.lua:33:", NULL},
        {"\"tile_m / warps\"", "\"gpu.cp_asink\"",
         "unknown name 'gpu.cp_asink'; did you mean 'gpu.cp_async'?", "gpu.cp_asink"},
        {"\"tile_m / warps\"", "{}", "let wants two texts", NULL},
        {"let(\"negative\", -5)", "let(\"negative\")", "let wants two texts", NULL},
        {"let(\"negative\", -5)", "3", "derive[5] must be made by 'let', not a number", NULL},
        {"rule(\"tile_rows <= 32\"", "rule(\"tile_rows <= smem\"", "unknown name 'smem'", "smem"},
        {"rule(\"not packed or group > 1\"", "need(\"group > 1\"",
         "rules[2] must be made by 'rule', not by 'need'", NULL},
        {"threads = \"32 * warps\"", "threads = \"32 * wraps\"",
         "threads \"32 * wraps\": unknown name 'wraps'", "wraps"},
        {"threads = \"32 * warps\"", "threads = \"smem\"", "unknown name 'smem'", "smem"},
        {"threads = \"32 * warps\",", "", "resources: 'threads' is missing", NULL},
        {"workspace = \"batch", "workspcae = \"batch",
         "unknown key 'workspcae'; did you mean 'workspace'?", "workspcae"},
        {"score = \"occupancy", "score = {} --", "a formula is a text in quotes or an integer",
         NULL},
        {"flops = \"2 * batch", "flops = \"2 * tile_m", "unknown name 'tile_m'", "tile_m"},
        {"flops = \"2 *", "-- flops", "kernel 'probe': 'flops' is missing", "probe"},
        {"generation = 3", "generation = 0", "generation must be 1..1000000", "generation"},
        {"generation = 3", "generation = \"3\"", "'generation' must be an integer", "generation"},
        {"  space = {", "  spaces = {", "unknown key 'spaces'; did you mean 'space'?", "spaces"},
        {"kernel \"probe\" {", "kernel {", "kernel wants a name in quotes", NULL},
        {"kernel \"probe\" {", "kernel \"pro be\" {", "'pro be' is not a name", "pro be"},
        {"kernel \"probe\" {", "workload \"probe\" {", "'workload' has no place in this kind",
         NULL},
        {"kernel \"probe\" {", "kernel \"probe\" = {", "probe.lua:4: syntax error near '='", "="},
    };
    check_rows(spec_path, rows, sizeof rows / sizeof *rows, false);
}

static void a_mistake_in_a_table_of_parts_is_named(void **state) {
    (void)state;
    static const Row rows[] = {
        {"\"mma_k16\", \"cp_async\"", "\"mma_k16\", \"cp_asinc\"",
         "unknown feature 'cp_asinc'; did you mean 'cp_async'?", "cp_asinc"},
        {"\"mma_k16\", \"cp_async\"", "3", "needs[1] must be a text", NULL},
        {"when = \"width >= 96\"", "when = \"rows >= 96\"",
         "the source may depend on static names only, not on 'rows'", "rows"},
        {"when = \"width >= 96\"", "when = \"gpu.sms > 3\"", "static names only, not on 'gpu.sms'",
         "gpu.sms"},
        {"pipe \"probe/wide\"  ", "pipe \"../secret\"", "not a path below templates/", "../secret"},
        {"entry = \"probe_first\", ", "", "step: 'entry' is missing", NULL},
        {"entry = \"probe_first\"", "entry = \"probe first\"", "'probe first' is not a name", NULL},
        {"grid = { \"blocks\", \"batch\" }", "grid = \"blocks\"",
         "'grid' must be a table, not a string", "grid"},
        {"grid = { \"blocks\", \"batch\" }", "grid = { 1, 2, 3, 4 }", "grid has 4 extents", "grid"},
        {"grid = { \"blocks\", \"batch\" }", "grid = { \"block\" }", "did you mean 'blocks'?",
         "block"},
        {"when = \"rows > 256\"", "if_ = \"rows > 256\"", "step: unknown key 'if_'", "if_"},
        {"rep_col(\"width // 8\")", "rep_col(\"rows // 8\")", "static names only, not on 'rows'",
         "rows"},
        {"rep_col(\"width // 8\")", "rep_cols(\"width\")", "rep_cols", NULL},
        {"rep_col(\"width // 8\")", "rep_col()", "rep_col wants a layout and a count", NULL},
        {"tile.swizzled(\"tile_m\", \"width\", 2)", "tile.swizzled(\"tile_m\", \"widht\", 2)",
         "did you mean 'width'?", "widht"},
        {"tile.swizzled(\"tile_m\", \"width\", 2)", "tile.swizled(1, 2)", "swizled", "swizled"},
        {"tile.swizzled(\"tile_m\", \"width\", 2)", "3", "'K' must be a layout", "K = 3"},
        {"tile.swizzled(\"tile_m\", \"width\", 2)",
         "tile.swizzled(\"tile_m\", \"width\", 2):rep_row(2)", "a shared tile has no register",
         NULL},
        {"by = \"mask\", none = false, ", "by = \"mask\", ", "'mask' has no file for mask = none",
         "mask"},
        {"by = \"mask\", none = false, ", "by = \"mask\", none = false, nun = false, ",
         "names a value that 'mask' does not have", "mask"},
        {"by = \"mask\"", "by = \"maks\"", "'mask' is chosen by 'maks'", "maks"},
        {"by = \"mask\"", "by = \"rows\"", "'rows', which is not static", "rows"},
        {"by = \"mask\", ", "", "wants by = \"name\"", "mask"},
        {"tail = \"tail/store\"", "tail = 3", "'tail' must name a file of templates/parts/",
         "tail"},
        {"tail = \"tail/store\"", "tail = \"/etc/passwd\"", "not a path below templates/parts/",
         "tail"},
        {"seed { tile_m = 16, warps = 1", "seed { tile_m = 16", "seed: axis 'warps' is missing",
         NULL},
        {"seed { tile_m = 16, warps = 1", "seed { tile_m = 16, warps = 3",
         "'warps' = 3 is not in the space", "warps = 3"},
        {"seed { tile_m = 16, warps = 1", "seed { tile_m = 16, wraps = 1",
         "seed: unknown key 'wraps'; did you mean 'warps'?", "wraps"},
        {"seed { tile_m = 16, warps = 1, packed = false",
         "seed { tile_m = 16, warps = 1, packed = 0",
         "'packed' must be true or false, not a number", "packed"},
        {"reference = \"none\"", "refrence = \"none\"", "did you mean 'reference'?", "refrence"},
        {"require \"fragments\"", "require \"fragmants\"", "there is no scripts/lib/fragmants.lua",
         "fragmants"},
    };
    check_rows(spec_path, rows, sizeof rows / sizeof *rows, false);
}

static void a_template_fault_is_said_when_the_spec_is_used(void **state) {
    (void)state;
    static const Row spec_rows[] = {
        {"pipe \"probe/wide\"", "pipe \"probe/wider\"",
         "probe.lua:29: there is no file templates/probe/wider.cu", "probe/wider"},
        {"causal = \"mask/causal\"", "causal = \"mask/casual\"",
         "probe.lua:60: there is no file templates/parts/mask/casual.cu", "mask = {"},
        {"tail = \"tail/store\",", "", "slot 'tail' of templates/probe/wide.cu has no part",
         "tail"},
        {"tail = \"tail/store\",", "tail = \"tail/store\", extra = \"tail/store\",",
         "part 'extra' has no slot in templates/probe/wide.cu nor", "extra"},
        {"entry = \"probe_last\"", "entry = \"probe_lost\"", "has an entry 'probe_lost'", NULL},
        {"params = \"probe\"", "params = \"prob\"", "there is no file runtime/params/prob.h",
         "probe"},
    };
    static const Row template_rows[] = {
        {"//% lib more", "//% lib moar", "wide.cu:2: there is no file templates/lib/moar.cuh",
         "moar"},
        {"//% lib more", "//% lib", "wide.cu:2: one name is wanted here", NULL},
        {"//% lib more", "//% lob more", "unknown control word 'lob'; did you mean 'lib'?", "lob"},
        {"//% if tile_rows >= 32", "//% if tile_row >= 32",
         "control line \"tile_row >= 32\": unknown name 'tile_row'; did you mean 'tile_rows'?",
         "tile_row"},
        {"//% if tile_rows >= 32", "//% if rows >= 32", "static names only, not on 'rows'", "rows"},
        {"//% if tile_rows >= 32", "//% if", "a formula is missing", NULL},
        {"//% if tile_rows >= 32", "//% if warps ==", "wide.cu:7:", NULL},
        {"      //% if gpu.cp_async", "      //% if gpu.cp_async\n//% if true\n//% end",
         "an 'if' inside an 'if'", "//% if true"},
        {"//% if tile_rows >= 32", "// no if", "wide.cu:9: 'else' without an 'if'", "else"},
        {"//% slot tail", "//% end", "'end' without an 'if' or a 'for'", "end"},
        {"      //% end", "", "this block has no '//% end'", "//% for"},
        {"for i = 0, warps - 1", "for i = 0", "'for' wants: for i = first, last", "i = 0"},
        {"    //% slot mask", "//% for warps = 0, 1\n//% end\n//% slot mask",
         "the spec has that name", NULL},
        {"$(i)", "$(j)", "$(...) holds the variable of a '//% for' around it", "j)"},
        {"sum = 0;", "sum = $(i);", "wide.cu:5: $(...) holds the variable", "i)"},
        {"//% else", "//% else tile_rows", "nothing may follow 'else'", "tile_rows"},
        {"//% slot mask", "//% slot mask now", "one name is wanted here", "mask now"},
        {"//% slot mask", "//% slot musk", "slot 'musk' of templates/probe/wide.cu has no part",
         "musk"},
    };
    static const Row part_rows[] = {
        {"    if (lane", "//% slot tail\n    if (lane", "a part or lib has no slots", "tail"},
    };
    static const Row lib_rows[] = {
        {"// What", "//% lib more\n// What", "libs need each other in a circle", NULL},
    };
    check_rows(spec_path, spec_rows, sizeof spec_rows / sizeof *spec_rows, true);
    check_rows("templates/probe/wide.cu", template_rows,
               sizeof template_rows / sizeof *template_rows, true);
    check_rows("templates/parts/mask/causal.cu", part_rows, 1, true);
    check_rows("templates/lib/base.cuh", lib_rows, 1, true);
}

static void a_spec_without_its_template_refuses_emission_only(void **state) {
    (void)state;
    Edit edit = edit_new();
    GenLibrary *lib = NULL;
    GenConfig config;
    GenOutput out;
    Error err = {0};
    edit_put(&edit, "templates/probe/narrow.cu", NULL);
    assert_ok(gen_open_tree(&edit.tree, &lib, &err), err);
    GenProblem problem = problem_of(lib, "");
    GpuInfo gpu = gpu_of("sm_80");
    assert_ok(gen_default(&problem, &gpu, &config, &err), err);
    assert_int_equal(gen_emit(&problem, &gpu, &config, edit.arena, &out, &err), ST_NOT_FOUND);
    assert_contains(err.message, "probe.lua:30: there is no file templates/probe/narrow.cu");
    gen_close(lib);
    edit_free(&edit);
}

static void a_formula_that_fails_is_named_with_the_configuration(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *want;
    } rows[] = {
        {"\"tile_m % (16 * warps) == 0\"", "\"tile_m % (16 * warps)\"", "probe.lua:40"},
        {"\"40 + regs_each\"", "\"40 // (tile_m - tile_m)\"", "probe.lua:47"},
        {"\"tile_m * width * 2\"", "\"0 - tile_m\"", "'0 - tile_m' is -32"},
        {"\"not packed or group > 1\"", "\"tile_rows > 'x'\"", "probe.lua:41"},
        {"rule(\"tile_m % (16 * warps) == 0\"", "rule(\"tile_rows > 100 // (warps - 2) \"",
         "probe with tile_m=16"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Edit edit = edit_new();
        GenLibrary *lib = NULL;
        GenConfig config;
        Error err = {0};
        edit_replace(&edit, spec_path, rows[i].from, rows[i].to);
        edit_replace(&edit, spec_path, "seed { tile_m = 64, warps = 1",
                     "seed { tile_m = 16, warps = 2");
        assert_ok(gen_open_tree(&edit.tree, &lib, &err), err);
        GenProblem problem = problem_of(lib, "");
        GpuInfo gpu = gpu_of("sm_80");
        Status status = gen_default(&problem, &gpu, &config, &err);
        assert_true(status != ST_OK && status != ST_UNSUPPORTED);
        assert_contains(err.message, rows[i].want);
        gen_close(lib);
        edit_free(&edit);
    }
}

static void a_rule_guards_a_let_that_would_fail(void **state) {
    (void)state;
    /* tile_rows is no whole number for 16 / 3; the first rule comes before its first use */
    Edit edit = edit_new();
    GenLibrary *lib = NULL;
    GenReject why;
    Error err = {0};
    edit_replace(&edit, spec_path, "{ 1, 2, 4, doc", "{ 1, 2, 4, 3, doc");
    assert_ok(gen_open_tree(&edit.tree, &lib, &err), err);
    GenProblem problem = problem_of(lib, "");
    GenConfig config = config_of(lib, "tile_m=16 warps=3 packed=0 unused=7");
    GpuInfo gpu = gpu_of("sm_80");
    assert_ok(gen_config_check(&problem, &gpu, &config, NULL, &why, &err), err);
    assert_int_equal(why.rule->line, 40);
    gen_close(lib);
    edit_free(&edit);
}

static void two_specs_of_one_name_are_refused(void **state) {
    (void)state;
    Edit edit = edit_new();
    GenLibrary *lib = NULL;
    Error err = {0};
    edit_put(&edit, "scripts/kernels/second.lua", gen_tree_find(&edit.tree, spec_path)->text);
    assert_int_equal(gen_open_tree(&edit.tree, &lib, &err), ST_SYNTAX);
    assert_contains(err.message,
                    "scripts/kernels/second.lua:4: kernel 'probe' is also described by "
                    "scripts/kernels/probe.lua");
    edit_put(&edit, "scripts/kernels/second.lua", "local x = 1");
    assert_int_equal(gen_open_tree(&edit.tree, &lib, &err), ST_SYNTAX);
    assert_contains(err.message, "second.lua: describes no kernel");
    edit_free(&edit);
}

static void a_tree_that_cannot_be_read_is_named(void **state) {
    (void)state;
    GenLibrary *lib = NULL;
    Error err = {0};
    assert_int_equal(gen_open("/nonexistent/tree", &lib, &err), ST_NOT_FOUND);
    assert_contains(err.message, "/nonexistent/tree: not a folder");
    assert_null(lib);
    assert_int_equal(gen_open(PROBE_TREE "/scripts/kernels/probe.lua", &lib, NULL), ST_NOT_FOUND);
    assert_int_equal(gen_open(PROBE_TREE "/templates", &lib, &err), ST_NOT_FOUND);
    assert_contains(err.message, "/templates: no scripts/kernels/*.lua; a source tree is");
    assert_null(lib);
    gen_close(NULL);
}

static void a_mistake_in_a_workload_is_named(void **state) {
    (void)state;
    static const Row rows[] = {
        {"op = \"probe\"", "op = \"prob\"",
         "pair.lua:3: item: unknown op 'prob'; did you mean 'probe'?", "prob\""},
        {"op = \"probe\", ", "", "item: 'op' is missing", NULL},
        {"rows = rows", "row = rows", "unknown key 'row'; did you mean 'rows'?", "row = "},
        {"rows = rows", "rows = -rows", "rows = -512 is outside 0..1048576", "rows = -"},
        {"rows = rows", "rows = {}", "'rows' must be an integer or a word, not a table", "rows"},
        {"rows = rows", "rows = \"many\"", "rows is a number, not a word", "rows"},
        {"rows = rows", "rows = 0.5", "must be an integer or a word", "rows"},
        {"dtype = \"bf16\"", "dtype = \"bf6\"", "did you mean 'bf16'?", "dtype"},
        {"dtype = \"bf16\"", "dtype = 1", "'dtype' is one of its words, not a number", "dtype"},
        {"dtype = \"bf16\"", "group = 3", "group is computed from other dimensions", "group"},
        {"dtype = \"bf16\"", "heads = 7", "heads_kv must divide heads", NULL},
        {"label = \"rows \" .. rows, ", "", "item of probe: 'label' is missing", NULL},
        {"title = \"two problems\", ", "", "workload 'pair': 'title' is missing", NULL},
        {"items = items", "items = {}", "0 items, not 1..10000", "items = {}"},
        {"items = items", "items = { 3 }", "items[1] must be made by 'item', not a number", NULL},
        {"workload \"pair\"", "kernel \"pair\"", "'kernel' has no place in this kind of script",
         NULL},
        {"workload \"pair\"",
         "workload \"pair\" { title = \"x\", items = items }\nworkload \"two\"",
         "a second 'workload'", NULL},
        {"workload \"pair\" {", "local x = {", "describes no workload", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Edit edit = edit_new();
        GenLibrary *lib = NULL;
        GenWorkload w;
        Error err = {0};
        edit_replace(&edit, "scripts/workloads/pair.lua", rows[i].from, rows[i].to);
        assert_ok(gen_open_tree(&edit.tree, &lib, &err), err);
        if (gen_workload_load(lib, "pair", edit.arena, &w, &err) == ST_OK)
            fail_msg("\"%s\" was taken", rows[i].to);
        assert_contains(err.message, rows[i].want);
        assert_contains(err.message, "scripts/workloads/pair.lua");
        if (rows[i].at) check_caret(err.message, rows[i].at);
        gen_close(lib);
        edit_free(&edit);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mistake_in_a_problem_is_named),
        cmocka_unit_test(a_mistake_in_a_space_or_formula_is_named),
        cmocka_unit_test(a_mistake_in_a_table_of_parts_is_named),
        cmocka_unit_test(a_template_fault_is_said_when_the_spec_is_used),
        cmocka_unit_test(a_spec_without_its_template_refuses_emission_only),
        cmocka_unit_test(a_formula_that_fails_is_named_with_the_configuration),
        cmocka_unit_test(a_rule_guards_a_let_that_would_fail),
        cmocka_unit_test(two_specs_of_one_name_are_refused),
        cmocka_unit_test(a_tree_that_cannot_be_read_is_named),
        cmocka_unit_test(a_mistake_in_a_workload_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
