/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest: PID 1 of a bed.
 *
 * Theory of operation. The initramfs holds this program as /init, the kernel modules in /m and their names in the order of loading in
 * /modules. It loads them, opens the channel to the host (frame.h), receives what to run, builds a root file system, runs
 * the command in it and carries streams, signals and the exit code. The root is an overlay: below it the host's root over 9p, read-only (or, in
 * the Intel bed which has no 9p, the files that were packed into the initramfs under /lower), above it a tmpfs. So the command sees the host's files at the host's
 * paths, and what it writes is gone with the bed, but for the directories of --rw.
 *
 * Set-up is fail-loud: the first thing that must work and does not ends the bed with FRAME_FAIL. Mounts that only some commands want may fail.
 */
#define _GNU_SOURCE
#include "frame.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

static int channel = -1;
static char cmdline[4096]; /* of the kernel */

static struct bytes in; /* from the host, not parsed yet */

/* What the host asked for; points into start_text. */
static char *start_text;
static char **args, **envs, **rws;
static size_t n_args, n_envs, n_rws;
static const char *cwd = "/", *modules;
static bool want_tty;

/* --- channel ------------------------------------------------------------------------------------------------------------------ */

static void channel_send(int type, const void *data, uint32_t n) {
    struct bytes out = {0};
    frame_add(&out, type, data, n);
    while (bytes_left(&out) > 0) {
        ssize_t r = write(channel, out.data + out.start, bytes_left(&out));
        if (r > 0)
            out.start += (size_t)r;
        else if (r < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = channel, .events = POLLOUT}, 1, 1000);
        else if (r < 0 && errno != EINTR)
            break;
    }
    free(out.data);
}

/* The host ends the machine when it has the last frame; should it not, the machine goes down by itself. */
static _Noreturn void machine_end(void) {
    sleep(20);
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}

static _Noreturn void fail(const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    n = n < (int)sizeof(text) ? n : (int)sizeof(text) - 1;
    dprintf(2, "bed: %s\n", text);
    if (channel < 0)
        exit(1); /* PID 1 that ends is a kernel panic, which ends the machine and shows the console */
    channel_send(FRAME_FAIL, text, (uint32_t)n);
    machine_end();
}

static bool channel_try_port(void) {
    DIR *dir = opendir("/sys/class/virtio-ports");
    for (struct dirent *e; dir && channel < 0 && (e = readdir(dir));) {
        char path[300], name[8] = "";
        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
        int fd = e->d_name[0] == '.' ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        ssize_t n = read(fd, name, sizeof(name) - 1);
        close(fd);
        snprintf(path, sizeof(path), "/dev/%s", e->d_name);
        if (n >= 3 && strncmp(name, "bed", 3) == 0)
            channel = open(path, O_RDWR | O_CLOEXEC);
    }
    if (dir)
        closedir(dir);
    return channel >= 0;
}

static void channel_open(void) {
    if (strstr(cmdline, "bed.channel=ttyS1")) {
        int fd = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
        struct termios t;
        if (fd < 0 || tcgetattr(fd, &t) != 0)
            fail("/dev/ttyS1: %m");
        cfmakeraw(&t);
        t.c_cflag |= CLOCAL | CREAD;
        cfsetspeed(&t, B115200);
        tcsetattr(fd, TCSANOW, &t);
        channel = fd;
        return;
    }
    for (int i = 0; i < 60000 && !channel_try_port(); i++)
        usleep(1000);
    if (channel < 0)
        fail("no virtio port named 'bed' appeared");
}

/* Reads once, blocking; what came is in `in`. */
static void channel_fill(void) {
    char *room = bytes_room(&in, 64 * 1024);
    ssize_t n = read(channel, room, 64 * 1024);
    if (n > 0)
        in.end += (size_t)n;
    else if (n == 0)
        usleep(10000); /* the host end is closed: it is on its way out */
}

/* --- start: what to run ------------------------------------------------------------------------------------------------------- */

static void list_add(char ***list, size_t *n, char *text) {
    *list = realloc(*list, (*n + 2) * sizeof(char *));
    if (!*list)
        abort();
    (*list)[(*n)++] = text;
    (*list)[*n] = NULL;
}

static void start_parse(const char *data, uint32_t n) {
    start_text = malloc(n + 1);
    if (!start_text)
        abort();
    memcpy(start_text, data, n);
    start_text[n] = '\0';
    for (char *p = start_text; p < start_text + n; p += strlen(p) + 1) {
        switch (*p) {
        case START_ARG: list_add(&args, &n_args, p + 1); break;
        case START_ENV: list_add(&envs, &n_envs, p + 1); break;
        case START_RW: list_add(&rws, &n_rws, p + 1); break;
        case START_CWD: cwd = p + 1; break;
        case START_MODULES: modules = p + 1; break;
        case START_TTY: want_tty = true; break;
        default: fail("the host sent a record of unknown kind %d", *p);
        }
    }
    if (n_args == 0)
        fail("the host sent no command");
}

