/* See checks.h. */
#include "softgpu/exec/checks.h"

#include <string.h>

#include "base/files.h"

static const struct {
    const char *name;
    SgChecks checks;
} names[] = {{"init", SG_CHECK_INIT}, {"race", SG_CHECK_RACE},       {"async", SG_CHECK_ASYNC},
             {"sync", SG_CHECK_SYNC}, {"address", SG_CHECK_ADDRESS}, {"all", SG_CHECK_ALL},
             {"none", SG_CHECK_NONE}};

Status sg_checks_parse(const char *text, SgChecks *checks, Error *err) {
    unsigned set = SG_CHECK_NONE;
    *checks = SG_CHECK_NONE;
    if (!text || !*text) return ST_OK;
    for (const char *word = text;; word++) {
        const size_t length = strcspn(word, ",");
        size_t i = 0;
        while (i < sizeof names / sizeof *names &&
               (strlen(names[i].name) != length || memcmp(names[i].name, word, length) != 0))
            i++;
        if (i == sizeof names / sizeof *names)
            return err_set(err, ST_INVALID,
                           "SOFTGPU_CHECKS: '%.*s' is no check; known are init, race, async, sync, "
                           "address, all and none, separated by commas",
                           length < 40 ? (int)length : 40, word);
        set |= names[i].checks;
        word += length;
        if (!*word) break;
    }
    *checks = (SgChecks)set;
    return ST_OK;
}

Status sg_checks_from_environment(SgChecks *checks, Error *err) {
    return sg_checks_parse(files_env("SOFTGPU_CHECKS"), checks, err);
}
