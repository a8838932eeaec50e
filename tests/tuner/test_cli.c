/* The command line as a contract: command -> exit code and text. No GPU, no tuning. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/tuner/program.h"
#include "tuner/options.h"

#define SAXPY                                                                                      \
    SEQTUNE_SOURCE_DIR "/examples/run_ptx/saxpy.ptx --gpu soft --launch " SEQTUNE_SOURCE_DIR       \
                       "/examples/run_ptx/saxpy.lua"

typedef struct Row {
    const char *args;
    int code;
    const char *text; /* in stdout or stderr */
} Row;

static void assert_rows(const Row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        Ran ran = program_run("%s", rows[i].args);
        program_expect(&ran, rows[i].code, rows[i].text);
        program_free(&ran);
    }
}

#define ASSERT_ROWS(rows) assert_rows(rows, sizeof rows / sizeof rows[0])

static void what_is_not_a_command_is_named_with_the_nearest(void **state) {
    (void)state;
    static const Row rows[] = {
        {"", EXIT_USAGE, "seqtune --gpu auto"},
        {"frobnicate", EXIT_USAGE, "unknown command 'frobnicate'; legal: tune"},
        {"tun", EXIT_USAGE, "did you mean tune?"},
        {"db", EXIT_USAGE, "export, import, merge, check"},
        {"db --help", EXIT_OK, "db import  FILE..."},
        {"help db", EXIT_OK, "db export  FILE "},
        {"db exprt x", EXIT_USAGE, "did you mean export?"},
        {"help shwo", EXIT_USAGE, "did you mean show?"},
    };
    ASSERT_ROWS(rows);
}

static void what_is_not_an_option_or_a_value_is_named_with_the_legal_ones(void **state) {
    (void)state;
    static const Row rows[] = {
        {"tune --gpuu auto", EXIT_USAGE, "did you mean --gpu?"},
        {"gpus --ptx", EXIT_USAGE, "option --ptx is not for 'gpus'"},
        {"--gpu", EXIT_USAGE, "--gpu wants a value: auto|N|soft[:MODEL]"},
        {"--gpu=", EXIT_USAGE, "empty value"},
        {"--gpu fast", EXIT_USAGE, "unknown GPU 'fast'; legal: auto"},
        {"--gpu -1", EXIT_USAGE, "unknown GPU '-1'"},
        {"--gpu soft:a10", EXIT_USAGE, "did you mean a100?"},
        {"explain --op rope --gpu soft:zzz", EXIT_USAGE, "legal: t4"},
        {"--budget soon", EXIT_USAGE, "'soon' is not a time above 0 (legal: 90s, 15m, 2h, 1.5h)"},
        {"--budget 0", EXIT_USAGE, "is not a time above 0"},
        {"--compile-limit x", EXIT_USAGE, "--compile-limit"},
        {"--run-limit -3s", EXIT_USAGE, "--run-limit"},
        {"--jobs 0", EXIT_USAGE, "'0' is not a number from 1"},
        {"--effort many", EXIT_USAGE, "'many' is not a number"},
        {"--json=1 gpus", EXIT_USAGE, "--json takes no value"},
        {"gpus 7", EXIT_USAGE, "'gpus' does not take '7'"},
        {"db export", EXIT_USAGE, "wants FILE"},
        {"db merge one", EXIT_USAGE, "wants OUT FILE..."},
        {"--op rop --gpu soft", EXIT_USAGE, "unknown kernel 'rop' in --op; did you mean rope?"},
        {"list --op nothing_like_it", EXIT_USAGE, "legal: attn_"},
        {"--workload comon --gpu soft", EXIT_USAGE, "comon"},
        {"--workload ./absent.lua --gpu soft", EXIT_USAGE, "absent.lua"},
        {"--workload smoke --op attn_naive --gpu soft", EXIT_USAGE, "has no problem of --op"},
        {"explain --gpu soft", EXIT_USAGE, "name one with --op"},
        {"explain --op rope,attn_prefill --gpu soft", EXIT_USAGE, "one kernel is wanted"},
        {"explain --op rope --gpu soft --problem dtyp=f16", EXIT_USAGE, "did you mean 'dtype'"},
        {"explain --op rope --gpu soft --problem dtype=f8", EXIT_USAGE, "f8"},
        {"explain --op rope --gpu soft --problem tokens=99999999999999999999", EXIT_USAGE,
         "tokens = '99999999999999999999' is not an integer in 0..16777216"},
        {"explain --op rope --gpu soft --problem tokens=-1", EXIT_USAGE, "-1"},
        {"explain --op rope --gpu soft --config vec=2", EXIT_USAGE, "vec"},
        {"explain --op rope --gpu soft --config 'vec_bytes=3 block_threads=128 head_sequential=0'",
         EXIT_USAGE, "3"},
        {"list --source /nonexistent/tree", EXIT_USAGE, "there is no directory"},
        {"list --source .", EXIT_USAGE, ".: no scripts/kernels/*.lua; a source tree is"},
        {"explain --op rnn_seq --gpu soft --problem 'cell=gru peephole=1'", EXIT_USAGE, "peephole"},
        {"run-ptx " SAXPY " --checks foo", EXIT_USAGE, "--checks (SOFTGPU_CHECKS): 'foo' is no"},
        {"run-ptx " SAXPY " --seed -1", EXIT_USAGE, "--seed (SOFTGPU_SEED): \"-1\" is no seed"},
    };
    ASSERT_ROWS(rows);
}

