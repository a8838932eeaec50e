/* Table-driven parser: the two .def files are the only place that knows a command or an option. */
#include "tuner/options.h"

#include <string.h>
#include <stddef.h>

typedef enum OptionKind { FLAG, TEXT, COUNT, TIME } OptionKind;

typedef struct CommandRow {
    const char *name, *operands;
    size_t least, most;
    const char *summary;
} CommandRow;

typedef struct OptionRow {
    const char *name, *value;
    OptionKind kind;
    size_t offset;
    unsigned commands;
    const char *help;
} OptionRow;

static const CommandRow commands[] = {
#define COMMAND(ident, name, operands, least, most, summary) {name, operands, least, most, summary},
#include "tuner/commands.def"
#undef COMMAND
};

#define C(ident) (1u << CMD_##ident)
static const OptionRow options[] = {
#define OPTION(field, kind, name, value, cmds, text)                                               \
    {name, value, kind, offsetof(Options, field), cmds, text},
#include "tuner/options.def"
#undef OPTION
};
#undef C

enum { OPTION_COUNT = sizeof options / sizeof options[0] };
static const long long count_max = 100000; /* more jobs or configurations than any machine has */

static const struct {
    ExitCode code;
    const char *text;
} exit_codes[] = {
    {EXIT_OK, "done"},
    {EXIT_FAILED, "the job failed: a spec with an error, no memory; the message says why"},
    {EXIT_USAGE,
     "an unknown command, option, GPU, kernel, workload or value; a description with an error"},
    {EXIT_UNSERVED,
     "no variant supports the problem, some problem has no winner, or there is nothing to show"},
    {EXIT_NO_DEVICE, "no driver or one that does not work, no NVRTC, or the GPU was lost"},
    {EXIT_STORAGE, "database or disk: missing, unwritable, locked, damaged, full"},
    {EXIT_FAULT, "run-ptx: a kernel faulted or ran past its time limit"},
    {EXIT_UNEXPECTED, "run-ptx: an expectation was not met, or guard bytes were written"},
    {EXIT_INTERRUPTED, "interrupted (Ctrl-C); what was known is recorded"},
};

ExitCode exit_code_of(Status status) {
    switch (status) {
    case ST_OK: return EXIT_OK;
    case ST_INVALID: return EXIT_USAGE;
    case ST_UNSUPPORTED: return EXIT_UNSERVED;
    case ST_DRIVER: return EXIT_NO_DEVICE;
    case ST_IO:
    case ST_PERMISSION:
    case ST_DATABASE:
    case ST_BUSY:
    case ST_CORRUPT: return EXIT_STORAGE;
    case ST_CANCELLED: return EXIT_INTERRUPTED;
    default: return EXIT_FAILED;
    }
}

const char *command_name(Command command) {
    return command < CMD_COUNT ? commands[command].name : "";
}

void suggest(Str *out, const char *word, const char *const *names, size_t count) {
    const char *near = str_nearest(word, names, count);
    if (near) str_printf(out, "; did you mean %s?", near);
    str_puts(out, near ? " (legal: " : "; legal: ");
    for (size_t i = 0; i < count; i++) str_printf(out, "%s%s", i ? ", " : "", names[i]);
    if (near) str_putc(out, ')');
}

static Status unknown(Error *err, const char *what, const char *word, const char *const *names,
                      size_t count) {
    Str text = {0};
    suggest(&text, word, names, count);
    Status st = err_set(err, ST_INVALID, "unknown %s '%s'%s", what, word, str_text(&text));
    str_free(&text);
    return st;
}

static Status unknown_command(const char *word, Error *err) {
    const char *names[CMD_COUNT];
    for (size_t i = 0; i < CMD_COUNT; i++) names[i] = commands[i].name;
    return unknown(err, "command", word, names, CMD_COUNT);
}

static bool takes(const OptionRow *row, Command command) {
    return (row->commands >> command & 1u) != 0;
}

