/* Memory that is more than cuMemAlloc: managed, pinned and registered memory in kernels, pools and
 * stream order, rows and planes, two devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "softgpu/driver/abi.h"
#include "softgpu/softgpu.h"
#include "tests/softgpu/driver_fixture.h"

/* Shared memory of host and device -------------------------------------------- */

static void host_and_kernel_share_managed_memory(void **state) {
    (void)state;
    CUdeviceptr p;
    size_t before, after, total;
    unsigned int value = 0, type = 0;
    OK(cuMemGetInfo_v2(&before, &total));
    OK(cuMemAllocManaged(&p, 100, CU_MEM_ATTACH_GLOBAL));
    OK(cuMemGetInfo_v2(&after, &total));
    assert_int_equal(before, after);
    unsigned int *host = (unsigned int *)(uintptr_t)p;
    host[1] = 5;
    OK(fixture_store(&f, p, 77, NULL));
    OK(cuCtxSynchronize());
    assert_int_equal(host[0], 77);
    OK(cuMemcpyDtoH_v2(&value, p + 4, 4)); /* either side of a copy */
    assert_int_equal(value, 5);
    OK(cuMemcpyHtoD_v2(f.buffer, host, 4));
    OK(cuMemsetD32_v2(p, 9, 1));
    OK(cuCtxSynchronize());
    assert_int_equal(host[0], 9);
    OK(cuPointerGetAttribute(&value, 8, p));
    assert_int_equal(value, 1);
    OK(cuPointerGetAttribute(&type, 2, p));
    assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
    OK(cuMemPrefetchAsync(p, 100, 0, NULL));
    OK(cuMemPrefetchAsync(p, 100, -1, NULL));
    OK(cuMemAdvise(p, 100, 1, 0));
    OK(cuMemFree_v2(p));
    assert_int_equal(cuMemcpyDtoH_v2(&value, p, 4), CUDA_ERROR_INVALID_VALUE);
}

static int range_value(int attribute, CUdeviceptr p, size_t bytes) {
    int value = 77;
    OK(cuMemRangeGetAttribute(&value, sizeof value, attribute, p, bytes));
    return value;
}

/* Attributes 1 to 8 as CUmem_range_attribute numbers them; -1 is the CPU, -2 no one place. */
static void a_range_tells_what_was_advised(void **state) {
    (void)state;
    enum { MOSTLY = 1, PREFERRED, ACCESSED, PREFETCHED, TYPE, ID, PREFETCHED_TYPE, PREFETCHED_ID };
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = 4 * page;
    const CUmemLocation host = {CU_MEM_LOCATION_TYPE_HOST, 5}, second = {1, 1};
    CUdeviceptr p;
    OK(cuMemAllocManaged(&p, bytes, CU_MEM_ATTACH_GLOBAL));
    assert_int_equal(range_value(MOSTLY, p, bytes), 0);
    assert_int_equal(range_value(PREFERRED, p, bytes), -2);
    assert_int_equal(range_value(PREFETCHED_TYPE, p, bytes), 0);
    OK(cuMemAdvise(p, bytes, 1, 99)); /* read mostly: the location is ignored */
    OK(cuMemAdvise_v2(p + 1, page, 3, second));
    /* Two pages are touched by the page's worth of bytes from the second byte on. */
    assert_int_equal(range_value(PREFERRED, p, 2 * page), 1);
    assert_int_equal(range_value(TYPE, p, 2 * page), CU_MEM_LOCATION_TYPE_DEVICE);
    assert_int_equal(range_value(ID, p, 2 * page), 1);
    assert_int_equal(range_value(PREFERRED, p, 2 * page + 1), -2);
    assert_int_equal(range_value(TYPE, p, bytes), 0);
    assert_int_equal(range_value(MOSTLY, p, bytes), 1);
    OK(cuMemAdvise(p + 3 * page, 1, 2, 0));
    assert_int_equal(range_value(MOSTLY, p, bytes), 0);
    assert_int_equal(range_value(MOSTLY, p, 3 * page), 1);
    OK(cuMemAdvise(p + page, page, 4, 0));
    assert_int_equal(range_value(PREFERRED, p, page), 1);
    assert_int_equal(range_value(PREFERRED, p, 2 * page), -2);
    OK(cuMemAdvise_v2(p, bytes, 3, host)); /* over what pages had */
    assert_int_equal(range_value(PREFERRED, p, bytes), -1);
    assert_int_equal(range_value(TYPE, p, bytes), CU_MEM_LOCATION_TYPE_HOST);
    OK(cuMemPrefetchAsync(p, bytes, 0, NULL));
    OK(cuMemPrefetchAsync_v2(p + page, page, host, 0, NULL));
    assert_int_equal(range_value(PREFETCHED, p, page), 0);
    assert_int_equal(range_value(PREFETCHED_TYPE, p, page), CU_MEM_LOCATION_TYPE_DEVICE);
    assert_int_equal(range_value(PREFETCHED, p + page, page), -1);
    assert_int_equal(range_value(PREFETCHED_ID, p, bytes), -2);
    OK(cuMemFree_v2(p));
}

