#include "tests/verify/devices.h"

#include "tests/base/test.h"

Devices devices;

static const char *const models[MAX_DEVICES] = {"a100", "t4", "rtx4090", "h100"};

/* One process has one set of software GPUs: always all of them. */
static const char *const soft_driver = "soft:a100,t4,rtx4090,h100";

static const char *open_device(int device, const char *driver, seqtune_context **out) {
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    options.device = device;
    options.driver = driver;
    options.database = "";
    options.cache_dir = SEQTUNE_BINARY_DIR "/tests/cache";
    setenv("SOFTGPU_CHECKS", "all", 0); /* a variant that races may still give the right values */
    return seqtune_open(out, &options) == SEQTUNE_OK ? NULL : seqtune_open_error();
}

const char *devices_open(Devices *out) {
    *out = (Devices){.count = 0};
    const char *real = getenv("SEQTUNE_TEST_GPU");
    const int count = real ? 1 : MAX_DEVICES;
    for (int i = 0; i < count; i++) {
        out->name[i] = real ? "cuda" : models[i];
        const char *why = real ? open_device(atoi(real), "cuda", &out->ctx[i])
                               : open_device(i, soft_driver, &out->ctx[i]);
        if (why) return why;
        out->count++;
    }
    return NULL;
}

const char *devices_open_one(const char *name, seqtune_context **out) {
    for (int i = 0; i < MAX_DEVICES; i++) {
        if (strcmp(models[i], name) == 0) return open_device(i, soft_driver, out);
    }
    return "no such model among those of the tests";
}

void devices_close(Devices *d) {
    for (int i = 0; i < d->count; i++) seqtune_close(d->ctx[i]);
    d->count = 0;
}

int devices_setup(void **state) {
    (void)state;
    const char *why = devices_open(&devices);
    if (why) print_error("%s\n", why);
    return why ? -1 : 0;
}

int devices_teardown(void **state) {
    (void)state;
    devices_close(&devices);
    return 0;
}
