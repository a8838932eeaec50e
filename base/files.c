/* Files: whole reads, publication by rename, directories, ownership, environment.
 *
 * Invariant: files_publish leaves either the old file or the whole new one, and no temporary; what
 * is not a file (a device, a FIFO) stays what it is. */
#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

enum { READ_STEP = 1 << 16, TMP_TRIES = 1000 };

/* ST_NOT_FOUND, ST_PERMISSION or ST_IO: "path: cannot <what>: <reason>". */
static Status fail(Error *err, const char *path, const char *what, int code) {
    Status status = ST_IO;
    if (code == ENOENT || code == ENOTDIR) status = ST_NOT_FOUND;
    if (code == EACCES || code == EPERM || code == EROFS) status = ST_PERMISSION;
    char reason[128];
    return err_set(err, status, "%s: cannot %s: %s", path, what,
                   strerror_r(code, reason, sizeof reason));
}

static Status read_all(int fd, const char *path, size_t max, Str *out, Error *err) {
    char *step = mem_alloc(READ_STEP);
    if (!step) return err_no_memory(err, READ_STEP);
    Status st = ST_OK;
    for (;;) {
        ssize_t n = read(fd, step, READ_STEP);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) st = fail(err, path, "read", errno);
        if (n <= 0) break;
        if ((size_t)n > max - out->len) {
            st = err_set(err, ST_LIMIT, "%s: larger than the limit of %zu bytes", path, max);
            break;
        }
        str_append(out, step, (size_t)n);
        if (out->failed) {
            st = err_no_memory(err, out->len + (size_t)n);
            break;
        }
    }
    mem_free(step);
    return st;
}

Status files_read(Arena *arena, const char *path, size_t max, char **text, size_t *size,
                  Error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(err, path, "open", errno);
    Str all = {0};
    Status st = read_all(fd, path, max, &all, err);
    close(fd);
    if (st == ST_OK) {
        char *copy = arena_strndup(arena, str_text(&all), all.len);
        if (copy) {
            *text = copy;
            if (size) *size = all.len;
        } else {
            st = err_no_memory(err, all.len + 1);
        }
    }
    str_free(&all);
    return st;
}

static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

/* The rename itself must survive a power cut: sync the directory. Best effort, since some file
 * systems refuse fsync on directories. */
static void sync_parent(const char *path) {
    char *dir = mem_strdup(path);
    if (!dir) return;
    char *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = '\0';
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    mem_free(dir);
}

/* A new file beside `path`, its name in `tmp`; -1 with the reason in *code. */
static int open_beside(const char *path, char *tmp, size_t room, unsigned mode, int *code) {
    int fd = -1;
    *code = EEXIST;
    for (int n = 0; fd < 0 && n < TMP_TRIES && *code == EEXIST; n++) {
        snprintf(tmp, room, "%s.tmp.%ld.%d", path, (long)getpid(), n);
        fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
        *code = fd < 0 ? errno : 0;
    }
    return fd;
}

static Status publish_file(const char *path, const void *data, size_t size, unsigned mode,
                           Error *err) {
    size_t room = strlen(path) + 48;
    char *tmp = mem_alloc(room);
    if (!tmp) return err_no_memory(err, room);
    int code, fd = open_beside(path, tmp, room, mode, &code);
    Status st = ST_OK;
    if (fd < 0) {
        st = fail(err, path, "create a temporary file beside it", code);
    } else {
        code = write_all(fd, data, size);
        if (code == 0 && fsync(fd) != 0) code = errno;
        if (close(fd) != 0 && code == 0) code = errno;
        const char *what = "write";
        if (code == 0 && rename(tmp, path) != 0) {
            code = errno;
            what = "replace";
        }
        if (code != 0) {
            unlink(tmp);
            st = fail(err, path, what, code);
        } else {
            sync_parent(path);
        }
    }
    mem_free(tmp);
    return st;
}

