/* What there is to say of an address that an access should not have used. */
#include "softgpu/memory.h"

#include <inttypes.h>
#include <stdio.h>

/* "allocation 3 (4096 bytes, allocated before launch 2, freed after launch 5)". */
static void name_allocation(const SgAllocation *a, char *out, size_t size) {
    const int n = snprintf(
        out, size, "allocation %" PRIu32 " (%" PRIu64 " bytes, allocated before launch %" PRIu64,
        a->id, a->size, a->born + 1);
    char freed[48] = "";
    if (!a->live && a->freed > a->born)
        snprintf(freed, sizeof freed, ", freed after launch %" PRIu64, a->freed);
    else if (!a->live)
        snprintf(freed, sizeof freed, ", freed before any launch");
    if (n > 0 && (size_t)n < size) snprintf(out + n, size - (size_t)n, "%s)", freed);
}

void sg_mem_describe(uint64_t address, uint64_t size, char *out, size_t out_size) {
    char head[96], name[192];
    snprintf(head, sizeof head, "%" PRIu64 " bytes at 0x%" PRIx64, size, address);
    if (!sg_mem_in_range(address) && sg_mem_find(address) == NULL) {
        snprintf(out, out_size, "not device memory: %s%s", head,
                 address < 4096 ? " (null pointer)" : " (a host pointer, or never allocated)");
        return;
    }
    SgAllocation near;
    if (!sg_mem_near(address, &near)) {
        snprintf(out, out_size, "out of bounds: %s: no allocation near", head);
        return;
    }
    name_allocation(&near, name, sizeof name);
    const uint64_t offset = address - near.base;
    if (address < near.base)
        snprintf(out, out_size, "out of bounds: %s: %" PRIu64 " bytes before %s", head,
                 near.base - address, name);
    else if (!near.live && near.reserved && offset < near.size)
        snprintf(out, out_size,
                 "outside its lifetime: %s: offset %" PRIu64 " of memory of a graph (%" PRIu64
                 " bytes), which is not allocated at this time",
                 head, offset, near.size);
    else if (!near.live && offset < near.size)
        snprintf(out, out_size, "use after free: %s: offset %" PRIu64 " of %s", head, offset, name);
    else if (offset + size <= near.size)
        snprintf(out, out_size, "%s: offset %" PRIu64 " of %s", head, offset, name);
    else if (offset < near.size)
        snprintf(out, out_size, "out of bounds: %s: crosses the end of %s", head, name);
    else
        snprintf(out, out_size, "out of bounds: %s: %" PRIu64 " bytes past the end of %s", head,
                 offset - near.size, name);
}
