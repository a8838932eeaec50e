/* seqtune run-ptx as a user runs it: kernels with planted faults and clean ones, files in and out,
 * exit codes, JSON. On the software GPU. (Mistakes: test_run_ptx_mistakes.c.) */
#include "tests/tuner/run_ptx_kernels.h"

static const char saxpy[] = SEQTUNE_SOURCE_DIR "/examples/run_ptx/saxpy.ptx";

static void the_example_runs_as_the_document_says(void **state) {
    (void)state;
    Ran ran = program_run("run-ptx %s --launch " SEQTUNE_SOURCE_DIR
                          "/examples/run_ptx/saxpy.lua --gpu soft:a100 --set n=5000",
                          saxpy);
    program_expect(&ran, EXIT_OK, "expect y: 5000 elements as expected");
    program_expect(&ran, EXIT_OK, "grid 20 1 1, block 256 1 1");
    program_expect(&ran, EXIT_OK, "modelled (a100, factor ");
    program_expect(&ran, EXIT_OK, "registers (estimated)");
    program_expect(&ran, EXIT_OK, "checks: all");
    program_free(&ran);
}

/* Two launches of `scale`, 11 instructions by one and by two warps. */
static const char two_scales[] =
    "buffer 'x' { dtype = 'f32', count = 64, fill = 1 }\n"
    "launch { entry = 'scale', grid = 1, block = 32, params = { ptr 'x' } }\n"
    "launch { entry = 'scale', grid = 1, block = 64, params = { ptr 'x' } }\n";

static void a_profile_has_a_column_per_launch_and_a_row_per_line(void **state) {
    (void)state;
    Ran ran = run_desc(two_scales, "--profile --lines");
    program_expect(&ran, EXIT_OK, "launch 1     launch 2        total");
    program_expect(&ran, EXIT_OK,
                   "inst.ptx                                   11           22           33");
    program_expect(&ran, EXIT_OK,
                   "inst.lanes_per_warp                        32           32              lanes");
    program_expect(&ran, EXIT_OK, "  cycles     issue ");
    program_expect(&ran, EXIT_OK, "memory ");
    program_expect(&ran, EXIT_OK, " k.ptx:29  st.global.f32 [%d2], %f1;");
    program_free(&ran);
    ran = run_desc(two_scales, "--profile --lines --json");
    assert_int_equal(ran.code, EXIT_OK);
    assert_string_equal(json_at(&ran, "$.profiled"), "1");
    assert_string_equal(json_at(&ran, "$.launches[1].profile[0].name"), "time.seconds");
    assert_string_equal(json_at(&ran, "$.total[0].name"), "time.seconds");
    assert_true(json_number(&ran, "$.total[0].value") >
                json_number(&ran, "$.launches[1].profile[0].value"));
    assert_true(json_number(&ran, "$.lines[10].warps") == 3);
    assert_string_equal(json_at(&ran, "$.lines[11]"), "");
    program_free(&ran);
    expect_run(two_scales, "--lines", EXIT_USAGE, "--lines goes with --profile");
    ran = run_desc(two_scales, "--json");
    assert_string_equal(json_at(&ran, "$.profiled"), "0");
    assert_string_equal(json_at(&ran, "$.total"), "");
    program_free(&ran);
}

static void a_profile_shows_the_source_that_loc_names(void **state) {
    (void)state;
    put("there.cu", "// one\n  x[i] = 2 * x[i]; // two\n");
    put("loc.ptx", ".version 7.0\n.target sm_75\n.address_size 64\n"
                   ".visible .entry twice(.param .u64 x) {\n"
                   "  .reg .f32 %f<2>; .reg .b64 %d<2>;\n"
                   "  .loc 1 2 0\n  ld.param.u64 %d0, [x];\n  ld.global.f32 %f0, [%d0];\n"
                   "  add.f32 %f1, %f0, %f0;\n  .loc 2 7 0\n  st.global.f32 [%d0], %f1;\n"
                   "  .loc 1 9 0\n  ret;\n}\n.file 1 \"there.cu\"\n.file 2 \"absent.cu\"\n");
    put("d.lua", "buffer 'x' { dtype = 'f32', count = 1, fill = 1 }\n"
                 "launch { grid = 1, block = 1, params = { ptr 'x' } }\n");
    Ran ran = program_run("run-ptx loc.ptx --launch d.lua --gpu soft:a100 --profile --lines");
    program_expect(&ran, EXIT_OK, " there.cu:2  x[i] = 2 * x[i]; // two\n");
    program_expect(&ran, EXIT_OK, " absent.cu:7  \n"); /* no such file */
    program_expect(&ran, EXIT_OK, " there.cu:9  \n");  /* no such line */
    program_free(&ran);
}