static void commands_that_only_tell_work_without_a_gpu(void **state) {
    (void)state;
    static const Row rows[] = {
        {"version", EXIT_OK, "seqtune 0."},
        {"--version", EXIT_OK, "seqtune 0."},
        {"version --json", EXIT_OK, "\"version\": \"seqtune 0."},
        {"gpus", EXIT_OK, "rtx4090"},
        {"gpus --json", EXIT_OK, "\"models\""},
        {"list", EXIT_OK, "attn_prefill: "},
        {"list --op rope", EXIT_OK, "axis  vec_bytes"},
        {"list --json", EXIT_OK, "\"workloads\""},
        {"list --source " SEQTUNE_SOURCE_DIR, EXIT_OK, "smoke"},
        {"explain --op attn_prefill --gpu soft", EXIT_OK, "scripts/kernels/attn_prefill.lua:"},
        {"explain --op attn_prefill --gpu soft:t4 --problem dtype=f16", EXIT_OK, "on NVIDIA T4"},
        {"explain --op attn_prefill --gpu soft:t4 --problem dtype=bf16", EXIT_OK, " 0 legal"},
        {"explain --op rope --gpu soft --json", EXIT_OK, "\"dropped\""},
        {"emit --op rope --gpu soft", EXIT_OK, "extern \"C\""},
        {"emit --op rope --gpu soft:t4 --ptx", EXIT_OK, "// seqtune-ptxas: entry=rope"},
        {"emit --op attn_prefill --gpu soft --config 'block_m=1'", EXIT_USAGE, "block_m"},
        {"emit --op rope --gpu soft --output emitted.cu", EXIT_OK, ""},
        {"emit --op rope --gpu soft --output /nonexistent/x.cu", EXIT_STORAGE, "/nonexistent/x.cu"},
        {"profile --op rope --gpu soft --problem tokens=64", EXIT_OK, "modelled (a100, factor"},
        {"profile --op rope --gpu soft:t4 --problem tokens=64", EXIT_OK, "global.load.sectors"},
        {"profile --op rope --gpu soft --problem tokens=64 --lines", EXIT_OK, "(share: modelled)"},
        {"profile --op rope --gpu soft --problem tokens=64 --json", EXIT_OK, "\"counters\""},
        {"profile --op rope --gpu soft --problem tokens=64 --json --lines", EXIT_OK,
         "\"modelled_share\""},
        {"profile --op rope --gpu soft --problem tokens=64", EXIT_OK, "a sample of 8 of 128 ran"},
        {"profile --op rope --gpu soft --problem tokens=64 --full", EXIT_OK, "all 128 ran"},
        {"profile --op attn_prefill --gpu soft --lines --inlined", EXIT_OK,
         "lib/mma.cuh:26 in attn/prefill_mma.cu:"},
        {"profile --op rope --gpu soft --inlined", EXIT_USAGE, "--inlined goes with --lines"},
        {"profile --op rope --gpu soft --problem tokens=64", EXIT_OK, "over the model's runs; by"},
        {"profile --op rope --gpu soft k.ptx", EXIT_USAGE, "'profile' does not take 'k.ptx'"},
        {"profile --help", EXIT_OK, "a kernel of your own: run-ptx FILE --profile"},
        {"profile --op rope --gpu soft --config vec=2", EXIT_USAGE, "vec"},
        {"show", EXIT_STORAGE, "there is no database"},
        {"show --db absent.db", EXIT_STORAGE, "absent.db"},
        {"why --op rope --gpu soft --db absent.db", EXIT_STORAGE, "absent.db"},
        {"why --op rope --gpu soft", EXIT_OK, "step     default"},
        {"db check absent.db", EXIT_STORAGE, "absent.db"},
        {"db export x.db --db absent.db", EXIT_STORAGE, "absent.db"},
    };
    ASSERT_ROWS(rows);
    struct stat st;
    assert_int_equal(stat("emitted.cu", &st), 0);
}

