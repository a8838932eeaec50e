/* The driver's state, seen by its own files only.
 *
 *   Driver -> Device -> Context -> { Stream -> queue of Op }, { Event, Module, Function, Graph ...
 * }
 *
 * One lock (driver.lock) guards everything here; workers release it while an operation executes.
 * Every object a program can name is in the handle table; handles are never memory addresses, so a
 * stale or invented handle is recognised, not followed. A Ticket outlives its operation: events and
 * waiters hold references to it.
 * Invariant: an operation waits only for tickets of operations enqueued before it, so queues drain.
 */
#ifndef SEQTUNE_SOFTGPU_STATE_H
#define SEQTUNE_SOFTGPU_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "softgpu/clock.h"
#include "softgpu/driver/abi.h"
#include "softgpu/exec/exec.h"
#include "softgpu/memory.h"
#include "softgpu/softgpu.h"

enum {
    MAX_DEVICES = 16,
    FAULT_TEXT = 2048,
    REFUSED_TEXT = 512,
    WARNING_TEXT = 8192,
    MAX_CONTEXT_STACK = 64,
    DEFAULT_VERSION = 13000
};

typedef enum ObjectKind {
    OBJECT_NONE,
    OBJECT_CONTEXT,
    OBJECT_STREAM,
    OBJECT_EVENT,
    OBJECT_MODULE,
    OBJECT_FUNCTION,
    OBJECT_GRAPH,
    OBJECT_NODE,
    OBJECT_EXEC,
    OBJECT_POOL,
    OBJECT_LIBRARY,
    OBJECT_KERNEL,
    OBJECT_LINK
} ObjectKind;

typedef struct Context Context;
typedef struct Stream Stream;
typedef struct Capture Capture;
typedef struct Graph Graph;
typedef struct Pool Pool;
typedef struct Advice Advice;
typedef struct GraphMemory GraphMemory;
typedef struct Library Library;

/* First member of everything that has a handle. Objects of a context are in its list. */
typedef struct Object {
    ObjectKind kind;
    void *handle;
    Context *context;
    struct Object *prev, *next;
} Object;

/* Completion of one operation. */
typedef struct Ticket {
    int references;
    bool done;
    double end; /* modelled seconds on the context's time line */
} Ticket;

typedef struct Module {
    Object object;
    SgModule *module;
    char *text;                 /* the PTX, for the clock's counts; owned */
    struct Function *functions; /* those asked for */
    Library *library;           /* that it is the instance of; NULL: none */
    struct Module *next_instance;
} Module;

/* A library is PTX that is loaded into a context when something of it is first used there. */
struct Library {
    Object object;
    int references;         /* the program's, and calls that load it */
    char *text;             /* owned */
    struct Kernel *kernels; /* those asked for */
    Module *instances;      /* one per context that used it */
};

typedef struct Kernel {
    Object object;
    Library *library;
    char *name; /* owned */
    struct Kernel *next;
} Kernel;

/* What cuModuleLoadDataEx and its like were asked to tell. */
typedef struct JitLog {
    char *info, *error;
    size_t info_size, error_size;
    void **info_used, **error_used; /* sizes are told back in the option values */
    void **wall_time;
} JitLog;

typedef struct Function {
    Object object;
    Module *module;
    const SgKernel *kernel;
    const SgKernelInfo *info;
    SgText text;
    int max_dynamic; /* attribute 8; default 48 KiB less static shared memory */
    int carveout;
    struct Function *next;
} Function;

typedef struct Event {
    Object object;
    unsigned int flags;
    Ticket *ticket;      /* last record; NULL: never recorded */
    uint64_t capture_id; /* last recorded into this capture; 0: into a stream */
    size_t *tails;       /* capture: the nodes it stands for; owned */
    size_t tail_count;
} Event;

/* What an operation or a graph node does. */
typedef enum WorkKind {
    WORK_EMPTY,
    WORK_KERNEL,
    WORK_COPY,
    WORK_FILL,
    WORK_HOST,
    WORK_CALLBACK,
    WORK_EVENT,
    WORK_EVENT_WAIT,
    WORK_GRAPH,
    WORK_ALLOC,
    WORK_FREE,
    WORK_WAIT_VALUE,
    WORK_WRITE_VALUE
} WorkKind;