/* One function, inlined twice: two rows with --inlined, one without. */
static void inlined_code_is_told_apart_by_the_line_that_called_it(void **state) {
    (void)state;
    put("two.cu", "twice(x);\nagain(x);\n");
    put("in.ptx", ".version 7.2\n.target sm_75\n.address_size 64\n"
                  ".visible .entry twice(.param .u64 x) {\n"
                  "  .reg .f32 %f<3>; .reg .b64 %d<2>;\n"
                  "  .loc 1 1 0\n  ld.param.u64 %d0, [x];\n  ld.global.f32 %f0, [%d0];\n"
                  "  .loc 2 5 0, function_name $L, inlined_at 1 1 3\n  add.f32 %f1, %f0, %f0;\n"
                  "  .loc 2 5 0, function_name $L, inlined_at 1 2 3\n  add.f32 %f2, %f1, %f1;\n"
                  "  .loc 1 2 0\n  st.global.f32 [%d0], %f2;\n  ret;\n}\n"
                  ".file 1 \"two.cu\"\n.file 2 \"lib.cu\"\n");
    put("d.lua", "buffer 'x' { dtype = 'f32', count = 1, fill = 1 }\n"
                 "launch { grid = 1, block = 1, params = { ptr 'x' } }\n");
    static const char command[] = "run-ptx in.ptx --launch d.lua --gpu soft:a100 --profile";
    Ran ran = program_run("%s --lines --inlined", command);
    program_expect(&ran, EXIT_OK, " lib.cu:5 in two.cu:1  twice(x);\n");
    program_expect(&ran, EXIT_OK, " lib.cu:5 in two.cu:2  again(x);\n");
    program_expect(&ran, EXIT_OK, " two.cu:1  twice(x);\n"); /* not inlined */
    program_free(&ran);
    ran = program_run("%s --lines", command);
    program_expect(&ran, EXIT_OK, " lib.cu:5  \n");
    assert_null(strstr(ran.out, " in two.cu"));
    program_free(&ran);
    ran = program_run("%s --lines --inlined --json", command);
    program_expect(&ran, EXIT_OK, "\"called_at\": \"two.cu:2\"");
    program_free(&ran);
    ran = program_run("%s --inlined", command);
    program_expect(&ran, EXIT_USAGE, "--inlined goes with --lines");
    program_free(&ran);
}

static void every_modelled_time_comes_with_range_bounds_model_and_factor(void **state) {
    (void)state;
    Ran ran = run_desc(two_scales, "--repeat 2");
    program_expect(&ran, EXIT_OK, "us modelled (a100, factor ");
    program_expect(&ran, EXIT_OK, "us over the model's runs; by the busiest unit ");
    program_expect(&ran, EXIT_OK, "us; bound by launch\n");
    const char *repeated = strstr(ran.out, "  repeated   ");
    assert_non_null(repeated);
    assert_non_null(strstr(repeated, "us modelled (a100, factor "));
    program_free(&ran);
    ran = run_desc(two_scales, "--json");
    const double mean = json_number(&ran, "$.launches[0].time.mean");
    assert_true(mean == json_number(&ran, "$.launches[0].seconds"));
    assert_true(json_number(&ran, "$.launches[0].time.low") <= mean);
    assert_true(json_number(&ran, "$.launches[0].time.high") >= mean);
    assert_true(json_number(&ran, "$.launches[0].time.at_least") > 0);
    assert_true(json_number(&ran, "$.launches[0].time.estimate") > 0);
    assert_string_equal(json_at(&ran, "$.launches[0].time.bound"), "launch");
    assert_string_equal(json_at(&ran, "$.launches[0].time.evidence"), "modelled");
    assert_string_equal(json_at(&ran, "$.model"), "a100");
    assert_true(json_number(&ran, "$.factor") > 0);
    program_free(&ran);
}

