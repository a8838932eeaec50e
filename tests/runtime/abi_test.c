/* The public face: struct layouts, the header in C++, the symbols that leave the library. */
#include "tests/runtime/test.h"

#include <dlfcn.h>

#include "runtime/seqtune.h"

/* Layouts of version 0 on 64-bit systems. A change here is a change of the ABI: append fields,
 * never move or drop them. */
static void structs_have_the_layout_of_version_0(void **state) {
    (void)state;
    assert_int_equal(sizeof(seqtune_options), 56);
    assert_int_equal(offsetof(seqtune_options, driver), 16);
    assert_int_equal(offsetof(seqtune_options, jit), 48);
    assert_int_equal(sizeof(seqtune_device_info), 72);
    assert_int_equal(sizeof(seqtune_window), 24);
    assert_int_equal(sizeof(seqtune_attention_desc), 272);
    assert_int_equal(offsetof(seqtune_attention_desc, kv), 200);
    assert_int_equal(offsetof(seqtune_attention_desc, batch), 16);
    assert_int_equal(offsetof(seqtune_attention_desc, window), 72);
    assert_int_equal(offsetof(seqtune_attention_desc, scale), 96);
    assert_int_equal(offsetof(seqtune_attention_desc, q_stride_batch), 104);
    assert_int_equal(sizeof(seqtune_attention_args), 128);
    assert_int_equal(offsetof(seqtune_attention_args, cu_seqlens_q), 64);
    assert_int_equal(sizeof(seqtune_merge_desc), 88);
    assert_int_equal(offsetof(seqtune_merge_desc, o_stride_part), 56);
    assert_int_equal(sizeof(seqtune_merge_args), 56);
    assert_int_equal(sizeof(seqtune_kv_desc), 240);
    assert_int_equal(offsetof(seqtune_kv_desc, q_stride_token), 136);
    assert_int_equal(sizeof(seqtune_kv_args), 168);
    assert_int_equal(offsetof(seqtune_kv_args, slots), 56);
    assert_int_equal(sizeof(seqtune_rope_desc), 104);
    assert_int_equal(sizeof(seqtune_rope_args), 64);
    assert_int_equal(sizeof(seqtune_rnn_desc), 168);
    assert_int_equal(offsetof(seqtune_rnn_desc, x_stride_step), 112);
    assert_int_equal(sizeof(seqtune_rnn_args), 104);
    assert_int_equal(sizeof(seqtune_rnn_weights), 96);
    assert_int_equal(sizeof(seqtune_plan_info), 144);
    assert_int_equal(offsetof(seqtune_plan_info, rung), 56);
    assert_int_equal(offsetof(seqtune_plan_info, time_us), 104);
}

static void initialisers_set_the_size_and_nothing_else(void **state) {
    (void)state;
    const seqtune_options o = SEQTUNE_OPTIONS_INIT;
    assert_int_equal(o.size, sizeof o);
    assert_int_equal(o.device, -1);
#define ZERO_BUT_SIZE(type, init)                                                                  \
    do {                                                                                           \
        static const type zero;                                                                    \
        const type got = init;                                                                     \
        assert_int_equal(got.size, sizeof got);                                                    \
        assert_memory_equal((const char *)&got + sizeof got.size,                                  \
                            (const char *)&zero + sizeof got.size, sizeof got - sizeof got.size);  \
    } while (0)
    ZERO_BUT_SIZE(seqtune_attention_desc, SEQTUNE_ATTENTION_DESC_INIT);
    ZERO_BUT_SIZE(seqtune_attention_args, SEQTUNE_ATTENTION_ARGS_INIT);
    ZERO_BUT_SIZE(seqtune_merge_desc, SEQTUNE_MERGE_DESC_INIT);
    ZERO_BUT_SIZE(seqtune_merge_args, SEQTUNE_MERGE_ARGS_INIT);
    ZERO_BUT_SIZE(seqtune_kv_desc, SEQTUNE_KV_DESC_INIT);
    ZERO_BUT_SIZE(seqtune_kv_args, SEQTUNE_KV_ARGS_INIT);
    ZERO_BUT_SIZE(seqtune_rope_desc, SEQTUNE_ROPE_DESC_INIT);
    ZERO_BUT_SIZE(seqtune_rope_args, SEQTUNE_ROPE_ARGS_INIT);
    ZERO_BUT_SIZE(seqtune_rnn_desc, SEQTUNE_RNN_DESC_INIT);
    ZERO_BUT_SIZE(seqtune_rnn_args, SEQTUNE_RNN_ARGS_INIT);
    ZERO_BUT_SIZE(seqtune_rnn_weights, SEQTUNE_RNN_WEIGHTS_INIT);
    ZERO_BUT_SIZE(seqtune_plan_info, SEQTUNE_PLAN_INFO_INIT);
    ZERO_BUT_SIZE(seqtune_device_info, SEQTUNE_DEVICE_INFO_INIT);
#undef ZERO_BUT_SIZE
}