/* A device or a FIFO: written where it is, since a rename would put a file in its place. */
static Status write_special(const char *path, const void *data, size_t size, Error *err) {
    int fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return fail(err, path, "open", errno);
    int code = write_all(fd, data, size);
    if (close(fd) != 0 && code == 0) code = errno;
    return code ? fail(err, path, "write", code) : ST_OK;
}

Status files_publish(const char *path, const void *data, size_t size, unsigned mode, Error *err) {
    struct stat info;
    char target[PATH_MAX];
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode)) {
        if (!realpath(path, target)) return fail(err, path, "follow this link", errno);
        path = target;
    }
    if (lstat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
        return write_special(path, data, size, err);
    }
    return publish_file(path, data, size, mode, err);
}

static int make_dir(const char *path, unsigned mode) {
    if (mkdir(path, (mode_t)mode) == 0) return 0;
    int code = errno;
    struct stat info;
    if (stat(path, &info) == 0) return S_ISDIR(info.st_mode) ? 0 : ENOTDIR;
    return code;
}

Status files_make_dirs(const char *path, unsigned mode, Error *err) {
    char *copy = mem_strdup(path);
    if (!copy) return err_no_memory(err, strlen(path) + 1);
    int code = 0;
    for (char *p = copy + 1; *copy && code == 0; p++) {
        if (*p != '/' && *p != '\0') continue;
        char end = *p;
        *p = '\0';
        code = make_dir(copy, mode);
        *p = end;
        if (end == '\0') break;
    }
    mem_free(copy);
    return code ? fail(err, path, "create this directory", code) : ST_OK;
}

bool files_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

static Status check_stat(const char *path, const struct stat *info, Error *err) {
    if (info->st_uid != geteuid() && info->st_uid != 0) {
        return err_set(err, ST_PERMISSION,
                       "%s: belongs to user %lu, must belong to you (%lu) or root; not used", path,
                       (unsigned long)info->st_uid, (unsigned long)geteuid());
    }
    if (!S_ISLNK(info->st_mode) && (info->st_mode & (S_IWGRP | S_IWOTH))) {
        return err_set(err, ST_PERMISSION,
                       "%s: others may write it (mode %03o); run: chmod go-w '%s'", path,
                       (unsigned)info->st_mode & 0777, path);
    }
    return ST_OK;
}

Status files_check_owner(const char *path, Error *err) {
    struct stat link, info; /* a foreign link to an own file is refused too */
    if (lstat(path, &link) != 0 || stat(path, &info) != 0) {
        return fail(err, path, "look at this file", errno);
    }
    Status st = check_stat(path, &link, err);
    return st == ST_OK ? check_stat(path, &info, err) : st;
}

const char *files_env(const char *name) {
    const char *value = secure_getenv(name);
    return value && *value ? value : NULL;
}

/* The XDG rule: a relative path in an XDG variable is invalid and ignored. */
static char *user_dir(Arena *arena, const char *own, const char *xdg, const char *below_home) {
    const char *dir = files_env(own);
    if (dir) return arena_strdup(arena, dir);
    dir = files_env(xdg);
    if (dir && dir[0] == '/') return arena_printf(arena, "%s/seqtune", dir);
    const char *home = files_env("HOME");
    if (home) return arena_printf(arena, "%s/%s/seqtune", home, below_home);
    struct passwd entry, *found = NULL;
    char buffer[4096];
    if (getpwuid_r(getuid(), &entry, buffer, sizeof buffer, &found) != 0 || !found) return NULL;
    return arena_printf(arena, "%s/%s/seqtune", found->pw_dir, below_home);
}

char *files_cache_dir(Arena *arena) {
    return user_dir(arena, "SEQTUNE_CACHE_DIR", "XDG_CACHE_HOME", ".cache");
}

char *files_data_dir(Arena *arena) {
    return user_dir(arena, "SEQTUNE_DATA_DIR", "XDG_DATA_HOME", ".local/share");
}