static void a_struct_by_value_holds_pointers_and_numbers_at_their_offsets(void **state) {
    (void)state;
    expect_run("buffer 'out' { dtype = 'f32', shape = { 4, 8 } }\n"
               "launch { entry = 'fields', grid = 1, block = { 32 }, params = {\n"
               "  struct { size = 32, [12] = f32(0.25), [0] = ptr 'out', [8] = f32(1.5) } } }\n"
               "expect 'out' { equals = 1.75 }\n",
               "", EXIT_OK, "32 elements as expected");
}

static void launches_follow_each_other_in_the_order_of_the_text(void **state) {
    (void)state;
    expect_run("buffer 'x' { dtype = 'f32', count = 32, fill = 'iota' }\n"
               "for i = 1, 3 do launch { entry = 'scale', grid = 1, block = 32,\n"
               "  params = { ptr 'x' } } end\n"
               "expect 'x' { equals = { iota = { 0, 8 } } }\n"
               "output 'x' { from = 30, first = 9, hash = true }\n",
               "", EXIT_OK, "[30] 240 248");
}

static void a_variable_of_the_module_is_set_before_the_launch(void **state) {
    (void)state;
    expect_run("global 'bias' { dtype = 'f32', count = 2, fill = { 3, 4.5 } }\n"
               "buffer 'x' { dtype = 'f32', count = 1 }\n"
               "launch { entry = 'var', grid = 1, block = 1, params = { ptr 'x' } }\n"
               "expect 'x' { equals = 4.5 }\n",
               "", EXIT_OK, "1 elements as expected");
}

static void pointers_can_be_patched_into_memory(void **state) {
    (void)state;
    expect_run("buffer 'x' { dtype = 'u32', count = 4, fill = 0 }\n"
               "buffer 'table' { dtype = 'u64', count = 2, fill = 0,\n"
               "                 patch = { [8] = ptr('x', 12) } }\n"
               "launch { entry = 'follow', grid = 1, block = 1, params = { ptr 'table' } }\n"
               "expect 'x' { equals = { 0, 0, 0, 77 } }\n",
               "", EXIT_OK, "4 elements as expected");
}

static void a_store_out_of_bounds_is_a_fault_with_what_ran_before(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'f32', count = 32, fill = 1 }\n"
        "launch { entry = 'scale', grid = 1, block = 32, params = { ptr 'x' } }\n"
        "launch { entry = 'far', grid = 1, block = 1, params = { ptr 'x', i32(128) } }\n"
        "launch { entry = 'scale', grid = 1, block = 32, params = { ptr 'x' } }\n"
        "expect 'x' { equals = 4 }\n";
    Ran ran = run_desc(desc, "");
    program_expect(&ran, EXIT_FAULT, "ILLEGAL_ADDRESS");
    program_expect(&ran, EXIT_FAULT, "launch 1   scale");
    program_expect(&ran, EXIT_FAULT, "that is byte 128 of buffer 'x' (d.lua:1), which has 128");
    program_expect(&ran, EXIT_FAULT, "8 warp instructions");
    program_free(&ran);
}

static void a_fault_in_json_keeps_the_launches_before_it(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'f32', count = 32, fill = 1 }\n"
        "launch { entry = 'scale', grid = 1, block = 32, params = { ptr 'x' } }\n"
        "launch { entry = 'far', grid = 1, block = 1, params = { ptr 'x', i32(128) } }\n"
        "launch { entry = 'scale', grid = 1, block = 32, params = { ptr 'x' } }\n";
    Ran ran = run_desc(desc, "--json");
    assert_int_equal(ran.code, EXIT_FAULT);
    assert_string_equal(json_at(&ran, "$.result"), "fault");
    assert_non_null(strstr(json_at(&ran, "$.fault"), "far"));
    assert_string_equal(json_at(&ran, "$.launches[0].done"), "1");
    assert_string_equal(json_at(&ran, "$.launches[1].done"), "0");
    assert_string_equal(json_at(&ran, "$.launches[2]"), "");
    assert_int_equal((int)json_number(&ran, "$.planned"), 3);
    assert_true(json_number(&ran, "$.launches[0].counters.warp_instructions") > 0);
    program_free(&ran);
}

static void checks_can_be_turned_off_and_unknown_ones_are_refused(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'f32', count = 32 }\n"
        "launch { entry = 'scale', grid = 1, block = 32, params = { ptr 'x' } }\n";
    expect_run(desc, "--checks none", EXIT_OK, "checks: none");
    expect_run(desc, "--checks nonsense", EXIT_USAGE, "nonsense");
}

