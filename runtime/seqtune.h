/* seqtune: tuned GPU kernels for sequence models, from a plain C library.
 *
 *     seqtune_open -> seqtune_plan_* (decides, compiles or loads, sizes the workspace)
 *                  -> seqtune_run_* (launches; no allocation, no lock, no synchronisation)
 *
 * Every function returns a seqtune_status; on failure seqtune_last_error(ctx) is one text that
 * names the thing, the value, the limit and what to do. Structs begin with their size, set by the
 * *_INIT macros; a size of 0 is an error, so that fields can be appended later.
 *
 * Threads: a context may be used by several threads at once (plans are created under a lock of the
 * context); a plan is immutable and its run functions may be called from any thread; the last
 * error is kept per context and thread. Close a context when no other call on it is running and
 * its plans are destroyed. seqtune_open of a named software GPU ("soft:MODEL") sets an environment
 * variable of the process: call it before other threads read the environment.
 *
 * Device memory is the caller's: pointers are CUdeviceptr values (unsigned 64-bit), streams are
 * CUstream handles (NULL: the default stream). A context works in the CUDA context that is current
 * when it is opened, else in the device's primary context.
 *
 * Numbers: fp32 accumulation; LSE in natural log; a row that sees no key gives 0 and LSE -inf;
 * causal is bottom-right aligned; windows are inclusive on both sides; strides are 64-bit, in
 * elements, with a contiguous last dimension. Every run of one plan on the same arguments and data
 * gives the same bits, without any flag. */
#ifndef SEQTUNE_H
#define SEQTUNE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(SEQTUNE_BUILD)
#define SEQTUNE_API __attribute__((visibility("default")))
#else
#define SEQTUNE_API
#endif

#define SEQTUNE_VERSION_MAJOR 0
#define SEQTUNE_VERSION_MINOR 1
#define SEQTUNE_VERSION_PATCH 0

/* A length that really is 0, where 0 means "the default" (max_len_q, max_len_kv, max_tokens of
 * descriptions; len_q, len_kv, tokens, steps of arguments). No keys: O = 0 and LSE = -inf; no
 * queries or tokens: the run does nothing; no steps: h_out and c_out become h_in and c_in. */
#define SEQTUNE_LENGTH_ZERO (-1)

typedef enum seqtune_status {
    SEQTUNE_OK = 0,
    SEQTUNE_INVALID,     /* an argument or a value of the description */
    SEQTUNE_UNSUPPORTED, /* no variant of any kernel serves this */
    SEQTUNE_NOT_FOUND,
    SEQTUNE_NO_MEMORY,
    SEQTUNE_IO,
    SEQTUNE_PERMISSION,
    SEQTUNE_SYNTAX,
    SEQTUNE_LIMIT,
    SEQTUNE_COMPILE,
    SEQTUNE_DRIVER,
    SEQTUNE_DATABASE,
    SEQTUNE_BUSY,
    SEQTUNE_CORRUPT,
    SEQTUNE_TIMEOUT,
    SEQTUNE_CANCELLED,
    SEQTUNE_WRONG,
    SEQTUNE_INTERNAL
} seqtune_status;

typedef struct seqtune_context seqtune_context;
typedef struct seqtune_plan seqtune_plan;
typedef uint64_t seqtune_device_ptr; /* CUdeviceptr */
typedef void *seqtune_stream;        /* CUstream */

/* ---- context ---- */

typedef enum seqtune_jit {
    SEQTUNE_JIT_ALLOW = 0,   /* compile what is not cached (default) */
    SEQTUNE_JIT_CACHED_ONLY, /* SEQTUNE_NOT_FOUND instead of a compilation */
    SEQTUNE_JIT_NEVER        /* neither compile nor read the cache: loaded bundles only */
} seqtune_jit;

typedef struct seqtune_options {
    size_t size;
    int device;           /* CUDA ordinal; -1: the current context's, else device 0 */
    const char *driver;   /* "cuda", "soft", "soft:MODEL", a library's path; NULL: $SEQTUNE_DRIVER,
                             else libcuda, else (with a warning in the log) the software GPU */
    const char *database; /* user database; NULL: $SEQTUNE_DB, else the default path; "": none */
    const char *fleet_database; /* read-only; NULL: $SEQTUNE_FLEET_DB, else none; "": none */
    const char *cache_dir;      /* artifacts; NULL: the default; "": none */
    seqtune_jit jit;
    int use_modelled; /* 1: modelled rows may decide on a real GPU (flagged in plan_info) */
} seqtune_options;

#define SEQTUNE_OPTIONS_INIT                                                                       \
    { sizeof(seqtune_options), -1, NULL, NULL, NULL, NULL, SEQTUNE_JIT_ALLOW, 0 }

/* *out is owned by the caller; release with seqtune_close after its plans. On failure *out is NULL
 * and seqtune_open_error() is the text of this thread's last failed seqtune_open (or of another
 * call that has no context: seqtune_rnn_pack_weights). */
