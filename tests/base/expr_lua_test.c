/* Formulas against Lua 5.4: whatever evaluates here has the same value there.
 *
 * Random texts from a printed seed: half are grammatical, half are mutated into near misses.
 * Rerun one run with SEQTUNE_TEST_SEED=N. */
#include "tests/base/test.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <time.h>

#include "base/expr.h"
#include "base/str.h"

enum { EVALUATED = 20000, TRIED = 400000, NAME_COUNT = 7 };

static uint64_t seed;

static uint32_t rnd(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static const struct {
    const char *name, *lua;
    ExprKind kind;
    int64_t i;
    const char *s;
} vars[NAME_COUNT] = {
    {"a", "a = 7", EXPR_INT, 7, NULL},
    {"block_m", "block_m = 128", EXPR_INT, 128, NULL},
    {"neg", "neg = -5", EXPR_INT, -5, NULL},
    {"big", "big = math.maxinteger", EXPR_INT, INT64_MAX, NULL},
    {"least", "least = math.mininteger", EXPR_INT, INT64_MIN, NULL},
    {"gpu.flag", "gpu = {flag = true}", EXPR_BOOL, 1, NULL},
    {"dtype", "dtype = 'f16'", EXPR_STR, 0, "f16"},
};

static bool lookup(const void *context, const char *name, ExprValue *out) {
    (void)context;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        if (strcmp(vars[i].name, name) != 0) continue;
        *out = (ExprValue){vars[i].kind, vars[i].i, vars[i].s};
        return true;
    }
    return false;
}

static void generate_leaf(Str *s) {
    static const char *const leaves[] = {"0",
                                         "1",
                                         "2",
                                         "3",
                                         "0x10",
                                         "9007199254740993",
                                         "9223372036854775807",
                                         "4294967296",
                                         "true",
                                         "false",
                                         "'f16'",
                                         "\"b\"",
                                         "''"};
    uint32_t n = rnd(30);
    if (n < 13)
        str_puts(s, leaves[n]);
    else if (n < 20)
        str_puts(s, vars[n - 13].name);
    else
        str_printf(s, "%u", rnd(100));
}

static void generate(Str *s, int depth) {
    static const char *const ops[] = {" or ", " and ", " < ", " > ", " <= ", ">=", "~=",
                                      " == ", "+",     " - ", "*",   " / ",  "//", "%"};
    static const char *const unary[] = {"not ", "-", "- "};
    static const char *const calls[] = {"cdiv(", "min(", "max(", "ilog2("};
    uint32_t pick = depth <= 0 ? 0 : rnd(10);
    if (pick < 2) {
        generate_leaf(s);
    } else if (pick < 7) {
        generate(s, depth - 1);
        str_puts(s, ops[rnd(14)]);
        generate(s, depth - 1);
    } else if (pick == 7) {
        str_puts(s, unary[rnd(3)]);
        generate(s, depth - 1);
    } else if (pick == 8) {
        str_putc(s, '(');
        generate(s, depth - 1);
        str_putc(s, ')');
    } else {
        uint32_t f = rnd(4), args = f == 0 ? 2 : f == 3 ? 1 : 1 + rnd(3);
        str_puts(s, calls[f]);
        for (uint32_t i = 0; i < args; i++) {
            if (i) str_puts(s, ", ");
            generate(s, depth - 1);
        }
        str_putc(s, ')');
    }
}

static void mutate(Str *s) {
    static const char bytes[] = "()+-*/%<>=~,.'\" 019axnotrd";
    for (uint32_t i = 1 + rnd(2); i > 0 && s->len > 0; i--) {
        s->data[rnd((uint32_t)s->len)] = bytes[rnd(sizeof bytes - 1)];
    }
}

static lua_State *new_lua(void) {
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    for (size_t i = 0; i < NAME_COUNT; i++) assert_int_equal(luaL_dostring(L, vars[i].lua), LUA_OK);
    static const char prelude[] =
        "min, max = math.min, math.max\n"
        "function cdiv(x, y) return x // y + (x % y ~= 0 and 1 or 0) end\n"
        "function ilog2(x) local n = -1 while x >= 1 do x = x // 2; n = n + 1 end return n end\n";
    assert_int_equal(luaL_dostring(L, prelude), LUA_OK);
    return L;
}