/* The start frame comes over the channel, or lies in the initramfs where the channel is slow. */
static void start_receive(void) {
    const char *data;
    uint32_t n;
    int type, fd = open("/start", O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0) {
        size_t size = (size_t)st.st_size;
        if (read(fd, bytes_room(&in, size), size) == (ssize_t)size)
            in.end += size;
        close(fd);
    }
    while ((type = frame_take(&in, &data, &n)) == 0)
        channel_fill();
    if (type != FRAME_START)
        fail("the host sent frame %d where the start was expected", type);
    start_parse(data, n);
}

/* --- the world of the command ------------------------------------------------------------------------------------------------- */

static void mkdirs(const char *path) {
    char part[4096];
    snprintf(part, sizeof(part), "%s/", path);
    for (char *p = part + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(part, 0755);
        *p = '/';
    }
}

static void mount_must(const char *what, const char *where, const char *type, unsigned long flags, const char *data) {
    mkdirs(where);
    if (mount(what, where, type, flags, data) != 0)
        fail("mount %s at %s: %m", type ? type : what, where);
}

static void mount_may(const char *where, const char *type) {
    mkdirs(where);
    if (mount(type, where, type, 0, NULL) != 0)
        dprintf(2, "bed: mount %s at %s: %m\n", type, where);
}

static void modules_load(void) {
    FILE *list = fopen("/modules", "re");
    char line[512], path[600];
    if (!list)
        fail("/modules: %m");
    while (fgets(line, sizeof(line), list)) { /* FILE [PARAMETERS] */
        line[strcspn(line, "\n")] = '\0';
        char *params = strchr(line, ' ');
        if (params)
            *params++ = '\0';
        snprintf(path, sizeof(path), "/m/%s", line);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, params ? params : "", 0) != 0 && errno != EEXIST))
            fail("module %s: %m", line);
        close(fd);
    }
    fclose(list);
}

static void root_build(void) {
    const char *p9 = "trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=client";
    if (strstr(cmdline, "bed.root=initramfs"))
        mkdir("/lower", 0755);
    else
        mount_must("root", "/lower", "9p", MS_RDONLY, p9);
    mount_must("tmpfs", "/upper", "tmpfs", 0, "size=75%,mode=755");
    mkdirs("/upper/data");
    mkdirs("/upper/work");
    mount_must("overlay", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work,metacopy=off,index=off");
    if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
        fail("move to the new root: %m");
}

static void modules_bind(void) {
    const char *name = modules ? strrchr(modules, '/') : NULL;
    if (!name || access(modules, F_OK) != 0)
        return;
    char to[512];
    snprintf(to, sizeof(to), "/lib/modules%s", name);
    mkdirs(to);
    if (mount(modules, to, NULL, MS_BIND, NULL) != 0)
        dprintf(2, "bed: bind %s at %s: %m\n", modules, to);
}

static void system_mounts(void) {
    mount_must("proc", "/proc", "proc", 0, NULL);
    mount_must("sysfs", "/sys", "sysfs", 0, NULL);
    mount_must("devtmpfs", "/dev", "devtmpfs", 0, "mode=755");
}

static void world_build(void) {
    root_build();
    system_mounts();
    modules_bind();
    mkdirs("/tmp");
    chmod("/tmp", 01777);
    mount_must("devpts", "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666,gid=5");
    mount_must("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777");
    mount_must("tmpfs", "/run", "tmpfs", 0, "mode=755");
    mkdirs("/run/lock");
    mount_may("/sys/fs/cgroup", "cgroup2");
    mount_may("/sys/kernel/debug", "debugfs");
    mount_may("/sys/kernel/tracing", "tracefs");
    (void)!symlink("/proc/self/fd", "/dev/fd");
    (void)!symlink("/proc/self/fd/0", "/dev/stdin");
    (void)!symlink("/proc/self/fd/1", "/dev/stdout");
    (void)!symlink("/proc/self/fd/2", "/dev/stderr");
    chmod("/dev/kvm", 0666);
    mkdirs("/dev/net");
    chmod("/dev/net/tun", 0666);
    for (size_t i = 0; i < n_rws; i++) {
        char tag[32];
        snprintf(tag, sizeof(tag), "rw%zu", i);
        mount_must(tag, rws[i], "9p", 0, "trans=virtio,version=9p2000.L,msize=512000,cache=none,access=client");
    }
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0 || ioctl(s, SIOCSIFFLAGS, &lo) != 0)
        dprintf(2, "bed: lo: %m\n");
    close(s);
    sethostname("bed", 3);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 524288});
}

