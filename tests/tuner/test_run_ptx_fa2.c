/* FlashAttention-2's own kernels through `seqtune run-ptx`, as its user has them: PTX, what ptxas
 * -v said, a description in Lua (fa2.lua). Results against attention in double with every check;
 * the orders of tiles that its authors compared, by the modelled mean.
 *
 * Needs PTX that is built elsewhere: SEQTUNE_FA2_PTX, see tests/softgpu/fa2_variant.h. Skips
 * without. */
#include "tests/tuner/run_ptx_kernels.h"

#define DESCRIPTION SEQTUNE_SOURCE_DIR "/tests/tuner/fa2.lua"

typedef struct Tile {
    int d, m, n, warps;
    bool q;
} Tile;

typedef struct Order {
    const char *gpu;
    Tile faster, slower;
    double ratio;
    bool open;
} Order;

#define TILE(d, m, n, w)                                                                           \
    { d, m, n, w, false }
#define TILE_Q(d, m, n, w)                                                                         \
    { d, m, n, w, true }
static const Order orders[] = {
#define ORDER(gpu, faster, slower, ratio, open) {gpu, faster, slower, ratio, open},
#include "tests/softgpu/fa2_orders.def"
#undef ORDER
};
enum { ORDERS = sizeof orders / sizeof *orders };

static const char *folder(void) {
    return getenv("SEQTUNE_FA2_PTX");
}

static void file_of(const Tile *t, bool causal, char *out, size_t size) {
    snprintf(out, size, "%s/d%d_%dx%d_%dw%s%s", folder(), t->d, t->m, t->n, t->warps,
             causal ? "_causal" : "", t->q ? "_q" : "");
}
static bool there(const Tile *t, bool causal) {
    char path[512];
    file_of(t, causal, path, sizeof path - 4);
    FILE *const f = fopen(strcat(path, ".ptx"), "r");
    if (f) fclose(f);
    return f != NULL;
}

static Ran run_tile(const Tile *t, bool causal, const char *gpu, int cc, const char *more) {
    char path[512];
    file_of(t, causal, path, sizeof path);
    return program_run("run-ptx %s.ptx --launch " DESCRIPTION " --gpu soft:%s --ptxas-log "
                       "%s.sm_%d.log --json --set 'd=%d m=%d n=%d warps=%d q=%d causal=%d %s",
                       path, gpu, path, cc, t->d, t->m, t->n, t->warps, t->q, causal, more);
}

/* 16384 tokens, 2048 columns over all heads, as the authors measure. */
static double modelled(const Tile *t, const char *gpu) {
    const int cc = strcmp(gpu, "a100") == 0 ? 80 : strcmp(gpu, "h100") == 0 ? 90 : 89;
    char more[64];
    snprintf(more, sizeof more, "length=2048 b=8 h=%d' --timing", 2048 / t->d);
    Ran ran = run_tile(t, false, gpu, cc, more);
    if (ran.code != EXIT_OK) program_fail(&ran, "the tile does not run");
    const double mean = json_number(&ran, "$.launches[0].time.mean");
    program_free(&ran);
    return mean;
}

/* As clock_fa2_test.c: a tie lies within 5 %. */
static void tiles_rank_as_their_authors_found(void **state) {
    (void)state;
    if (!folder()) skip();
    int right = 0, tied = 0, wrong = 0;
    for (int i = 0; i < ORDERS; i++) {
        const Order *const o = &orders[i];
        if (!there(&o->faster, false) || !there(&o->slower, false)) continue;
        const double ratio = modelled(&o->slower, o->gpu) / modelled(&o->faster, o->gpu);
        const bool tie = ratio < 1.05 && ratio > 1 / 1.05;
        right += !tie && ratio > 1;
        tied += tie;
        wrong += !tie && ratio < 1 && !o->open;
        print_message("%-8s d%d %dx%d %dw over %dx%d %dw: %.3f, published %.2f\n", o->gpu,
                      o->faster.d, o->faster.m, o->faster.n, o->faster.warps, o->slower.m,
                      o->slower.n, o->slower.warps, ratio, o->ratio);
    }
    print_message("%d right, %d ties, %d wrong\n", right, tied, wrong);
    assert_int_equal(wrong, 0);
    if (right + tied >= ORDERS - 1) assert_true(right >= 11);
}

static void results_are_attention_and_no_check_finds_anything(void **state) {
    (void)state;
    if (!folder()) skip();
    static const Tile tiles[] = {TILE(64, 128, 128, 4), TILE(128, 64, 64, 4)};
    for (int i = 0; i < 2; i++) {
        const bool causal = i == 1;
        if (!there(&tiles[i], causal)) continue;
        Ran ran = run_tile(&tiles[i], causal, "a100", 80, "length=256 h=2 check=1'");
        if (ran.code != EXIT_OK) program_fail(&ran, "attention is expected");
        assert_string_equal(json_at(&ran, "$.checks"), "all");
        assert_string_equal(json_at(&ran, "$.warnings[0]"), "");
        assert_true(json_number(&ran, "$.expectations[0].count") == 2 * 256 * tiles[i].d);
        assert_true(json_number(&ran, "$.expectations[0].wrong") == 0);
        program_free(&ran);
    }
}

int main(void) {
    if (!folder())
        print_message("SEQTUNE_FA2_PTX is not set: no PTX of FlashAttention-2 to run; skipped\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_attention_and_no_check_finds_anything),
        cmocka_unit_test(tiles_rank_as_their_authors_found),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
