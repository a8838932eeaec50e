/* Findings that do not stop a kernel: collected per launch, one per instruction, bounded. */
#include "softgpu/exec/block.h"

#include <stdarg.h>
#include <stdio.h>

void warp_warn(Warp *w, const Rec *r, SgWarningKind kind, uint32_t lanes, const char *fmt, ...) {
    Launch *const l = w->block->launch;
    pthread_mutex_lock(&l->lock);
    bool known = l->warning_count == SG_MAX_WARNINGS;
    for (size_t i = 0; i < l->warning_count; i++) known |= l->warned[i] == r;
    if (!known) {
        char what[256];
        va_list args;
        va_start(args, fmt);
        vsnprintf(what, sizeof what, fmt, args);
        va_end(args);
        SgWarning *const warning = &l->warnings[l->warning_count];
        l->warned[l->warning_count++] = r;
        warning->kind = kind;
        warp_text(w, r, lanes, "warning", what, warning->text, sizeof warning->text);
    }
    pthread_mutex_unlock(&l->lock);
}