SEQTUNE_API seqtune_status seqtune_open(seqtune_context **out, const seqtune_options *options);
SEQTUNE_API void seqtune_close(seqtune_context *ctx);
SEQTUNE_API const char *seqtune_open_error(void);
/* Text of this thread's last failure on ctx; "" when there was none. Valid until the next call. */
SEQTUNE_API const char *seqtune_last_error(const seqtune_context *ctx);
SEQTUNE_API const char *seqtune_status_text(seqtune_status status); /* "not found"; never NULL */
SEQTUNE_API const char *seqtune_version(void);

/* ---- the device ---- */

/* Texts belong to the context. */
typedef struct seqtune_device_info {
    size_t size;
    int ordinal;
    int modelled;         /* 1: a software GPU, whose times are modelled */
    const char *name;     /* "NVIDIA A100-SXM4-80GB" */
    const char *arch;     /* "sm_80" */
    const char *key;      /* GPU key of the database */
    const char *driver;   /* path of the driver library */
    int driver_version;   /* 13000 is CUDA 13.0 */
    const char *compiler; /* "nvrtc 13.0"; "" when there is none */
    void *cuda_context;   /* CUcontext */
} seqtune_device_info;

#define SEQTUNE_DEVICE_INFO_INIT                                                                   \
    { sizeof(seqtune_device_info), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

SEQTUNE_API seqtune_status seqtune_get_device_info(seqtune_context *ctx, seqtune_device_info *out);

/* Device memory for programs that use no other CUDA library; an application that has its own
 * allocator passes its own pointers. Copies return when the data has arrived; memory is released
 * with seqtune_device_free (0 is fine) before seqtune_close. */
SEQTUNE_API seqtune_status seqtune_device_alloc(seqtune_context *ctx, size_t bytes,
                                                seqtune_device_ptr *out);
SEQTUNE_API seqtune_status seqtune_device_free(seqtune_context *ctx, seqtune_device_ptr address);
SEQTUNE_API seqtune_status seqtune_device_upload(seqtune_context *ctx, seqtune_device_ptr to,
                                                 const void *from, size_t bytes);
SEQTUNE_API seqtune_status seqtune_device_download(seqtune_context *ctx, void *to,
                                                   seqtune_device_ptr from, size_t bytes);
/* Waits for all work of the context; a fault of a kernel is reported here. */
SEQTUNE_API seqtune_status seqtune_device_synchronize(seqtune_context *ctx);

/* ---- attention: O = softmax(scale * Q K^T + mask) V ---- */

typedef enum seqtune_dtype {
    SEQTUNE_DTYPE_DEFAULT = 0,
    SEQTUNE_F16,
    SEQTUNE_BF16,
    SEQTUNE_F32 /* recurrent cells only */
} seqtune_dtype;

typedef enum seqtune_rope_style {
    SEQTUNE_ROPE_NEOX = 0,   /* pairs (i, i + rotary_dim/2) */
    SEQTUNE_ROPE_INTERLEAVED /* pairs (2i, 2i + 1) */
} seqtune_rope_style;

typedef enum seqtune_mask {
    SEQTUNE_MASK_NONE = 0,
    SEQTUNE_MASK_CAUSAL,         /* bottom-right: the last query sees every key */
    SEQTUNE_MASK_CAUSAL_TOP_LEFT /* query i sees keys 0..i, whatever the lengths */
} seqtune_mask;

typedef enum seqtune_window_kind {
    SEQTUNE_WINDOW_OFF = 0,
    SEQTUNE_WINDOW_LEFT, /* keys up to `left` before the query's own position, inclusive */
    SEQTUNE_WINDOW_BOTH  /* and up to `right` after it, inclusive */
} seqtune_window_kind;

/* The own position of query i is key i + len_kv - len_q (with SEQTUNE_MASK_CAUSAL_TOP_LEFT: key i).
 * -1: open on that side. With a causal mask nothing after the own position is seen, whatever
 * `right` says. */
typedef struct seqtune_window {
    seqtune_window_kind kind;
    int64_t left;
    int64_t right; /* SEQTUNE_WINDOW_BOTH only; else 0 */
} seqtune_window;

/* Where K and V are. */
typedef enum seqtune_kv_kind {
    SEQTUNE_KV_DENSE = 0, /* [batch, token, head, head_dim] by strides */
    SEQTUNE_KV_RAGGED, /* sequences one after the other: [token, head, head_dim], cu_seqlens_kv */
    SEQTUNE_KV_PAGED   /* a pool of pages: [page, token in page, head, head_dim] by strides */
} seqtune_kv_kind;

/* Element type of K and V. Eight-bit ones are converted on load: value = stored * scale. */
typedef enum seqtune_kv_dtype {
    SEQTUNE_KV_SAME = 0, /* that of Q */
    SEQTUNE_KV_E4M3,     /* fp8, 4 exponent bits, no infinity */
    SEQTUNE_KV_INT8      /* signed */
} seqtune_kv_dtype;

/* How a sequence's pages are told. Page ids are int32 in [0, pages). */
typedef enum seqtune_page_table {
    SEQTUNE_PAGES_TABLE = 0, /* block_table: int32 [batch, block_table_stride] */
    SEQTUNE_PAGES_CSR        /* page_indices: int32; page_indptr: int32 [batch + 1] into it */
} seqtune_page_table;

/* Order of the default strides of a page: of tokens then heads, or of heads then tokens. */
typedef enum seqtune_page_order { SEQTUNE_PAGES_NHD = 0, SEQTUNE_PAGES_HND } seqtune_page_order;

enum {
    /* Attention: the bits of a sequence's output do not depend on the batch it is in, nor on how
     * many keys the other sequences have: one configuration and one split size for all lengths.
     * Between plans of the same max_len_q: up to 16 and above it are different kernels. */
    SEQTUNE_BATCH_INVARIANT = 1,
    /* Every run first waits for the stream, copies page tables and lengths to the host and checks
     * them: a page id outside the pool, a length above its capacity, offsets that do not ascend
     * from 0 or end past the tokens are SEQTUNE_INVALID with their place. Not for capture. The
     * software GPU refuses page ids and slots without it, but in captures (docs/c-api.md).
     * Recurrent layers: lens and cu_seqlens; the run then waits for its end, too, and a kernel that
     * gave up waiting for other blocks is SEQTUNE_TIMEOUT. */
    SEQTUNE_CHECKED = 2,
    /* Recurrent cells, max_steps = 1: the kernels and configurations that a plan of order_steps
     * steps would have, so that T runs of one step give the bits of its run of T. */
    SEQTUNE_RNN_SEQUENCE_ORDER = 4,
    /* One recurrent layer whose W x the caller has: args.x is float [directions, steps, batch,
     * rows], `steps` of the run, 16-byte aligned: W x + bias_w + bias_r in the rows of
     * docs/recurrent.md (n of a GRU with reset after: without bias_r; layer norm: W x alone). Step
     * s of a reversed sequence is its last token but s. W of the packed weights is not read. */
    SEQTUNE_RNN_GIVEN_INPUT = 8
};

/* 0 means the default everywhere. Strides 0: packed [batch, token, head, head_dim] (pages: by
 * page_order), behind what the given strides of the faster axes span; given ones are positive
 * multiples of 16 bytes. The rows of O may not overlap.
 *
 * Lengths: max_len_q and max_len_kv are per sequence. With device_lengths the lengths of each
 * sequence are read on the device in every run, so that a captured launch serves growing sequences;
 * the maxima are then capacities and size the grid. Ragged Q and O (cu_seqlens_q) have no batch
 * axis: *_stride_batch is ignored. */
typedef struct seqtune_attention_desc {
    size_t size;
    seqtune_dtype dtype; /* of Q, K, V, O; default f16 */
    int64_t batch;       /* sequences; default 1 */
    int64_t heads_q;
    int64_t heads_kv; /* default heads_q; must divide heads_q */
    int64_t head_dim;
    int64_t max_len_q;  /* SEQTUNE_LENGTH_ZERO: 0 */
    int64_t max_len_kv; /* default max_len_q; SEQTUNE_LENGTH_ZERO: 0 */
    seqtune_mask mask;
    seqtune_window window;
    float scale;  /* default 1 / sqrt(head_dim) */
    int want_lse; /* 1: args.lse is written, float [batch, heads_q, max_len_q]; ragged Q: float
                     [heads_q, total_q] */
    int64_t q_stride_batch, q_stride_token, q_stride_head;
    int64_t k_stride_batch, k_stride_token, k_stride_head; /* paged: "batch" is the page, and
                                                              page and token strides are < 2^31 */
    int64_t v_stride_batch, v_stride_token, v_stride_head;
    int64_t o_stride_batch, o_stride_token, o_stride_head;
    seqtune_kv_kind kv;
    seqtune_kv_dtype kv_dtype;
    int ragged_q;       /* 1: Q and O are [token, head, head_dim], args.cu_seqlens_q */
    int device_lengths; /* 1: args.lens_kv or cu_seqlens_kv is read on the device; paged and ragged
                           K/V always do */
    int64_t total_q;    /* ragged Q: tokens of Q, O and LSE in all; default batch * max_len_q */
    int64_t page_size;  /* tokens of a page, paged only; any from 1 to 65536 */
    int64_t pages;      /* pages of the pool, paged only */
    seqtune_page_table page_table;
    seqtune_page_order page_order;
    int64_t block_table_stride; /* entries; default max_len_kv / page_size rounded up */
    int scale_per_head;         /* 8-bit K/V: 1: k_scale, v_scale are [heads_kv]; 0: one value */
    int flags;                  /* SEQTUNE_BATCH_INVARIANT | SEQTUNE_CHECKED */
    int64_t splits;             /* decode: at most so many parts of K/V per sequence; 0: chosen */
} seqtune_attention_desc;

#define SEQTUNE_ATTENTION_DESC_INIT                                                                \
    {                                                                                              \
        sizeof(seqtune_attention_desc), SEQTUNE_DTYPE_DEFAULT, 0, 0, 0, 0, 0, 0,                   \
            SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_OFF, 0, 0}, 0.0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  \
            0, 0, SEQTUNE_KV_DENSE, SEQTUNE_KV_SAME, 0, 0, 0, 0, 0, SEQTUNE_PAGES_TABLE,           \
            SEQTUNE_PAGES_NHD, 0, 0, 0, 0                                                          \
    }

