/* The decision table of recurrent against attention layers; see the header. */
#include "tuner/advise.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tuner/amounts.h"

enum { WEIGHT_BYTES = 2, SMALL_DATA = 1000000, LARGE_DATA = 100000000, LSTM_CONTEXT = 200 };

static const char *const sources[] = {
#define ADVISE_SOURCE(number, text) [(number)-1] = text,
#include "tuner/advise_data.def"
#undef ADVISE_SOURCE
};

const char *advise_source(int number) {
    const int count = sizeof sources / sizeof sources[0];
    return number >= 1 && number <= count ? sources[number - 1] : NULL;
}

const char *advise_side_name(AdviseSide side) {
    static const char *const names[] = {"either", "recurrent", "attention"};
    return names[side];
}

/* ---- arithmetic ---- */

/* Matrices of H x H: W and R of 4 or 3 gates; Q, K, V and O. A multiply-add is two operations. */
AdviseCost advise_cost(AdviseModel model, const AdviseAsk *ask) {
    static const double squares[] = {8, 6, 4};
    const double h = (double)ask->hidden, length = (double)ask->length;
    const double batch = (double)ask->batch;
    AdviseCost c = {.path = length, .steps = length, .weights = squares[model] * h * h};
    c.flops = 2 * c.weights;
    c.reuse = batch;
    if (model == ADVISE_ATTENTION) {
        /* Scores and sums over the keys: 2 H each per key, causal: (L + 1) / 2 keys in the mean. */
        const double keys = ask->streaming ? length : (length + 1) / 2;
        c.flops += 4 * h * keys;
        c.state_bytes = 2 * h * length * WEIGHT_BYTES;
        c.path = c.steps = 1;
        if (!ask->streaming) c.reuse = batch * length;
    } else {
        c.state_bytes = h * WEIGHT_BYTES + (model == ADVISE_LSTM ? h * 4 : 0);
    }
    if (ask->streaming) c.steps = 1;
    c.step_bytes = c.weights * WEIGHT_BYTES + batch * c.state_bytes;
    return c;
}

/* Within 5 % decides nothing. */
static AdviseSide fewer(double recurrent, double attention) {
    if (fabs(recurrent - attention) <= 0.05 * fabs(attention)) return ADVISE_EITHER;
    return recurrent < attention ? ADVISE_TAKE_RECURRENT : ADVISE_TAKE_ATTENTION;
}

/* ---- lines ---- */

typedef struct Table {
    const AdviseAsk *ask;
    AdviseCost cost[ADVISE_MODELS];
    AdviseLine *lines;
    size_t count;
} Table;

typedef enum Unit { STEPS, BYTES, OPERATIONS } Unit;

static AdviseLine *add(Table *t, const char *what, AdviseSide better, int source, const char *why,
                       ...) __attribute__((format(printf, 5, 6)));

static AdviseLine *add(Table *t, const char *what, AdviseSide better, int source, const char *why,
                       ...) {
    AdviseLine *const line = &t->lines[t->count++];
    va_list args;
    *line = (AdviseLine){.what = what, .better = better, .source = source};
    va_start(args, why);
    vsnprintf(line->why, sizeof line->why, why, args);
    va_end(args);
    return line;
}

static void cells(AdviseLine *line, Unit unit, double lstm, double gru, double attention) {
    const double values[ADVISE_MODELS] = {lstm, gru, attention};
    char text[AMOUNT_TEXT];
    for (int m = 0; m < ADVISE_MODELS; m++) {
        if (unit == STEPS)
            snprintf(line->cell[m], ADVISE_CELL, "%.0f", values[m]);
        else if (unit == BYTES)
            snprintf(line->cell[m], ADVISE_CELL, "%s", amount_bytes(values[m], text));
        else
            snprintf(line->cell[m], ADVISE_CELL, "%s", amount_count(values[m], text));
    }
}

#define CELLS(line, unit, field)                                                                   \
    cells(line, unit, t->cost[ADVISE_LSTM].field, t->cost[ADVISE_GRU].field,                       \
          t->cost[ADVISE_ATTENTION].field)
#define FEWER(field) fewer(t->cost[ADVISE_LSTM].field, t->cost[ADVISE_ATTENTION].field)

static void add_paths(Table *t) {
    CELLS(add(t, "path first to last token", FEWER(path), 1,
              "a state passes every token between two tokens, O(L); attention joins any two "
              "directly, O(1)"),
          STEPS, path);
    if (t->ask->streaming)
        CELLS(add(t, "steps in sequence per token", ADVISE_EITHER, 1,
                  "one token at a time arrives, so that neither can do more at once"),
              STEPS, steps);
    else
        CELLS(add(t, "steps in sequence", FEWER(steps), 1,
                  "h of a step needs h of the one before, so a step's latency counts L times; "
                  "attention computes all tokens at once. Training pays it forward and backward"),
              STEPS, steps);
}

