/* Names and classes of special registers, from special.def. */
#include "softgpu/ptx/ptx.h"

#include <string.h>

static const struct {
    const char *name;
    PtxClass class;
} specials[] = {
#define SPECIAL(name, id, class) {name, class},
#include "softgpu/ptx/special.def"
#undef SPECIAL
};

PtxClass ptx_special_class(int special) {
    return specials[special].class;
}

int ptx_special_find(const char *name, size_t length) {
    for (int i = 0; i < PTX_SR_COUNT; i++)
        if (strlen(specials[i].name) == length && memcmp(specials[i].name, name, length) == 0)
            return i;
    return -1;
}