static void a_read_of_what_nobody_wrote_is_a_fault(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'f32', count = 32%s }\n"
        "launch { entry = 'scale', grid = 1, block = 32, params = { ptr 'x' } }\n";
    char text[256];
    snprintf(text, sizeof text, desc, "");
    expect_run(text, "", EXIT_FAULT, "uninitialised");
    expect_run(text, "", EXIT_FAULT, "that is byte 0 of buffer 'x' (d.lua:1), which has 128");
    expect_run(text, "--checks sync", EXIT_OK, "checks: sync");
    snprintf(text, sizeof text, desc, ", fill = 1");
    expect_run(text, "", EXIT_OK, "ok\n");
}

static void a_warning_is_told_and_does_not_stop_the_run(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'f32', count = 32, fill = 1 }\n"
        "launch { entry = 'wide', grid = 1, block = 1, params = { ptr 'x' } }\n"
        "launch { entry = 'scale', grid = 1, block = 32, params = { ptr 'x' } }\n"
        "expect 'x' { equals = 2 }\n";
    expect_run(desc, "", EXIT_OK, "warning: ");
    expect_run(desc, "", EXIT_OK, "40000 * 65536 = 2621440000 wraps");
    Ran ran = run_desc(desc, "--json");
    assert_int_equal(ran.code, EXIT_OK);
    assert_non_null(strstr(json_at(&ran, "$.warnings[0]"), "wraps"));
    assert_string_equal(json_at(&ran, "$.warnings[1]"), "");
    program_free(&ran);
    ran = run_desc(desc, "--checks init --json");
    assert_string_equal(json_at(&ran, "$.warnings[0]"), "");
    program_free(&ran);
}

static void a_wrong_result_is_told_with_element_value_and_line(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'f32', count = 32, fill = 'iota' }\n"
        "launch { entry = 'scale', grid = 1, block = 32, params = { ptr 'x' } }\n"
        "expect 'x' { equals = function(i) return i == 5 and 11 or 2 * i end }\n";
    expect_run(desc, "", EXIT_UNEXPECTED,
               "1 of 32 elements differ, the first is element 5: 10, expected 11");
    expect_run(desc, "", EXIT_UNEXPECTED, "d.lua:3");
    Ran ran = run_desc(desc, "--json");
    assert_int_equal(ran.code, EXIT_UNEXPECTED);
    assert_string_equal(json_at(&ran, "$.result"), "unexpected");
    assert_int_equal((int)json_number(&ran, "$.expectations[0].first"), 5);
    assert_int_equal((int)json_number(&ran, "$.expectations[0].wrong"), 1);
    program_free(&ran);
}

static void tolerances_accept_what_lies_within_and_nothing_else(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'f32', count = 4, fill = { 1, 2, 4, 0 } }\n"
        "launch { entry = 'scale', grid = 1, block = 4, params = { ptr 'x' } }\n"
        "expect 'x' { equals = { 2.125, 4.25, 8.5, 0.125 }, %s }\n";
    static const struct {
        const char *tolerance;
        int code;
    } rows[] = {{"abs = 0.5", EXIT_OK},
                {"abs = 0.49", EXIT_UNEXPECTED},
                {"rel = 0.1", EXIT_UNEXPECTED}, /* 0.125 of 0 */
                {"rel = 0.0589, abs = 0.125", EXIT_OK},
                {"rel = 0.1, from = 0, count = 4", EXIT_UNEXPECTED}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, desc, rows[i].tolerance);
        expect_run(text, "", rows[i].code, NULL);
    }
}

static void guard_bytes_show_a_store_beside_the_buffer(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'u32', count = 4, fill = 0, guard = 16, align = 512, offset = 4 }\n"
        "launch { entry = 'far', grid = 1, block = 1, params = { ptr 'x', i32(%d) } }\n";
    static const struct {
        int by, code;
        const char *text;
    } rows[] = {{0, EXIT_OK, "32 bytes untouched"},
                {16, EXIT_UNEXPECTED, "the first at offset 16"},
                {-4, EXIT_UNEXPECTED, "the first at offset -4"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, desc, rows[i].by);
        expect_run(text, "", rows[i].code, rows[i].text);
    }
}

static void a_kernel_without_end_is_ended_at_the_limit(void **state) {
    (void)state;
    Ran ran = run_desc("buffer 'x' { dtype = 'f32', count = 1 }\n"
                       "launch { entry = 'spin', grid = 1, block = 1, params = { ptr 'x' } }\n",
                       "--run-limit 1s");
    program_expect(&ran, EXIT_FAULT, "timeout: no end within 1 s");
    program_free(&ran);
}