typedef struct Work {
    WorkKind kind;
    union {
        struct {
            void *function; /* handle: the module may be gone when a graph is launched */
            uint32_t grid[3], block[3], dynamic_smem;
            bool cooperative;
            void *params; /* owned */
            size_t param_bytes;
            SgMode mode;
        } kernel;
        struct {
            void *to;
            const void *from;
            uint64_t bytes, rows, planes; /* of a row; rows of a plane; planes */
            uint64_t to_pitch, to_plane, from_pitch, from_plane; /* bytes from start to start */
            bool over_bus; /* between host and device, or two devices */
        } copy;
        struct {
            void *to;
            uint32_t value;
            int width; /* 1, 2, 4 bytes */
            uint64_t count, rows, pitch;
        } fill;
        struct {
            void *address;
            GraphMemory *graph; /* a reference; NULL: cuMemFreeAsync of memory of no graph */
        } memory;
        struct {
            void *address;
            uint64_t value;
            int width; /* 4, 8 bytes */
            unsigned int condition;
        } value; /* cuStreamWaitValue, cuStreamWriteValue */
        struct {
            CUhostFn function;
            CUstreamCallback callback;
            CUstream stream;
            void *data;
        } host;
        struct {
            void *event; /* handle of the event, for nodes */
        } event;
        struct {
            Graph *graph; /* one reference; of a node, that is all there is */
            /* A launch: one per node, the graph's own first, then those of each child graph in
             * their order and in the same way. Owned. */
            Ticket **events; /* NULL but for event nodes */
            double *ends;
            size_t count;
            SgMode mode;
        } graph;
    } u;
} Work;

typedef struct Op {
    struct Op *next;
    Work work;
    Ticket *ticket;
    Ticket **waits;
    size_t wait_count;
} Op;

struct Stream {
    Object object;
    unsigned int flags;
    int priority;
    uint64_t id;
    bool is_default; /* legacy or per-thread: not to be destroyed by the program */
    bool legacy;     /* orders itself with all blocking streams */
    uint64_t thread; /* of a per-thread stream */
    Op *head, *tail; /* head: executing or next */
    bool has_worker, closing;
    pthread_cond_t wake;
    Ticket *last;     /* ticket of the newest operation, NULL when none */
    double now;       /* modelled time of the last completed operation */
    Capture *capture; /* not NULL while capturing */
    size_t *tails;    /* capture: nodes the next one depends on */
    size_t tail_count;
    CUgraphNode *tail_nodes; /* what cuStreamGetCaptureInfo gave out; owned */
    CUgraphEdgeData *tail_edges;
};

typedef struct GraphNode {
    Object object;
    Graph *graph;
    size_t index;       /* in graph->nodes */
    const void *origin; /* handle of the node that it was copied from; NULL: of none */
    Work work;
    size_t *needs; /* indices in graph->nodes; owned */
    size_t need_count;
    bool disabled; /* of an exec: does nothing */
    void **view;   /* what cuGraphKernelNodeGetParams gave out; owned */
} GraphNode;

/* Also the body of an exec: instantiation copies the graph and puts its nodes in an order in which
 * each comes after those it needs. */
struct Graph {
    Object object;
    int references;
    GraphNode **nodes;
    size_t count, capacity;
    uint64_t flags; /* exec: GRAPH_AUTO_FREE and others */
    bool embedded;  /* in a node, which owns it */
    void *instance; /* of a graph with memory nodes: handle of the last exec made of it */
    Ticket *last;   /* exec: newest launch; launches of one exec do not overlap */
};

enum { GRAPH_AUTO_FREE = 1 };

struct Capture {
    uint64_t id;
    Context *context;
    int mode;
    uint64_t thread; /* that began it */
    Stream *origin;
    Graph *graph;
    bool invalid;
    Capture *next;
};

/* What a profiled launch counted. */
enum { PROFILED = 16 };
typedef struct Profiled {
    char entry[512];
    SoftgpuLaunchStats stats;
    SoftgpuCounter *counters; /* owned */
    SoftgpuLine *lines;       /* owned */
    size_t counter_count, line_count;
} Profiled;