static Status unknown_option(Command command, const char *word, Error *err) {
    const char *names[OPTION_COUNT + 1];
    size_t n = 0;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (takes(&options[i], command)) names[n++] = options[i].name;
        if (strcmp(options[i].name, word) == 0) {
            return err_set(err, ST_INVALID, "option %s is not for '%s'; see seqtune help %s", word,
                           commands[command].name, commands[command].name);
        }
    }
    names[n++] = "--help";
    return unknown(err, "option", word, names, n);
}

/* One word, or two ("db export"); *used says how many. */
static Status find_command(int argc, char *const *argv, Command *out, int *used, Error *err) {
    for (size_t i = 0; i < CMD_COUNT; i++) {
        const char *space = strchr(commands[i].name, ' ');
        if (!space && strcmp(argv[0], commands[i].name) == 0) {
            *out = (Command)i;
            *used = 1;
            return ST_OK;
        }
        size_t n = space ? (size_t)(space - commands[i].name) : 0;
        if (space && strncmp(argv[0], commands[i].name, n) == 0 && argv[0][n] == '\0' && argc > 1 &&
            strcmp(argv[1], space + 1) == 0) {
            *out = (Command)i;
            *used = 2;
            return ST_OK;
        }
    }
    if (strcmp(argv[0], "db") != 0) return unknown_command(argv[0], err);
    const char *verbs[] = {"export", "import", "merge", "check"};
    if (argc < 2 || argv[1][0] == '-') {
        return err_set(err, ST_INVALID, "'db' wants one of: export, import, merge, check");
    }
    return unknown(err, "db command", argv[1], verbs, sizeof verbs / sizeof verbs[0]);
}

static Status set_value(const OptionRow *row, const char *text, Options *out, Error *err) {
    void *field = (char *)out + row->offset;
    switch (row->kind) {
    case FLAG: *(bool *)field = true; return ST_OK;
    case TEXT:
        if (text[0] == '\0') return err_set(err, ST_INVALID, "option %s: empty value", row->name);
        *(const char **)field = text;
        return ST_OK;
    case COUNT:
        if (!str_to_i64(text, field) || *(long long *)field < 1 ||
            *(long long *)field > count_max) {
            return err_set(err, ST_INVALID, "option %s: '%s' is not a number from 1 to %lld",
                           row->name, text, count_max);
        }
        return ST_OK;
    case TIME:
        if (!str_to_seconds(text, field) || !(*(double *)field > 0)) {
            return err_set(err, ST_INVALID,
                           "option %s: '%s' is not a time above 0 (legal: 90s, 15m, 2h, 1.5h)",
                           row->name, text);
        }
        return ST_OK;
    }
    return ST_OK;
}

/* argv[*i] begins with '-'; moves *i past a value in the next word. */
static Status parse_option(int argc, char *const *argv, int *i, Options *out, Error *err) {
    const char *word = argv[*i], *equal = strchr(word, '=');
    size_t n = equal ? (size_t)(equal - word) : strlen(word);
    for (size_t k = 0; k < OPTION_COUNT; k++) {
        const OptionRow *row = &options[k];
        if (strncmp(row->name, word, n) != 0 || row->name[n] != '\0') continue;
        if (!takes(row, out->command)) break;
        if (row->kind == FLAG && equal) {
            return err_set(err, ST_INVALID, "option %s takes no value", row->name);
        }
        if (row->kind == FLAG || equal) return set_value(row, equal ? equal + 1 : "", out, err);
        if (*i + 1 >= argc) {
            return err_set(err, ST_INVALID, "option %s wants a value: %s", row->name, row->value);
        }
        return set_value(row, argv[++*i], out, err);
    }
    char name[64];
    size_t length = n < sizeof name - 1 ? n : sizeof name - 1;
    memcpy(name, word, length);
    name[length] = '\0';
    return unknown_option(out->command, name, err);
}