/* The value of a counter in the array at `path`. */
static double counter_in(const Ran *ran, const char *path, const char *name) {
    for (int i = 0; i < 200; i++) {
        char at[96];
        snprintf(at, sizeof at, "%s[%d].name", path, i);
        if (strcmp(json_at(ran, at), name) != 0) continue;
        snprintf(at, sizeof at, "%s[%d].value", path, i);
        return json_number(ran, at);
    }
    program_fail(ran, name);
    return 0;
}

static void profile_shows_every_launch_of_a_variant_and_their_total(void **state) {
    (void)state;
    static const char *const entries[] = {"attn_naive_scores", "attn_naive_softmax",
                                          "attn_naive_output"};
    static const char problem[] = "'heads_q=1 heads_kv=1 len_q=64 len_kv=64'";
    Ran ran = program_run("profile --op attn_naive --gpu soft:a100 --problem %s --full --lines "
                          "--json",
                          problem);
    program_expect(&ran, EXIT_OK, "\"launches\"");
    double seconds = 0, instructions = 0, share = 0;
    for (int i = 0; i < 3; i++) {
        char at[64], time[96];
        snprintf(at, sizeof at, "$.launches[%d].entry", i);
        assert_string_equal(json_at(&ran, at), entries[i]);
        snprintf(at, sizeof at, "$.launches[%d].time", i);
        const char *const names[] = {"low", "mean", "high", "at_least", "estimate"};
        double values[5];
        for (int k = 0; k < 5; k++) {
            snprintf(time, sizeof time, "%s.%s", at, names[k]);
            values[k] = json_number(&ran, time);
            assert_true(values[k] > 1e-6 && values[k] < 1e-3);
        }
        assert_true(values[0] <= values[1] && values[1] <= values[2]);
        seconds += values[1];
        snprintf(at, sizeof at, "$.launches[%d].counters", i);
        instructions += counter_in(&ran, at, "inst.ptx");
        assert_true(counter_in(&ran, at, "blocks") == counter_in(&ran, at, "blocks.run"));
    }
    assert_string_equal(json_at(&ran, "$.launches[3]"), "");
    assert_true(fabs(json_number(&ran, "$.seconds") / seconds - 1) < 1e-4); /* events: f32 ms */
    assert_true(fabs(counter_in(&ran, "$.total", "time.mean") / seconds - 1) < 1e-9);
    assert_true(counter_in(&ran, "$.total", "inst.ptx") == instructions);
    for (int i = 0; i < 1000; i++) {
        char at[64];
        snprintf(at, sizeof at, "$.lines[%d].modelled_share", i);
        if (json_at(&ran, at)[0] == '\0') break;
        share += json_number(&ran, at);
    }
    assert_true(fabs(share - 1) < 1e-6);
    program_free(&ran);
    ran = program_run("profile --op attn_naive --gpu soft:a100 --problem %s", problem);
    program_expect(&ran, EXIT_OK, "3 launches together");
    program_expect(&ran, EXIT_OK, "launch 2     launch 3        total");
    program_free(&ran);
}

