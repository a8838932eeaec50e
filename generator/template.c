/* Templates: CUDA text with control lines, parsed once per file.
 *
 *   //% lib NAME    //% slot NAME    //% if EXPR  //% else  //% end    //% for i = A, B  //% end
 *
 * Invariant: in a parsed template every block is closed and every formula is parsed; which names a
 * formula may use depends on the spec and is checked when the spec is linked (link.c). */
#include "generator/internal.h"

#include <stdio.h>
#include <string.h>

enum { MAX_NODES = 20000, MAX_NEST = 6 };

typedef struct Parser {
    Arena *arena;
    const GenFile *file;
    GenNode *nodes;
    size_t count;
    size_t open[MAX_NEST]; /* indices of IF, ELSE, FOR without END */
    int depth, ifs;
    Error *err;
} Parser;

typedef struct Line {
    const char *text;
    size_t size;
    int number;
} Line;

static TextPos at(const Parser *p, const Line *line, const char *where) {
    return (TextPos){.file = p->file->path,
                     .text = p->file->text,
                     .line = line->number,
                     .column = (int)(where - line->text) + 1};
}

static size_t blanks(const char *s) {
    return strspn(s, " \t");
}

static bool is_word_byte(char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t word_size(const char *s) {
    size_t n = 0;
    while (is_word_byte(s[n])) n++;
    return n;
}

/* The rest of the line as a formula. */
static Status formula(Parser *p, const Line *line, const char *from, const char *to,
                      const Expr **out, TextPos *pos) {
    while (from < to && (*from == ' ' || *from == '\t')) from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t' || to[-1] == '\r')) to--;
    *pos = at(p, line, from);
    if (from == to) return err_at(p->err, ST_SYNTAX, *pos, "a formula is missing");
    const char *text = arena_strndup(p->arena, from, (size_t)(to - from));
    if (!text) return err_no_memory(p->err, (size_t)(to - from));
    return expr_parse(p->arena, text, *pos, out, p->err);
}

/* Exactly one word (lib and slot; a lib's name may contain '/'). */
static Status one_name(Parser *p, const Line *line, const char *from, const char *to,
                       const char **out, TextPos *pos) {
    from += blanks(from);
    while (to > from && (to[-1] == ' ' || to[-1] == '\t' || to[-1] == '\r')) to--;
    *pos = at(p, line, from);
    size_t n = 0;
    while (from + n < to && (is_word_byte(from[n]) || from[n] == '/')) n++;
    if (n == 0 || n > 48 || from + n != to || from[0] == '/')
        return err_at(p->err, ST_SYNTAX, *pos, "one name is wanted here");
    *out = arena_strndup(p->arena, from, n);
    return *out ? ST_OK : err_no_memory(p->err, n);
}

static Status push(Parser *p, const Line *line, const char *where) {
    if (p->depth == MAX_NEST)
        return err_at(p->err, ST_LIMIT, at(p, line, where), "control lines nest deeper than %d",
                      MAX_NEST);
    p->open[p->depth++] = p->count - 1;
    return ST_OK;
}

static Status parse_if(Parser *p, const Line *line, GenNode *node, const char *rest,
                       const char *end) {
    node->kind = GEN_NODE_IF;
    if (p->ifs++)
        return err_at(p->err, ST_SYNTAX, at(p, line, line->text + blanks(line->text)),
                      "an 'if' inside an 'if': make the inner one a part, or 'if constexpr'");
    Status status = formula(p, line, rest, end, &node->a, &node->pos_a);
    return status == ST_OK ? push(p, line, rest) : status;
}

/* for NAME = A, B: the comma between the bounds is the first one outside parentheses. */
static Status parse_for(Parser *p, const Line *line, GenNode *node, const char *rest,
                        const char *end) {
    node->kind = GEN_NODE_FOR;
    rest += blanks(rest);
    size_t n = word_size(rest);
    const char *equals = rest + n + blanks(rest + n), *comma = equals;
    if (n == 0 || n > 32 || *equals != '=')
        return err_at(p->err, ST_SYNTAX, at(p, line, rest), "'for' wants: for i = first, last");
    for (int depth = 0; comma < end && !(*comma == ',' && depth == 0); comma++)
        depth += (*comma == '(') - (*comma == ')');
    if (comma == end)
        return err_at(p->err, ST_SYNTAX, at(p, line, rest), "'for' wants: for i = first, last");
    node->name = arena_strndup(p->arena, rest, n);
    if (!node->name) return err_no_memory(p->err, n);
    Status status = formula(p, line, equals + 1, comma, &node->a, &node->pos_a);
    if (status == ST_OK) status = formula(p, line, comma + 1, end, &node->b, &node->pos_b);
    return status == ST_OK ? push(p, line, rest) : status;
}

static Status parse_else(Parser *p, const Line *line, GenNode *node, const char *rest) {
    node->kind = GEN_NODE_ELSE;
    if (!p->depth || p->nodes[p->open[p->depth - 1]].kind != GEN_NODE_IF)
        return err_at(p->err, ST_SYNTAX, at(p, line, rest), "'else' without an 'if'");
    p->nodes[p->open[p->depth - 1]].next = p->count - 1;
    p->open[p->depth - 1] = p->count - 1;
    return ST_OK;
}

static Status parse_end(Parser *p, const Line *line, GenNode *node, const char *rest) {
    node->kind = GEN_NODE_END;
    if (!p->depth)
        return err_at(p->err, ST_SYNTAX, at(p, line, rest), "'end' without an 'if' or a 'for'");
    GenNode *opened = &p->nodes[p->open[--p->depth]];
    if (opened->kind != GEN_NODE_FOR) p->ifs--;
    opened->next = p->count - 1;
    return ST_OK;
}

static Status parse_control(Parser *p, const Line *line, GenNode *node) {
    static const char *const words[] = {"lib", "slot", "if", "else", "for", "end"};
    const char *w = line->text + blanks(line->text) + 3, *end = line->text + line->size;
    w += blanks(w);
    size_t n = word_size(w);
    const char *rest = w + n;
    char word[16];
    snprintf(word, sizeof word, "%.*s", (int)(n < 15 ? n : 15), w);
    if (!strcmp(word, "if")) return parse_if(p, line, node, rest, end);
    if (!strcmp(word, "for")) return parse_for(p, line, node, rest, end);
    if (!strcmp(word, "lib") || !strcmp(word, "slot")) {
        node->kind = word[0] == 'l' ? GEN_NODE_LIB : GEN_NODE_SLOT;
        return one_name(p, line, rest, end, &node->name, &node->pos_a);
    }
    if (!strcmp(word, "else") || !strcmp(word, "end")) {
        const char *after = rest + strspn(rest, " \t\r");
        if (after < end)
            return err_at(p->err, ST_SYNTAX, at(p, line, after), "nothing may follow '%s'", word);
        return word[1] == 'l' ? parse_else(p, line, node, w) : parse_end(p, line, node, w);
    }
    const char *best = str_nearest(word, words, sizeof words / sizeof *words);
    return err_at(p->err, ST_SYNTAX, at(p, line, w), "unknown control word '%s'%s%s%s", word,
                  best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
}

/* Every $(name) of a text line must name a variable of a `for` around it. */
static Status check_substitutions(Parser *p, const Line *line, GenNode *node) {
    for (size_t i = 0; i + 1 < line->size; i++) {
        if (line->text[i] != '$' || line->text[i + 1] != '(') continue;
        const char *name = line->text + i + 2;
        size_t n = word_size(name);
        bool known = false;
        for (int d = 0; d < p->depth; d++) {
            const GenNode *loop = &p->nodes[p->open[d]];
            known |= loop->kind == GEN_NODE_FOR && strlen(loop->name) == n &&
                     memcmp(loop->name, name, n) == 0;
        }
        if (!known || name[n] != ')')
            return err_at(p->err, ST_SYNTAX, at(p, line, name),
                          "$(...) holds the variable of a '//%% for' around it, nothing else");
        node->substitutes = true;
    }
    return ST_OK;
}

static Status parse_line(Parser *p, const Line *line) {
    GenNode *node = &p->nodes[p->count++];
    *node = (GenNode){.line = line->number, .text = line->text, .size = line->size};
    if (strncmp(line->text + blanks(line->text), "//%", 3) == 0)
        return parse_control(p, line, node);
    node->kind = GEN_NODE_TEXT;
    return check_substitutions(p, line, node);
}

static Status parse_lines(Parser *p) {
    int number = 0;
    for (const char *s = p->file->text; *s;) {
        Line line = {.text = s, .size = strcspn(s, "\n"), .number = ++number};
        Status status = parse_line(p, &line);
        if (status != ST_OK) return status;
        s += line.size + (s[line.size] == '\n');
    }
    if (!p->depth) return ST_OK;
    const GenNode *open = &p->nodes[p->open[p->depth - 1]];
    Line line = {.text = open->text, .size = open->size, .number = open->line};
    return err_at(p->err, ST_SYNTAX, at(p, &line, open->text + blanks(open->text)),
                  "this block has no '//%% end'");
}

Status gen_template_parse(Arena *arena, const GenFile *file, const GenTemplate **out, Error *err) {
    size_t lines = 1;
    for (size_t i = 0; i < file->size; i++) lines += file->text[i] == '\n';
    if (lines > MAX_NODES || strlen(file->text) != file->size)
        return err_set(err, ST_LIMIT, "%s: %s", file->path,
                       lines > MAX_NODES ? "more than 20000 lines" : "contains a zero byte");
    GenTemplate *tmpl = ARENA_NEW(arena, GenTemplate);
    Parser p = {.arena = arena, .file = file, .err = err};
    p.nodes = ARENA_ARRAY(arena, GenNode, lines);
    if (!tmpl || !p.nodes) return err_no_memory(err, lines * sizeof *p.nodes);
    Status status = parse_lines(&p);
    if (status != ST_OK) return status;
    *tmpl = (GenTemplate){.file = file, .nodes = p.nodes, .count = p.count};
    *out = tmpl;
    return ST_OK;
}
