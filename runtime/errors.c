/* Per-thread error slots behind one pthread key.
 *
 * The key is made once and deleted when the library is unloaded: a key whose destructor lies in
 * unmapped code would crash every thread that ends later. */
#include "runtime/errors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

typedef struct Slot {
    uint64_t serial;
    uint64_t used; /* order of use; 0: free */
    char text[sizeof((Error *)0)->message];
} Slot;

typedef struct Slots {
    uint64_t clock;
    Slot slot[ERROR_SLOTS];
} Slots;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;

static void make_key(void) {
    key_made = pthread_key_create(&key, mem_free) == 0;
}

__attribute__((destructor)) static void delete_key(void) {
    if (!key_made) return;
    mem_free(pthread_getspecific(key)); /* the unloading thread's own: its destructor never runs */
    (void)pthread_setspecific(key, NULL);
    (void)pthread_key_delete(key);
}

uint64_t errors_new_serial(void) {
    static atomic_uint_fast64_t next = 1;
    return atomic_fetch_add(&next, 1);
}

static Slots *mine(bool create) {
    (void)pthread_once(&key_once, make_key);
    if (!key_made) return NULL;
    Slots *slots = pthread_getspecific(key);
    if (slots != NULL || !create) return slots;
    slots = mem_alloc(sizeof *slots);
    if (slots != NULL && pthread_setspecific(key, slots) != 0) {
        mem_free(slots);
        slots = NULL;
    }
    return slots;
}

static Slot *find(Slots *slots, uint64_t serial) {
    for (size_t i = 0; i < ERROR_SLOTS; i++)
        if (slots->slot[i].used != 0 && slots->slot[i].serial == serial) return &slots->slot[i];
    return NULL;
}

void errors_set(uint64_t serial, const Error *error) {
    Slots *slots = mine(true);
    if (slots == NULL) return;
    Slot *slot = find(slots, serial);
    if (slot == NULL) {
        slot = &slots->slot[0];
        for (size_t i = 1; i < ERROR_SLOTS; i++)
            if (slots->slot[i].used < slot->used) slot = &slots->slot[i];
    }
    slot->serial = serial;
    slot->used = ++slots->clock;
    memcpy(slot->text, error->message, sizeof slot->text);
    slot->text[sizeof slot->text - 1] = '\0';
}

const char *errors_get(uint64_t serial) {
    Slots *slots = mine(false);
    Slot *slot = slots != NULL ? find(slots, serial) : NULL;
    return slot != NULL ? slot->text : "";
}

void errors_forget(uint64_t serial) {
    Slots *slots = mine(false);
    Slot *slot = slots != NULL ? find(slots, serial) : NULL;
    if (slot != NULL) slot->used = 0;
}