#ifdef SEQTUNE_FAKE_CUDA
/* A driver without the software GPU's side door stands for a real GPU. */
static void on_a_real_gpu_profiles_say_that_counters_are_of_the_software_gpu(void **state) {
    (void)state;
    static const char on_fake[] = "SEQTUNE_DRIVER=" SEQTUNE_FAKE_CUDA " ";
    static const char saxpy[] = "run-ptx " SEQTUNE_SOURCE_DIR "/examples/run_ptx/saxpy.ptx "
                                "--launch " SEQTUNE_SOURCE_DIR "/examples/run_ptx/saxpy.lua";
    static const char said[] = "counters come from the software GPU only: --gpu soft:MODEL";
    Ran ran = program_run_in(on_fake, "profile --op rope --problem tokens=64 --lines");
    program_expect(&ran, EXIT_OK, said);
    program_expect(&ran, EXIT_OK, "us measured");
    assert_null(strstr(ran.out, "modelled"));
    program_free(&ran);
    ran = program_run_in(on_fake, "profile --op rope --problem tokens=64 --json --full");
    assert_int_equal(ran.code, EXIT_OK);
    assert_string_equal(json_at(&ran, "$.counted"), "0");
    assert_string_equal(json_at(&ran, "$.evidence"), "measured");
    assert_string_equal(json_at(&ran, "$.launches"), "");
    program_free(&ran);
    ran = program_run_in(on_fake, "%s --profile --lines", saxpy); /* which runs nothing: exit 7 */
    program_expect(&ran, EXIT_UNEXPECTED, said);
    program_expect(&ran, EXIT_UNEXPECTED, "us measured");
    program_free(&ran);
    ran = program_run_in(on_fake, "%s --profile --json", saxpy);
    assert_string_equal(json_at(&ran, "$.profiled"), "0");
    assert_string_equal(json_at(&ran, "$.launches[0].profile"), "");
    program_free(&ran);
}
#endif