static void a_range_tells_the_devices_that_access_all_of_it(void **state) {
    (void)state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int devices[3], mostly = 7;
    void *data[] = {devices, &mostly};
    size_t sizes[] = {sizeof devices, sizeof mostly};
    int attributes[] = {3, 1};
    CUdeviceptr p;
    OK(cuMemAllocManaged(&p, 2 * page, CU_MEM_ATTACH_GLOBAL));
    OK(cuMemAdvise(p, 2 * page, 5, 1));
    OK(cuMemAdvise(p, 2 * page, 5, -1));
    OK(cuMemAdvise(p, page, 5, 0));
    OK(cuMemRangeGetAttributes(data, sizes, attributes, 2, p, 2 * page));
    assert_int_equal(devices[0], 1);
    assert_int_equal(devices[1], -1);
    assert_int_equal(devices[2], -2);
    assert_int_equal(mostly, 0);
    OK(cuMemRangeGetAttribute(devices, 2 * sizeof(int), 3, p, page));
    assert_int_equal(devices[0], 0); /* only as many as fit */
    assert_int_equal(devices[1], 1);
    assert_int_equal(devices[2], -2);
    OK(cuMemAdvise(p, 1, 6, 1));
    OK(cuMemRangeGetAttribute(devices, sizeof devices, 3, p, 2 * page));
    assert_int_equal(devices[0], -1);
    assert_int_equal(devices[1], -2);
    sizes[1] = 8; /* nothing is told where one of them is wrong */
    devices[0] = 55;
    assert_int_equal(cuMemRangeGetAttributes(data, sizes, attributes, 2, p, page),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(devices[0], 55);
    OK(cuMemFree_v2(p));
}

static void memory_is_attached_in_its_streams_turn(void **state) {
    (void)state;
    CUstream stream;
    CUdeviceptr p;
    unsigned int *host;
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuMemAllocManaged(&p, 100, CU_MEM_ATTACH_HOST));
    host = (unsigned int *)(uintptr_t)p;
    OK(fixture_run(&f, "sleep", stream));
    OK(cuStreamAttachMemAsync(stream, p, 0, CU_MEM_ATTACH_SINGLE));
    assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    OK(fixture_store(&f, p, 41, stream));
    OK(cuStreamAttachMemAsync(stream, p, 100, CU_MEM_ATTACH_GLOBAL));
    OK(cuStreamSynchronize(stream));
    assert_int_equal(host[0], 41);
    OK(cuStreamAttachMemAsync(NULL, p, 0, CU_MEM_ATTACH_HOST));
    OK(cuStreamAttachMemAsync_ptsz(NULL, p, 0, CU_MEM_ATTACH_SINGLE)); /* a stream of its own */
    OK(cuCtxSynchronize());
    OK(cuMemFree_v2(p));
    OK(cuStreamDestroy_v2(stream));
}

static void kernels_use_pinned_memory(void **state) {
    (void)state;
    unsigned int *host, flags;
    CUdeviceptr p;
    OK(cuMemHostAlloc((void **)&host, 64, 3));
    OK(cuMemHostGetDevicePointer_v2(&p, host + 2, 0));
    OK(fixture_store(&f, p, 31, NULL));
    OK(cuCtxSynchronize());
    assert_int_equal(host[2], 31);
    OK(cuMemHostGetFlags(&flags, host));
    assert_int_equal(flags, 3);
    OK(cuMemFreeHost(host));
}

static void kernels_use_registered_memory(void **state) {
    (void)state;
    unsigned int mine[32] = {0};
    CUdeviceptr p;
    unsigned int type = 0;
    OK(cuMemHostRegister_v2(mine, sizeof mine, 2));
    OK(cuMemHostGetDevicePointer_v2(&p, mine, 0));
    OK(fixture_store(&f, p + 124, 8, NULL));
    OK(cuCtxSynchronize());
    assert_int_equal(mine[31], 8);
    OK(cuPointerGetAttribute(&type, 2, p));
    assert_int_equal(type, CU_MEMORYTYPE_HOST);
    OK(cuMemHostUnregister(mine));
    assert_int_equal(cuPointerGetAttribute(&type, 2, p), CUDA_ERROR_INVALID_VALUE);
}