static void add_costs(Table *t) {
    const double h = (double)t->ask->hidden;
    CELLS(add(t, "weights, 16 bit", FEWER(weights), 0,
              "W and R of 4 gates 8 H^2, of 3 gates 6 H^2; Q, K, V and O 4 H^2"),
          BYTES, weights * WEIGHT_BYTES);
    CELLS(add(t, "FLOP per token", FEWER(flops), 1,
              "2 per weight, and for attention 4 H per key seen (%s); beyond %.0f keys attention "
              "takes more than the LSTM",
              t->ask->streaming ? "all of them" : "half of them in the mean", 2 * h),
          OPERATIONS, flops);
    CELLS(add(t, "memory per sequence", FEWER(state_bytes), 0,
              "h (and c in 32 bit) whatever the length; K and V of every token: %.0f B each",
              4 * h),
          BYTES, state_bytes);
    if (t->ask->batch > 1 || advise_overflows(t->ask))
        CELLS(add(t, "memory of the batch", FEWER(state_bytes), 0,
                  advise_overflows(t->ask) ? "K and V of one layer do not fit this GPU's memory"
                                           : "for every layer"),
              BYTES, state_bytes * (double)t->ask->batch);
    if (t->ask->streaming)
        CELLS(add(t, "bytes of one step", FEWER(step_bytes), 0,
                  "a step reads every weight once for the batch, and the states; attention's "
                  "grows with the context, the recurrent one's does not (and its weights can stay "
                  "on the chip between steps)"),
              BYTES, step_bytes);
    else
        CELLS(
            add(t, "rows that one read of a weight serves",
                fewer(-t->cost[ADVISE_LSTM].reuse, -t->cost[ADVISE_ATTENTION].reuse), 0,
                "a recurrent weight meets the rows of one step only, one of a projection those of "
                "all tokens; on an A100 a weight read from DRAM pays from about 150 rows on "
                "(312 TFLOP/s over 2.0 TB/s), so R should stay in registers and shared memory"),
            STEPS, reuse);
}

static void add_quality(Table *t) {
    const bool past = t->ask->length > LSTM_CONTEXT;
    const int first = (int)t->count;
    add(t, "context that is used", past ? ADVISE_TAKE_ATTENTION : ADVISE_EITHER, 2,
        past ? "of %lld tokens an LSTM language model uses about the last %d"
             : "%lld tokens are within the %d or so that an LSTM language model uses",
        (long long)t->ask->length, LSTM_CONTEXT);
    if (past)
        add(t, "loss over the context", ADVISE_TAKE_ATTENTION, 3,
            "the LSTM's stops falling after about 100 tokens, the Transformer's does not");
    if (t->ask->data == 0)
        add(t, "data", ADVISE_EITHER, 0, "no --data given: not judged");
    else if (t->ask->data <= SMALL_DATA) {
        add(t, "data", ADVISE_EITHER, 4,
            "near 1 M tokens both reach about the same when well regularised");
        add(t, "data, small labelled corpora", ADVISE_TAKE_RECURRENT, 6,
            "a plain bidirectional LSTM beat a tuned pretrained Transformer there");
    } else if (t->ask->data >= LARGE_DATA)
        add(t, "data", ADVISE_TAKE_ATTENTION, 5,
            "from about 100 M tokens attention models are clearly better");
    else
        add(t, "data", ADVISE_EITHER, 4,
            "between 1 M tokens (about equal) and 100 M (attention clearly better) no source says "
            "where it turns: train both")
            ->also = 5;
    for (size_t i = (size_t)first; i < t->count; i++) t->lines[i].quality = true;
}

size_t advise_lines(const AdviseAsk *ask, AdviseLine *out) {
    Table t = {.ask = ask, .lines = out};
    for (int m = 0; m < ADVISE_MODELS; m++) t.cost[m] = advise_cost((AdviseModel)m, ask);
    add_paths(&t);
    add_costs(&t);
    add_quality(&t);
    return t.count;
}

/* ---- what follows ---- */

bool advise_overflows(const AdviseAsk *ask) {
    const AdviseCost attention = advise_cost(ADVISE_ATTENTION, ask);
    return ask->memory > 0 && attention.state_bytes * (double)ask->batch > (double)ask->memory;
}

AdviseSide advise_speed(const AdviseAsk *ask) {
    const AdviseCost lstm = advise_cost(ADVISE_LSTM, ask);
    const AdviseCost attention = advise_cost(ADVISE_ATTENTION, ask);
    return ask->streaming ? fewer(lstm.step_bytes, attention.step_bytes)
                          : fewer(lstm.steps, attention.steps);
}

/* The side that some line on quality takes and none opposes. */
static AdviseSide quality(const AdviseAsk *ask) {
    AdviseLine lines[ADVISE_MAX_LINES];
    const size_t n = advise_lines(ask, lines);
    bool said[3] = {false};
    for (size_t i = 0; i < n; i++)
        if (lines[i].quality) said[lines[i].better] = true;
    if (said[ADVISE_TAKE_RECURRENT] == said[ADVISE_TAKE_ATTENTION]) return ADVISE_EITHER;
    return said[ADVISE_TAKE_RECURRENT] ? ADVISE_TAKE_RECURRENT : ADVISE_TAKE_ATTENTION;
}

void advise_conclusion(const AdviseAsk *ask, AdviseSide faster, const char *faster_by,
                       char out[ADVISE_WHY]) {
    const AdviseSide better = quality(ask);
    const char *const fast = advise_side_name(faster), *const good = advise_side_name(better);
    if (advise_overflows(ask))
        snprintf(out, ADVISE_WHY,
                 "take recurrent, or attention over a window or fewer K/V heads: K and V of the "
                 "batch do not fit this GPU");
    else if (faster == better && faster != ADVISE_EITHER)
        snprintf(out, ADVISE_WHY, "take %s: cheaper %s, and the sources on quality agree", fast,
                 faster_by);
    else if (better == ADVISE_EITHER && faster == ADVISE_EITHER)
        snprintf(out, ADVISE_WHY, "nothing here decides: train both");
    else if (better == ADVISE_EITHER)
        snprintf(out, ADVISE_WHY,
                 "take %s: cheaper %s, and the sources on quality prefer neither here", fast,
                 faster_by);
    else if (faster == ADVISE_EITHER)
        snprintf(out, ADVISE_WHY, "take %s: the sources on quality prefer it, and it costs no more",
                 good);
    else
        snprintf(out, ADVISE_WHY,
                 "%s is cheaper %s, %s is better by the sources on quality: take %s if the cost "
                 "is within your limits",
                 fast, faster_by, good, good);
}