static void kv_plan_does_the_arithmetic_of_caches(void **state) {
    (void)state;
    static const Row rows[] = {
        {"kv-plan --model llama-2-7b --context 32k --gpu soft:a100", EXIT_OK,
         "f16 K/V: 512 KiB per token; 32768 tokens: 16 GiB per sequence"},
        {"kv-plan --model llama-3-8b --context 8k --batch 4 --page-size 16 --gpu soft:a100",
         EXIT_OK,
         "128 KiB per token; 8192 tokens: 1 GiB per sequence; batch 4 in pages of 16: 4 GiB"},
        {"kv-plan --model llama-3-8b --dtype int8 --context 1m --gpu soft:a100", EXIT_OK,
         "int8 K/V: 64 KiB per token; 1048576 tokens: 64 GiB per sequence"},
        /* A window keeps no more than itself, at any length, in one page more when it slides; 100
           tokens in pages of 64 leave 28 empty. */
        {"kv-plan --model mistral-7b --context 64k --gpu soft:a100", EXIT_OK,
         "65536 tokens: 512 MiB per sequence; batch 1 in pages of 16: 514 MiB"},
        {"kv-plan --model mistral-7b --context 64k --gpu soft:a100", EXIT_OK,
         "or one of any length"},
        {"kv-plan --model mistral-7b --context 64k --json --gpu soft:a100", EXIT_OK,
         "\"longest_sequence\": null"},
        {"kv-plan --model mistral-7b --context 64k --page-size 1 --gpu soft:a100", EXIT_OK,
         "        1                4096                0 B                0 B"},
        {"kv-plan --model mistral-7b --context 4k --gpu soft:a100", EXIT_OK,
         "       16                 256                0 B"},
        {"kv-plan --model llama-2-7b --context 32k --gpu soft:a100", EXIT_OK, "or one of 1"},
        {"kv-plan --model llama-2-7b --context 100 --gpu soft:a100", EXIT_OK,
         "       64                   2             14 MiB          15.75 MiB  8 B"},
        {"kv-plan --model llama-2-70b --gpu soft:rtx4090", EXIT_OK,
         "the weights alone do not fit 90 % of it"},
        {"kv-plan --model llama-2-7b --context 32k --json --gpu soft:a100", EXIT_OK,
         "\"bytes_per_token\": 524288"},
        {"kv-plan", EXIT_USAGE, "kv-plan needs --model NAME"},
        {"kv-plan --model llama-9", EXIT_USAGE, "no such model; known: llama-2-7b"},
        {"kv-plan --model llama-2-7b --context 0", EXIT_USAGE, "--context 0: must be 1.."},
        {"kv-plan --model llama-2-7b --context 32q", EXIT_USAGE, "--context 32q"},
        {"kv-plan --model llama-2-7b --context 2000000k", EXIT_USAGE, "--context 2000000k"},
        {"kv-plan --model llama-2-7b --dtype f8", EXIT_USAGE, "--dtype f8: must be f16, bf16"},
        {"kv-plan --model llama-2-7b --page-size 0", EXIT_USAGE, "--page-size"},
    };
    ASSERT_ROWS(rows);
}

static void advice_counts_what_layers_cost_and_names_its_sources(void **state) {
    (void)state;
    static const Row rows[] = {
        {"advise --len 4k --hidden 1024 --batch 16 --no-times --gpu soft:a100", EXIT_OK,
         "steps in sequence                                4096         4096            1  "
         "attention"},
        /* 8, 6, 4 H^2 weights of two bytes; h and c against K and V of 4096 tokens. */
        {"advise --len 4k --hidden 1024 --no-times --gpu soft:a100", EXIT_OK,
         "weights, 16 bit                                16 MiB       12 MiB        8 MiB  "
         "attention"},
        {"advise --len 4k --hidden 1024 --no-times --gpu soft:a100", EXIT_OK,
         "memory per sequence                             6 KiB        2 KiB       16 MiB  "
         "recurrent"},
        {"advise --len 4k --hidden 1024 --no-times --gpu soft:a100", EXIT_OK,
         "[2] Khandelwal et al. 2018"},
        {"advise --len 128 --hidden 512 --no-times --gpu soft:a100", EXIT_OK,
         "no --data given: not judged"},
        {"advise --len 128 --hidden 512 --data 500k --no-times --gpu soft:a100", EXIT_OK,
         "[6] Ezen-Can"},
        {"advise --len 128 --hidden 512 --data 20m --no-times --gpu soft:a100", EXIT_OK,
         "no source says where it turns: train both [4] [5]"},
        {"advise --len 4k --hidden 512 --data 2g --no-times --gpu soft:a100", EXIT_OK,
         "so: take attention: cheaper by steps in sequence, and the sources on quality agree"},
        {"advise --len 1k --hidden 512 --batch 8 --streaming --data 2g --no-times --gpu soft:a100",
         EXIT_OK,
         "so: recurrent is cheaper by bytes per step, attention is better by the sources on "
         "quality"},
        /* 4 H L B bytes: 128 GiB; an A100 has 80. */
        {"advise --len 1m --hidden 4096 --batch 8 --no-times --gpu soft:a100", EXIT_OK,
         "memory of the batch                           192 KiB       64 KiB      128 GiB  "
         "recurrent"},
        {"advise --len 1m --hidden 4096 --batch 8 --no-times --gpu soft:a100", EXIT_OK,
         "so: take recurrent, or attention over a window"},
        {"advise --len 4k --hidden 1024 --batch 2 --no-times --gpu soft:a100", EXIT_OK,
         "for every layer"},
        {"advise --hidden 512", EXIT_USAGE, "advise needs --len L and --hidden H"},
        {"advise --len 12", EXIT_USAGE, "advise needs --len L and --hidden H"},
        {"advise --len 0 --hidden 8", EXIT_USAGE, "--len 0: must be 1.."},
        {"advise --len 2000000k --hidden 8", EXIT_USAGE, "--len 2000000k: must be 1.."},
        {"advise --len 12 --hidden 8 --data many", EXIT_USAGE, "--data many: must be 1.."},
        {"advise --len 12 --hidden 0", EXIT_USAGE, "--hidden"},
    };
    ASSERT_ROWS(rows);
}

