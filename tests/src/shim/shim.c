/*
 * Preloaded into a process under test, it does what the world does to one process alone:
 *
 *   SHIM_CLOCK=FILE  the wall clock is off by the seconds that FILE holds (a number, may be negative), from now on
 *                    whenever FILE changes. Clocks that cannot be set (monotonic, boot time) stay right.
 *   SHIM_EIO=FILE    fsync and fdatasync of every file whose path contains the text in FILE fail with EIO, and make
 *                    nothing durable. An empty or missing FILE lets all succeed.
 *   SHIM_HANG=FILE   reads, writes and syncs of every file whose path contains the text in FILE do not end before FILE
 *                    says otherwise.
 *   SHIM_MUTE=FILE   while FILE holds anything, no thread but the one for heartbeats hears of its sockets and timers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
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

/* Whether the path of a file contains the text in the file that a variable names. */
static int concerns(const char *variable, int fd) {
    char part[256], link[64], path[4096];
    if (!line(variable, part, sizeof part)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, part) != NULL;
}

static void rest(void) {
    struct timespec pause = {0, 10000000};
    nanosleep(&pause, NULL);
}

static void hang(int fd) {
    int kept = errno;
    while (concerns("SHIM_HANG", fd)) rest();
    errno = kept;
}

static int fails(int fd) {
    hang(fd);
    return concerns("SHIM_EIO", fd);
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

ssize_t pread64(int fd, void *bytes, size_t count, off64_t offset) {
    static ssize_t (*real)(int, void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pread64");
    hang(fd);
    return real(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    hang(fd);
    return real(fd, bytes, count, offset);
}

static int is_mute(void) {
    char name[32] = "", text[8];
    if (!line("SHIM_MUTE", text, sizeof text)) return 0;
    prctl(PR_GET_NAME, name);
    return strncmp(name, "heartbeat", 9) != 0;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
    static int (*real)(int, struct epoll_event *, int, int);
    if (!real) real = dlsym(RTLD_NEXT, "epoll_wait");
    int count = real(epoll, events, most, timeout);
    int kept = errno;
    while (is_mute()) rest();
    errno = kept;
    return count;
}
