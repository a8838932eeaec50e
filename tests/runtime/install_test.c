/* The installed library as an application meets it: cmake --install, then the example built with
 * pkg-config and with find_package, and run on the software GPU. */
#include "tests/runtime/test.h"

static char *prefix;

static bool have(const char *program) {
    char command[256];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", program);
    return system(command) == 0;
}

/* Runs a shell command in the source tree with $P = prefix; fails with its output. */
static void shell(const char *text, const char *expect) {
    char command[4096], output[8192] = "";
    snprintf(command, sizeof command,
             "cd '%s' && P='%s' && export PKG_CONFIG_PATH=\"$P/" SEQTUNE_TEST_LIBDIR "/pkgconfig\" "
             "SEQTUNE_CACHE_DIR=\"$P/cache\" SEQTUNE_DB=\"$P/none.db\" && { %s; } 2>&1",
             SEQTUNE_SOURCE_DIR, prefix, text);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(output, 1, sizeof output - 1, pipe);
    output[n] = '\0';
    int status = pclose(pipe);
    if (status != 0) fail_msg("%s\n%s", text, output);
    if (expect != NULL) assert_has(output, expect);
}

static void the_example_builds_with_pkg_config_and_is_right(void **state) {
    (void)state;
    if (!have("pkg-config") || !have("cc")) skip();
    shell("cc -std=c11 -O2 -Wall -Wextra -Werror -o \"$P/attention\" examples/attention.c "
          "$(pkg-config --cflags --libs seqtune) -Wl,-rpath,\"$P/" SEQTUNE_TEST_LIBDIR "\" -lm",
          NULL);
    shell("\"$P/attention\" --driver soft --len 70 --head-dim 64", ": right");
    shell("\"$P/attention\" --driver soft --len 70 --head-dim 64 --f16", "(modelled");
}

/* A prompt that ends inside a page, and steps that open another. */
static void the_decode_loop_is_right_and_shows_both_costs(void **state) {
    (void)state;
    if (!have("pkg-config") || !have("cc")) skip();
    shell("cc -std=c11 -O2 -Wall -Wextra -Werror -o \"$P/decode_loop\" examples/decode_loop.c "
          "$(pkg-config --cflags --libs seqtune) -Wl,-rpath,\"$P/" SEQTUNE_TEST_LIBDIR
          "\" -lm -ldl",
          NULL);
    shell("\"$P/decode_loop\" --driver soft --prompt 30 --prompt 14 --steps 4 --layers 2 | "
          "grep -c ' right$'",
          "2");
    shell("\"$P/decode_loop\" --driver soft --prompt 14 --steps 1", "uncached: pairs");
    shell("\"$P/decode_loop\" --steps 0; test $? -eq 2", "usage: decode_loop");
}

static void the_lstm_stream_is_right_and_says_what_is_measured(void **state) {
    (void)state;
    if (!have("pkg-config") || !have("cc")) skip();
    shell("cc -std=c11 -O2 -Wall -Wextra -Werror -o \"$P/lstm_stream\" examples/lstm_stream.c "
          "$(pkg-config --cflags --libs seqtune) -Wl,-rpath,\"$P/" SEQTUNE_TEST_LIBDIR
          "\" -lm -ldl",
          NULL);
    shell("\"$P/lstm_stream\" --driver soft --hidden 40 --input 7 --layers 3 --batch 2 --steps 9 "
          "--warm-up 2",
          ": right");
    shell("\"$P/lstm_stream\" --driver soft --hidden 32 --steps 3 | grep -c "
          "'run.*measured on the host$\\|kernels.*p99.9.* us, modelled$'",
          "2");
    shell("\"$P/lstm_stream\" --driver soft --hidden 32 --steps 3 --period-us 1",
          "late      3 of 3");
    shell("\"$P/lstm_stream\" --layers 99; test $? -eq 2", "--layers 99: must be 1..8");
    shell("\"$P/lstm_stream\" --hidden 12abc; test $? -eq 2", "--hidden 12abc: must be 1..16384");
    shell("\"$P/lstm_stream\" --steps; test $? -eq 2", "usage: lstm_stream");
}

static void the_example_builds_with_find_package(void **state) {
    (void)state;
    shell("cmake -S examples -B \"$P/build\" -DCMAKE_PREFIX_PATH=\"$P\" && "
          "cmake --build \"$P/build\"",
          NULL);
    shell("\"$P/build/attention\" --driver soft --len 33 --heads-q 2 --heads-kv 1 --head-dim 64",
          ": right");
    shell("\"$P/build/decode_loop\" --driver soft --prompt 5 --steps 1", " right");
    shell("\"$P/build/lstm_stream\" --driver soft --hidden 16 --steps 2", ": right");
}

static void the_example_says_what_is_wrong(void **state) {
    (void)state;
    if (!have("pkg-config") || !have("cc")) skip();
    shell("\"$P/attention\" --driver soft --head-dim 72; test $? -eq 2", "head_dim = 72");
    shell("\"$P/attention\" --driver /nonexistent/libcuda.so; test $? -eq 2",
          "/nonexistent/libcuda.so");
    shell("SEQTUNE_NVRTC=/nonexistent SEQTUNE_CACHE_DIR=$P/empty \"$P/attention\" --driver soft; "
          "test $? -eq 2",
          "SEQTUNE_NVRTC=/nonexistent");
}

static int setup(void **state) {
    (void)state;
    prefix = scratch_make();
    char command[8400];
    snprintf(command, sizeof command, "cmake --install '%s' --prefix '%s' >'%s/log' 2>&1",
             SEQTUNE_BINARY_DIR, prefix, prefix);
    if (system(command) == 0) return 0;
    snprintf(command, sizeof command, "cat '%s/log' >&2", prefix);
    (void)!system(command);
    return -1;
}

static int teardown(void **state) {
    (void)state;
    scratch_remove(prefix);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_builds_with_pkg_config_and_is_right),
        cmocka_unit_test(the_decode_loop_is_right_and_shows_both_costs),
        cmocka_unit_test(the_lstm_stream_is_right_and_says_what_is_measured),
        cmocka_unit_test(the_example_builds_with_find_package),
        cmocka_unit_test(the_example_says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