static void advice_on_single_steps_turns_with_the_context(void **state) {
    (void)state;
    /* 16 H^2 + 6 H B bytes against 8 H^2 + 4 H L B: at H = 512, B = 1 they meet near L = 1024. */
    static const struct {
        int length;
        const char *faster;
    } rows[] = {{256, "take attention"}, {2048, "recurrent is cheaper"}};
    for (size_t i = 0; i < 2; i++) {
        Ran ran =
            program_run("advise --len %d --hidden 512 --streaming --data 2g --json --no-times "
                        "--gpu soft:a100",
                        rows[i].length);
        assert_int_equal(ran.code, EXIT_OK);
        assert_non_null(strstr(json_at(&ran, "$.conclusion"), rows[i].faster));
        assert_string_equal(json_at(&ran, "$.costs.lstm.bytes_per_step"), "4197376");
        assert_string_equal(json_at(&ran, "$.costs.gru.flops_per_token"), "3145728");
        assert_string_equal(json_at(&ran, "$.costs.attention.weights"), "1048576");
        program_free(&ran);
    }
}

static void a_full_disk_under_stdout_is_an_error(void **state) {
    (void)state;
    char shell[1024];
    snprintf(shell, sizeof shell, "%s/tuner/seqtune list >/dev/full 2>full.err",
             SEQTUNE_BINARY_DIR);
    assert_int_equal(system(shell) >> 8, EXIT_STORAGE);
    char *err = program_read("full.err");
    assert_non_null(strstr(err, "No space left"));
    free(err);
}

static void a_configuration_that_is_out_says_rule_reason_and_line(void **state) {
    (void)state;
    static const char config[] = "block_m=64 block_n=32 warps=8 stages=1 q_in_regs=0 pack_group=0";
    Ran ran = program_run("explain --op attn_prefill --gpu soft --config '%s'", config);
    program_expect(&ran, EXIT_OK, "out: each warp owns whole m16 row blocks of Q");
    program_expect(&ran, EXIT_OK, "scripts/kernels/attn_prefill.lua:");
    program_free(&ran);
    ran = program_run("explain --op attn_prefill --gpu soft --json --config '%s'", config);
    assert_string_equal(json_at(&ran, "$.legal"), "0");
    assert_string_equal(json_at(&ran, "$.rule"), "block_m % (16 * warps) == 0");
    assert_true(json_number(&ran, "$.line") > 1);
    program_free(&ran);
    ran = program_run("emit --op attn_prefill --gpu soft --config '%s'", config);
    program_expect(&ran, EXIT_UNSERVED, "each warp owns whole m16 row blocks of Q");
    program_expect(&ran, EXIT_UNSERVED,
                   "rule block_m % (16 * warps) == 0 at scripts/kernels/attn_");
    program_free(&ran);
}