/* Device arrays are those the description asks for; others are 0. Lengths and tables may change
 * between replays of a captured run. Slots beyond a length are never read into the result: they may
 * hold anything, NaN included. */
typedef struct seqtune_attention_args {
    size_t size;
    seqtune_device_ptr q, k, v, o; /* 16-byte aligned */
    seqtune_device_ptr lse;        /* 4-byte aligned; 0 unless want_lse */
    int64_t len_q, len_kv; /* 0: the description's maxima; never above them; SEQTUNE_LENGTH_ZERO */
    seqtune_device_ptr cu_seqlens_q;  /* ragged_q: int32 [batch + 1], first tokens, from 0 */
    seqtune_device_ptr cu_seqlens_kv; /* SEQTUNE_KV_RAGGED: the same for K and V */
    seqtune_device_ptr lens_kv;       /* int32 [batch]: keys of each sequence, at most max_len_kv */
    seqtune_device_ptr block_table;   /* SEQTUNE_PAGES_TABLE */
    seqtune_device_ptr page_indptr, page_indices; /* SEQTUNE_PAGES_CSR */
    seqtune_device_ptr k_scale, v_scale;          /* float; 8-bit K/V; 0: 1.0 */
} seqtune_attention_args;

#define SEQTUNE_ATTENTION_ARGS_INIT                                                                \
    { sizeof(seqtune_attention_args), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

SEQTUNE_API seqtune_status seqtune_plan_attention(seqtune_context *ctx,
                                                  const seqtune_attention_desc *desc,
                                                  seqtune_plan **out);
/* Asynchronous on `stream`. `workspace`: seqtune_plan_workspace bytes, 256-byte aligned, 0 if none.
 */
SEQTUNE_API seqtune_status seqtune_run_attention(const seqtune_plan *plan,
                                                 const seqtune_attention_args *args,
                                                 seqtune_device_ptr workspace,
                                                 seqtune_stream stream);
/* SEQTUNE_OK when some variant serves desc on ctx's GPU; compiles nothing. */
SEQTUNE_API seqtune_status seqtune_supports_attention(seqtune_context *ctx,
                                                      const seqtune_attention_desc *desc);

/* ---- merge of partial attention ---- */

/* O and LSE of attention over disjoint parts of the keys to those over all of them:
 * lse = log(sum exp(lse_i)), o = sum exp(lse_i - lse) o_i, summed in fp32 in an order that the plan
 * fixes. Parts with lse_i = -inf count nothing, whatever their o_i hold; all -inf, or no parts,
 * gives 0 and -inf. For cascade and shared-prefix attention. The order of 4 parts or more may
 * differ between plans of other max_tokens, heads or parts, and so the last bits: there is no flag.
 */
typedef struct seqtune_merge_desc {
    size_t size;
    seqtune_dtype dtype; /* of o; default f16 */
    int parts_f32;       /* 1: o_parts is float; 0: of `dtype` */
    int64_t max_parts;   /* at most 1024 */
    int64_t max_tokens;
    int64_t heads;
    int64_t head_dim; /* a multiple of 8 */
    int want_lse;
    int64_t o_stride_part; /* from part to part of o_parts [part, token, head, head_dim], a multiple
                              of 8; 0: packed for max_tokens */
    /* Of lse_parts, and of lse without the first; 0: packed [part, head, token] for max_tokens. The
     * LSE of attention over a batch with one query each is [token, head]: strides 1 and heads. */
    int64_t lse_stride_part, lse_stride_head, lse_stride_token;
} seqtune_merge_desc;

#define SEQTUNE_MERGE_DESC_INIT                                                                    \
    { sizeof(seqtune_merge_desc), SEQTUNE_DTYPE_DEFAULT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

typedef struct seqtune_merge_args {
    size_t size;
    seqtune_device_ptr o_parts;   /* 16-byte aligned */
    seqtune_device_ptr lse_parts; /* float, natural log */
    seqtune_device_ptr o;         /* [token, head, head_dim], packed, 16-byte aligned */
    seqtune_device_ptr lse;       /* float [head, token] by strides; 0 unless want_lse */
    int64_t parts, tokens;        /* 0: the description's maxima; SEQTUNE_LENGTH_ZERO */
} seqtune_merge_args;

#define SEQTUNE_MERGE_ARGS_INIT                                                                    \
    { sizeof(seqtune_merge_args), 0, 0, 0, 0, 0, 0 }

SEQTUNE_API seqtune_status seqtune_plan_merge(seqtune_context *ctx, const seqtune_merge_desc *desc,
                                              seqtune_plan **out);
SEQTUNE_API seqtune_status seqtune_run_merge(const seqtune_plan *plan,
                                             const seqtune_merge_args *args,
                                             seqtune_device_ptr workspace, seqtune_stream stream);
SEQTUNE_API seqtune_status seqtune_supports_merge(seqtune_context *ctx,
                                                  const seqtune_merge_desc *desc);

/* ---- the KV cache ---- */

typedef enum seqtune_kv_op {
    SEQTUNE_KV_APPEND = 0, /* new K and V rows into the cache; Q in place or to q_out */
    SEQTUNE_KV_GATHER,     /* cache to contiguous [token, head, head_dim] */
    SEQTUNE_KV_SCATTER     /* contiguous to cache: the inverse of gather */
} seqtune_kv_op;

/* The cache is dense or paged as in seqtune_attention_desc: element (slot, head, d) of K lies at
 * (slot / page_size) * k_stride_batch + (slot % page_size) * k_stride_token + head * k_stride_head
 * + d; a dense cache has page_size = tokens per sequence and pages = batch. Offsets are 64-bit;
 * pages * page_size is below 2^31.
 *
 * Where token t of the contiguous side belongs: slots[t] (int64, -1: nowhere); or, with batch > 0,
 * by position, found in the same launch: sequence b has the tokens cu_seqlens[b] ..
 * cu_seqlens[b+1]-1, which are its keys lens_kv[b] .. and lie in the pages of its table; a key past
 * the sequence's row of the table belongs nowhere. What belongs nowhere is not written (gather: the
 * token's row stays as it was), but its Q is computed. Tokens of no sequence are left alone.
 *
 * Append computes, in this order, where asked, in fp32 with one rounding at the end: RMS norm of
 * each head of Q and K (x * weight / sqrt(mean(x^2) + eps)), RoPE of Q and K from element 0 on
 * (positions outside of the table: not rotated), quantisation of K and V (stored = round(x /
 * scale), to nearest even, clamped). What is not computed is copied bit for bit. Scatter is append
 * without norm, RoPE and Q; gather is its inverse, x = stored * scale. */
typedef struct seqtune_kv_desc {
    size_t size;
    seqtune_kv_op op;
    seqtune_dtype dtype;       /* of the contiguous side; default f16 */
    seqtune_kv_dtype kv_dtype; /* of the cache */
    int64_t max_tokens;
    int64_t heads_q; /* append with Q: its heads; 0: no Q */
    int64_t heads_kv;
    int64_t head_dim; /* a multiple of 8 */
    int64_t page_size, pages;
    seqtune_page_order page_order;
    seqtune_page_table page_table;
    int64_t batch;              /* by position: sequences; 0: by slots */
    int64_t block_table_stride; /* entries; by position with a block table */
    int rope;                   /* 1: rotate Q and K */
    seqtune_rope_style rope_style;
    int64_t rotary_dim;                    /* default head_dim; a multiple of 4 */
    int64_t table_rows;                    /* positions the cos and sin tables hold */
    int qk_norm;                           /* 1: RMS norm of Q and K before RoPE */
    float norm_eps;                        /* default 1e-6 */
    int scale_per_head;                    /* of the cache's scales */
    int64_t q_stride_token, q_stride_head; /* of q and q_out; 0: packed [token, head, head_dim] */
    int64_t new_k_stride_token, new_k_stride_head; /* of the contiguous side */
    int64_t new_v_stride_token, new_v_stride_head;
    int64_t k_stride_batch, k_stride_token, k_stride_head; /* of the cache; "batch" is the page */
    int64_t v_stride_batch, v_stride_token, v_stride_head;
    int flags; /* SEQTUNE_CHECKED */
} seqtune_kv_desc;

#define SEQTUNE_KV_DESC_INIT                                                                       \
    {                                                                                              \
        sizeof(seqtune_kv_desc), SEQTUNE_KV_APPEND, SEQTUNE_DTYPE_DEFAULT, SEQTUNE_KV_SAME, 0, 0,  \
            0, 0, 0, 0, SEQTUNE_PAGES_NHD, SEQTUNE_PAGES_TABLE, 0, 0, 0, SEQTUNE_ROPE_NEOX, 0, 0,  \
            0, 0.0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                      \
    }

typedef struct seqtune_kv_args {
    size_t size;
    seqtune_device_ptr q, q_out;     /* append with Q; q_out = q: in place */
    seqtune_device_ptr new_k, new_v; /* the contiguous side: read by append, written by gather */
    seqtune_device_ptr k, v;         /* the cache */
    seqtune_device_ptr slots;        /* int64 [tokens]; by slots */
    seqtune_device_ptr cu_seqlens;   /* int32 [batch + 1]; by position */
    seqtune_device_ptr lens_kv;      /* int32 [batch], the key of each sequence's first token:
                                        append: keys before it; 0: all 0 */
    /* By position; block_table 0 with pages = batch: sequence b is page b (a dense cache). */
    seqtune_device_ptr block_table, page_indptr, page_indices;
    seqtune_device_ptr positions; /* int64 [tokens] for RoPE; 0: by position, the token's key */
    seqtune_device_ptr cos, sin;  /* float [table_rows, rotary_dim / 2] */
    seqtune_device_ptr q_norm, k_norm;   /* of dtype [head_dim] */
    seqtune_device_ptr k_scale, v_scale; /* float; 8-bit caches; 0: 1.0 */
    int64_t tokens;                      /* 0: the description's maximum; SEQTUNE_LENGTH_ZERO */
} seqtune_kv_args;

#define SEQTUNE_KV_ARGS_INIT                                                                       \
    { sizeof(seqtune_kv_args), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

SEQTUNE_API seqtune_status seqtune_plan_kv(seqtune_context *ctx, const seqtune_kv_desc *desc,
                                           seqtune_plan **out);
SEQTUNE_API seqtune_status seqtune_run_kv(const seqtune_plan *plan, const seqtune_kv_args *args,
                                          seqtune_device_ptr workspace, seqtune_stream stream);
SEQTUNE_API seqtune_status seqtune_supports_kv(seqtune_context *ctx, const seqtune_kv_desc *desc);

/* ---- RoPE ---- */

typedef struct seqtune_rope_desc {
    size_t size;
    seqtune_dtype dtype;
    seqtune_rope_style style;
    int64_t max_tokens;
    int64_t heads;
    int64_t head_dim;
    int64_t rotary_dim;                        /* default head_dim; even */
    int64_t rotary_offset;                     /* first rotated element of a head */
    int64_t x_stride_token, x_stride_head;     /* 0: packed [token, head, head_dim] */
    int64_t out_stride_token, out_stride_head; /* 0: packed */
    int64_t table_stride;                      /* 0: rotary_dim / 2 */
    int64_t table_rows;                        /* positions the tables hold */
} seqtune_rope_desc;

#define SEQTUNE_ROPE_DESC_INIT                                                                     \
    {                                                                                              \
        sizeof(seqtune_rope_desc), SEQTUNE_DTYPE_DEFAULT, SEQTUNE_ROPE_NEOX, 0, 0, 0, 0, 0, 0, 0,  \
            0, 0, 0, 0                                                                             \
    }

typedef struct seqtune_rope_args {
    size_t size;
    seqtune_device_ptr x, out;    /* out = x: in place */
    seqtune_device_ptr cos, sin;  /* float [table_rows, rotary_dim / 2] */
    seqtune_device_ptr positions; /* int64 per token; 0: first_position + token */
    int64_t first_position;
    int64_t tokens; /* 0: the description's maximum; SEQTUNE_LENGTH_ZERO */
} seqtune_rope_args;

#define SEQTUNE_ROPE_ARGS_INIT                                                                     \
    { sizeof(seqtune_rope_args), 0, 0, 0, 0, 0, 0, 0 }

SEQTUNE_API seqtune_status seqtune_plan_rope(seqtune_context *ctx, const seqtune_rope_desc *desc,
                                             seqtune_plan **out);
SEQTUNE_API seqtune_status seqtune_run_rope(const seqtune_plan *plan, const seqtune_rope_args *args,
                                            seqtune_device_ptr workspace, seqtune_stream stream);
SEQTUNE_API seqtune_status seqtune_supports_rope(seqtune_context *ctx,
                                                 const seqtune_rope_desc *desc);
/* Host tables with an fp64 phase: cos/sin of position * theta^(-2i/rotary_dim), float
 * [rows, rotary_dim / 2] each, memory of the caller. Formula: RoFormer, arXiv 2104.09864, eq. 15.
 */
SEQTUNE_API seqtune_status seqtune_rope_table(int64_t rows, int64_t rotary_dim, double theta,
                                              float *cos_out, float *sin_out);

/* ---- recurrent cells: LSTM and GRU ---- */

typedef enum seqtune_rnn_cell { SEQTUNE_LSTM = 0, SEQTUNE_GRU } seqtune_rnn_cell;

typedef enum seqtune_rnn_direction {
    SEQTUNE_RNN_FORWARD = 0,
    SEQTUNE_RNN_REVERSE,      /* begins at each sequence's last token */
    SEQTUNE_RNN_BIDIRECTIONAL /* both; y has forward's features, then reverse's */
} seqtune_rnn_direction;

/* With a the sum of W x, R h and biases, * by element, s = sigmoid:
 *
 *   LSTM  i = s(a_i + p_i * c)  f = s(a_f + p_f * c)  g = tanh(a_g)  c' = clip(f * c + i * g)
 *         o = s(a_o + p_o * c')  h' = o * tanh(c'), with projection h' = P (o * tanh(c'))
 *   GRU   r = s(a_r)  z = s(a_z)  h' = z * h + (1 - z) * n
 *         n = tanh(W_n x + b_n + r * (R_n h + d_n)), with reset_before tanh(W_n x + b_n + R_n
 *         (r * h))
 *
 * layer_norm: LN(W x) and LN(R h) instead of W x and R h, each over all gates, with gains; the LSTM
 * also has tanh(LN(c')) (Ba, Kiros, Hinton 2016, eq. 20-22; c' itself is carried on).
 *
 * Numbers: fp32 accumulation, pre-activations and c; h is rounded once per step to dtype: y, the
 * next step and h_out have the same bits. A run of T steps has the bits of any chunks of it that
 * the same plan runs one after the other, state passed on. Inference only; store_gates keeps what a
 * backward needs.
 *
 * Sequences of different length: device_lengths reads args.lens (padded: y of tokens past a length
 * is 0), packed reads args.cu_seqlens (sequence b has the tokens cu_seqlens[b] .. cu_seqlens[b+1]-1
 * of x and y). h_out and c_out are those after each sequence's own last step; of length 0: h_in and
 * c_in. */
typedef struct seqtune_rnn_desc {
    size_t size;
    seqtune_rnn_cell cell;
    seqtune_dtype dtype; /* of x, y, h, weights: f16 (default), bf16, f32 */
    seqtune_rnn_direction direction;
    int64_t batch;        /* sequences; default 1, at most 65535 */
    int64_t input;        /* features of x; 1..16384 */
    int64_t hidden;       /* units; 1..16384 */
    int64_t layers;       /* default 1; at most 64 */
    int64_t max_steps;    /* 1: kernels of one step */
    int64_t projection;   /* LSTM: length of h, at most hidden; 0: hidden, without projection */
    int64_t total_tokens; /* packed: of all sequences; default batch * max_steps */
    int packed;           /* 1: args.cu_seqlens */
    int device_lengths;   /* 1: args.lens */
    int peephole;         /* LSTM */
    int layer_norm;
    int reset_before; /* GRU: the reset gate before the product (Keras reset_after=False, ONNX
                         linear_before_reset=0) */
    int store_gates;  /* 1: args.gates is written */
    float cell_clip;  /* LSTM: |c'| at most this; 0: no limit */
    float norm_eps;   /* layer_norm; default 1e-5 */
    /* 0: packed [step, batch, features]. Packed sequences: *_stride_step is that of tokens. */
    int64_t x_stride_step, x_stride_batch, y_stride_step, y_stride_batch;
    int flags;           /* SEQTUNE_RNN_SEQUENCE_ORDER | SEQTUNE_CHECKED |
                            SEQTUNE_RNN_GIVEN_INPUT */
    int64_t order_steps; /* with that flag; else 0 */
    int64_t chunk_steps; /* steps whose W x is in the workspace at once; 0: as many as 64 MiB hold.
                            The results do not depend on it */
} seqtune_rnn_desc;

#define SEQTUNE_RNN_DESC_INIT                                                                      \
    {                                                                                              \
        sizeof(seqtune_rnn_desc), SEQTUNE_LSTM, SEQTUNE_DTYPE_DEFAULT, SEQTUNE_RNN_FORWARD, 0, 0,  \
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0f, 0.0f, 0, 0, 0, 0, 0, 0, 0                       \
    }

/* States are [layers * directions, batch, hidden], layer by layer, forward before reverse; of h
 * with projection [.., projection]. h_out may not be h_in, nor overlap it (refused): use two
 * buffers in turn. c_out may be c_in, but not overlap it otherwise. */
typedef struct seqtune_rnn_args {
    size_t size;
    seqtune_device_ptr weights;      /* seqtune_rnn_pack_weights; 256-byte aligned */
    seqtune_device_ptr x;            /* dtype; aligned as its strides are, at most to 16 bytes;
                                        SEQTUNE_RNN_GIVEN_INPUT: W x + bias */
    seqtune_device_ptr y;            /* dtype; directions * state features; 0: not wanted */
    seqtune_device_ptr h_in, c_in;   /* h of dtype, 16-byte aligned, c float (LSTM); 0: zeros */
    seqtune_device_ptr h_out, c_out; /* 0: not wanted */
    seqtune_device_ptr lens;         /* int32 [batch], cut to 0..steps; device_lengths */
    seqtune_device_ptr cu_seqlens;   /* int32 [batch + 1]; packed */
    seqtune_device_ptr gates; /* dtype [layers * directions, steps, batch, rows] after activation,
                                 by step (a reversed sequence's step 0 is its last token); rows as
                                 in docs/recurrent.md; store_gates */
    /* int32, 0: none. A run sets it to 0; the kernels that wait for other blocks set it to 1 + the
     * step whose wait they gave up, and what the run writes is then undefined. */
    seqtune_device_ptr error;
    int64_t steps; /* 0: the description's maximum; SEQTUNE_LENGTH_ZERO */
} seqtune_rnn_args;

#define SEQTUNE_RNN_ARGS_INIT                                                                      \
    { sizeof(seqtune_rnn_args), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

SEQTUNE_API seqtune_status seqtune_plan_rnn(seqtune_context *ctx, const seqtune_rnn_desc *desc,
                                            seqtune_plan **out);
SEQTUNE_API seqtune_status seqtune_run_rnn(const seqtune_plan *plan, const seqtune_rnn_args *args,
                                           seqtune_device_ptr workspace, seqtune_stream stream);
SEQTUNE_API seqtune_status seqtune_supports_rnn(seqtune_context *ctx, const seqtune_rnn_desc *desc);

/* Whose order of gates, and which matrices are transposed (docs/recurrent.md has the table). */
typedef enum seqtune_rnn_layout {
    SEQTUNE_RNN_PYTORCH = 0, /* and cuDNN: LSTM i f g o, GRU r z n; W [gates * hidden, input] */
    SEQTUNE_RNN_ONNX,        /* i o f g, z r n; W [gates * hidden, input]; peephole i o f */
    SEQTUNE_RNN_KERAS,       /* i f g o, z r n; W [input, gates * hidden] */
    SEQTUNE_RNN_TF_ICFO,     /* LSTM i g f o; W [input, gates * hidden] */
    SEQTUNE_RNN_TF_IFCO      /* LSTM i f g o; W [input, gates * hidden] */
} seqtune_rnn_layout;

/* One layer and direction in the framework's own order, float on the host. NULL: zeros (norm gains:
 * ones); what the description does not have must be NULL or 0. `input` of a layer above the first
 * is directions * state. R has `state` columns (or rows) in place of `input`. */
typedef struct seqtune_rnn_weights {
    size_t size;
    const float *w, *r;
    const float *bias_w, *bias_r; /* [gates * hidden]; one bias: bias_w. Their sum counts, but for n
                                     of a GRU with reset after: bias_r of n is inside the product */
    const float *peephole;        /* [3, hidden] */
    const float *projection;      /* [projection, hidden]; Keras and TF: [hidden, projection] */
    const float *norm_w, *norm_r; /* gains [gates * hidden]; shifts belong in bias_w, bias_r */
    const float *norm_c, *norm_c_shift; /* LSTM [hidden] */
    float forget_bias;                  /* LSTM: added to f's bias (TF's BlockLSTM: 1) */
    int update_new; /* GRU: 1: z weighs the new value, h' = (1 - z) * h + z * n */
} seqtune_rnn_weights;

#define SEQTUNE_RNN_WEIGHTS_INIT                                                                   \
    { sizeof(seqtune_rnn_weights), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0f, 0 }

/* Bytes of the packed weights of all layers and directions. Of a description these and
 * seqtune_rnn_pack_weights read cell, dtype, direction, input, hidden, layers, projection,
 * peephole, layer_norm and reset_before. */
SEQTUNE_API seqtune_status seqtune_rnn_weights_bytes(const seqtune_rnn_desc *desc, size_t *bytes);
/* Host memory to host memory, to be uploaded by the caller. `weights`: layers * directions structs,
 * layer by layer, forward before reverse. Rounded to nearest even; SEQTUNE_INVALID when a value is
 * not finite in dtype. seqtune_open_error() is the text of a failure. */
SEQTUNE_API seqtune_status seqtune_rnn_pack_weights(const seqtune_rnn_desc *desc,
                                                    seqtune_rnn_layout layout,
                                                    const seqtune_rnn_weights *weights, void *out);

/* ---- plans ---- */

SEQTUNE_API void seqtune_plan_destroy(seqtune_plan *plan);           /* NULL is fine */
SEQTUNE_API size_t seqtune_plan_workspace(const seqtune_plan *plan); /* bytes */

/* Which step of the dispatch ladder answered. */
typedef enum seqtune_rung {
    SEQTUNE_RUNG_EXACT = 0, /* a winner of this bucket on this GPU */
    SEQTUNE_RUNG_NEAREST,   /* the nearest legal bucket on this GPU */
    SEQTUNE_RUNG_OTHER_GPU, /* the nearest GPU of the same architecture */
    SEQTUNE_RUNG_DEFAULT,   /* nothing recorded: the spec's default */
    SEQTUNE_RUNG_FORCED     /* the caller chose the configuration */
} seqtune_rung;

/* Texts belong to the plan. */
typedef struct seqtune_plan_info {
    size_t size;
    const char *kernel;   /* "attn_prefill" */
    const char *pipeline; /* "attn/prefill_mma" */
    const char *config;   /* "block_m=128 block_n=64 ..." */
    const char *problem;  /* the whole problem */
    const char *key;      /* its bucket */
    const char *gpu;      /* GPU key */
    seqtune_rung rung;
    const char *database; /* path of the database that answered; "" for none */
    int64_t row;          /* verdict row id there; 0 for none */
    const char *row_key;  /* bucket of that row */
    const char *row_gpu;  /* GPU key of that row */
    int modelled;         /* 1: the row's times were modelled, not measured */
    double time_us;       /* recorded for the row; 0 when unknown */
    const char *artifact; /* content hash of the binary, hex */
    int from_cache;       /* 1: no compilation was needed */
    double compile_s;     /* 0 when from_cache */
    int registers;        /* of the largest kernel of the plan */
    int spill_bytes;
} seqtune_plan_info; /* seqtune_plan_rnn: of the kernel that does the steps of the last layer */

#define SEQTUNE_PLAN_INFO_INIT                                                                     \
    {                                                                                              \
        sizeof(seqtune_plan_info), 0, 0, 0, 0, 0, 0, SEQTUNE_RUNG_EXACT, 0, 0, 0, 0, 0, 0, 0, 0,   \
            0, 0, 0                                                                                \
    }

SEQTUNE_API seqtune_status seqtune_plan_get_info(const seqtune_plan *plan, seqtune_plan_info *out);

#ifdef __cplusplus
}
#endif
#endif
