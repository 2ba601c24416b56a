/* Preloaded into a process: lets the Nth of the calls on paths below a folder fail, or kills the process there.
 *
 * FAULT_BOARD   file of 4 KiB shared by the processes of a run: the count of calls, then the last call in words
 * FAULT_BELOW   folder; only calls on paths that begin with this count
 * FAULT_OP      the call that counts, or * for all that change something
 * FAULT_NTH     which of them it is, from 1; 0: none, calls are only counted
 * FAULT_ERRNO   what it fails with; before the call -1: SIGKILL to the process, -2: to its group, -3: SIGSTOP to that
 * FAULT_LASTING whether all later ones fail too
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct board { volatile long calls; char last[1024]; };
static struct board *board;
static char below[1024], wanted[16];
static long nth, fault;
static int lasting;

static long number(const char *name) { const char *text = getenv(name); return text ? atol(text) : 0; }

/* Called when the library is loaded, and by hand after a fork. */
__attribute__((constructor)) void fault_arm(void) {
    const char *path = getenv("FAULT_BOARD"), *folder = getenv("FAULT_BELOW"), *op = getenv("FAULT_OP");
    board = NULL;
    if (!path || !folder || !op) return;
    int (*really)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = really(path, O_RDWR);
    if (fd < 0) return;
    snprintf(below, sizeof below, "%s", folder);
    snprintf(wanted, sizeof wanted, "%s", op);
    nth = number("FAULT_NTH"), fault = number("FAULT_ERRNO"), lasting = (int)number("FAULT_LASTING");
    void *at = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) board = at;
}

static int fails(const char *op, const char *path, int changes) {
    if (!board || !path || strncmp(path, below, strlen(below))) return 0;
    if (changes) snprintf(board->last, sizeof board->last, "%s %.900s", op, path + strlen(below));
    if (strcmp(wanted, op) && !(changes && wanted[0] == '*')) return 0;
    long n = __sync_add_and_fetch(&board->calls, 1);
    if (!nth || !(n == nth || (lasting && n > nth))) return 0;
    if (fault == -3) return kill(0, SIGSTOP), 0;
    if (fault < 0) {
        kill(fault == -2 ? 0 : getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = (int)fault;
    return 1;
}

static int fails_fd(const char *op, int fd, int changes) {
    char link[64], path[1100];
    if (!board) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    errno = before;
    if (n <= 0) return 0;
    path[n] = 0;
    return fails(op, path, changes);
}

#define CALL(type, name, parameters, arguments, failed)             \
    type name parameters {                                          \
        static type(*really) parameters;                            \
        if (!really) really = dlsym(RTLD_NEXT, #name);              \
        if (failed) return -1;                                      \
        return really arguments;                                    \
    }

CALL(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n), fails_fd("write", fd, 1))
CALL(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t at), (fd, b, n, at), fails_fd("write", fd, 1))
CALL(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n), fails_fd("read", fd, 0))
CALL(ssize_t, pread64, (int fd, void *b, size_t n, off64_t at), (fd, b, n, at), fails_fd("read", fd, 0))
CALL(ssize_t, pread, (int fd, void *b, size_t n, off_t at), (fd, b, n, at), fails_fd("read", fd, 0))
CALL(int, fsync, (int fd), (fd), fails_fd("fsync", fd, 1))
CALL(int, flock, (int fd, int how), (fd, how), fails_fd("flock", fd, 0))
CALL(int, link, (const char *a, const char *b), (a, b), fails("link", b, 1))
CALL(int, rename, (const char *a, const char *b), (a, b), fails("rename", b, 1))
CALL(int, unlink, (const char *a), (a), fails("unlink", a, 1))
CALL(int, mkdir, (const char *a, mode_t mode), (a, mode), fails("mkdir", a, 1))

#define OPEN(name)                                                                        \
    int name(const char *path, int flags, ...) {                                          \
        static int (*really)(const char *, int, ...);                                     \
        if (!really) really = dlsym(RTLD_NEXT, #name);                                    \
        va_list more;                                                                     \
        va_start(more, flags);                                                            \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;           \
        va_end(more);                                                                     \
        if (flags & O_CREAT ? fails("create", path, 1) : fails("open", path, 0)) return -1; \
        return really(path, flags, mode);                                                 \
    }

OPEN(open)
OPEN(open64)