/* --- the command -------------------------------------------------------------------------------------------------------------- */

enum { P_CHANNEL, P_SIGNALS, P_STDOUT, P_STDERR, P_STDIN, P_COUNT };

struct command {
    pid_t pid;
    int sigfd;
    int in_fd, out_fd, err_fd; /* our ends; -1 once closed. With a terminal all is out_fd, its master */
    struct bytes input;        /* for the command, not written yet */
    bool input_ended;
};

static _Noreturn void command_exec(int in_fd, int out_fd, int err_fd) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    if (want_tty)
        ioctl(in_fd, TIOCSCTTY, 0);
    dup2(in_fd, 0);
    dup2(out_fd, 1);
    dup2(err_fd, 2);
    static char *no_envs[] = {NULL};
    environ = envs ? envs : no_envs;
    int code = 126;
    if (chdir(cwd) != 0) {
        dprintf(2, "bed: working directory %s: %m\n", cwd);
    } else {
        execvp(args[0], args);
        code = errno == ENOENT ? 127 : 126;
        dprintf(2, "bed: %s: %m\n", args[0]);
    }
    _exit(code);
}

static void command_spawn(struct command *c) {
    int in_pipe[2], out_pipe[2], err_pipe[2] = {-1, -1};
    if (want_tty) {
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
            fail("pseudo terminal: %m");
        int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        in_pipe[0] = out_pipe[1] = err_pipe[1] = slave;
        in_pipe[1] = out_pipe[0] = master;
    } else if (pipe2(in_pipe, O_CLOEXEC) != 0 || pipe2(out_pipe, O_CLOEXEC) != 0 || pipe2(err_pipe, O_CLOEXEC) != 0) {
        fail("pipe: %m");
    }
    c->pid = fork();
    if (c->pid < 0)
        fail("fork: %m");
    if (c->pid == 0)
        command_exec(in_pipe[0], out_pipe[1], err_pipe[1]);
    close(in_pipe[0]);
    if (!want_tty) {
        close(out_pipe[1]);
        close(err_pipe[1]);
    }
    c->in_fd = in_pipe[1];
    c->out_fd = out_pipe[0];
    c->err_fd = err_pipe[0];
    int fds[] = {c->in_fd, c->out_fd, c->err_fd};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
}

static void fd_close(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Moves what the stream has now to the host: true when there may be more. */
static bool stream_pump(int *fd, int type) {
    char data[FRAME_DATA_BYTES];
    ssize_t n = *fd < 0 ? 0 : read(*fd, data, sizeof(data));
    if (n > 0)
        channel_send(type, data, (uint32_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        if (!want_tty)
            fd_close(fd);
        return false;
    }
    return n > 0;
}

static void input_write(struct command *c) {
    while (bytes_left(&c->input) > 0) {
        ssize_t n = c->in_fd < 0 ? (ssize_t)bytes_left(&c->input) : write(c->in_fd, c->input.data + c->input.start, bytes_left(&c->input));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) { /* nobody reads it: swallow it */
            if (!want_tty)
                fd_close(&c->in_fd);
            n = (ssize_t)bytes_left(&c->input);
        }
        c->input.start += (size_t)n;
        uint32_t taken = (uint32_t)n;
        char le[4] = {(char)taken, (char)(taken >> 8), (char)(taken >> 16), (char)(taken >> 24)};
        channel_send(FRAME_TAKEN, le, sizeof(le));
    }
    if (c->input_ended && !want_tty)
        fd_close(&c->in_fd);
}

static void frame_handle(struct command *c, int type, const char *data, uint32_t n) {
    if (type == FRAME_STDIN) {
        bytes_add(&c->input, n > 0 || !want_tty ? data : "\4", n > 0 || !want_tty ? n : 1);
        c->input_ended |= n == 0;
        input_write(c);
    } else if (type == FRAME_SIGNAL && n == 1) {
        kill(-c->pid, data[0]);
    } else if (type == FRAME_WINSIZE && n == 4 && want_tty) {
        struct winsize w = {.ws_row = (unsigned short)frame_u32(data), .ws_col = (unsigned short)(frame_u32(data) >> 16)};
        ioctl(c->out_fd, TIOCSWINSZ, &w);
    } else if (type == FRAME_HANGUP && n == 1) {
        fd_close(data[0] == FRAME_STDOUT ? &c->out_fd : &c->err_fd);
    } else {
        dprintf(2, "bed: frame %d of %u bytes makes no sense here\n", type, n);
    }
}

/* PID 1 gets everybody's orphans. True and the code when the command itself has ended. */
static bool children_reap(struct command *c, unsigned char *code) {
    bool ended = false;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid != c->pid)
            continue;
        ended = true;
        *code = (unsigned char)(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    }
    return ended;
}

