/*
 * Preloaded into a process under test, it does what the world does to one process alone:
 *
 *   SHIM_CLOCK=FILE  the wall clock is off by the seconds that FILE holds (a number, may be negative), from now on
 *                    whenever FILE changes. Clocks that cannot be set (monotonic, boot time) stay right.
 *   SHIM_EIO=FILE    fsync and fdatasync of every file whose path contains the text in FILE fail with EIO, and make
 *                    nothing durable. An empty or missing FILE lets all succeed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The first line of the file that a variable names; its length, 0 if there is none. */
static ssize_t line(const char *variable, char *text, size_t room) {
    const char *path = getenv(variable);
    int kept = errno;
    if (!path) return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, room - 1);
    if (fd >= 0) close(fd);
    if (length < 0) length = 0;
    text[length] = 0;
    text[strcspn(text, "\n")] = 0;
    errno = kept;
    return (ssize_t)strlen(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        char text[32];
        if (line("SHIM_CLOCK", text, sizeof text)) now->tv_sec += atol(text);
    }
    return result;
}

static int fails(int fd) {
    char part[256], link[64], path[4096];
    if (!line("SHIM_EIO", part, sizeof part)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, part) != NULL;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    if (fails(fd)) { errno = EIO; return -1; }
    return real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    if (fails(fd)) { errno = EIO; return -1; }
    return real(fd);
}
