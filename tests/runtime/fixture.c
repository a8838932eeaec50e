/* The fake driver is loaded once per test program; its state is reset per test. */
#include "tests/runtime/fixture.h"

#include <dlfcn.h>

#include "base/log.h"

Fake *fake;
char *cache;

void reset(void) {
    *fake = (Fake){.version = 13000, .cc_major = 8, .cc_minor = 0, .sms = 108};
}

seqtune_context *open_fake(void) {
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    options.driver = SEQTUNE_FAKE_CUDA;
    options.database = "";
    options.cache_dir = cache;
    if (seqtune_open(&ctx, &options) != SEQTUNE_OK) fail_msg("%s", seqtune_open_error());
    return ctx;
}

seqtune_attention_desc small_attention(void) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.heads_q = 4;
    d.heads_kv = 2;
    d.head_dim = 64;
    d.max_len_q = 256;
    d.max_len_kv = 512;
    return d;
}

seqtune_rope_desc small_rope(void) {
    seqtune_rope_desc d = SEQTUNE_ROPE_DESC_INIT;
    d.max_tokens = 100;
    d.heads = 4;
    d.head_dim = 64;
    d.table_rows = 1000;
    return d;
}

seqtune_plan *plan_rope(seqtune_context *ctx) {
    seqtune_rope_desc d = small_rope();
    seqtune_plan *plan = NULL;
    if (seqtune_plan_rope(ctx, &d, &plan) != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
    return plan;
}

seqtune_rope_args rope_args(void) {
    seqtune_rope_args a = SEQTUNE_ROPE_ARGS_INIT;
    a.x = 0x10000;
    a.out = 0x20000;
    a.cos = 0x30000;
    a.sin = 0x40000;
    return a;
}

bool have_nvrtc(void) {
    Error err;
    Nvrtc *nvrtc = NULL;
    bool found = nvrtc_open(13000, &nvrtc, &err) == ST_OK;
    nvrtc_close(nvrtc);
    return found;
}

int fixture_setup(void **state) {
    (void)state;
    unsetenv("SEQTUNE_NVRTC");
    unsetenv("SEQTUNE_DRIVER");
    log_set_level(LOG_OFF);
    void *handle = dlopen(SEQTUNE_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) return -1;
    Fake *(*get)(void);
    void *symbol = dlsym(handle, "fake_state");
    memcpy(&get, &symbol, sizeof get);
    fake = get();
    cache = scratch_make();
    return 0;
}

int fixture_teardown(void **state) {
    (void)state;
    scratch_remove(cache);
    return 0;
}
