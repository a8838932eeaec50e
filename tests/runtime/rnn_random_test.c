/* Recurrent layers of random descriptions through the public functions: cells, types, directions,
 * layers, lengths, strides, chunks and stored gates in combinations that nobody thought of, against
 * the fp64 reference, and in pieces bit for bit. SEQTUNE_TEST_SEED moves them, SEQTUNE_CASE=N runs
 * one. */
#include "tests/runtime/rnn_fixture.h"

enum { CASES = 24, MANY_CASES = 300, MOST_STEPS = 9, MOST_BATCH = 9 };

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next;

static int64_t below(int64_t n) {
    uint64_t x = next += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (int64_t)((x ^ x >> 31) % (uint64_t)n);
}

static bool chance(int64_t one_in) {
    return below(one_in) == 0;
}

static int64_t any_size(int64_t most) {
    return chance(3) ? 8 * (1 + below(most / 8)) : 1 + below(most);
}

static void any_cell(seqtune_rnn_desc *d) {
    d->cell = chance(2) ? SEQTUNE_GRU : SEQTUNE_LSTM;
    d->dtype = (seqtune_dtype)(SEQTUNE_F16 + below(3));
    d->hidden = chance(8) ? 200 + below(120) : any_size(48); /* R beyond one SM, at times */
    d->input = any_size(40);
    d->layer_norm = chance(5);
    d->store_gates = chance(3);
    if (d->cell == SEQTUNE_GRU) {
        d->reset_before = !d->layer_norm && chance(3);
        return;
    }
    d->peephole = chance(4);
    d->projection = chance(4) ? 1 + below(d->hidden) : 0;
    d->cell_clip = chance(4) ? 0.3f : 0;
}

/* Batch first, rows with gaps, or packed. */
static void any_strides(seqtune_rnn_desc *d) {
    const int64_t state = d->projection > 0 ? d->projection : d->hidden;
    const int64_t features = (d->direction == SEQTUNE_RNN_BIDIRECTIONAL ? 2 : 1) * state;
    const int64_t x = d->input + below(9), y = features + below(9);
    if (d->packed && chance(2)) {
        d->x_stride_step = x;
        d->y_stride_step = y;
    } else if (!d->packed && chance(3)) {
        d->x_stride_step = x;
        d->x_stride_batch = d->max_steps * x;
        d->y_stride_step = y;
        d->y_stride_batch = d->max_steps * y;
    } else if (!d->packed && chance(3)) {
        d->x_stride_batch = x;
        d->x_stride_step = d->batch * x + below(9);
        d->y_stride_batch = y;
        d->y_stride_step = d->batch * y + below(9);
    }
}

/* Lengths from 0 to the steps; NULL: all steps. */
static const int64_t *any_lengths(seqtune_rnn_desc *d, int64_t lens[MOST_BATCH]) {
    d->device_lengths = chance(3);
    d->packed = !d->device_lengths && chance(3);
    if (!d->device_lengths && !d->packed) return NULL;
    int64_t sum = 0;
    for (int64_t b = 0; b < d->batch; b++) sum += lens[b] = below(d->max_steps + 1);
    if (d->packed) d->total_tokens = sum > 0 ? sum : 1;
    return lens;
}

static seqtune_rnn_desc any_description(int64_t lens[MOST_BATCH], const int64_t **told) {
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    any_cell(&d);
    d.direction = (seqtune_rnn_direction)below(3);
    d.layers = 1 + below(3);
    d.batch = 1 + below(MOST_BATCH);
    d.max_steps = chance(5) ? 1 : 1 + below(MOST_STEPS);
    d.chunk_steps = chance(3) ? 1 + below(d.max_steps) : 0;
    *told = any_lengths(&d, lens);
    any_strides(&d);
    return d;
}

static void print_case(int number, const seqtune_rnn_desc *d) {
    print_message("case %d: cell %d dtype %d direction %d, %lld layers, batch %lld, input %lld, "
                  "hidden %lld, steps %lld, projection %lld, packed %d, lengths %d, peephole %d, "
                  "norm %d, reset_before %d, gates %d, clip %g, chunk %lld, x %lld %lld, y %lld "
                  "%lld\n",
                  number, (int)d->cell, (int)d->dtype, (int)d->direction, (long long)d->layers,
                  (long long)d->batch, (long long)d->input, (long long)d->hidden,
                  (long long)d->max_steps, (long long)d->projection, d->packed, d->device_lengths,
                  d->peephole, d->layer_norm, d->reset_before, d->store_gates, (double)d->cell_clip,
                  (long long)d->chunk_steps, (long long)d->x_stride_step,
                  (long long)d->x_stride_batch, (long long)d->y_stride_step,
                  (long long)d->y_stride_batch);
}

/* Only forward layers without lengths can be cut. */
static void check_pieces(const Bench *b, const Result *whole) {
    if (b->d.direction != SEQTUNE_RNN_FORWARD || b->lens != NULL || b->d.max_steps == 1) return;
    Result pieces = run_pieces(b, &b->d, 1 + below(b->d.max_steps));
    assert_same(&pieces, whole);
    result_end(&pieces);
}

static int number_of(const char *variable, int otherwise) {
    const char *text = getenv(variable);
    return text != NULL ? atoi(text) : otherwise;
}

static void random_descriptions_agree_with_the_reference(void **state) {
    (void)state;
    const int one = number_of("SEQTUNE_CASE", -1), seed = number_of("SEQTUNE_TEST_SEED", 0);
    const int cases = getenv("SEQTUNE_ALL") != NULL ? MANY_CASES : CASES;
    print_message("SEQTUNE_TEST_SEED=%d\n", seed);
    for (int i = 0; i < cases; i++) {
        int64_t lens[MOST_BATCH] = {0};
        const int64_t *told = NULL;
        next = (uint64_t)seed * 1000003u + (uint64_t)i;
        seed_numbers(next);
        const seqtune_rnn_desc d = any_description(lens, &told);
        if (one >= 0 && i != one) continue;
        print_case(i, &d);
        const bool gru = d.cell == SEQTUNE_GRU;
        Bench b = bench_with(&d, told, gru && chance(2), !gru && chance(2) ? 1 : 0);
        Result r = run_whole(&b);
        check_reference_and_gates(&b, &r);
        check_pieces(&b, &r);
        result_end(&r);
        bench_end(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_descriptions_agree_with_the_reference),
    };
    return cmocka_run_group_tests(tests, rnn_setup, rnn_teardown);
}
