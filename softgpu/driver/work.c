/* What operations do when their turn comes, and how long it takes on the modelled GPU. */
#include "softgpu/driver/state.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "softgpu/written.h"

/* PCIe 4.0 x16 from pinned memory: 31.5 GB/s on the wire, 25 reachable. */
static const double BUS_BYTES_PER_SECOND = 25e9;

void work_free(Work *work) {
    if (work->kind == WORK_KERNEL) mem_free(work->u.kernel.params);
    if (work->kind == WORK_ALLOC || work->kind == WORK_FREE)
        graph_memory_drop(work->u.memory.graph);
    if (work->kind == WORK_GRAPH) {
        graph_abandon(work, 0); /* a launch that never began must not leave its events waiting */
        for (size_t i = 0; i < work->u.graph.count; i++) ticket_drop(work->u.graph.events[i]);
        mem_free(work->u.graph.events);
        mem_free(work->u.graph.ends);
        graph_drop(work->u.graph.graph);
    }
    work->kind = WORK_EMPTY;
}

/* A captured launch keeps naming its exec; a child graph is copied with its node. */
static Status graph_work_copy(Graph *graph, Work *to) {
    if (graph->embedded) return graph_embed(graph, true, to);
    *to = graph_work(graph);
    return ST_OK;
}

Status work_copy(const Work *from, Work *to) {
    *to = *from;
    if (from->kind == WORK_GRAPH) return graph_work_copy(from->u.graph.graph, to);
    if (from->kind == WORK_ALLOC || from->kind == WORK_FREE)
        graph_memory_hold(from->u.memory.graph);
    if (from->kind != WORK_KERNEL || from->u.kernel.params == NULL) return ST_OK;
    to->u.kernel.params = mem_alloc(from->u.kernel.param_bytes);
    if (to->u.kernel.params == NULL) {
        to->kind = WORK_EMPTY;
        return ST_NO_MEMORY;
    }
    memcpy(to->u.kernel.params, from->u.kernel.params, from->u.kernel.param_bytes);
    return ST_OK;
}

static void fill(void *to, uint32_t value, int width, uint64_t count) {
    if (width == 1) {
        memset(to, (int)(value & 0xff), count);
        return;
    }
    uint16_t *half = to;
    uint32_t *word = to;
    for (uint64_t i = 0; i < count; i++) {
        if (width == 2)
            half[i] = (uint16_t)value;
        else
            word[i] = value;
    }
}

/* Memory may have been freed, in its stream's order, since the call was checked; that of a graph
 * need not have been there then. */
static bool still_there(Context *context, const void *at, uint64_t bytes, const char *what) {
    char text[256], where[200];
    const Place place = place_of((uint64_t)(uintptr_t)at, bytes);
    if (place == PLACE_PAGEABLE) return true;
    if (place != PLACE_BAD && sg_mem_ok((uint64_t)(uintptr_t)at, bytes)) return true;
    sg_mem_describe((uint64_t)(uintptr_t)at, bytes, where, sizeof where);
    snprintf(text, sizeof text, "%s: %s", what, where);
    context_fail(context, CUDA_ERROR_ILLEGAL_ADDRESS, text);
    return false;
}

static void box_move(const Work *work) {
    for (uint64_t z = 0; z < work->u.copy.planes; z++) {
        char *to = (char *)work->u.copy.to + z * work->u.copy.to_plane;
        const char *from = (const char *)work->u.copy.from + z * work->u.copy.from_plane;
        for (uint64_t y = 0; y < work->u.copy.rows; y++) {
            char *const row = to + y * work->u.copy.to_pitch;
            const char *const source = from + y * work->u.copy.from_pitch;
            memmove(row, source, work->u.copy.bytes);
            sg_written_copy((uint64_t)(uintptr_t)row, (uint64_t)(uintptr_t)source,
                            work->u.copy.bytes);
        }
    }
}

static double copy_execute(Context *context, const Work *work) {
    const uint64_t rows = work->u.copy.rows - 1, planes = work->u.copy.planes - 1;
    const double bytes =
        (double)work->u.copy.bytes * (double)work->u.copy.rows * (double)work->u.copy.planes;
    if (!still_there(context, work->u.copy.to,
                     planes * work->u.copy.to_plane + rows * work->u.copy.to_pitch +
                         work->u.copy.bytes,
                     "copy to") ||
        !still_there(context, work->u.copy.from,
                     planes * work->u.copy.from_plane + rows * work->u.copy.from_pitch +
                         work->u.copy.bytes,
                     "copy from"))
        return 0;
    pthread_mutex_unlock(&driver.lock);
    box_move(work);
    pthread_mutex_lock(&driver.lock);
    const double latency = context->model->launch_us * 1e-6;
    if (work->u.copy.over_bus) return latency + bytes / BUS_BYTES_PER_SECOND;
    return latency + 2 * bytes / (context->model->dram_gbs * 1e9); /* read and write */
}