static void large_unsigned_numbers_are_told_exactly(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'u64', count = 3, fill = { -1, 5, 0x8000000000000001 } }\n"
        "launch { entry = 'far', grid = 1, block = 1, params = { ptr('x', 8), i32(0) } }\n"
        "output 'x' { first = 3 }\n";
    expect_run(desc, "", EXIT_OK, "[0] 18446744073709551615 0 9223372036854775809");
    Ran ran = run_desc(desc, "--json");
    assert_string_equal(json_at(&ran, "$.outputs[0].values[2]"), "9223372036854775809");
    assert_string_equal(json_at(&ran, "$.outputs[0].values[1]"), "0");
    program_free(&ran);
}

static void files_go_in_and_out(void **state) {
    (void)state;
    assert_int_equal(system("mkdir -p data"), 0);
    static const char first[] =
        "buffer 'x' { dtype = 'f32', count = 8, fill = 'iota' }\n"
        "launch { entry = 'scale', grid = 1, block = 8, params = { ptr 'x' } }\n"
        "output 'x' { save = 'x.bin' }\n";
    static const char second[] =
        "buffer 'x' { dtype = 'f32', fill = { file = 'x.bin', offset = 8 } }\n"
        "launch { entry = 'scale', grid = 1, block = 6, params = { ptr 'x' } }\n"
        "expect 'x' { equals = { iota = { 8, 4 } } }\n"
        "expect 'x' { equals = { file = 'x.bin', offset = 8 } }\n";
    expect_run(first, "--files data", EXIT_OK, "saved to data/x.bin");
    expect_run(second, "--files data", EXIT_UNEXPECTED, "expect x: 6 elements as expected");
    expect_run(second, "--files data", EXIT_UNEXPECTED, "6 of 6 elements differ");
    expect_run(second, "", EXIT_USAGE, "x.bin");
}

static void the_same_seed_gives_the_same_numbers(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'bf16', count = 64, fill = { normal = { 0, 1 }, seed = %d } }\n"
        "buffer 'y' { dtype = 'i32', count = 64, fill = { uniform = { -3, 3 }, seed = %d } }\n"
        "launch { entry = 'far', grid = 1, block = 1, params = { ptr 'x', i32(0) } }\n"
        "output 'x' { hash = true }\noutput 'y' { hash = true, stats = true }\n";
    char text[2][2][80];
    for (int i = 0; i < 4; i++) {
        char script[640];
        snprintf(script, sizeof script, desc, i % 2, i % 2);
        Ran ran = run_desc(script, "--json");
        assert_int_equal(ran.code, EXIT_OK);
        assert_true(json_number(&ran, "$.outputs[1].min") == -3);
        assert_true(json_number(&ran, "$.outputs[1].max") == 3);
        for (int k = 0; k < 2; k++) {
            const char *hash = json_at(&ran, k ? "$.outputs[1].blake2b" : "$.outputs[0].blake2b");
            if (i < 2) snprintf(text[i][k], sizeof text[i][k], "%s", hash);
            assert_string_equal(hash, text[i % 2][k]);
        }
        program_free(&ran);
    }
    assert_string_not_equal(text[0][0], text[1][0]);
    assert_string_not_equal(text[0][1], text[1][1]);
}