static void a_forked_child_keeps_pinned_memory(void **state) {
    (void)state;
    int *host, status = 1;
    OK(cuMemAllocHost_v2((void **)&host, 64));
    *host = 42;
    const pid_t pid = fork();
    if (pid == 0) _exit(*host == 42 ? 0 : 1);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    OK(cuMemFreeHost(host));
}

/* Rows and planes ------------------------------------------------------------- */

static void rows_and_planes_land_where_they_belong(void **state) {
    (void)state;
    unsigned char in[60], out[60], want[60];
    for (size_t i = 0; i < sizeof in; i++) in[i] = (unsigned char)i;
    /* The 3 x 2 bytes at column 1, row 2 of a 5-byte wide image, to column 4, row 1 of pitch 16. */
    CUDA_MEMCPY2D rows = {.srcXInBytes = 1,
                          .srcY = 2,
                          .srcMemoryType = CU_MEMORYTYPE_HOST,
                          .srcHost = in,
                          .srcPitch = 5,
                          .dstXInBytes = 4,
                          .dstY = 1,
                          .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                          .dstDevice = f.buffer,
                          .dstPitch = 16,
                          .WidthInBytes = 3,
                          .Height = 2};
    OK(cuMemsetD8_v2(f.buffer, 0xee, 60));
    OK(cuMemcpy2D_v2(&rows));
    OK(cuMemcpyDtoH_v2(out, f.buffer, 60));
    memset(want, 0xee, sizeof want);
    memcpy(want + 20, in + 11, 3);
    memcpy(want + 36, in + 16, 3);
    assert_memory_equal(out, want, 60);
    /* Two planes of 2 rows of 4 bytes, out of planes of 3 rows of 5. */
    const CUDA_MEMCPY3D box = {.srcZ = 1,
                               .srcMemoryType = CU_MEMORYTYPE_HOST,
                               .srcHost = in,
                               .srcPitch = 5,
                               .srcHeight = 3,
                               .dstMemoryType = CU_MEMORYTYPE_UNIFIED,
                               .dstDevice = f.buffer,
                               .dstPitch = 4,
                               .dstHeight = 2,
                               .WidthInBytes = 4,
                               .Height = 2,
                               .Depth = 2};
    OK(cuMemcpy3D_v2(&box));
    OK(cuMemcpyDtoH_v2(out, f.buffer, 16));
    for (size_t z = 0; z < 2; z++)
        for (size_t y = 0; y < 2; y++)
            assert_memory_equal(out + z * 8 + y * 4, in + (z + 1) * 15 + y * 5, 4);
}

static void fills_of_rows_leave_the_gaps(void **state) {
    (void)state;
    unsigned short out[12];
    OK(cuMemsetD8_v2(f.buffer, 0, 24));
    OK(cuMemsetD2D16_v2(f.buffer, 8, 0x0102, 3, 3));
    OK(cuMemcpyDtoH_v2(out, f.buffer, 24));
    for (int i = 0; i < 12; i++) assert_int_equal(out[i], i % 4 < 3 ? 0x0102 : 0);
}

/* Pools ----------------------------------------------------------------------- */

static uint64_t pool_bytes(CUmemoryPool pool, int attribute) {
    uint64_t value = 0;
    OK(cuMemPoolGetAttribute(pool, attribute, &value));
    return value;
}