struct Context {
    Object object;
    int device;
    uint64_t id;
    const GpuModel *model;
    bool primary;
    unsigned int flags;
    CUresult fault; /* sticky */
    char fault_text[FAULT_TEXT];
    char refused[REFUSED_TEXT]; /* why the last launch was; empty where it was taken */
    SgMode mode;
    SoftgpuLaunchStats last;
    bool has_last;
    char warnings[WARNING_TEXT]; /* of the last launch, one per line */
    bool profile;                /* count launches in detail */
    Profiled *profiled;          /* PROFILED launches at most, the oldest first; owned */
    size_t profiled_count;
    const Profiled *shown; /* by the side door: the last launch, if it was profiled */
    size_t limits[8];
    int cache_config, shared_config;
    size_t pending; /* operations enqueued and not done */
    void **peers;   /* handles of contexts whose memory may be used; owned */
    size_t peer_count;
    Stream *legacy;
    Object objects; /* list head */
};

typedef struct Device {
    const GpuModel *model; /* of the table, or `cut` */
    GpuModel cut;          /* with SOFTGPU_SMS */
    Context *primary;
    unsigned int primary_references, primary_flags;
    uint64_t graph_high[2];    /* most memory of graphs: used, reserved */
    Pool *default_pool, *pool; /* made on first use; `pool` is what cuMemAllocAsync takes */
} Device;

typedef struct Thread {
    uint64_t id; /* 0: not numbered yet */
    void *stack[MAX_CONTEXT_STACK];
    int depth;
    int capture_mode;
    bool in_callback;
} Thread;

typedef struct Kill { /* a block that dies */
    bool set;
    char kernel[256];
    uint64_t block, instructions;
} Kill;

typedef struct Driver {
    pthread_mutex_t lock;
    pthread_cond_t done; /* broadcast when an operation completes */
    long pid;            /* process that called cuInit; 0: none. Accessed with __atomic_* */
    int version;
    uint64_t instruction_limit; /* of one launch, warp instructions; 0: none */
    uint64_t seed;              /* of schedules; 0: the usual one */
    Kill kill;
    uint64_t profile; /* SOFTGPU_PROFILE, 0: off; what contexts begin with */
    int device_count;
    Device devices[MAX_DEVICES];
    char init_text[FAULT_TEXT]; /* why cuInit failed */
    uint64_t next_id;
    Capture *captures;
} Driver;

extern Driver driver;
extern _Thread_local Thread this_thread;

/* counters.c ------------------------------------------------------------------ */

/* Keeps what the launch of context->last counted, if it was profiled. False: no memory. */
bool profile_keep(Context *context, const SgLaunch *launch, const SgKernelInfo *info,
                  SgOccupancy fit, const SgTime *time);
void profile_clear(Context *context);

/* inject.c -------------------------------------------------------------------- */

CUresult inject_init(void); /* by cuInit, under the lock, once the devices are known */
/* Whether a block of this launch of `kernel` dies, and when. */
void inject_kill(const char *kernel, SgLaunch *launch);

/* state.c --------------------------------------------------------------------- */

/* What a call wants of its surroundings. */
enum {
    WANT_CONTEXT = 1, /* a current context */
    WANT_HEALTHY = 2, /* that has not faulted */
    WANT_SAFE = 4     /* "potentially unsafe" calls are refused while capturing */
};

/* Takes the lock. On failure the lock is not held. `context` may be NULL without WANT_CONTEXT. */
CUresult enter(unsigned int wants, Context **context);
CUresult leave(CUresult result); /* releases the lock, returns `result` */

uint64_t thread_id(void);
int driver_version(void); /* also before cuInit; 0: SOFTGPU_DRIVER_VERSION is no version */

/* Handle table. object_find: NULL unless `handle` is a live object of that kind. */
bool object_add(Object *object, ObjectKind kind, Context *context);
void object_remove(Object *object);
void object_swap(Object *a, Object *b); /* exchanges the handles of two objects of one kind */
Object *object_find(const void *handle, ObjectKind kind);
#define FIND(Type, KIND, handle) ((Type *)object_find((handle), OBJECT_##KIND))

Ticket *ticket_new(void);
Ticket *ticket_hold(Ticket *ticket);
void ticket_drop(Ticket *ticket);
/* Waits, releasing the lock meanwhile; `ticket` may be NULL. */
void ticket_wait(Ticket *ticket);

