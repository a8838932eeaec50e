/* Device memory: one reserved range of host address space per process, committed on touch.
 *
 * A device address IS the host address inside the range, so that a load is a load. Every
 * allocation has an owner record; an access is legal when all its bytes lie inside one live
 * allocation. Pinned and managed memory are allocations of the range too, which the host uses by
 * the same address; memory of the program's own that it registered keeps its place outside.
 * Invariant: other addresses outside the range are never device memory, so a host pointer passed
 * as a device pointer is always caught. Allocation and release take a lock; sg_mem_find does not
 * (the granule table is written before the allocation's address is returned). */
#ifndef SEQTUNE_SOFTGPU_MEMORY_H
#define SEQTUNE_SOFTGPU_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum SgMemKind {
    SG_MEM_DEVICE,
    SG_MEM_MANAGED,   /* of host and device; not charged to the device */
    SG_MEM_HOST,      /* pinned, made by the driver */
    SG_MEM_REGISTERED /* pinned, the program's own; outside the range */
} SgMemKind;

typedef struct SgAllocation {
    uint64_t base;        /* multiple of 512, but for registered memory */
    uint64_t size;        /* bytes asked for */
    uint32_t id;          /* 1, 2, 3 ... in order of allocation, for messages */
    bool live;            /* false after free: use after free is told apart from out of bounds */
    bool reserved;        /* sg_mem_reserve: dead or live, its addresses go to nobody else */
    bool tracked;         /* softgpu/written.h knows which bytes were written */
    uint64_t born, freed; /* kernel launches before its allocation, before its release */
    int device;
    void *owner; /* driver context */
    SgMemKind kind;
    uint32_t devices; /* that may use it without peer access, a bit each; with __atomic_* */
    uint32_t flags;   /* as asked for */
    void *note;       /* the driver's own, guarded by its lock; NULL at first */
} SgAllocation;

/* First call reserves the range. ST_NO_MEMORY when `device_bytes` (the model's DRAM) would be
 * exceeded or the host refuses. The bytes read as zero; content checks are the executor's. */
Status sg_mem_alloc(int device, void *owner, uint64_t size, uint64_t device_bytes,
                    uint64_t *address, Error *err);
/* Addresses of `size` bytes of device memory without the memory: a dead allocation, which
 * sg_mem_back makes live (ST_NO_MEMORY as sg_mem_alloc; ST_INVALID: it is live, or not reserved)
 * and sg_mem_free dead again, any number of times. Each life has its own id. */
Status sg_mem_reserve(int device, uint64_t size, uint64_t *address, Error *err);
Status sg_mem_back(uint64_t address, void *owner, uint64_t device_bytes, Error *err);
void sg_mem_unreserve(uint64_t address); /* the addresses may be used again once it is dead */
/* True when [address, address + size) lies inside one allocation that is live or reserved. */
bool sg_mem_may_become_ok(uint64_t address, uint64_t size);
/* The same for memory that the host uses too: SG_MEM_MANAGED or SG_MEM_HOST. */
Status sg_mem_alloc_shared(SgMemKind kind, int device, void *owner, uint64_t size, uint32_t flags,
                           uint64_t *address, Error *err);
/* Makes the program's own bytes an allocation of kind SG_MEM_REGISTERED. ST_INVALID when they
 * touch the range or another registered piece. sg_mem_free forgets them again. */
Status sg_mem_register(int device, void *owner, uint64_t address, uint64_t size, uint32_t flags,
                       Error *err);
void sg_mem_note(uint64_t address, void *note);        /* `address`: base of a live allocation */
void sg_mem_share(uint64_t address, uint32_t devices); /* the same; kernels of these may use it */
/* May a kernel that reaches `devices` use it? Memory of the host is everybody's. */
static inline bool sg_mem_reached(const SgAllocation *a, uint32_t devices) {
    return a->kind != SG_MEM_DEVICE || devices == 0 || (devices >> a->device & 1) != 0 ||
           (__atomic_load_n(&a->devices, __ATOMIC_RELAXED) & devices) != 0;
}
/* ST_INVALID unless `address` is the base of a live allocation. Pages go back to the host. */
Status sg_mem_free(uint64_t address, Error *err);
void sg_mem_free_owner(const void *owner); /* context destroyed */

/* The record of the allocation whose range (rounded up to 512 bytes) holds `address`, dead ones
 * included until their addresses are reused; NULL when none. */
const SgAllocation *sg_mem_find(uint64_t address);

/* True once any memory was registered: addresses outside the range may be legal then. */
bool sg_mem_any_registered(void);

/* True for every address of the reserved range, allocated or not: not memory of malloc. */
bool sg_mem_in_range(uint64_t address);

/* True when [address, address + size) lies inside one live allocation. The fast path of every
 * global access. */
bool sg_mem_ok(uint64_t address, uint64_t size);

/* No byte of the live allocations is tracked any more. */
void sg_mem_untrack(void);

/* Counts a kernel launch; the first is 1. Messages tell the age of allocations in launches. */
uint64_t sg_mem_launch(void);

/* The record of the allocation that holds `address`, ends nearest below or begins nearest above it;
 * false: none is near. */
bool sg_mem_near(uint64_t address, SgAllocation *out);

/* "out of bounds: 16 bytes at 0x...: 32 bytes past the end of allocation 3 (4096 bytes)". */
void sg_mem_describe(uint64_t address, uint64_t size, char *out, size_t out_size);

uint64_t sg_mem_used(int device);

#endif
