/* What a PTX instruction is to the clock: its kind, the 32-bit operations that it is made of, what
 * it may join with, the rate class and FLOP of an mma, the bytes that it moves. By its form alone,
 * but for the copies, whose size is an operand. */
#include "softgpu/clock/classify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool form_is(const char *form, const char *root) {
    const size_t n = strlen(root);
    return strncmp(form, root, n) == 0 && (form[n] == '.' || form[n] == '\0');
}

/* A modifier that begins so: "shared" finds .shared and .shared::cta. */
bool form_has(const char *form, const char *word) {
    const size_t n = strlen(word);
    for (const char *at = strchr(form, '.'); at != NULL; at = strchr(at + 1, '.'))
        if (strncmp(at + 1, word, n) == 0) return true;
    return false;
}

const char *form_type(const char *form) {
    const char *dot = strrchr(form, '.');
    return dot == NULL ? form : dot + 1;
}

int form_width(const char *type) {
    while (*type != '\0' && (*type < '0' || *type > '9')) type++;
    return atoi(type);
}

/* f16, bf16x2, tf32, e4m3x2, ue8m0x2 against s32, u32, b32. */
static bool is_float(const char *type) {
    return strchr("fte", type[0]) != NULL || strncmp(type, "bf", 2) == 0 ||
           strncmp(type, "ue", 2) == 0;
}

static CodeKind convert_kind(const char *form) {
    const char *from = form_type(form);
    const char *to = from - 1;
    while (to > form && to[-1] != '.') to--;
    if (is_float(from) && is_float(to))
        return to[0] == 'f' && from[0] == 'f' && form_width(to) == form_width(from) ? CODE_SFU
                                                                                    : CODE_CONVERT;
    if (is_float(from) || is_float(to)) return CODE_SFU;
    if (form_width(to) > form_width(from)) return from[0] == 's' ? CODE_ALU : CODE_MOVE;
    return form_width(to) < 32 && form_width(from) >= 32 ? CODE_ALU : CODE_MOVE;
}

static CodeKind memory_kind(const char *form, bool store) {
    if (form_has(form, "shared")) return store ? CODE_SHARED_STORE : CODE_SHARED_LOAD;
    if (form_has(form, "local")) return store ? CODE_SPILL_STORE : CODE_SPILL_LOAD;
    if (form_has(form, "param") || form_has(form, "const"))
        return CODE_MOVE; /* constant-bank operand */
    return store ? CODE_GLOBAL_STORE : CODE_GLOBAL_LOAD;
}

static const struct {
    const char *root;
    CodeKind kind;
} roots[] = {
    {"mma", CODE_MMA},
    {"ldmatrix", CODE_LDMATRIX},
    {"ex2", CODE_SFU},
    {"lg2", CODE_SFU},
    {"rcp", CODE_SFU},
    {"rsqrt", CODE_SFU},
    {"sqrt", CODE_SFU},
    {"sin", CODE_SFU},
    {"cos", CODE_SFU},
    {"tanh", CODE_SFU},
    {"min", CODE_MINMAX},
    {"max", CODE_MINMAX},
    {"shfl", CODE_SHUFFLE},
    {"redux", CODE_SHUFFLE},
    {"barrier", CODE_BARRIER},
    {"bra", CODE_BRANCH},
    {"brx", CODE_BRANCH},
    {"ret", CODE_BRANCH},
    {"exit", CODE_BRANCH},
    {"call", CODE_BRANCH},
    {"mov", CODE_MOVE},
    {"cvta", CODE_MOVE},
    {"membar", CODE_OTHER},
    {"fence", CODE_OTHER},
    {"nanosleep", CODE_OTHER},
    {"mbarrier", CODE_SHARED_STORE},
    {"atom", CODE_GLOBAL_STORE},
    {"red", CODE_GLOBAL_STORE},
    {"stmatrix", CODE_SHARED_STORE},
    {"movmatrix", CODE_SHUFFLE},
};

