/* Calls of routines (routine.c says which functions these are): frames per lane; included by
 * control.c only.
 *
 *   local memory of a thread:  entry's variables | frame | frame | ...  up to Launch.local_bytes
 *   LaneStack:                 per frame the caller's registers, then the number of the call
 *
 * The second lies where no kernel can write. Invariant: the frames of a lane, their saved registers
 * and FRAME_BYTES per call together take at most Launch.stack_bytes, so that every frame lies in
 * local memory. */
enum { FRAME_BYTES = 8 }; /* of a call for itself: where it returns to */

static uint8_t *frame_of(const Warp *w, int lane, u32 row) {
    const u64 base = row == NO_ROW ? 0 : ((const u64 *)(const void *)(w->regs + row))[lane];
    return w->local + (size_t)lane * warp_local_bytes(w) + base;
}

static bool stack_room(LaneStack *s, u32 more) {
    if (s->used + more <= s->cap) return true;
    const u32 cap = 2 * (s->used + more);
    u32 *const words = mem_realloc(s->words, cap * sizeof *words);
    if (!words) return false;
    s->words = words;
    s->cap = cap;
    return true;
}

/* The register `from` of one lane to words, or back. Returns its words. */
static u32 save_register(const Warp *w, const SavedRow *from, int lane, u32 *words, bool back) {
    u8 *const row = w->regs + from->row;
    if (from->class == PTX_PRED) {
        u32 bits;
        memcpy(&bits, row, 4);
        if (!back) words[0] = bits >> lane & 1;
        bits = (bits & ~(1u << lane)) | words[0] << lane;
        memcpy(row, &bits, 4);
        return 1;
    }
    const size_t bytes = from->class == PTX_B64 ? 8 : 4;
    u8 *const at = row + (size_t)lane * bytes;
    memcpy(back ? (void *)at : words, back ? words : (const void *)at, bytes);
    return (u32)bytes / 4;
}

static void copy_params(Warp *w, const LocalCopy *list, int n, const u8 *from, u8 *to) {
    for (int i = 0; i < n; i++) {
        memcpy(to + list[i].to, from + list[i].from, list[i].bytes);
        watch_copied_local(w->block, to + list[i].to, from + list[i].from, list[i].bytes);
    }
}

static u64 frame_cost(const CallRecord *c) {
    return (u64)c->callee_bytes + 4 * (u64)c->saved_words + FRAME_BYTES;
}

/* False after a fault. */
static bool enter_frame(Warp *w, const Rec *r, int lane) {
    const Launch *const launch = w->block->launch;
    const CallRecord *const c = &launch->kernel->calls[r->o[2]];
    LaneStack *const s = &w->stacks[lane];
    if (s->bytes + frame_cost(c) > launch->stack_bytes) {
        warp_fault(w, r, 714, 1u << lane,
                   "stack overflow: the call of '%s' at depth %u needs %llu bytes per thread, the "
                   "limit is %llu (CU_LIMIT_STACK_SIZE of cuCtxSetLimit)",
                   c->callee, s->depth + 1, (unsigned long long)(s->bytes + frame_cost(c)),
                   (unsigned long long)launch->stack_bytes);
        return false;
    }
    if (!stack_room(s, c->saved_words + 1)) {
        warp_fault(w, r, 719, 1u << lane, "out of host memory for the stack of a thread");
        return false;
    }
    for (int i = 0; i < c->saved_count; i++)
        s->used += save_register(w, &c->saved[i], lane, s->words + s->used, false);
    s->words[s->used++] = r->o[2];
    s->bytes += frame_cost(c);
    s->depth++;
    u8 *const from = frame_of(w, lane, r->o[1]), *const to = from + c->caller_bytes;
    memset(to, 0xff, c->callee_bytes);
    watch_new_local(w->block, to, c->callee_bytes);
    copy_params(w, c->args, c->arg_count, from, to);
    ROW(u64, 1)[lane] += c->caller_bytes;
    return true;
}

/* o[0] distance, o[1] row of the frame, o[2] number of the CallRecord. */
HANDLER(call) {
    if (!w->stacks) w->stacks = mem_alloc(LANES * sizeof *w->stacks);
    if (!w->stacks) return warp_fault(w, r, 719, w->mask, "out of host memory for stacks");
    FOR_LANES if ((w->mask >> l & 1) && !enter_frame(w, r, l)) return NULL;
    return r + (int32_t)r->o[0];
}

/* o[0] row of the frame. */
static const Rec *leave_frame(Warp *w, const Rec *r, int lane) {
    const SgKernel *const k = w->block->launch->kernel;
    LaneStack *const s = &w->stacks[lane];
    const CallRecord *const c = &k->calls[s->words[--s->used]];
    u8 *const from = frame_of(w, lane, r->o[0]);
    s->used -= c->saved_words;
    u32 at = s->used;
    for (int i = 0; i < c->saved_count; i++)
        at += save_register(w, &c->saved[i], lane, s->words + at, true);
    s->bytes -= frame_cost(c);
    s->depth--;
    ROW(u64, 0)[lane] -= c->caller_bytes;
    copy_params(w, c->rets, c->ret_count, from, from - c->caller_bytes);
    return k->code + c->back;
}

/* Lanes may return to different places, and from different depths. */
HANDLER(ret) {
    const Rec *same = NULL;
    bool uniform = true;
    FOR_LANES {
        if (!(w->mask >> l & 1)) continue;
        w->pc[l] = leave_frame(w, r, l);
        uniform &= !same || same == w->pc[l];
        same = w->pc[l];
    }
    return uniform ? same : warp_select(w);
}
