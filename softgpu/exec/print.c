/* printf of kernels: vprintf(format, arguments) as nvcc and NVRTC call it.
 *
 * Arguments lie in a buffer, each at a multiple of its size: 4 bytes, or 8 for l, ll, z, j, t,
 * pointers and doubles (CUDA guide, formatted output). Every read is checked; what a kernel names
 * wrongly is printed as "(bad address)". Text of one call beyond 4095 bytes is cut. */
#include "softgpu/exec/warp.h"

#include <stdio.h>
#include <string.h>

enum { TEXT = 4096, SPEC = 32, MOST_ARGS = 32 };

typedef struct Print {
    const Warp *warp;
    int lane, count;
    uint64_t format, args; /* device addresses of what comes next */
    char text[TEXT];
    size_t length;
} Print;

static bool read_generic(const Print *p, uint64_t address, void *out, size_t size) {
    const uint64_t bytes = warp_local_bytes(p->warp), offset = address - WINDOW_LOCAL;
    if (address >> WINDOW_SHIFT == WINDOW_LOCAL >> WINDOW_SHIFT) {
        if (offset > bytes || bytes - offset < size) return false;
        memcpy(out, p->warp->local + (uint64_t)p->lane * bytes + offset, size);
        return true;
    }
    if (!sg_mem_ok(address, size)) return false;
    memcpy(out, (const void *)(uintptr_t)address, size);
    return true;
}

static void put(Print *p, const char *text, size_t n) {
    const size_t room = TEXT - 1 - p->length;
    n = n < room ? n : room;
    memcpy(p->text + p->length, text, n);
    p->length += n;
}

static bool argument(Print *p, size_t size, uint64_t *out) {
    p->args = (p->args + size - 1) & ~(uint64_t)(size - 1);
    *out = 0;
    const bool ok = p->count < MOST_ARGS && read_generic(p, p->args, out, size);
    p->args += size;
    p->count++;
    return ok;
}

static void string_argument(Print *p, const char *spec, uint64_t address) {
    char s[1024], out[TEXT];
    size_t n = 0;
    while (n + 1 < sizeof s && read_generic(p, address + n, &s[n], 1) && s[n]) n++;
    if (n == 0 && !read_generic(p, address, s, 1)) n = strlen(strcpy(s, "(bad address)"));
    s[n] = '\0';
    put(p, out, (size_t)snprintf(out, sizeof out, spec, s));
}

/* `spec`: flags, width and precision so far, from '%'; `letter` the conversion. */
static void convert(Print *p, char spec[SPEC + 4], size_t n, char letter, bool wide) {
    char out[TEXT];
    uint64_t v = 0;
    const bool real = strchr("eEfFgGaA", letter) != NULL, text = letter == 's' || letter == 'p';
    const bool whole = strchr("dioxXu", letter) != NULL;
    if (letter == '%') {
        put(p, "%", 1);
        return;
    }
    if (!argument(p, real || text || (wide && whole) ? 8 : 4, &v) ||
        !(real || text || whole || letter == 'c')) {
        put(p, "(bad argument)", 14);
        return;
    }
    if (whole && !wide && (letter == 'd' || letter == 'i')) v = (uint64_t)(int64_t)(int32_t)v;
    if (whole) spec[n++] = 'l', spec[n++] = 'l';
    spec[n++] = letter;
    spec[n] = '\0';
    double d = 0;
    memcpy(&d, &v, 8);
    if (letter == 's')
        string_argument(p, spec, v);
    else if (real)
        put(p, out, (size_t)snprintf(out, sizeof out, spec, d));
    else if (letter == 'c')
        put(p, out, (size_t)snprintf(out, sizeof out, spec, (int)(v & 0xff)));
    else if (letter == 'p')
        put(p, out, (size_t)snprintf(out, sizeof out, spec, (void *)(uintptr_t)v));
    else
        put(p, out, (size_t)snprintf(out, sizeof out, spec, (long long)v));
}

/* One conversion behind '%': at most 3 digits of width and of precision are taken. */
static bool directive(Print *p) {
    char spec[SPEC + 4] = "%", c = 0;
    size_t n = 1;
    int digits = 0;
    bool wide = false;
    while (read_generic(p, p->format, &c, 1) && c) {
        p->format++;
        if (c >= '0' && c <= '9' && ++digits > 3) continue;
        if (c == '.') digits = 0;
        if (c == '*') {
            uint64_t v = 0;
            if (!argument(p, 4, &v)) return false;
            const int width = (int)(int32_t)v;
            n += (size_t)snprintf(spec + n, SPEC - n, "%d",
                                  width > 999    ? 999
                                  : width < -999 ? -999
                                                 : width);
        } else if (strchr("-+ #0123456789.", c)) {
            spec[n++] = c;
        } else if (strchr("lzjt", c)) {
            wide = true;
        } else if (c != 'h') {
            convert(p, spec, n, c, wide);
            return true;
        }
        if (n + 6 > SPEC) return false;
    }
    return false;
}

int kernel_print(const Warp *w, int lane, uint64_t format, uint64_t args) {
    Print p = {.warp = w, .lane = lane, .format = format, .args = args};
    char c = 0;
    while (read_generic(&p, p.format, &c, 1) && c && p.length < TEXT - 1) {
        p.format++;
        if (c != '%')
            put(&p, &c, 1);
        else if (!directive(&p))
            break;
    }
    if (w->block->launch->user->mode != SG_TIMING) {
        fwrite(p.text, 1, p.length, stdout); /* where CUDA puts it; one call, so lines stay whole */
        fflush(stdout);
    }
    return p.count;
}