void context_fail(Context *context, CUresult result, const char *text);
/* After a wait: the context may be gone. SUCCESS, its sticky error, or CONTEXT_IS_DESTROYED. */
CUresult context_state(const void *handle);

/* context.c */
/* Waits until nothing is pending in the context; returns context_state. */
CUresult context_drain(Context *context);

/* stream.c -------------------------------------------------------------------- */

Stream *stream_new(Context *context, unsigned int flags, int priority);
void stream_close(Stream *stream);
/* Whether something that the program's own threads may have to release is pending: a function of
 * the program, a wait for a value, a graph (which may hold either). */
bool streams_may_wait_for_host(const Context *context);
/* NULL, legacy and per-thread handles resolved. INVALID_HANDLE, INVALID_CONTEXT. */
CUresult stream_find(Context *context, CUstream handle, Stream **stream);
/* Enters and finds the stream in the current, healthy context; on failure the lock is not held. */
CUresult stream_enter(CUstream handle, Stream **stream);
/* Puts `work` (whose owned parts are taken in every case) into the stream, or into its capture.
 * `ticket` may be NULL; a captured operation gives no ticket. */
CUresult stream_enqueue(Stream *stream, Work work, Ticket **waits, size_t wait_count,
                        Ticket **ticket);
/* The same, then waits for completion: synchronous calls. */
CUresult stream_run(Stream *stream, Work work);

/* event.c */
void event_remove(Event *event);

/* work.c */
void work_free(Work *work);
Status work_copy(const Work *from, Work *to); /* deep; after a failure *to owns nothing */
/* Called with the lock, which it releases while it computes, copies or calls back. Returns the
 * modelled seconds of the operation, which begins at modelled time `start`. */
double work_execute(Context *context, Work *work, double start);

/* graph.c --------------------------------------------------------------------- */

/* Refuses legacy-stream work while a blocking stream captures (STREAM_CAPTURE_IMPLICIT). */
CUresult capture_check_legacy(Context *context, const Stream *stream);
/* Refuses potentially unsafe calls as cuThreadExchangeStreamCaptureMode documents. */
CUresult capture_check_safe(Context *context);
Capture *capture_in(const Context *context); /* any; NULL: none */
CUresult capture_add(Stream *stream, Work work);
void capture_invalidate(Capture *capture);
void capture_leave(Stream *stream);
void capture_close(Capture *capture);
CUresult capture_wait(Stream *stream, Event *event);
CUresult capture_record(Stream *stream, Event *event);
Graph *graph_new(ObjectKind kind, Context *context); /* one reference: the program's */
/* A copy with the nodes in their order; as an exec, and in its child graphs, in one that respects
 * the dependencies. ST_INVALID: there is none (a cycle). */
Status graph_copy(const Graph *graph, ObjectKind kind, Context *context, Graph **out);
CUresult graph_copy_error(Status st);       /* what a failed copy is to the caller */
bool graph_is_captured(const Graph *graph); /* by a capture that goes on */
void node_free(GraphNode *node);
bool node_alive(const GraphNode *node); /* what it names still exists */
/* Takes the work in every case; NULL: no memory. */
GraphNode *graph_add(Graph *graph, Work work, const size_t *needs, size_t need_count);
void graph_drop(Graph *graph);   /* one reference */
void graph_remove(Graph *graph); /* its handles and the program's reference */
/* graph_node.c, graph_update.c: a node of a graph by hand; what a node, or one of an exec, does
 * from now on. They take the work in every case. With the lock. */
CUresult node_add(CUgraphNode *out, CUgraph handle, const CUgraphNode *needs, size_t count,
                  Work work);
CUresult node_set(CUgraphNode handle, Work work);
CUresult exec_set(CUgraphExec handle, CUgraphNode origin, Work work);
/* graph_event.c: the tickets that a launch waits for, at most `room` of them; returns how many. */
size_t graph_waits(const Graph *graph, Ticket **out, size_t room);
double graph_execute(Context *context, Work *work, double start);
/* What a node that executes `graph` does; takes a reference. */
Work graph_work(Graph *graph);
/* What a node with a copy of `child` in it does. ST_INVALID: `ordered`, and there is a cycle. */
Status graph_embed(const Graph *child, bool ordered, Work *work);
/* Fills a launch of `graph` into *work and takes a reference; false: no memory, owns nothing. */
bool graph_prepare(Graph *graph, Work *work);
void graph_abandon(Work *work, double start); /* completes its events without executing */