static void figures_of_ptxas_reach_the_occupancy(void **state) {
    (void)state;
    put("d.lua", "buffer 'x' { dtype = 'f32', count = 8192, fill = 1 }\n"
                 "launch { entry = 'scale', grid = 8, block = 256, params = { ptr 'x' } }\n");
    put("ptxas.log", "ptxas info    : 0 bytes gmem\n"
                     "ptxas info    : Compiling entry function 'scale' for 'sm_80'\n"
                     "ptxas info    : Function properties for scale\n"
                     "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
                     "ptxas info    : Used 128 registers, 360 bytes cmem[0]\n");
    put("k.ptx", kernels);
    static const struct {
        const char *options;
        int registers, blocks;
    } rows[] = {{"--registers 32", 32, 8},
                {"--ptxas-log ptxas.log", 128, 2},
                {"--registers 64 --spill-stores 8 --spill-loads 8", 64, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Ran ran =
            program_run("run-ptx k.ptx --launch d.lua --gpu soft:a100 --json %s", rows[i].options);
        assert_int_equal(ran.code, EXIT_OK);
        assert_int_equal((int)json_number(&ran, "$.launches[0].registers"), rows[i].registers);
        assert_int_equal((int)json_number(&ran, "$.launches[0].blocks_per_sm"), rows[i].blocks);
        assert_string_equal(json_at(&ran, "$.launches[0].registers_estimated"), "0");
        program_free(&ran);
    }
    Ran ran = program_run("run-ptx k.ptx --launch d.lua --gpu soft --ptxas-log ptxas.log "
                          "--registers 3");
    program_expect(&ran, EXIT_USAGE, "two ways");
    program_free(&ran);
    ran = program_run("run-ptx k.ptx --launch d.lua --gpu soft --spill-loads 3");
    program_expect(&ran, EXIT_USAGE, "go with --registers");
    program_free(&ran);
}

static void sampled_timing_looks_at_no_results(void **state) {
    (void)state;
    put("k.ptx", kernels);
    put("d.lua", "local n = set.blocks\n"
                 "buffer 'x' { dtype = 'f32', count = 32 * n, fill = 1 }\n"
                 "launch { entry = 'scale', grid = n, block = 32, params = { ptr 'x' } }\n"
                 "expect 'x' { equals = 99 }\n");
    Ran ran = program_run("run-ptx k.ptx --launch d.lua --gpu soft:h100 --timing --checks none "
                          "--set blocks=100000 --json");
    assert_int_equal(ran.code, EXIT_OK);
    assert_string_equal(json_at(&ran, "$.sampled"), "1");
    assert_string_equal(json_at(&ran, "$.expectations[0]"), "");
    assert_int_equal((int)json_number(&ran, "$.launches[0].counters.blocks"), 100000);
    assert_true(json_number(&ran, "$.launches[0].counters.blocks_run") < 10000);
    program_free(&ran);
}

static void repetitions_and_switches_are_taken(void **state) {
    (void)state;
    static const char desc[] =
        "buffer 'x' { dtype = 'f32', count = 32, fill = 1 }\n"
        "launch { grid = 1, block = 32, params = { ptr 'x' } }\nexpect 'x' { equals = 2 }\n";
    expect_run(desc, "--entry scale --repeat 3 --mma exact --seed 5", EXIT_OK, "over 3 launches");
    expect_run(desc, "--entry sca", EXIT_OK, "launch 1   scale");
    expect_run(desc, "--entry scale --mma sloppy", EXIT_USAGE, "--mma: 'sloppy'");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_runs_as_the_document_says),
        cmocka_unit_test(a_profile_has_a_column_per_launch_and_a_row_per_line),
        cmocka_unit_test(a_profile_shows_the_source_that_loc_names),
        cmocka_unit_test(inlined_code_is_told_apart_by_the_line_that_called_it),
        cmocka_unit_test(every_modelled_time_comes_with_range_bounds_model_and_factor),
        cmocka_unit_test(a_struct_by_value_holds_pointers_and_numbers_at_their_offsets),
        cmocka_unit_test(launches_follow_each_other_in_the_order_of_the_text),
        cmocka_unit_test(a_variable_of_the_module_is_set_before_the_launch),
        cmocka_unit_test(pointers_can_be_patched_into_memory),
        cmocka_unit_test(a_store_out_of_bounds_is_a_fault_with_what_ran_before),
        cmocka_unit_test(a_fault_in_json_keeps_the_launches_before_it),
        cmocka_unit_test(checks_can_be_turned_off_and_unknown_ones_are_refused),
        cmocka_unit_test(a_read_of_what_nobody_wrote_is_a_fault),
        cmocka_unit_test(a_warning_is_told_and_does_not_stop_the_run),
        cmocka_unit_test(a_wrong_result_is_told_with_element_value_and_line),
        cmocka_unit_test(tolerances_accept_what_lies_within_and_nothing_else),
        cmocka_unit_test(guard_bytes_show_a_store_beside_the_buffer),
        cmocka_unit_test(a_kernel_without_end_is_ended_at_the_limit),
        cmocka_unit_test(large_unsigned_numbers_are_told_exactly),
        cmocka_unit_test(files_go_in_and_out),
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(figures_of_ptxas_reach_the_occupancy),
        cmocka_unit_test(sampled_timing_looks_at_no_results),
        cmocka_unit_test(repetitions_and_switches_are_taken),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