static unsigned char command_serve(struct command *c) {
    for (;;) {
        struct pollfd p[P_COUNT] = {
            [P_CHANNEL] = {.fd = channel, .events = POLLIN},
            [P_SIGNALS] = {.fd = c->sigfd, .events = POLLIN},
            [P_STDOUT] = {.fd = c->out_fd, .events = POLLIN},
            [P_STDERR] = {.fd = c->err_fd, .events = POLLIN},
            [P_STDIN] = {.fd = bytes_left(&c->input) > 0 ? c->in_fd : -1, .events = POLLOUT},
        };
        unsigned char code;
        if (poll(p, P_COUNT, -1) < 0 && errno != EINTR)
            fail("poll: %m");
        if (p[P_SIGNALS].revents) {
            struct signalfd_siginfo info;
            (void)!read(c->sigfd, &info, sizeof(info));
            if (children_reap(c, &code))
                return code;
        }
        if (p[P_CHANNEL].revents & POLLIN) {
            channel_fill();
            const char *data;
            uint32_t n;
            for (int type; (type = frame_take(&in, &data, &n)) > 0;)
                frame_handle(c, type, data, n);
        }
        if (p[P_STDOUT].revents)
            stream_pump(&c->out_fd, FRAME_STDOUT);
        if (p[P_STDERR].revents)
            stream_pump(&c->err_fd, FRAME_STDERR);
        if (p[P_STDIN].revents)
            input_write(c);
    }
}

// Holds a machine with one CPU, which never runs, for the life of the bed. KVM has static keys that count machines (preempt notifiers) and
// CPUs whose local APIC is off; without this one each start and end of a pod would have the bed's kernel patch its own code in
// the scheduler and in kvm. QEMU 7.2's multi-threaded TCG now and then goes on running the breakpoint of such a patch from a stale
// translation, and then that CPU of the bed hangs for ever. So the keys change once, here, while the first CPU is the only one that runs
// (maxcpus=1): cpus_start() comes after it.
static void machine_hold(void) {
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return; // no KVM in this bed; whoever needs it will say so
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) != 0 || ioctl(vm, KVM_CREATE_VCPU, 0) < 0)
        dprintf(2, "bed: the resident machine can not be made: %m\n");
    // The descriptors stay open on purpose.
}

// Starts the CPUs that the kernel found and was told to leave off.
static void cpus_start(void) {
    char path[64];
    for (unsigned cpu = 1;; cpu++) {
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            break;
        if (write(fd, "1", 1) != 1)
            dprintf(2, "bed: CPU %u does not start: %m\n", cpu);
        close(fd);
    }
}

// Leaves the first CPU to the bed's kernel, in a bed of several. QEMU (7.2, and 10.0 still) emulates the pin by which the first CPU is told of
// floating-point errors, and every CPU that loads a floating-point state without one resets that pin: it reads, changes and writes back
// flags of the first CPU that the first CPU changes at the same time. Among them is the one for nested paging. When VMRUN's change gets lost,
// the guest runs on the bed's memory in place of its own: it triple faults, and the bed's kernel dies of a stack that was written to.
static void cpus_choose(void) {
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0 || CPU_COUNT(&cpus) < 2)
        return;
    CPU_CLR(0, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0)
        dprintf(2, "bed: the first CPU can not be left out: %m\n");
}

int main(void) {
    system_mounts();
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    (void)!read(fd, cmdline, sizeof(cmdline) - 1);
    close(fd);
    modules_load();
    machine_hold();
    cpus_start();
    cpus_choose();
    channel_open();
    start_receive();
    world_build();

    struct command c = {0};
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    c.sigfd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    signal(SIGPIPE, SIG_IGN);
    channel_send(FRAME_READY, NULL, 0);
    command_spawn(&c);
    unsigned char code = command_serve(&c);
    /* What the command left in its pipes; not more than that, should it have left a talking child. */
    for (int i = 0; i < 80 && stream_pump(&c.out_fd, FRAME_STDOUT); i++)
        ;
    for (int i = 0; i < 80 && stream_pump(&c.err_fd, FRAME_STDERR); i++)
        ;
    channel_send(FRAME_EXIT, &code, 1);
    machine_end();
}