static double fill_execute(Context *context, const Work *work) {
    const uint64_t row = work->u.fill.count * (uint64_t)work->u.fill.width;
    const double bytes = (double)row * (double)work->u.fill.rows;
    if (!still_there(context, work->u.fill.to, (work->u.fill.rows - 1) * work->u.fill.pitch + row,
                     "fill"))
        return 0;
    pthread_mutex_unlock(&driver.lock);
    for (uint64_t y = 0; y < work->u.fill.rows; y++) {
        char *const to = (char *)work->u.fill.to + y * work->u.fill.pitch;
        fill(to, work->u.fill.value, work->u.fill.width, work->u.fill.count);
        sg_written_mark((uint64_t)(uintptr_t)to, row);
    }
    pthread_mutex_lock(&driver.lock);
    return context->model->launch_us * 1e-6 + bytes / (context->model->dram_gbs * 1e9);
}

/* "The addresses are read with volatile semantics": a kernel or the host may write them. */
static uint64_t value_load(const Work *work) {
    if (work->u.value.width == 8)
        return __atomic_load_n((uint64_t *)work->u.value.address, __ATOMIC_ACQUIRE);
    return __atomic_load_n((uint32_t *)work->u.value.address, __ATOMIC_ACQUIRE);
}

/* GEQ compares cyclically: (int32_t)(*addr - value) >= 0. */
static bool value_met(const Work *work) {
    const uint64_t now = value_load(work), want = work->u.value.value;
    const bool wide = work->u.value.width == 8;
    switch (work->u.value.condition) {
    case CU_STREAM_WAIT_VALUE_GEQ:
        return wide ? (int64_t)(now - want) >= 0 : (int32_t)((uint32_t)now - (uint32_t)want) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ: return now == want;
    case CU_STREAM_WAIT_VALUE_AND: return (now & want) != 0;
    default: return wide ? ~(now | want) != 0 : (uint32_t) ~(now | want) != 0; /* NOR */
    }
}

/* Polls: what changes the value may be the host. Ends when the context faults. */
static double wait_value_execute(Context *context, const Work *work) {
    const struct timespec pause = {.tv_nsec = 50000};
    while (context->fault == CUDA_SUCCESS) {
        if (!still_there(context, work->u.value.address, (uint64_t)work->u.value.width,
                         "wait for a value"))
            break;
        if (value_met(work)) break;
        pthread_mutex_unlock(&driver.lock);
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&driver.lock);
    }
    return 0;
}

static double write_value_execute(Context *context, const Work *work) {
    if (!still_there(context, work->u.value.address, (uint64_t)work->u.value.width,
                     "write of a value"))
        return 0;
    if (work->u.value.width == 8)
        __atomic_store_n((uint64_t *)work->u.value.address, work->u.value.value, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint32_t *)work->u.value.address, (uint32_t)work->u.value.value,
                         __ATOMIC_RELEASE);
    sg_written_mark((uint64_t)(uintptr_t)work->u.value.address, (uint64_t)work->u.value.width);
    return 0;
}

static double free_execute(Context *context, const Work *work) {
    if (!memory_release((uint64_t)(uintptr_t)work->u.memory.address))
        context_fail(context, CUDA_ERROR_ILLEGAL_ADDRESS,
                     work->u.memory.graph == NULL
                         ? "cuMemFreeAsync: freed before its turn"
                         : "memory of a graph is freed that is not allocated at this time");
    return 0;
}

static double host_execute(const Context *context, const Work *work) {
    const CUresult status = context->fault;
    pthread_mutex_unlock(&driver.lock);
    this_thread.in_callback = true;
    if (work->kind == WORK_HOST)
        work->u.host.function(work->u.host.data);
    else
        work->u.host.callback(work->u.host.stream, status, work->u.host.data);
    this_thread.in_callback = false;
    pthread_mutex_lock(&driver.lock);
    return 0; /* host time is not modelled */
}

double work_execute(Context *context, Work *work, double start) {
    switch (work->kind) {
    case WORK_KERNEL: return launch_execute(context, work);
    case WORK_COPY: return copy_execute(context, work);
    case WORK_FILL: return fill_execute(context, work);
    case WORK_HOST:
    case WORK_CALLBACK: return host_execute(context, work);
    case WORK_GRAPH: return graph_execute(context, work, start);
    case WORK_ALLOC: graph_memory_begin_life(context, work->u.memory.graph); break;
    case WORK_FREE: return free_execute(context, work);
    case WORK_WAIT_VALUE: return wait_value_execute(context, work);
    case WORK_WRITE_VALUE: return write_value_execute(context, work);
    case WORK_EMPTY:
    case WORK_EVENT:
    case WORK_EVENT_WAIT: break; /* the launch of its graph waited */
    }
    return 0;
}