/* Is the value on Lua's stack the same? A whole float counts as the integer. */
static bool lua_same(lua_State *L, const ExprValue *v) {
    switch (v->kind) {
    case EXPR_BOOL: return lua_isboolean(L, -1) && lua_toboolean(L, -1) == (v->i != 0);
    case EXPR_STR: return lua_type(L, -1) == LUA_TSTRING && !strcmp(lua_tostring(L, -1), v->s);
    case EXPR_INT: break;
    }
    if (lua_type(L, -1) != LUA_TNUMBER) return false;
    return lua_isinteger(L, -1) ? lua_tointeger(L, -1) == v->i
                                : lua_tonumber(L, -1) == (lua_Number)v->i;
}

static void what_evaluates_has_the_value_of_lua(void **state) {
    (void)state;
    const char *given = getenv("SEQTUNE_TEST_SEED");
    uint64_t start = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("seed %llu (rerun: SEQTUNE_TEST_SEED=%llu test_base_expr_lua)\n",
                  (unsigned long long)start, (unsigned long long)start);
    seed = start;
    lua_State *L = new_lua();
    Arena *arena = arena_new();
    const ExprEnv env = {.lookup = lookup};
    int evaluated = 0, refused = 0;
    Str text = {0}, chunk = {0};
    int i = 0;
    for (; evaluated < EVALUATED && i < TRIED; i++) {
        str_clear(&text);
        generate(&text, 1 + (int)rnd(5));
        if (i % 2) mutate(&text);
        const Expr *e;
        ExprValue v;
        Error err;
        arena_reset(arena);
        Status st = expr_parse(arena, str_text(&text), (TextPos){0}, &e, &err);
        if (st == ST_OK) st = expr_eval(e, &env, &v, &err);
        if (st != ST_OK) {
            refused++;
            continue;
        }
        evaluated++;
        str_clear(&chunk);
        str_printf(&chunk, "return %s", str_text(&text));
        if (luaL_dostring(L, str_text(&chunk)) != LUA_OK || lua_gettop(L) != 1 ||
            !lua_same(L, &v)) {
            fail_msg("seed %llu, expression %d: \"%s\" gives kind %d value %lld, Lua: %s",
                     (unsigned long long)start, i, str_text(&text), (int)v.kind, (long long)v.i,
                     luaL_tolstring(L, -1, NULL));
        }
        lua_settop(L, 0);
    }
    print_message("%d evaluated and equal, %d refused\n", evaluated, refused);
    assert_int_equal(evaluated, EVALUATED); /* the generator must not drift into nonsense */
    assert_true(refused > EVALUATED / 20);
    str_free(&text);
    str_free(&chunk);
    arena_free(arena);
    lua_close(L);
}

/* The other direction: Lua's value exists, is an integer and nothing overflowed, so ours exists. */
static void small_integer_arithmetic_is_never_refused(void **state) {
    (void)state;
    lua_State *L = new_lua();
    Arena *arena = arena_new();
    static const char *const ops[] = {"+", "-", "*", "//", "%"};
    seed = 1;
    for (int i = 0; i < 5000; i++) {
        char text[200] = "return 1";
        for (uint32_t k = 1 + rnd(6); k > 0; k--) {
            sprintf(text + strlen(text), " %s %u", ops[rnd(5)], 1 + rnd(50));
        }
        const Expr *e;
        ExprValue v;
        Error err;
        arena_reset(arena);
        assert_int_equal(expr_parse(arena, text + 7, (TextPos){0}, &e, &err), ST_OK);
        assert_int_equal(expr_eval(e, NULL, &v, &err), ST_OK);
        assert_int_equal(luaL_dostring(L, text), LUA_OK);
        if (!lua_same(L, &v)) fail_msg("%s gives %lld", text, (long long)v.i);
        lua_settop(L, 0);
    }
    arena_free(arena);
    lua_close(L);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_evaluates_has_the_value_of_lua),
        cmocka_unit_test(small_integer_arithmetic_is_never_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
