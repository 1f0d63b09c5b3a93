/* Behind the walls: each attempt in a child of its own, which must die by SIGSYS; honest work must not. */
#include "tests/base/test.h"

#include "imaging/decoder/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int run_behind(void (*work)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        if (!img_sandbox_limits() || !img_sandbox_enter())
            _exit(99);
        work();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void opens_a_file(void)
{
    (void)!open("/etc/hostname", O_RDONLY);
}
static void makes_a_file(void)
{
    (void)!creat("/tmp/cordon-sandbox-probe", 0600);
}
static void opens_a_socket(void)
{
    (void)!socket(AF_INET, SOCK_STREAM, 0);
}
static void forks(void)
{
    (void)!fork();
}
static void executes(void)
{
    char *argv[] = {"true", NULL};
    (void)!execve("/bin/true", argv, NULL);
}
static void kills(void)
{
    (void)!kill(getppid(), 0);
}
static void traces(void)
{
    (void)!ptrace(PTRACE_TRACEME, 0, 0, 0);
}
static void makes_memory_executable(void)
{
    (void)!mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void turns_memory_executable(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)!mprotect(p, 4096, PROT_READ | PROT_EXEC);
}
static void lifts_its_limits(void)
{
    struct rlimit r = {RLIM_INFINITY, RLIM_INFINITY};
    (void)!setrlimit(RLIMIT_AS, &r);
}
static void reads_names(void)
{
    char path[64];
    (void)!readlink("/proc/self/exe", path, sizeof path);
}

static void forbidden_calls_kill_the_child(void **state)
{
    (void)state;
    /* clang-format off */
    void (*const attempts[])(void) = {
        opens_a_file, makes_a_file, opens_a_socket, forks, executes, kills, traces, makes_memory_executable,
        turns_memory_executable, lifts_its_limits, reads_names,
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        int status = run_behind(attempts[i]);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("attempt %zu ended with status %x", i, status);
    }
    assert_int_not_equal(access("/tmp/cordon-sandbox-probe", F_OK), 0);
}

static void works(void)
{
    for (unsigned i = 0; i < 200; i++) {
        size_t n = (size_t)1 << (i % 24);
        char *p = malloc(n);
        if (!p)
            _exit(1);
        memset(p, 1, n);
        p = realloc(p, 2 * n);
        free(p);
    }
}

static void honest_work_goes_on(void **state)
{
    (void)state;
    int status = run_behind(works);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void takes_two_gigabytes(void)
{
    void *volatile p = malloc((size_t)2 << 30);
    _exit(p ? 1 : 0);
}

static void memory_ends_at_a_gigabyte(void **state)
{
    (void)state;
    int status = run_behind(takes_two_gigabytes);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
#ifdef CORDON_SANITIZED
    printf("the walls are off in sanitizer builds\n");
    return 77;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forbidden_calls_kill_the_child),
        cmocka_unit_test(honest_work_goes_on),
        cmocka_unit_test(memory_ends_at_a_gigabyte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
