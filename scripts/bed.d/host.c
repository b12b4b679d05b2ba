/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host: starts the emulator of a bed and carries streams, signals and the exit code of the command in it.
 *
 *   host [-v] [-t] [-n] [-p] [-T TIMEOUT-SECONDS] [-B BOOT-SECONDS] -s RECORD... -- EMULATOR ARGUMENT...
 *   host -f FILE -s RECORD...        only writes the start frame into FILE
 *
 * Theory of operation. This program is the parent of the emulator, which lives in a session of its own (so the terminal's Ctrl-C does not reach
 * it) and dies with its parent, whatever kills that. The emulator finds the channel (frame.h) at descriptor 10: a socket for QEMU, or with -p
 * a pseudo terminal whose path is in the environment as BED_CHANNEL, for Bochs, which also wants a terminal for its screen (read and dropped). Console and messages of the emulator come through its stdout and stderr, one pipe; the
 * last of them are kept and shown only when the bed fails. No file is made, so none can stay behind.
 *
 * A signal that asks to end (INT, TERM, HUP, QUIT) goes to the command. The second one, or the first while the machine still boots, or ten
 * seconds without an answer, ends the machine.
 */
#define _GNU_SOURCE
#include "frame.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

enum { CHANNEL_FD = 10, EXIT_TIMEOUT = 124, EXIT_BED = 125, TAIL_BYTES = 4000, OUTPUT_MAX_BYTES = 4 * 1024 * 1024, GRACE_MS = 10000 };

static bool verbose, want_tty, no_stdin, use_pty;
static long timeout_s, boot_timeout_s = 300;

static pid_t emulator;
static int channel = -1, console = -1, sigfd = -1, screen = -1;
static struct bytes start, in, to_guest, to_stdout, to_stderr;
static char tail[TAIL_BYTES]; /* the last of the console, a ring */
static size_t tail_count;     /* bytes ever put into it */
static bool ready, stdin_ended, ended, stdout_dead, stderr_dead;
static size_t stdin_credit = STDIN_WINDOW_BYTES;
static int exit_code = -1;
static long started_ms, asked_to_end_ms;
static int asked_to_end;
static struct termios tty_before;
static bool tty_is_raw;

static long now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void emulator_kill(void) {
    if (emulator > 0) {
        kill(-emulator, SIGKILL);
        kill(emulator, SIGKILL);
        waitpid(emulator, NULL, 0);
    }
    emulator = 0;
}

static _Noreturn void leave(int code) {
    emulator_kill();
    if (tty_is_raw)
        tcsetattr(0, TCSADRAIN, &tty_before);
    exit(code);
}

/* Ends the bed because of the bed itself. */
static _Noreturn void bed_failed(bool show_console, const char *fmt, ...) {
    emulator_kill();
    if (tty_is_raw)
        tcsetattr(0, TCSADRAIN, &tty_before);
    tty_is_raw = false;
    fputs("bed: ", stderr);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    if (show_console && !verbose && tail_count > 0) {
        size_t n = tail_count < TAIL_BYTES ? tail_count : TAIL_BYTES;
        fputs("bed: the end of its console:\n", stderr);
        for (size_t i = tail_count - n; i < tail_count; i++)
            if (tail[i % TAIL_BYTES] != '\r')
                fputc(tail[i % TAIL_BYTES], stderr);
    }
    leave(EXIT_BED);
}

/* --- start -------------------------------------------------------------------------------------------------------------------- */

static void record_add(const char *text) {
    bytes_add(&start, text, strlen(text) + 1);
}

/* Is there a record for this NAME=VALUE's name already? Then that one wins. */
static bool env_is_given(const char *env) {
    size_t name = strcspn(env, "=") + 1;
    for (size_t i = start.start; i < start.end; i += strlen(start.data + i) + 1)
        if (start.data[i] == START_ENV && strncmp(start.data + i + 1, env, name) == 0)
            return true;
    return false;
}

