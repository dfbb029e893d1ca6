/*
 * The companion of a worker: a second task of its process that hands out the process's memory on request, for
 * backtraces where nobody else may read it. It needs no right at all, sends no signal, and takes nothing from the
 * worker but the sight of its memory.
 *
 * It is a thread of the kernel's only: it never calls PHP, never the C library (whose thread-local memory is the
 * worker's), only the kernel, and it cannot crash: the kernel itself copies the memory asked for and refuses what is
 * not there. As a thread it ends with the process whatever ends that, and is nobody's child. It has descriptors of
 * its own, of which it keeps one, so that no connection of the worker stays open through it.
 *
 * A request is an array of iovecs, the answer a zero byte and what lies there; or the zero byte alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "shim.h"

#ifndef SYS_close_range
# define SYS_close_range 436
#endif

/* MOST_PIECES: `trace::MOST_RANGES`. The guard is a page of any size that kernels have. */
enum { STACK = 16 * 1024, GUARD = 64 * 1024, MOST_PIECES = 256 };

#if defined(__x86_64__)
static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall" : "=a"(result)
		: "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0)
		: "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#endif

#if defined(__x86_64__) || defined(__aarch64__)

static void keep_only(long fd)
{
	long below = fd > 0 ? kernel(SYS_close_range, 0, fd - 1, 0, 0, 0, 0) : 0;

	if (below < 0 || kernel(SYS_close_range, fd + 1, UINT_MAX, 0, 0, 0, 0) < 0) {
		kernel(SYS_exit, 0, 0, 0, 0, 0, 0); /* a kernel before 5.9: better none than one that keeps connections open */
	}
}

/* One answer; false when nobody will ask any more. */
static bool answer(long fd)
{
	static const char done;
	struct iovec pieces[1 + MOST_PIECES];
	struct msghdr message;
	long length = kernel(SYS_recvfrom, fd, (long) (pieces + 1), sizeof pieces - sizeof *pieces, 0, 0, 0);

	if (length <= 0) {
		return length == -EINTR;
	}
	pieces[0].iov_base = (void *) &done;
	pieces[0].iov_len = 1;
	message.msg_name = NULL;
	message.msg_namelen = 0;
	message.msg_iov = pieces;
	message.msg_iovlen = 1 + (unsigned long) length / sizeof *pieces;
	message.msg_control = NULL;
	message.msg_controllen = 0;
	message.msg_flags = 0;
	if (kernel(SYS_sendmsg, fd, (long) &message, MSG_NOSIGNAL, 0, 0, 0) < 0) {
		return kernel(SYS_sendto, fd, (long) &done, 1, MSG_NOSIGNAL, 0, 0) == 1;
	}
	return true;
}

static int live(void *socket)
{
	long fd = (long) socket;

	kernel(SYS_prctl, PR_SET_NAME, (long) "cornac-trace", 0, 0, 0, 0);
	keep_only(fd);
	while (answer(fd)) {
	}
	kernel(SYS_exit, 0, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}

int shim_companion_start(int socket)
{
	int flags = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_SYSVSEM;
	char *memory = mmap(NULL, GUARD + STACK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	sigset_t all, before;
	int task, error;

	if (memory == MAP_FAILED || mprotect(memory + GUARD, STACK, PROT_READ | PROT_WRITE) < 0) {
		return errno;
	}
	/* Signals of the process are for the worker: the companion keeps them all blocked. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	task = clone(live, memory + GUARD + STACK, flags, (void *) (long) socket);
	error = task < 0 ? errno : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (error) {
		munmap(memory, GUARD + STACK);
	}
	return error;
}

#else

int shim_companion_start(int socket)
{
	return ENOSYS;
}

#endif
