/* See fake_worker.h. */
#include "tests/tuner/fake_worker.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "tuner/process.h"

/* Does $FAKE ask for `what` on a request with this configuration? */
static bool asked(const char *what, const char *config) {
    char list[512], *rest = list, *item;
    const char *env = getenv("FAKE");
    snprintf(list, sizeof list, "%s", env ? env : "");
    while ((item = strsep(&rest, ";"))) {
        char *text = strchr(item, ':');
        if (!text) continue;
        *text++ = '\0';
        if (strcmp(item, what) == 0 && strstr(config, text)) return true;
    }
    return false;
}

static void note(const char *request, const char *config) {
    const char *path = getenv("FAKE_LOG");
    FILE *f = path ? fopen(path, "a") : NULL;
    if (!f) return;
    fprintf(f, "%s %s\n", request, config);
    fclose(f);
}

static void config_of_source(const char *source, char *out, size_t size) {
    const char *at = strstr(source, "// config:");
    snprintf(out, size, "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
}

static void compile(const Message *m, Message *reply) {
    char config[512], hex[HASH_HEX_SIZE];
    const char *source = message_get(m, "source");
    config_of_source(source, config, sizeof config);
    note("compile", config);
    if (asked("crash_compile", config)) raise(SIGILL);
    if (asked("slow", config)) usleep(30 * 1000 * 1000);
    bool refused = asked("refuse", config), none = asked("nonvrtc", config);
    message_put_int(reply, "status", refused ? ST_COMPILE : none ? ST_NOT_FOUND : ST_OK);
    if (none) message_put_int(reply, "toolchain", 0);
    message_put(reply, "message", refused ? "no such instruction" : none ? "no NVRTC here" : "");
    bool same = asked("same", config);
    Hash hash = hash_bytes(same ? "same" : source, same ? 4 : strlen(source));
    hash_hex(&hash, hex);
    message_put(reply, "content", hex);
    message_put_int(reply, "registers", 64);
    message_put_int(reply, "spill", asked("spill", config) ? 64 : 0);
    message_put_num(reply, "seconds", 0.01);
    message_put_int(reply, "nvrtc_version", 13000);
}

static double time_of(const char *config, int round) {
    Hash h = hash_bytes(config, strlen(config));
    double base = 10e-6 * (1 + h.bytes[0] / 256.0);
    if (asked("fast", config)) base = 5e-6;
    if (asked("tie", config)) base = 5.005e-6;
    return base * (1 + 0.01 * ((round * 7) % 5 - 2));
}

static void put_times(Message *reply, const char *key, const char *config) {
    double t[9];
    for (int i = 0; i < 9; i++) t[i] = time_of(config, i);
    message_put_nums(reply, key, t, asked("once", config) ? 1 : 9);
}

static void final(const Message *m, Message *reply) {
    for (int i = 0; i < 8; i++) {
        char key[32], times[32];
        snprintf(key, sizeof key, "config%d", i);
        snprintf(times, sizeof times, "times%d", i);
        const char *config = message_get(m, key);
        if (config) put_times(reply, times, config);
    }
}

static void serve(const Message *m, Message *reply) {
    const char *request = message_get(m, "request"), *config = message_get(m, "config");
    if (strcmp(request, "compile") == 0) {
        compile(m, reply);
        return;
    }
    note(request, config ? config : "");
    Status st = ST_OK;
    if (strcmp(request, "open") == 0 && asked("noopen", "")) st = ST_DRIVER;
    if (strcmp(request, "verify") == 0 && asked("wrong", config)) st = ST_WRONG;
    if (strcmp(request, "time") == 0) {
        if (asked("crash", config)) raise(SIGILL);
        if (asked("hang", config))
            for (;;) pause();
        if (asked("sticky", config)) st = ST_DRIVER;
        put_times(reply, "times", config);
    }
    if (strcmp(request, "final") == 0) final(m, reply);
    message_put_int(reply, "status", st);
    if (st != ST_OK) message_put(reply, "message", "asked for");
    message_put_num(reply, "ratio", 0.25);
}

int fake_worker_main(void) {
    MessageReader reader = {0};
    Message m = {0}, reply = {0};
    worker_child_init();
    while (message_read(&reader, WORKER_REQUEST_FD, &m, NULL) == ST_OK) {
        message_clear(&reply);
        serve(&m, &reply);
        if (message_write(WORKER_REPLY_FD, &reply, NULL) != ST_OK) return 1;
    }
    return 0;
}