/* A raw pseudo terminal: its master; *path is overwritten by the next call. */
static int pty_open(char **path) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
        bed_failed(false, "pseudo terminal: %s", strerror(errno));
    *path = ptsname(master);
    return master;
}

static void channel_make(int *child_end, char **pty_path) {
    int pair[2];
    if (use_pty) {
        pair[0] = pty_open(pty_path);
        /* Kept open so that the master never sees a hang-up before the emulator has opened it, and raw from the start. */
        pair[1] = open(*pty_path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        struct termios t;
        tcgetattr(pair[1], &t);
        cfmakeraw(&t);
        tcsetattr(pair[1], TCSANOW, &t);
    } else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        bed_failed(false, "socketpair: %s", strerror(errno));
    }
    channel = pair[0];
    *child_end = pair[1];
    fcntl(channel, F_SETFL, fcntl(channel, F_GETFL) | O_NONBLOCK);
}

static void screen_make(void) {
    char *path;
    screen = pty_open(&path);
    ioctl(screen, TIOCSWINSZ, &(struct winsize){.ws_row = 50, .ws_col = 132});
}

static void emulator_start(char **argv) {
    int child_end = -1, out[2];
    char *pty_path = NULL;
    channel_make(&child_end, &pty_path);
    if (use_pty) {
        setenv("BED_CHANNEL", pty_path, 1);
        setenv("TERM", "linux", 1);
        screen_make();
    }
    if (pipe2(out, O_CLOEXEC) != 0)
        bed_failed(false, "pipe: %s", strerror(errno));
    pid_t parent = getpid();
    emulator = fork();
    if (emulator < 0)
        bed_failed(false, "fork: %s", strerror(errno));
    if (emulator == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGTTIN, SIG_DFL);
        setsid();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        dup2(open("/dev/null", O_RDWR | O_CLOEXEC), 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        if (use_pty) {
            int slave = open(ptsname(screen), O_RDWR | O_CLOEXEC); /* becomes the controlling terminal */
            dup2(slave, 0);
            dup2(slave, 1);
        } else {
            dup2(child_end, CHANNEL_FD);
        }
        execvp(argv[0], argv);
        dprintf(2, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(out[1]);
    if (!use_pty)
        close(child_end);
    console = out[0];
}

static void winsize_send(void) {
    struct winsize w;
    if (ioctl(0, TIOCGWINSZ, &w) != 0)
        return;
    char le[4] = {(char)w.ws_row, (char)(w.ws_row >> 8), (char)w.ws_col, (char)(w.ws_col >> 8)};
    frame_add(&to_guest, FRAME_WINSIZE, le, sizeof(le));
}

static void tty_prepare(void) {
    if (!want_tty || tcgetattr(0, &tty_before) != 0)
        return;
    struct termios t = tty_before;
    cfmakeraw(&t);
    tcsetattr(0, TCSADRAIN, &t);
    tty_is_raw = true;
    winsize_send();
}

/* --- events ------------------------------------------------------------------------------------------------------------------- */

static void console_read(void) {
    char data[4096];
    ssize_t n = read(console, data, sizeof(data));
    if (n <= 0) { /* the emulator is gone */
        close(console);
        console = -1;
        return;
    }
    for (ssize_t i = 0; i < n; i++)
        tail[tail_count++ % TAIL_BYTES] = data[i];
    if (verbose)
        (void)!write(2, data, (size_t)n);
}

static void stdin_read(void) {
    char data[FRAME_DATA_BYTES];
    ssize_t n = read(0, data, stdin_credit < sizeof(data) ? stdin_credit : sizeof(data));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        n = 0;
        stdin_ended = true;
    }
    stdin_credit -= (size_t)n;
    frame_add(&to_guest, FRAME_STDIN, data, (uint32_t)n);
}

static void stream_write(int fd, struct bytes *b, bool *dead, char type) {
    /* The descriptor is shared with other programs, so it stays blocking: at most PIPE_BUF bytes, which poll promised room for. */
    size_t n = bytes_left(b) < 4096 ? bytes_left(b) : 4096;
    ssize_t r = write(fd, b->data + b->start, n);
    if (r > 0)
        b->start += (size_t)r;
    if (r >= 0 || errno == EINTR || errno == EAGAIN)
        return;
    *dead = true;
    b->start = b->end = 0;
    frame_add(&to_guest, FRAME_HANGUP, &type, 1);
}

static void frame_handle(int type, const char *data, uint32_t n) {
    switch (type) {
    case FRAME_READY:
        ready = true;
        tty_prepare();
        break;
    case FRAME_STDOUT:
        if (!stdout_dead)
            bytes_add(&to_stdout, data, n);
        break;
    case FRAME_STDERR:
        if (!stderr_dead)
            bytes_add(&to_stderr, data, n);
        break;
    case FRAME_TAKEN:
        stdin_credit += n == 4 ? frame_u32(data) : 0;
        break;
    case FRAME_EXIT:
        exit_code = n == 1 ? (unsigned char)data[0] : EXIT_BED;
        ended = true;
        break;
    case FRAME_FAIL:
        bed_failed(false, "the machine could not be set up: %.*s", (int)n, data);
    default:
        bed_failed(true, "the machine sent a frame of unknown type %d", type);
    }
}

static void channel_read(void) {
    ssize_t n = read(channel, bytes_room(&in, 64 * 1024), 64 * 1024);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) { /* the emulator is gone; serve() says so once the console is read out */
        close(channel);
        channel = -1;
    }
    if (n <= 0)
        return;
    in.end += (size_t)n;
    const char *data;
    uint32_t bytes;
    int type;
    while (!ended && (type = frame_take(&in, &data, &bytes)) != 0)
        frame_handle(type, data, bytes);
}

