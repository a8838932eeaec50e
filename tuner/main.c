/* The program: signals, parse, dispatch, exit code. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tuner/command.h"
#include "tuner/worker.h"

/* Set by the handler, read by the tuning loop: the one mutable global, as signals want it. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (interrupted) _exit(EXIT_INTERRUPTED); /* the second one: at once (workers die with us) */
    interrupted = 1;
}

static ExitCode (*const commands[CMD_COUNT])(App *app) = {
#define COMMAND(ident, name, operands, least, most, summary) command_##ident,
#include "tuner/commands.def"
#undef COMMAND
};

static ExitCode dispatch(const Options *options) {
    App app = {.options = options, .arena = arena_new(), .interrupted = &interrupted};
    if (!app.arena) {
        fputs("seqtune: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    ExitCode code = commands[options->command](&app);
    arena_free(app.arena);
    return code;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--worker") == 0) return worker_main(argc, argv);
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);

    Options options;
    Error err = {0};
    if (options_parse(argc, argv, &options, &err) != ST_OK) {
        fail(EXIT_USAGE, &err);
        fputs("seqtune --help lists the commands\n", stderr);
        return EXIT_USAGE;
    }
    if (options.help) {
        Str text = {0};
        options_help(options.command, &text);
        ExitCode code = print_text(&text);
        str_free(&text);
        return (int)code;
    }
    return (int)dispatch(&options);
}
