/* Rules of rank.h. */
#include "tuner/rank.h"

#include <string.h>

bool rank_tied(const Timed *a, const Timed *b, double gap) {
    const Timed *fast = a->time <= b->time ? a : b, *slow = fast == a ? b : a;
    return slow->time <= fast->time * (1 + gap) || slow->low <= fast->high;
}

bool rank_may_win(const Timed *entry, const Timed *best, double gap) {
    return entry->low <= best->high * (1 + gap);
}

/* Fewer resources first, then the smaller text, so that any two entries are ordered. */
static int compare_resources(const Timed *a, const Timed *b) {
    int64_t ra = a->registers * a->threads, rb = b->registers * b->threads;
    if (ra != rb) return ra < rb ? -1 : 1;
    if (a->smem != b->smem) return a->smem < b->smem ? -1 : 1;
    return strcmp(a->config, b->config);
}

static size_t fastest_of(const Timed *entries, size_t count) {
    size_t fastest = count;
    for (size_t i = 0; i < count; i++) {
        if (fastest == count || entries[i].time < entries[fastest].time ||
            (entries[i].time == entries[fastest].time &&
             compare_resources(&entries[i], &entries[fastest]) < 0)) {
            fastest = i;
        }
    }
    return fastest;
}

size_t rank_winner(const Timed *entries, size_t count, double gap) {
    size_t fastest = fastest_of(entries, count), standard = count;
    for (size_t i = 0; i < count; i++) {
        if (entries[i].is_default) standard = i;
    }
    if (standard < count && rank_tied(&entries[standard], &entries[fastest], gap)) return standard;
    size_t winner = fastest;
    for (size_t i = 0; i < count; i++) {
        if (!rank_tied(&entries[i], &entries[fastest], gap)) continue;
        /* Thrift must not bring back what cannot be told from the default. */
        if (standard < count && rank_tied(&entries[i], &entries[standard], gap)) continue;
        if (compare_resources(&entries[i], &entries[winner]) < 0) winner = i;
    }
    return winner;
}
