/* Driver state: entry checks, handles, tickets (contracts in state.h).
 *
 * Not here: what the calls do. */
#include "softgpu/driver/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "base/mem.h"
#include "base/str.h"

Driver driver = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .next_id = 1};
_Thread_local Thread this_thread;

/* A handle: tag, generation, index. Not a canonical x86-64 or AArch64 address, so that a program
 * which follows one faults there and then. */
static const uint64_t HANDLE_TAG = UINT64_C(0x5f) << 56;
enum { INDEX_SHIFT = 4, INDEX_BITS = 28, GENERATION_SHIFT = 32, GENERATION_BITS = 24 };

typedef struct Slot {
    Object *object; /* NULL: free */
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
} Slot;

static struct {
    Slot *slots;
    uint32_t count, capacity, free; /* free: index + 1 */
} table;

static void *handle_of(uint32_t index) {
    return (void *)(uintptr_t)(HANDLE_TAG |
                               (uint64_t)table.slots[index].generation << GENERATION_SHIFT |
                               (uint64_t)index << INDEX_SHIFT);
}

static bool table_grow(void) {
    const uint32_t capacity = table.capacity == 0 ? 64 : table.capacity * 2;
    if (capacity >= UINT32_C(1) << (INDEX_BITS - INDEX_SHIFT)) return false;
    Slot *slots = mem_realloc(table.slots, capacity * sizeof *slots);
    if (slots == NULL) return false;
    table.slots = slots;
    table.capacity = capacity;
    return true;
}

bool object_add(Object *object, ObjectKind kind, Context *context) {
    uint32_t index;
    if (table.free != 0) {
        index = table.free - 1;
        table.free = table.slots[index].next_free;
    } else {
        if (table.count == table.capacity && !table_grow()) return false;
        index = table.count++;
        table.slots[index].generation = 1;
    }
    table.slots[index].object = object;
    object->kind = kind;
    object->handle = handle_of(index);
    object->context = context;
    object->next = object->prev = NULL;
    if (context == NULL) return true;
    object->prev = &context->objects;
    object->next = context->objects.next;
    if (object->next != NULL) object->next->prev = object;
    context->objects.next = object;
    return true;
}

static Slot *slot_of(const Object *object) {
    const uint32_t mask = (UINT32_C(1) << (INDEX_BITS - INDEX_SHIFT)) - 1;
    return &table.slots[(uint32_t)((uintptr_t)object->handle >> INDEX_SHIFT) & mask];
}

void object_remove(Object *object) {
    Slot *slot = slot_of(object);
    slot->object = NULL;
    slot->generation = (slot->generation + 1) & ((UINT32_C(1) << GENERATION_BITS) - 1);
    slot->next_free = table.free;
    table.free = (uint32_t)(slot - table.slots) + 1;
    if (object->prev != NULL) object->prev->next = object->next;
    if (object->next != NULL) object->next->prev = object->prev;
    object->kind = OBJECT_NONE;
}

void object_swap(Object *a, Object *b) {
    Slot *const first = slot_of(a), *const second = slot_of(b);
    void *handle = a->handle;
    first->object = b;
    second->object = a;
    a->handle = b->handle;
    b->handle = handle;
}

Object *object_find(const void *handle, ObjectKind kind) {
    const uint32_t mask = (UINT32_C(1) << (INDEX_BITS - INDEX_SHIFT)) - 1;
    const uint32_t index = (uint32_t)((uintptr_t)handle >> INDEX_SHIFT) & mask;
    if (index >= table.count || handle_of(index) != handle) return NULL;
    Object *object = table.slots[index].object;
    return object != NULL && object->kind == kind ? object : NULL;
}

Ticket *ticket_new(void) {
    Ticket *ticket = mem_alloc(sizeof *ticket);
    if (ticket != NULL) ticket->references = 1;
    return ticket;
}

Ticket *ticket_hold(Ticket *ticket) {
    if (ticket != NULL) ticket->references++;
    return ticket;
}

void ticket_drop(Ticket *ticket) {
    if (ticket != NULL && --ticket->references == 0) mem_free(ticket);
}

void ticket_wait(Ticket *ticket) {
    if (ticket == NULL) return;
    ticket_hold(ticket);
    while (!ticket->done) pthread_cond_wait(&driver.done, &driver.lock);
    ticket_drop(ticket);
}

void context_fail(Context *context, CUresult result, const char *text) {
    if (context->fault != CUDA_SUCCESS) return; /* the first fault is the one to tell */
    context->fault = result;
    snprintf(context->fault_text, sizeof context->fault_text, "%s", text);
}

CUresult context_state(const void *handle) {
    const Context *context = FIND(Context, CONTEXT, handle);
    return context == NULL ? CUDA_ERROR_CONTEXT_IS_DESTROYED : context->fault;
}

uint64_t thread_id(void) {
    static uint64_t next;
    if (this_thread.id == 0) this_thread.id = __atomic_add_fetch(&next, 1, __ATOMIC_RELAXED);
    return this_thread.id;
}

CUresult enter(unsigned int wants, Context **context) {
    /* A forked child has no worker threads and no device memory: the driver documents that CUDA
     * does not survive fork. Read before the lock, which another thread may have held in fork. */
    if (__atomic_load_n(&driver.pid, __ATOMIC_ACQUIRE) != (long)getpid())
        return CUDA_ERROR_NOT_INITIALIZED;
    /* cuLaunchHostFunc: "The host function must not make any CUDA API calls". */
    if (this_thread.in_callback && wants != 0) return CUDA_ERROR_NOT_PERMITTED;
    pthread_mutex_lock(&driver.lock);
    if ((wants & WANT_CONTEXT) == 0) return CUDA_SUCCESS;
    CUresult result = CUDA_ERROR_INVALID_CONTEXT;
    if (this_thread.depth > 0 && this_thread.stack[this_thread.depth - 1] != NULL) {
        *context = FIND(Context, CONTEXT, this_thread.stack[this_thread.depth - 1]);
        result = *context == NULL ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_SUCCESS;
    }
    if (result == CUDA_SUCCESS && (wants & WANT_HEALTHY) != 0) result = (*context)->fault;
    if (result == CUDA_SUCCESS && (wants & WANT_SAFE) != 0) result = capture_check_safe(*context);
    if (result != CUDA_SUCCESS) pthread_mutex_unlock(&driver.lock);
    return result;
}

CUresult leave(CUresult result) {
    pthread_mutex_unlock(&driver.lock);
    return result;
}

int driver_version(void) {
    const char *text = files_env("SOFTGPU_DRIVER_VERSION");
    long long version;
    if (text == NULL) return DEFAULT_VERSION;
    const bool number = str_to_i64(text, &version);
    return number && version >= 11000 && version <= DEFAULT_VERSION ? (int)version : 0;
}