static Status check_operands(const Options *o, Error *err) {
    const CommandRow *row = &commands[o->command];
    if (o->operand_count > row->most) {
        return err_set(err, ST_INVALID, "'%s' does not take '%s'; see seqtune help %s", row->name,
                       o->operands[row->most], row->name);
    }
    if (o->operand_count < row->least && !o->help) {
        return err_set(err, ST_INVALID, "'%s' wants %s", row->name, row->operands);
    }
    return ST_OK;
}

Status options_parse(int argc, char *const *argv, Options *out, Error *err) {
    *out = (Options){.command = CMD_tune};
    int i = 1;
    if (argc < 2) {
        return err_set(err, ST_INVALID, "no command; the main job is: seqtune --gpu auto");
    }
    const char *word = strcmp(argv[1], "db") == 0 && argc > 2 ? argv[2] : argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        out->command = word == argv[1] ? CMD_COUNT : CMD_DB;
        out->help = true;
        return ST_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        out->command = CMD_version;
        i = 2;
    } else if (argv[1][0] != '-') {
        int used = 0;
        Status st = find_command(argc - 1, argv + 1, &out->command, &used, err);
        if (st != ST_OK) return st;
        i += used;
    }
    for (; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            out->help = true;
        } else if (strcmp(argv[i], "--worker-fault") == 0 && i + 1 < argc) {
            out->worker_fault = argv[++i];
        } else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            Status st = parse_option(argc, argv, &i, out, err);
            if (st != ST_OK) return st;
        } else if (out->operand_count < OPTIONS_MAX_OPERANDS) {
            out->operands[out->operand_count++] = argv[i];
        } else {
            return err_set(err, ST_INVALID, "more than %d operands", OPTIONS_MAX_OPERANDS);
        }
    }
    return check_operands(out, err);
}

/* Help text under its option, continuation lines indented alike. */
static void put_indented(Str *out, const char *text) {
    str_puts(out, "      ");
    for (; *text; text++) {
        str_putc(out, *text);
        if (*text == '\n') str_puts(out, "      ");
    }
    str_putc(out, '\n');
}

static void help_db(Str *out) {
    str_puts(out, "seqtune db COMMAND: whole databases; see seqtune help db COMMAND\n\ncommands\n");
    for (size_t i = 0; i < CMD_COUNT; i++) {
        if (!str_starts(commands[i].name, "db ")) continue;
        str_printf(out, "  %-10s %-12s %s\n", commands[i].name, commands[i].operands,
                   commands[i].summary);
    }
    str_puts(out, "\noptions\n  --help\n      print this\n");
}

static void help_overview(Str *out) {
    str_puts(out, "seqtune: finds the fastest kernel for your GPU and your shapes, and keeps it\n\n"
                  "  seqtune --gpu auto          tune everything this machine needs\n"
                  "  seqtune COMMAND [OPTIONS]   see seqtune help COMMAND\n\ncommands\n");
    for (size_t i = 0; i < CMD_COUNT; i++) {
        str_printf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    str_puts(out, "\nexit codes\n");
    for (size_t i = 0; i < sizeof exit_codes / sizeof exit_codes[0]; i++) {
        str_printf(out, "  %-4d %s\n", (int)exit_codes[i].code, exit_codes[i].text);
    }
}

void options_help(Command command, Str *out) {
    if (command >= CMD_COUNT) {
        (command == CMD_DB ? help_db : help_overview)(out);
        return;
    }
    const CommandRow *row = &commands[command];
    str_printf(out, "seqtune %s%s%s [OPTIONS]: %s\n", row->name, row->operands[0] ? " " : "",
               row->operands, row->summary);
    bool any = false;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (!takes(&options[i], command)) continue;
        str_printf(out, "%s  %s%s%s\n", any ? "" : "\noptions\n", options[i].name,
                   options[i].value[0] ? " " : "", options[i].value);
        put_indented(out, options[i].help);
        any = true;
    }
    str_puts(out, any ? "  --help\n      print this\n" : "\noptions\n  --help\n      print this\n");
}