/* graph_memory.c */
GraphMemory *graph_memory_hold(GraphMemory *memory); /* NULL stays NULL */
void graph_memory_drop(GraphMemory *memory);
void graph_memory_released(uint64_t address);          /* memory was freed that may be one's */
void graph_memory_forget_context(const void *context); /* by handle, after its memory */
/* What an allocation node for `graph` does, and its address. */
CUresult graph_alloc_work(const Graph *graph, const CUDA_MEM_ALLOC_NODE_PARAMS *params, Work *work,
                          CUdeviceptr *address);
/* The same for a free node, and what to call once it is in the graph. INVALID_VALUE. */
CUresult graph_free_work(const Graph *graph, uint64_t address, Work *work);
void graph_free_added(const Graph *graph, uint64_t address);
const GraphNode *graph_memory_node(const Graph *graph); /* the first; NULL: none */
/* Whether the exec may be launched now; it was; its launch begins; an allocation node's turn. */
CUresult graph_memory_check(const Graph *exec);
void graph_memory_launched(const Graph *exec);
void graph_memory_begin(const Graph *exec);
void graph_memory_begin_life(Context *context, GraphMemory *memory);
/* Frees by calls: false: the address is none of a graph's. */
bool graph_memory_find(uint64_t address, GraphMemory **out);
CUresult graph_memory_free_async(GraphMemory *memory, Stream *stream);
CUresult graph_memory_free(GraphMemory *memory); /* releases the lock meanwhile */

/* memory.c */
typedef enum Place {
    PLACE_PAGEABLE, /* host memory that the driver does not know */
    PLACE_PINNED,
    PLACE_MANAGED,
    PLACE_DEVICE,
    PLACE_BAD /* a device address that is not inside one allocation, live or of a graph; null */
} Place;
Place place_of(uint64_t address, uint64_t bytes);

/* copy.c: a box of bytes, or rows of one value, as an operation. INVALID_VALUE, NOT_SUPPORTED.
 * A box without bytes gives WORK_EMPTY. */
typedef struct CopyInfo {
    bool pageable, host; /* one side is pageable; one side is no device memory */
} CopyInfo;
CUresult copy_work(const CUDA_MEMCPY3D *box, Work *work, CopyInfo *info);
CUresult fill_work(const CUDA_MEMSET_NODE_PARAMS *rows, Work *work);

/* pool.c */
bool pool_is_freeing(const SgAllocation *allocation); /* cuMemFreeAsync was called */
CUmemoryPool pool_of(const SgAllocation *allocation); /* NULL: of no pool */
/* Where the advice on a live managed allocation is kept; NULL: no memory. */
Advice **pool_advice(const SgAllocation *allocation);
bool memory_release(uint64_t address);       /* false: no live allocation begins there */
void pool_forget_owner(const void *context); /* by context handle, before its memory */

/* managed.c */
void advice_free(Advice *advice);

/* module.c */
void module_release(Module *module);
CUresult options_read(unsigned int count, const int *options, void **values, JitLog *log);
/* Loads `ptx`, which must stay, into the context; releases the lock meanwhile, so that the context
 * may be gone: CONTEXT_IS_DESTROYED. */
CUresult module_make(Context *context, const char *ptx, const JitLog *log, Module **out);

/* library.c */
void library_forget(Module *instance); /* the module goes */
int function_max_threads(const Function *function);
/* The function object of a kernel, made on first use; NULL: no memory. */
Function *function_of(Module *module, const SgKernel *kernel);
/* A function or, for a kernel of a library, its function in `context`. INVALID_HANDLE. */
CUresult function_find(Context *context, const void *handle, Function **function);

/* launch.c */
double launch_execute(Context *context, const Work *work); /* as work_execute */
/* The launch as an operation, with its own copy of the parameters. */
CUresult kernel_work(Context *context, const CUDA_KERNEL_NODE_PARAMS *launch, bool cooperative,
                     Work *work);

#endif