static void channel_write(void) {
    ssize_t n = write(channel, to_guest.data + to_guest.start, bytes_left(&to_guest));
    if (n > 0)
        to_guest.start += (size_t)n;
}

static void signal_read(void) {
    struct signalfd_siginfo info;
    if (read(sigfd, &info, sizeof(info)) != sizeof(info))
        return;
    char sig = (char)info.ssi_signo;
    if (sig == SIGWINCH) {
        if (tty_is_raw)
            winsize_send();
        return;
    }
    if (sig == SIGUSR1 || sig == SIGUSR2) {
        if (ready)
            frame_add(&to_guest, FRAME_SIGNAL, &sig, 1);
        return;
    }
    if (!ready || asked_to_end)
        leave(128 + sig);
    asked_to_end = sig;
    asked_to_end_ms = now_ms();
    frame_add(&to_guest, FRAME_SIGNAL, &sig, 1);
}

static void deadlines_check(void) {
    long now = now_ms();
    if (asked_to_end && now - asked_to_end_ms > GRACE_MS)
        leave(128 + asked_to_end);
    if (!ready && now - started_ms > boot_timeout_s * 1000)
        bed_failed(true, "the machine did not boot within %ld s", boot_timeout_s);
    if (timeout_s > 0 && now - started_ms > timeout_s * 1000) {
        if (tty_is_raw)
            tcsetattr(0, TCSADRAIN, &tty_before);
        fprintf(stderr, "bed: timeout: the command did not end within %ld s\n", timeout_s);
        tty_is_raw = false;
        leave(EXIT_TIMEOUT);
    }
}

