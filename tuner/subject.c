/* --op, --problem and --gpu to a subject. */
#include "tuner/subject.h"

#include <stdio.h>
#include <string.h>

#include "tuner/target.h"

static ExitCode one_spec(App *app, const GenLibrary *lib, const GenSpec **out) {
    Error err = {0};
    size_t count = 0;
    if (!app->options->op) {
        err_set(&err, ST_INVALID, "which kernel? name one with --op (see seqtune list)");
        return fail(EXIT_USAGE, &err);
    }
    ExitCode code = app_specs(app, lib, out, 1, &count);
    if (code != EXIT_OK || !strchr(app->options->op, ',')) return code;
    err_set(&err, ST_INVALID, "--op %s: one kernel is wanted here", app->options->op);
    return fail(EXIT_USAGE, &err);
}

/* A problem that is not one, by its text or by what the kernel requires, is the user's to mend; a
 * formula that fails is the spec's. */
static ExitCode read_problem(App *app, const GenSpec *spec, GenProblem *out) {
    Error err = {0};
    gen_problem_init(spec, out);
    Status st = ST_OK;
    if (app->options->problem) st = gen_problem_parse(out, app->options->problem, &err);
    if (st != ST_OK) return fail(EXIT_USAGE, &err);
    st = gen_problem_check(out, &err);
    if (st == ST_OK) return EXIT_OK;
    return fail(st == ST_SYNTAX ? EXIT_FAILED : EXIT_USAGE, &err);
}

ExitCode subject_open(App *app, Subject *s) {
    const GenSpec *spec = NULL;
    const char *notice = NULL;
    Error err = {0};
    *s = (Subject){0};
    ExitCode code = app_library(app, &s->library);
    if (code == EXIT_OK) code = one_spec(app, s->library, &spec);
    if (code == EXIT_OK) code = read_problem(app, spec, &s->problem);
    if (code != EXIT_OK) return code;
    Status st = target_info(app->options->gpu, app->arena, &s->gpu, &notice, &err);
    if (st != ST_OK) return fail(st == ST_INVALID ? EXIT_USAGE : EXIT_NO_DEVICE, &err);
    if (notice) fprintf(stderr, "%s\n", notice);
    return EXIT_OK;
}