static void where_nothing_is_legal_the_reason_comes_first(void **state) {
    (void)state;
    Ran ran = program_run("explain --op attn_prefill --gpu soft:t4 --problem dtype=bf16");
    program_expect(&ran, EXIT_OK,
                   "0 legal: no variant serves this problem on this GPU\n     576  "
                   "limit of the GPU, e.g. attn_prefill: no pipeline");
    program_free(&ran);
}

static void without_nvrtc_every_command_that_compiles_says_so(void **state) {
    (void)state;
    static const char *const libraries[] = {"/nonexistent/libnvrtc.so", "libm.so.6"};
    static const char *const said[] = {"/nonexistent/libnvrtc.so", "is not NVRTC, or older than"};
    static const char *const commands[] = {"emit --op rope --gpu soft --ptx",
                                           "profile --op rope --gpu soft --problem 'tokens=64'"};
    for (size_t i = 0; i < 4; i++) {
        char before[160];
        snprintf(before, sizeof before, "SEQTUNE_CACHE_DIR=nothing%zu SEQTUNE_NVRTC=%s ", i,
                 libraries[i / 2]);
        Ran ran = program_run_in(before, "%s", commands[i % 2]);
        program_expect(&ran, EXIT_NO_DEVICE, said[i / 2]);
        program_free(&ran);
    }
}

/* A formula that cannot be computed is the spec's mistake, whichever command finds it. */
static void a_formula_that_fails_is_an_error_of_the_spec(void **state) {
    (void)state;
    assert_int_equal(
        system("mkdir -p badtree/runtime && cp -r " SEQTUNE_SOURCE_DIR
               "/scripts " SEQTUNE_SOURCE_DIR "/templates badtree/ && cp -r " SEQTUNE_SOURCE_DIR
               "/runtime/params badtree/runtime/ && sed -i 's,\"vec_bytes // 2\",\"vec_bytes // "
               "(head_dim - head_dim)\",' badtree/scripts/kernels/rope.lua"),
        0);
    static const char *const commands[] = {"explain", "emit", "profile"};
    for (size_t i = 0; i < 3; i++) {
        Ran ran = program_run("%s --op rope --gpu soft --source badtree", commands[i]);
        program_expect(&ran, EXIT_FAILED, "scripts/kernels/rope.lua:");
        program_free(&ran);
    }
}

static void a_log_level_that_is_none_is_said(void **state) {
    (void)state;
    Ran ran = program_run_in("SEQTUNE_LOG=loud ", "why --op rope --gpu soft");
    program_expect(&ran, EXIT_OK, "SEQTUNE_LOG=loud is no level (debug, info, warn, error, off)");
    program_free(&ran);
}

static void explain_counts_add_up(void **state) {
    (void)state;
    Ran ran = program_run("explain --op attn_prefill --gpu soft --json");
    double dropped = 0;
    char path[64];
    for (int i = 0;; i++) {
        snprintf(path, sizeof path, "$.rules[%d].dropped", i);
        if (json_at(&ran, path)[0] == '\0') break;
        dropped += json_number(&ran, path);
    }
    for (int i = 0;; i++) {
        snprintf(path, sizeof path, "$.limits[%d].dropped", i);
        if (json_at(&ran, path)[0] == '\0') break;
        dropped += json_number(&ran, path);
    }
    assert_true(dropped > 0);
    assert_true(dropped + json_number(&ran, "$.legal") == json_number(&ran, "$.configurations"));
    program_free(&ran);
}

static void every_json_document_parses(void **state) {
    (void)state;
    static const char *const commands[] = {"version --json", "gpus --json", "list --json",
                                           "explain --op rope --gpu soft --json"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        Ran ran = program_run("%s", commands[i]);
        json_at(&ran, "$");
        program_free(&ran);
    }
}

