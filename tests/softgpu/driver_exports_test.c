/* The library's exported names: cu* and softgpu* and nothing else, each cu* name known to the real
 * library (the toolkit's stub, where there is one) and the other way round, every row of
 * exports.def and absent.def present, the SONAME.
 */
#include <dlfcn.h>
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char library[] = SEQTUNE_BINARY_DIR "/softgpu/libseqtune-softgpu.so.0";

/* The dynamic symbols of a 64-bit ELF file. */
typedef struct Image {
    char *bytes; /* owned */
    const Elf64_Sym *symbol;
    size_t count;
    const char *names, *soname;
} Image;

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    char *bytes = malloc((size_t)size);
    rewind(file);
    const bool whole = bytes != NULL && fread(bytes, 1, (size_t)size, file) == (size_t)size;
    fclose(file);
    if (whole) return bytes;
    free(bytes);
    return NULL;
}

static bool image_open(const char *path, Image *image) {
    *image = (Image){.bytes = read_file(path)};
    if (image->bytes == NULL) return false;
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)image->bytes;
    const Elf64_Shdr *section = (const Elf64_Shdr *)(image->bytes + head->e_shoff);
    for (int i = 0; i < head->e_shnum; i++) {
        if (section[i].sh_type == SHT_DYNSYM) {
            image->symbol = (const Elf64_Sym *)(image->bytes + section[i].sh_offset);
            image->count = section[i].sh_size / sizeof *image->symbol;
            image->names = image->bytes + section[section[i].sh_link].sh_offset;
        }
        if (section[i].sh_type != SHT_DYNAMIC) continue;
        const char *names = image->bytes + section[section[i].sh_link].sh_offset;
        const Elf64_Dyn *d = (const Elf64_Dyn *)(image->bytes + section[i].sh_offset);
        for (; d->d_tag != DT_NULL; d++)
            if (d->d_tag == DT_SONAME) image->soname = names + d->d_un.d_val;
    }
    return image->symbol != NULL;
}

/* Name of the i-th symbol when it is defined and global, else NULL. */
static const char *exported(const Image *image, size_t i) {
    const Elf64_Sym *s = &image->symbol[i];
    const bool global = ELF64_ST_BIND(s->st_info) != STB_LOCAL;
    return global && s->st_shndx != SHN_UNDEF ? image->names + s->st_name : NULL;
}

static bool has(const Image *image, const char *name) {
    for (size_t i = 0; i < image->count; i++) {
        const char *mine = exported(image, i);
        if (mine != NULL && strcmp(mine, name) == 0) return true;
    }
    return false;
}

static void exports_are_the_drivers_and_the_side_door(void **state) {
    (void)state;
    Image image;
    assert_true(image_open(library, &image));
    assert_string_equal(image.soname, "libseqtune-softgpu.so.0");
    for (size_t i = 0; i < image.count; i++) {
        const char *name = exported(&image, i);
        if (name != NULL && strncmp(name, "cu", 2) != 0 && strncmp(name, "softgpu", 7) != 0)
            fail_msg("exports %s", name);
    }
    static const char *const wanted[] = {
        "softgpuGetTraits",    "softgpuSetLaunchMode", "softgpuLastFault",   "softgpuLastLaunch",
        "softgpuSetProfile",   "softgpuLastCounters",  "softgpuLastProfile", "softgpuWarnings",
        "softgpuSelectLaunch", "softgpuPeek",
#define API(symbol, name, since, parameters)        #symbol,
#define API_STREAM(symbol, name, since, parameters) #symbol, #symbol "_ptsz",
#define API_SYNC(symbol, name, since, parameters)   #symbol, #symbol "_ptds",
#include "softgpu/driver/exports.def"
#undef API
#undef API_STREAM
#undef API_SYNC
#define ABSENT(symbol) #symbol,
#include "softgpu/driver/absent.def"
#undef ABSENT
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!has(&image, wanted[i])) fail_msg("lacks %s", wanted[i]);
    free(image.bytes);
}

/* The toolkit's stub library; skips the test where there is none. */
static void open_stub(Image *stub) {
    char path[512];
    const char *home = getenv("CUDA_HOME");
    snprintf(path, sizeof path, "%s/lib64/stubs/libcuda.so",
             home == NULL ? "/usr/local/cuda" : home);
    if (image_open(path, stub)) return;
    print_message("no stub library at %s: nothing to compare with\n", path);
    free(stub->bytes);
    skip();
}

static void every_cu_name_exists_in_the_real_library(void **state) {
    (void)state;
    Image image, stub;
    open_stub(&stub);
    assert_true(image_open(library, &image));
    size_t compared = 0;
    for (size_t i = 0; i < image.count; i++) {
        const char *name = exported(&image, i);
        if (name == NULL || strncmp(name, "cu", 2) != 0) continue;
        compared++;
        if (!has(&stub, name)) fail_msg("%s is no name of libcuda", name);
    }
    print_message("%zu names compared\n", compared);
    assert_true(compared > 200);
    free(image.bytes);
    free(stub.bytes);
}

/* So that a program linked against libcuda with immediate binding loads. */
static void every_name_of_the_real_library_exists(void **state) {
    (void)state;
    Image image, stub;
    open_stub(&stub);
    assert_true(image_open(library, &image));
    for (size_t i = 0; i < stub.count; i++) {
        const char *name = exported(&stub, i);
        if (name == NULL || strncmp(name, "cu", 2) != 0) continue;
        if (!has(&image, name)) fail_msg("lacks %s", name);
    }
    free(image.bytes);
    free(stub.bytes);
}

static void absent_calls_are_not_supported_and_not_found(void **state) {
    (void)state;
    typedef int (*Find)(const char *, void **, int, uint64_t, int *);
    typedef int (*Call)(void);
    static const char *const names[] = {
#define ABSENT(symbol) #symbol,
#include "softgpu/driver/absent.def"
#undef ABSENT
    };
    void *const handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    void *found = dlsym(handle, "cuGetProcAddress_v2");
    Find find;
    memcpy(&find, &found, sizeof find);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *address = dlsym(handle, names[i]);
        Call call;
        assert_non_null(address);
        memcpy(&call, &address, sizeof call);
        assert_int_equal(call(), 801); /* CUDA_ERROR_NOT_SUPPORTED */
        int status = 0;
        if (strstr(names[i], "_v2") != NULL || strstr(names[i], "_pt") != NULL) continue;
        assert_int_equal(find(names[i], &address, 13000, 0, &status), 0);
        if (status != 1) fail_msg("cuGetProcAddress finds %s", names[i]);
        assert_null(address);
    }
    dlclose(handle);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports_are_the_drivers_and_the_side_door),
        cmocka_unit_test(every_cu_name_exists_in_the_real_library),
        cmocka_unit_test(every_name_of_the_real_library_exists),
        cmocka_unit_test(absent_calls_are_not_supported_and_not_found),
    };
    return cmocka_run_group_tests_name("softgpu exports", tests, NULL, NULL);
}