static void a_struct_of_size_0_is_refused(void **state) {
    (void)state;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    options.size = 0;
    assert_int_equal(seqtune_open(&ctx, &options), SEQTUNE_INVALID);
    assert_has(seqtune_open_error(), "SEQTUNE_OPTIONS_INIT");
    options = (seqtune_options)SEQTUNE_OPTIONS_INIT;
    options.jit = (seqtune_jit)9;
    assert_int_equal(seqtune_open(&ctx, &options), SEQTUNE_INVALID);
    assert_has(seqtune_open_error(), "options.jit is 9");
    assert_int_equal(seqtune_open(NULL, NULL), SEQTUNE_INVALID);
}

static void null_handles_are_errors_not_crashes(void **state) {
    (void)state;
    seqtune_plan *plan = NULL;
    seqtune_device_ptr address = 0;
    assert_int_equal(seqtune_plan_attention(NULL, NULL, &plan), SEQTUNE_INVALID);
    assert_int_equal(seqtune_plan_rope(NULL, NULL, &plan), SEQTUNE_INVALID);
    assert_int_equal(seqtune_plan_merge(NULL, NULL, &plan), SEQTUNE_INVALID);
    assert_int_equal(seqtune_plan_kv(NULL, NULL, &plan), SEQTUNE_INVALID);
    assert_int_equal(seqtune_plan_rnn(NULL, NULL, &plan), SEQTUNE_INVALID);
    assert_int_equal(seqtune_supports_rnn(NULL, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_run_rnn(NULL, NULL, 0, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_rnn_weights_bytes(NULL, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_rnn_pack_weights(NULL, SEQTUNE_RNN_PYTORCH, NULL, NULL),
                     SEQTUNE_INVALID);
    assert_has(seqtune_open_error(), "desc is NULL");
    assert_int_equal(seqtune_supports_attention(NULL, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_supports_rope(NULL, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_supports_merge(NULL, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_supports_kv(NULL, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_run_attention(NULL, NULL, 0, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_run_rope(NULL, NULL, 0, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_run_merge(NULL, NULL, 0, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_run_kv(NULL, NULL, 0, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_plan_get_info(NULL, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_get_device_info(NULL, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_device_alloc(NULL, 1, &address), SEQTUNE_INVALID);
    assert_int_equal(seqtune_device_free(NULL, 1), SEQTUNE_INVALID);
    assert_int_equal(seqtune_device_upload(NULL, 1, "", 1), SEQTUNE_INVALID);
    assert_int_equal(seqtune_device_download(NULL, &address, 1, 1), SEQTUNE_INVALID);
    assert_int_equal(seqtune_device_synchronize(NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_plan_workspace(NULL), 0);
    assert_string_equal(seqtune_last_error(NULL), "");
    seqtune_plan_destroy(NULL);
    seqtune_close(NULL);
}

static void every_status_has_a_text(void **state) {
    (void)state;
    for (int s = SEQTUNE_OK; s <= SEQTUNE_INTERNAL; s++)
        assert_true(strlen(seqtune_status_text((seqtune_status)s)) > 1);
    assert_non_null(seqtune_status_text((seqtune_status)999));
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", SEQTUNE_VERSION_MAJOR, SEQTUNE_VERSION_MINOR,
             SEQTUNE_VERSION_PATCH);
    assert_string_equal(seqtune_version(), version);
}

static void rope_tables_keep_their_phase_at_far_positions(void **state) {
    (void)state;
    enum { ROWS = 131072, DIM = 4 };
    float *c = malloc(ROWS * 2 * sizeof *c), *s = malloc(ROWS * 2 * sizeof *s);
    assert_non_null(c);
    assert_non_null(s);
    assert_int_equal(seqtune_rope_table(ROWS, DIM, 10000.0, c, s), SEQTUNE_OK);
    assert_true(c[0] == 1 && s[0] == 0);
    /* cos and sin of 131071 rad and of 1310.71 rad, from 50-digit arithmetic. */
    assert_float_equal(c[131071 * 2], -0.8179834994, 1e-7);
    assert_float_equal(s[131071 * 2], -0.5752416838, 1e-7);
    assert_float_equal(c[131071 * 2 + 1], -0.7863836903, 1e-7);
    assert_float_equal(s[131071 * 2 + 1], -0.6177383683, 1e-7);
    free(c);
    free(s);
    assert_int_equal(seqtune_rope_table(1, 3, 10000.0, NULL, NULL), SEQTUNE_INVALID);
    assert_int_equal(seqtune_rope_table(1, 4, -1.0, NULL, NULL), SEQTUNE_INVALID);
}

static bool have(const char *program) {
    char command[256];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", program);
    return system(command) == 0;
}

static void the_header_compiles_as_cpp_and_as_strict_c(void **state) {
    (void)state;
    static const struct {
        const char *program, *command;
    } rows[] = {
        {"c++", "c++ -std=c++11 -pedantic -Wall -Wextra -Werror -x c++"},
        {"cc", "cc -std=c99 -pedantic -Wall -Wextra -Werror -x c"},
    };
    static const char text[] =
        "#include \\\"seqtune.h\\\"\\nint main(void) { seqtune_options o = SEQTUNE_OPTIONS_INIT; "
        "seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT; seqtune_attention_args a = "
        "SEQTUNE_ATTENTION_ARGS_INIT; seqtune_rope_desc r = SEQTUNE_ROPE_DESC_INIT; "
        "seqtune_rope_args b = SEQTUNE_ROPE_ARGS_INIT; seqtune_merge_desc m = "
        "SEQTUNE_MERGE_DESC_INIT; "
        "seqtune_merge_args n = SEQTUNE_MERGE_ARGS_INIT; seqtune_kv_desc k = SEQTUNE_KV_DESC_INIT; "
        "seqtune_kv_args l = SEQTUNE_KV_ARGS_INIT; seqtune_rnn_desc t = SEQTUNE_RNN_DESC_INIT; "
        "seqtune_rnn_args u = SEQTUNE_RNN_ARGS_INIT; seqtune_rnn_weights w = "
        "SEQTUNE_RNN_WEIGHTS_INIT; seqtune_plan_info p = "
        "SEQTUNE_PLAN_INFO_INIT; return (int)(o.size + d.size + a.size + r.size + b.size + "
        "p.size + m.size + n.size + k.size + l.size + t.size + u.size + w.size == 0); }\\n";
    int tried = 0;
    for (size_t i = 0; i < 2; i++) {
        char command[2048];
        if (!have(rows[i].program)) continue;
        snprintf(command, sizeof command, "printf \"%s\" | %s -I '%s/runtime' -fsyntax-only -",
                 text, rows[i].command, SEQTUNE_SOURCE_DIR);
        if (system(command) != 0) fail_msg("%s", rows[i].command);
        tried++;
    }
    if (tried == 0) skip();
}

static void only_public_names_leave_the_library(void **state) {
    (void)state;
    if (!have("nm")) skip();
    char line[512], name[256], type;
    int count = 0;
    snprintf(line, sizeof line, "nm -D --defined-only '%s'", SEQTUNE_SHARED_LIBRARY);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    while (fgets(line, sizeof line, pipe) != NULL) {
        if (sscanf(line, "%*s %c %255s", &type, name) != 2 || type == 'A') continue;
        if (strncmp(name, "seqtune_", 8) != 0) fail_msg("%s is exported", name);
        count++;
    }
    assert_int_equal(pclose(pipe), 0);
    assert_true(count > 20);
}

static void the_library_can_be_loaded_used_and_unloaded(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        void *handle = dlopen(SEQTUNE_SHARED_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (handle == NULL) fail_msg("%s", dlerror());
        seqtune_status (*open_context)(seqtune_context **, const seqtune_options *);
        const char *(*error)(void);
        void *symbol = dlsym(handle, "seqtune_open");
        memcpy(&open_context, &symbol, sizeof symbol);
        symbol = dlsym(handle, "seqtune_open_error");
        memcpy(&error, &symbol, sizeof symbol);
        seqtune_options options = SEQTUNE_OPTIONS_INIT;
        options.driver = "/nonexistent/driver";
        seqtune_context *ctx = NULL;
        assert_int_equal(open_context(&ctx, &options), SEQTUNE_NOT_FOUND);
        assert_has(error(), "/nonexistent/driver");
        assert_int_equal(dlclose(handle), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structs_have_the_layout_of_version_0),
        cmocka_unit_test(initialisers_set_the_size_and_nothing_else),
        cmocka_unit_test(a_struct_of_size_0_is_refused),
        cmocka_unit_test(null_handles_are_errors_not_crashes),
        cmocka_unit_test(every_status_has_a_text),
        cmocka_unit_test(rope_tables_keep_their_phase_at_far_positions),
        cmocka_unit_test(the_header_compiles_as_cpp_and_as_strict_c),
        cmocka_unit_test(only_public_names_leave_the_library),
        cmocka_unit_test(the_library_can_be_loaded_used_and_unloaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