/* Text of a file of the source tree. */
static char *source_text(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", SEQTUNE_SOURCE_DIR, name);
    char *text = calloc(1, PROGRAM_TEXT);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("cannot read %s", path);
    assert_non_null(text);
    assert_true(fread(text, 1, PROGRAM_TEXT - 1, f) > 0);
    fclose(f);
    return text;
}

static void every_option_of_every_help_is_documented_and_used_by_a_test(void **state) {
    (void)state;
    char *docs = source_text("docs/cli.md"), *cli = source_text("tests/tuner/test_cli.c");
    char *session = source_text("tests/tuner/test_session.c");
    char *run_ptx = source_text("tests/tuner/test_run_ptx.c");
    for (Command c = 0; c < CMD_COUNT; c++) {
        Ran ran = program_run("help %s", command_name(c));
        program_expect(&ran, EXIT_OK, command_name(c));
        if (!strstr(docs, command_name(c))) fail_msg("docs/cli.md lacks %s", command_name(c));
        for (char *at = ran.out; (at = strstr(at, "\n  --"));) {
            char option[32];
            at += 3;
            snprintf(option, sizeof option, "%.*s", (int)strcspn(at, " \n"), at);
            if (!strstr(docs, option)) fail_msg("docs/cli.md lacks %s", option);
            if (!strstr(cli, option) && !strstr(session, option) && !strstr(run_ptx, option))
                fail_msg("no test uses %s", option);
        }
        program_free(&ran);
        ran = program_run("%s --help", command_name(c));
        program_expect(&ran, EXIT_OK, "options");
        program_free(&ran);
    }
    free(docs);
    free(cli);
    free(session);
    free(run_ptx);
}

static void exit_codes_are_documented(void **state) {
    (void)state;
    char *docs = source_text("docs/cli.md");
    Ran ran = program_run("--help");
    static const int codes[] = {EXIT_OK,       EXIT_FAILED,     EXIT_USAGE,
                                EXIT_UNSERVED, EXIT_NO_DEVICE,  EXIT_STORAGE,
                                EXIT_FAULT,    EXIT_UNEXPECTED, EXIT_INTERRUPTED};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        char in_docs[32], in_help[32];
        snprintf(in_docs, sizeof in_docs, "| %d |", codes[i]);
        snprintf(in_help, sizeof in_help, "\n  %-4d ", codes[i]);
        if (!strstr(docs, in_docs)) fail_msg("docs/cli.md lacks exit code %d", codes[i]);
        program_expect(&ran, EXIT_OK, in_help);
    }
    program_free(&ran);
    free(docs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_a_command_is_named_with_the_nearest),
        cmocka_unit_test(what_is_not_an_option_or_a_value_is_named_with_the_legal_ones),
        cmocka_unit_test(commands_that_only_tell_work_without_a_gpu),
        cmocka_unit_test(profile_shows_every_launch_of_a_variant_and_their_total),
#ifdef SEQTUNE_FAKE_CUDA
        cmocka_unit_test(on_a_real_gpu_profiles_say_that_counters_are_of_the_software_gpu),
#endif
        cmocka_unit_test(kv_plan_does_the_arithmetic_of_caches),
        cmocka_unit_test(advice_counts_what_layers_cost_and_names_its_sources),
        cmocka_unit_test(advice_on_single_steps_turns_with_the_context),
        cmocka_unit_test(a_full_disk_under_stdout_is_an_error),
        cmocka_unit_test(a_configuration_that_is_out_says_rule_reason_and_line),
        cmocka_unit_test(where_nothing_is_legal_the_reason_comes_first),
        cmocka_unit_test(without_nvrtc_every_command_that_compiles_says_so),
        cmocka_unit_test(a_formula_that_fails_is_an_error_of_the_spec),
        cmocka_unit_test(a_log_level_that_is_none_is_said),
        cmocka_unit_test(explain_counts_add_up),
        cmocka_unit_test(every_json_document_parses),
        cmocka_unit_test(every_option_of_every_help_is_documented_and_used_by_a_test),
        cmocka_unit_test(exit_codes_are_documented),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