static void pools_count_what_their_streams_free(void **state) {
    (void)state;
    CUmemoryPool pool, again, of;
    CUdeviceptr a, b;
    CUstream stream;
    unsigned int value = 0;
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuDeviceGetDefaultMemPool(&pool, 0));
    OK(cuDeviceGetMemPool(&again, 0));
    assert_ptr_equal(pool, again);
    OK(cuMemAllocAsync(&a, 1 << 20, stream));
    OK(cuMemAllocAsync(&b, 1 << 10, stream));
    assert_int_equal(pool_bytes(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), (1 << 20) + (1 << 10));
    OK(cuPointerGetAttribute(&of, 17, a + 5));
    assert_ptr_equal(of, pool);
    OK(fixture_run(&f, "sleep", stream));
    OK(fixture_store(&f, a, 3, stream));
    OK(cuMemcpyDtoDAsync_v2(f.buffer, a, 4, stream));
    OK(cuMemFreeAsync(a, stream));
    assert_true(pool_bytes(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT) >
                1 << 20); /* not its turn yet */
    OK(cuStreamSynchronize(stream));
    assert_int_equal(pool_bytes(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 1 << 10);
    assert_int_equal(pool_bytes(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH), (1 << 20) + (1 << 10));
    OK(cuMemcpyDtoH_v2(&value, f.buffer, 4));
    assert_int_equal(value, 3);
    OK(cuMemFree_v2(b)); /* the synchronous call frees it too */
    assert_int_equal(pool_bytes(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0);
    OK(cuMemPoolTrimTo(pool, 0));
    OK(cuMemAlloc_v2(&b, 64));
    OK(cuMemFreeAsync(b, stream)); /* and this one memory of cuMemAlloc */
    OK(cuStreamSynchronize(stream));
    assert_int_equal(cuMemFree_v2(b), CUDA_ERROR_INVALID_VALUE);
    OK(cuStreamDestroy_v2(stream));
}

static void a_destroyed_pool_lives_until_its_memory_is_freed(void **state) {
    (void)state;
    const CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemoryPool pool, now, standard;
    CUdeviceptr p;
    OK(cuMemPoolCreate(&pool, &props));
    OK(cuDeviceGetDefaultMemPool(&standard, 0));
    OK(cuDeviceSetMemPool(0, pool));
    OK(cuMemAllocAsync(&p, 64, NULL));
    assert_int_equal(pool_bytes(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 64);
    OK(cuMemPoolDestroy(pool));
    OK(cuDeviceGetMemPool(&now, 0));
    assert_ptr_equal(now, standard);
    OK(fixture_store(&f, p, 1, NULL));
    OK(cuMemFreeAsync(p, NULL));
    OK(cuCtxSynchronize());
}

static void a_contexts_end_frees_its_pool_memory(void **state) {
    (void)state;
    CUcontext other;
    CUmemoryPool pool;
    CUdeviceptr p;
    OK(cuDeviceGetDefaultMemPool(&pool, 0));
    OK(cuCtxCreate_v4(&other, NULL, 0, 0));
    OK(cuMemAllocAsync(&p, 4096, NULL));
    OK(cuCtxDestroy_v2(other));
    assert_int_equal(pool_bytes(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0);
}

/* Two devices ----------------------------------------------------------------- */

static void devices_are_told_apart_and_copy_to_each_other(void **state) {
    (void)state;
    CUcontext other;
    CUdeviceptr there;
    CUuuid a, b;
    char id[16];
    int value = 0, count = 0, out = 0;
    OK(cuDeviceGetCount(&count));
    assert_int_equal(count, 2);
    OK(cuDeviceGetAttribute(&value, 75, 1));
    assert_int_equal(value, 9);
    OK(cuDeviceGetUuid_v2(&a, 0));
    OK(cuDeviceGetUuid_v2(&b, 1));
    assert_memory_not_equal(&a, &b, sizeof a);
    OK(cuDeviceGetPCIBusId(id, sizeof id, 1));
    OK(cuDeviceGetByPCIBusId(&value, id));
    assert_int_equal(value, 1);
    OK(cuDeviceCanAccessPeer(&value, 0, 1));
    assert_int_equal(value, 1);
    OK(cuCtxCreate_v4(&other, NULL, 0, 1));
    OK(cuMemAlloc_v2(&there, 64));
    OK(cuPointerGetAttribute(&value, 9, there));
    assert_int_equal(value, 1);
    OK(cuCtxEnablePeerAccess(f.context, 0));
    OK(cuCtxDisablePeerAccess(f.context));
    OK(cuCtxSetCurrent(f.context));
    OK(fixture_store(&f, f.buffer, 123, NULL));
    OK(cuMemcpyPeer(there, other, f.buffer, f.context, 4));
    OK(cuMemcpyDtoH_v2(&out, there, 4));
    assert_int_equal(out, 123);
    OK(cuCtxDestroy_v2(other));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_and_kernel_share_managed_memory),
        cmocka_unit_test(a_range_tells_what_was_advised),
        cmocka_unit_test(a_range_tells_the_devices_that_access_all_of_it),
        cmocka_unit_test(memory_is_attached_in_its_streams_turn),
        cmocka_unit_test(kernels_use_pinned_memory),
        cmocka_unit_test(kernels_use_registered_memory),
        cmocka_unit_test(a_forked_child_keeps_pinned_memory),
        cmocka_unit_test(rows_and_planes_land_where_they_belong),
        cmocka_unit_test(fills_of_rows_leave_the_gaps),
        cmocka_unit_test(pools_count_what_their_streams_free),
        cmocka_unit_test(a_destroyed_pool_lives_until_its_memory_is_freed),
        cmocka_unit_test(a_contexts_end_frees_its_pool_memory),
        cmocka_unit_test(devices_are_told_apart_and_copy_to_each_other),
    };
    return cmocka_run_group_tests_name("softgpu memory kinds", tests, open_two_devices,
                                       close_fixture);
}
