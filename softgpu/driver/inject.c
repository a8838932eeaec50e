/* Faults on purpose: a block that dies (SOFTGPU_KILL_BLOCK, softgpuKillBlock), a GPU with fewer SMs
 * (SOFTGPU_SMS). For tests of programs whose blocks wait for each other: such a program must end
 * with an error, whatever does not run. */
#include "softgpu/driver/state.h"

#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "base/str.h"

static bool number(const char *text, size_t length, uint64_t *out) {
    char digits[24];
    long long value = -1;
    if (length == 0 || length >= sizeof digits) return false;
    snprintf(digits, sizeof digits, "%.*s", (int)length, text);
    if (!str_to_i64(digits, &value) || value < 0) return false;
    *out = (uint64_t)value;
    return true;
}

/* "kernel:block" or "kernel:block:instructions" */
static bool kill_parse(const char *text, Kill *kill) {
    const size_t name = strcspn(text, ":");
    if (name == 0 || name >= sizeof kill->kernel || text[name] != ':') return false;
    const char *const block = text + name + 1, *const rest = block + strcspn(block, ":");
    *kill = (Kill){.set = true};
    memcpy(kill->kernel, text, name);
    if (!number(block, (size_t)(rest - block), &kill->block)) return false;
    return *rest == '\0' || number(rest + 1, strlen(rest + 1), &kill->instructions);
}

CUresult inject_init(void) {
    const char *const text = files_env("SOFTGPU_KILL_BLOCK"), *const sms = files_env("SOFTGPU_SMS");
    uint64_t count = 0;
    if (text != NULL && !kill_parse(text, &driver.kill)) {
        snprintf(driver.init_text, sizeof driver.init_text,
                 "SOFTGPU_KILL_BLOCK: \"%.60s\" is not kernel:block or kernel:block:instructions",
                 text);
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (sms == NULL) return CUDA_SUCCESS;
    const bool good = number(sms, strlen(sms), &count) && count > 0;
    for (int i = 0; i < driver.device_count; i++) {
        Device *const d = &driver.devices[i];
        if (!good || count > (uint64_t)d->model->sms) {
            snprintf(driver.init_text, sizeof driver.init_text,
                     "SOFTGPU_SMS: \"%.20s\" is no number from 1 to the %d SMs of %s", sms,
                     d->model->sms, d->model->name);
            return CUDA_ERROR_INVALID_VALUE;
        }
        d->cut = *d->model;
        d->cut.sms = (int)count;
        d->model = &d->cut;
    }
    return CUDA_SUCCESS;
}

void inject_kill(const char *kernel, SgLaunch *launch) {
    launch->kill = driver.kill.set && strcmp(driver.kill.kernel, kernel) == 0;
    launch->kill_block = driver.kill.block;
    launch->kill_after = driver.kill.instructions;
}

int softgpuKillBlock(const char *kernel, unsigned long long block,
                     unsigned long long instructions) {
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return (int)result;
    Kill kill = {.set = kernel != NULL, .block = block, .instructions = instructions};
    if (kernel != NULL && strlen(kernel) >= sizeof kill.kernel) result = CUDA_ERROR_INVALID_VALUE;
    if (kernel != NULL && result == CUDA_SUCCESS)
        snprintf(kill.kernel, sizeof kill.kernel, "%s", kernel);
    if (result == CUDA_SUCCESS) driver.kill = kill;
    return (int)leave(result);
}