CodeKind form_kind(const char *form) {
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
        if (form_is(form, roots[i].root)) return roots[i].kind;
    if (form_is(form, "wmma"))
        return form_has(form, "mma")    ? CODE_MMA
               : form_has(form, "load") ? CODE_SHARED_LOAD
                                        : CODE_SHARED_STORE;
    if (form_is(form, "cvt")) return convert_kind(form);
    if (form_is(form, "ld") || form_is(form, "ldu")) return memory_kind(form, false);
    if (form_is(form, "st")) return memory_kind(form, true);
    if (form_is(form, "cp"))
        return form_has(form, "commit") || form_has(form, "wait") ? CODE_ASYNC : CODE_COPY;
    if (form_is(form, "bar")) return form_has(form, "warp") ? CODE_OTHER : CODE_BARRIER;
    const char *type = form_type(form);
    /* A sign is an operand modifier of the machine's instructions. */
    if ((form_is(form, "neg") || form_is(form, "abs")) && is_float(type)) return CODE_MOVE;
    if (form_is(form, "setp") || form_is(form, "set") || form_is(form, "selp")) return CODE_ALU;
    return is_float(type) ? CODE_FP32 : CODE_ALU;
}

/* 32-bit operations that a 64-bit one is made of. */
int form_slots(const char *form, CodeKind kind) {
    if (form_is(form, "div") || form_is(form, "rem")) return kind == CODE_FP32 ? 8 : 16;
    if (kind != CODE_ALU && kind != CODE_MINMAX) return 1;
    if (form_width(form_type(form)) != 64 || form_is(form, "cvt")) return 1;
    return (form_is(form, "mul") || form_is(form, "mad")) && form_has(form, "lo") ? 3 : 2;
}

CodeRole form_role(const char *form, CodeKind kind) {
    if (kind == CODE_FP32)
        return form_is(form, "mul")                           ? ROLE_PRODUCT
               : form_is(form, "add") || form_is(form, "sub") ? ROLE_SUM
                                                              : ROLE_PLAIN;
    if (kind != CODE_ALU) return ROLE_PLAIN;
    if (form_is(form, "mul"))
        return form_has(form, "wide") ? ROLE_WIDE_PRODUCT
               : form_has(form, "lo") ? ROLE_PRODUCT
                                      : ROLE_PLAIN;
    if (form_is(form, "shl")) return ROLE_SHIFT;
    if (form_is(form, "add") || form_is(form, "sub"))
        return form_has(form, "cc") ? ROLE_PLAIN : ROLE_SUM;
    if (form_is(form, "and") || form_is(form, "or") || form_is(form, "xor") || form_is(form, "not"))
        return form_width(form_type(form)) == 32 ? ROLE_LOGIC : ROLE_PLAIN;
    return ROLE_PLAIN;
}

uint32_t form_flops(const char *form) {
    unsigned m, n, k;
    const char *at = strstr(form, ".m");
    return at != NULL && sscanf(at, ".m%un%uk%u", &m, &n, &k) == 3 ? 2 * m * n * k : 0;
}

/* By the types of A and, for f16, of the accumulator: the last modifiers are D, A, B, C. */
GpuMma form_rate(const char *form) {
    if (form_has(form, "f64")) return GPU_MMA_F64;
    if (form_has(form, "tf32")) return GPU_MMA_TF32;
    if (form_has(form, "e4m3") || form_has(form, "e5m2")) return GPU_MMA_FP8;
    if (strcmp(form_type(form), "s32") == 0 || form_has(form, "satfinite")) return GPU_MMA_INT8;
    return strcmp(form_type(form), "f16") == 0 ? GPU_MMA_F16_F16 : GPU_MMA_F16_F32;
}

static int vector_of(const char *form) {
    return form_has(form, "v8") ? 8 : form_has(form, "v4") ? 4 : form_has(form, "v2") ? 2 : 1;
}

uint32_t instr_bytes(const PtxInstr *in, CodeKind kind) {
    if (kind == CODE_COPY) /* cp.async [dst], [src], size: 4, 8 or 16 */
        return in->operand_count > 2 && in->operands[2].kind == PTX_INT
                   ? (uint32_t)in->operands[2].imm
                   : 16;
    if (kind != CODE_GLOBAL_LOAD && kind != CODE_GLOBAL_STORE) return 0;
    return (uint32_t)(form_width(form_type(in->form)) / 8 * vector_of(in->form));
}

int instr_groups(const PtxInstr *in) {
    if (form_has(in->form, "commit_group")) return -1;
    if (form_has(in->form, "wait_group") && in->operand_count > 0) return (int)in->operands[0].imm;
    return 0;
}
