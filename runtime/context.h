/* A context from inside: what the plan functions and the tuner share.
 *
 * Everything is fixed after seqtune_open but for the databases' state and the list of loaded
 * kernels, which are used under `lock`. */
#ifndef SEQTUNE_RUNTIME_CONTEXT_H
#define SEQTUNE_RUNTIME_CONTEXT_H

#include <pthread.h>
#include <stdatomic.h>

#include "db/db.h"
#include "runtime/cache.h"
#include "runtime/device.h"
#include "runtime/kernel.h"
#include "runtime/nvrtc.h"
#include "runtime/seqtune.h"

typedef enum DbRole { DB_ROLE_USER, DB_ROLE_FLEET, DB_ROLE_SYSTEM, DB_ROLE_COUNT } DbRole;

/* A module on the device with its figures, shared by the plans of one binary. */
typedef struct LoadedKernel {
    struct LoadedKernel *next;
    Hash key; /* of the emitted text and toolchain */
    Kernel kernel;
    int plans; /* that use it; 0: kept for the next plan of the same text */
    char artifact[HASH_HEX_SIZE];
    double compile_s;
    bool from_cache;
    int registers, spill_bytes;
} LoadedKernel;

struct seqtune_context {
    Driver *driver;
    Device device;
    GenLibrary *library;
    Nvrtc *nvrtc;      /* NULL: see nvrtc_error */
    Error nvrtc_error; /* told when a compilation is needed */
    Cache *cache;
    Db *db[DB_ROLE_COUNT]; /* NULL: absent */
    LoadedKernel *kernels; /* most recent first */
    pthread_mutex_t lock;
    seqtune_jit jit;
    bool use_modelled;
    bool print_plan;
    atomic_bool warned_other_gpu;
    uint64_t serial; /* names the context in runtime/errors */
    char *dump_cu;   /* directories or NULL */
    char *dump_ptx;
};

/* seqtune_open with the tuner's own error handling. Internal programs release with seqtune_close.
 */
Status context_open(const seqtune_options *options, seqtune_context **out, Error *err);

/* The kernel of an emitted text, loaded once per context, ready for the launches. Takes ctx->lock;
 * the device's context is current. Give it back with context_release_kernel. */
Status context_kernel(seqtune_context *ctx, const GenOutput *output, const GenLaunch *launches,
                      size_t count, LoadedKernel **out, Error *err);
void context_release_kernel(seqtune_context *ctx, LoadedKernel *kernel);

/* The root of a source tree in $SEQTUNE_SOURCE (for gen_open); NULL: what was built in. */
const char *context_source_root(void);

/* The default path of the user database: $SEQTUNE_DB, else <data dir>/tune.db; NULL: none. */
char *context_database_path(Arena *arena);

/* Keeps the error as ctx's last on this thread and returns the public status. */
seqtune_status context_fail(const seqtune_context *ctx, Status status, const Error *err);

#endif
