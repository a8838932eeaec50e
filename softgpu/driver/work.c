/* What operations do when their turn comes, and how long it takes on the modelled GPU. */
#include "softgpu/driver/state.h"

#include <string.h>

#include "base/mem.h"
#include "softgpu/written.h"

/* PCIe 4.0 x16 from pinned memory: 31.5 GB/s on the wire, 25 reachable. */
static const double BUS_BYTES_PER_SECOND = 25e9;

void work_free(Work *work) {
    if (work->kind == WORK_KERNEL) mem_free(work->u.kernel.params);
    if (work->kind == WORK_GRAPH) {
        graph_abandon(work, 0); /* a launch that never began must not leave its events waiting */
        for (size_t i = 0; i < work->u.graph.graph->count; i++)
            if (work->u.graph.events != NULL) ticket_drop(work->u.graph.events[i]);
        mem_free(work->u.graph.events);
        mem_free(work->u.graph.ends);
        graph_drop(work->u.graph.graph);
    }
    work->kind = WORK_EMPTY;
}

bool work_copy(const Work *from, Work *to) {
    *to = *from;
    if (from->kind == WORK_GRAPH) return graph_prepare(from->u.graph.graph, to);
    if (from->kind != WORK_KERNEL || from->u.kernel.params == NULL) return true;
    to->u.kernel.params = mem_alloc(from->u.kernel.param_bytes);
    if (to->u.kernel.params == NULL) {
        to->kind = WORK_EMPTY;
        return false;
    }
    memcpy(to->u.kernel.params, from->u.kernel.params, from->u.kernel.param_bytes);
    return true;
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

static double copy_execute(const Context *context, const Work *work) {
    const double bytes = (double)work->u.copy.bytes;
    pthread_mutex_unlock(&driver.lock);
    memmove(work->u.copy.to, work->u.copy.from, work->u.copy.bytes);
    sg_written_copy((uint64_t)(uintptr_t)work->u.copy.to, (uint64_t)(uintptr_t)work->u.copy.from,
                    work->u.copy.bytes);
    pthread_mutex_lock(&driver.lock);
    const double latency = context->model->launch_us * 1e-6;
    if (work->u.copy.over_bus) return latency + bytes / BUS_BYTES_PER_SECOND;
    return latency + 2 * bytes / (context->model->dram_gbs * 1e9); /* read and write */
}

static double fill_execute(const Context *context, const Work *work) {
    const double bytes = (double)work->u.fill.count * work->u.fill.width;
    pthread_mutex_unlock(&driver.lock);
    fill(work->u.fill.to, work->u.fill.value, work->u.fill.width, work->u.fill.count);
    sg_written_mark((uint64_t)(uintptr_t)work->u.fill.to,
                    work->u.fill.count * (uint64_t)work->u.fill.width);
    pthread_mutex_lock(&driver.lock);
    return context->model->launch_us * 1e-6 + bytes / (context->model->dram_gbs * 1e9);
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
    case WORK_EMPTY:
    case WORK_EVENT: break;
    }
    return 0;
}