static void serve(void) {
    enum { P_CHANNEL, P_CONSOLE, P_SIGNALS, P_STDIN, P_STDOUT, P_STDERR, P_SCREEN, P_COUNT };
    /* After the exit frame only the output that is still here must go out. */
    while (!ended || bytes_left(&to_stdout) > 0 || bytes_left(&to_stderr) > 0) {
        bool full = bytes_left(&to_stdout) > OUTPUT_MAX_BYTES || bytes_left(&to_stderr) > OUTPUT_MAX_BYTES;
        bool want_stdin = ready && !stdin_ended && stdin_credit > 0;
        struct pollfd p[P_COUNT] = {
            [P_CHANNEL] = {.fd = ended ? -1 : channel, .events = (short)((full ? 0 : POLLIN) | (bytes_left(&to_guest) > 0 ? POLLOUT : 0))},
            [P_CONSOLE] = {.fd = console, .events = POLLIN},
            [P_SIGNALS] = {.fd = sigfd, .events = POLLIN},
            [P_STDIN] = {.fd = want_stdin ? 0 : -1, .events = POLLIN},
            [P_STDOUT] = {.fd = bytes_left(&to_stdout) > 0 ? 1 : -1, .events = POLLOUT},
            [P_STDERR] = {.fd = bytes_left(&to_stderr) > 0 ? 2 : -1, .events = POLLOUT},
            [P_SCREEN] = {.fd = screen, .events = POLLIN},
        };
        if (poll(p, P_COUNT, 200) < 0 && errno != EINTR)
            bed_failed(false, "poll: %s", strerror(errno));
        if (p[P_SIGNALS].revents)
            signal_read();
        if (p[P_CHANNEL].revents & POLLIN)
            channel_read();
        if (p[P_CHANNEL].revents & POLLOUT)
            channel_write();
        if (p[P_CONSOLE].revents)
            console_read();
        if (p[P_STDIN].revents)
            stdin_read();
        if (p[P_STDOUT].revents)
            stream_write(1, &to_stdout, &stdout_dead, FRAME_STDOUT);
        if (p[P_STDERR].revents)
            stream_write(2, &to_stderr, &stderr_dead, FRAME_STDERR);
        if (p[P_SCREEN].revents & POLLIN) {
            char dropped[4096];
            (void)!read(screen, dropped, sizeof(dropped));
        } else if (p[P_SCREEN].revents && console < 0) {
            screen = -1;
        }
        if (console < 0 && !ended && !(p[P_CHANNEL].revents & POLLIN))
            bed_failed(true, ready ? "the machine went down before the command ended" : "the machine did not boot");
        deadlines_check();
    }
}

int main(int argc, char **argv) {
    const char *start_file = NULL;
    for (int opt; (opt = getopt(argc, argv, "+vtnpT:B:s:f:")) != -1;) {
        switch (opt) {
        case 'v': verbose = true; break;
        case 't': want_tty = true; break;
        case 'n': no_stdin = true; break;
        case 'p': use_pty = true; break;
        case 'T': timeout_s = atol(optarg); break;
        case 'B': boot_timeout_s = atol(optarg); break;
        case 's': record_add(optarg); break;
        case 'f': start_file = optarg; break;
        default: return EXIT_BED;
        }
    }
    extern char **environ;
    for (char **e = environ; *e; e++) {
        if (env_is_given(*e))
            continue;
        bytes_add(&start, (char[]){START_ENV}, 1);
        record_add(*e);
    }
    frame_add(&to_guest, FRAME_START, start.data + start.start, (uint32_t)bytes_left(&start));
    if (start_file) { /* only write the start frame, for a machine that finds it in its initramfs */
        int fd = open(start_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        bool ok = fd >= 0 && write(fd, to_guest.data, bytes_left(&to_guest)) == (ssize_t)bytes_left(&to_guest);
        return ok ? 0 : EXIT_BED;
    }
    if (optind >= argc)
        return EXIT_BED;
    if (use_pty)
        to_guest.start = to_guest.end = 0;

    sigset_t mask;
    sigemptyset(&mask);
    int sigs[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
        sigaddset(&mask, sigs[i]);
        signal(sigs[i], SIG_DFL); /* a background job of a shell inherits INT ignored: then it would never reach the signalfd */
    }
    sigprocmask(SIG_BLOCK, &mask, NULL);
    sigfd = signalfd(-1, &mask, SFD_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTIN, SIG_IGN);
    started_ms = now_ms();
    emulator_start(argv + optind);
    if (no_stdin) {
        stdin_ended = true;
        frame_add(&to_guest, FRAME_STDIN, NULL, 0);
    }
    serve();
    leave(exit_code);
}
