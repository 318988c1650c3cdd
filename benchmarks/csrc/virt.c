/// The driver of benchmarks/virt.py: address spaces beside the host kernel's own. Reads one request a line (`name number`) and answers with
/// nanoseconds of CPU time per operation.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pymigrate.h"

enum { PAGE = PM_PAGE_SIZE, FORKS_MAX = 1000 };

static struct pm_machine *machine[3]; ///< by enum pm_guard

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "benchmark driver: %s\n", what);
	exit(EXIT_FAILURE);
}

static void must(enum pm_status status)
{
	if (status != PM_OK)
		die(pm_status_text(status));
}

static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/// A machine with contents, which the host has given us before anything is timed: as the kernel has its own memory. 3 GiB, or for
/// the guards that are only compared, 64 MiB.
static struct pm_machine *machine_of(uint32_t guard)
{
	uint64_t frames = guard == PM_GUARD_EPOCH ? (uint64_t)3 << 18 : (uint64_t)1 << 14;
	struct pm_zone_layout zone = { .kind = PM_ZONE_NORMAL, .start_pfn = 0, .spanned = frames };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 2, .start = PM_START_FREE };
	struct pm_memory_options options;
	struct pm_map_request warm = { .length = frames / 6 * 5 * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t space, addr, done;

	if (machine[guard])
		return machine[guard];
	pm_settings_default(&layout.settings);
	must(pm_machine_create(&layout, &machine[guard]));
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_PRIVATE;
	options.guard = guard;
	must(pm_memory_enable(machine[guard], &options));
	must(pm_space_create(machine[guard], &space));
	must(pm_map(machine[guard], 0, space, &warm, &addr));
	must(pm_touch(machine[guard], 0, space, addr, warm.length, true, &done));
	must(pm_space_exit(machine[guard], 0, space));
	return machine[guard];
}

static uint64_t map_core(struct pm_machine *m, uint64_t space, uint64_t pages, bool touch)
{
	struct pm_map_request request = { .length = pages * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t addr, done;

	must(pm_map(m, 0, space, &request, &addr));
	if (touch)
		must(pm_touch(m, 0, space, addr, request.length, true, &done));
	return addr;
}

static char *map_kernel(uint64_t pages, bool touch)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("no memory");
	/* Pages of 4 KiB on both sides. */
	(void)madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; touch && i < pages; i++)
		((volatile char *)p)[i * PAGE] = 1;
	return p;
}

/// First touch of each page of a fresh mapping: a fault each, zero fill included.
static double fault_core(uint64_t pages)
{
	struct pm_machine *m = machine_of(PM_GUARD_EPOCH);
	uint64_t space, addr, done;
	double begin, end;

	must(pm_space_create(m, &space));
	addr = map_core(m, space, pages, false);
	begin = cpu_ns();
	must(pm_touch(m, 0, space, addr, pages * PAGE, true, &done));
	end = cpu_ns();
	must(pm_space_exit(m, 0, space));
	return (end - begin) / (double)pages;
}

/// The same, one call for each page that writes a byte: as a program touches its memory.
static double fault_core_calls(uint64_t pages)
{
	struct pm_machine *m = machine_of(PM_GUARD_EPOCH);
	uint64_t space, addr, i;
	double begin, end;
	size_t done;

	must(pm_space_create(m, &space));
	addr = map_core(m, space, pages, false);
	begin = cpu_ns();
	for (i = 0; i < pages; i++)
		must(pm_write(m, 0, space, addr + i * PAGE, "x", 1, &done));
	end = cpu_ns();
	must(pm_space_exit(m, 0, space));
	return (end - begin) / (double)pages;
}

static double fault_kernel(uint64_t pages)
{
	char *p = map_kernel(pages, false);
	double begin = cpu_ns(), end;

	for (uint64_t i = 0; i < pages; i++)
		((volatile char *)p)[i * PAGE] = 1;
	end = cpu_ns();
	munmap(p, pages * PAGE);
	return (end - begin) / (double)pages;
}

/// fork of a space with this many pages; per fork.
static double fork_core(uint64_t pages)
{
	struct pm_machine *m = machine_of(PM_GUARD_EPOCH);
	uint64_t space, child;
	double begin, end;

	must(pm_space_create(m, &space));
	(void)map_core(m, space, pages, true);
	begin = cpu_ns();
	must(pm_space_fork(m, 0, space, &child));
	end = cpu_ns();
	must(pm_space_exit(m, 0, child));
	must(pm_space_exit(m, 0, space));
	return end - begin;
}

/// What fork(2) costs this process more for so many pages: the rest of it (the arenas) is not inherited.
static double fork_kernel_once(void)
{
	double begin = cpu_ns(), end;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	end = cpu_ns();
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		die("fork failed");
	return end - begin;
}

/// In a process of its own, which has nothing but these pages.
static double fork_kernel(uint64_t pages)
{
	int pipe_fds[2];
	double took = 0;
	pid_t pid;

	if (pipe(pipe_fds) != 0)
		die("no pipe");
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 3; i++)
			if (machine[i])
				pm_machine_destroy(machine[i]);
		(void)map_kernel(pages, true);
		took = fork_kernel_once();
		_exit(write(pipe_fds[1], &took, sizeof(took)) != sizeof(took));
	}
	if (pid < 0 || read(pipe_fds[0], &took, sizeof(took)) != sizeof(took) || waitpid(pid, NULL, 0) != pid)
		die("fork failed");
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return took;
}

/// Reads of 8 bytes from page after page: what the walk and the guard cost.
static double access_core(uint32_t guard, uint64_t rounds)
{
	enum { PAGES = 256 };
	struct pm_machine *m = machine_of(guard);
	uint64_t space, addr, word, i;
	double begin, end;
	size_t done;

	must(pm_space_create(m, &space));
	addr = map_core(m, space, PAGES, true);
	begin = cpu_ns();
	for (i = 0; i < rounds; i++)
		must(pm_read(m, 0, space, addr + i % PAGES * PAGE, &word, sizeof(word), &done));
	end = cpu_ns();
	must(pm_space_exit(m, 0, space));
	return (end - begin) / (double)rounds;
}

static double access_epoch(uint64_t rounds)
{
	return access_core(PM_GUARD_EPOCH, rounds);
}

static double access_fence(uint64_t rounds)
{
	return access_core(PM_GUARD_FENCE, rounds);
}

static double access_lock(uint64_t rounds)
{
	return access_core(PM_GUARD_LOCK, rounds);
}

/// Copies of whole pages out of a space.
static double page_core(uint64_t rounds)
{
	enum { PAGES = 256 };
	struct pm_machine *m = machine_of(PM_GUARD_EPOCH);
	static char bytes[PAGE];
	uint64_t space, addr, i;
	double begin, end;
	size_t done;

	must(pm_space_create(m, &space));
	addr = map_core(m, space, PAGES, true);
	begin = cpu_ns();
	for (i = 0; i < rounds; i++)
		must(pm_read(m, 0, space, addr + i % PAGES * PAGE, bytes, PAGE, &done));
	end = cpu_ns();
	must(pm_space_exit(m, 0, space));
	return (end - begin) / (double)rounds;
}

/// The kernel's way to copy a page out of an address space by its page table: process_vm_readv(2).
static double page_kernel(uint64_t rounds)
{
	enum { PAGES = 256 };
	static char bytes[PAGE];
	char *p = map_kernel(PAGES, true);
	double begin = cpu_ns(), end;

	for (uint64_t i = 0; i < rounds; i++) {
		struct iovec to = { bytes, PAGE }, from = { p + i % PAGES * PAGE, PAGE };

		if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != PAGE)
			die("process_vm_readv failed");
	}
	end = cpu_ns();
	munmap(p, PAGES * PAGE);
	return (end - begin) / (double)rounds;
}

/// The reverse map of a page that a parent and `forks` children map, all alive: per mapping found.
static double rmap_shared(uint64_t forks)
{
	static uint64_t children[FORKS_MAX];
	static struct pm_rmap_entry entries[FORKS_MAX + 1];
	struct pm_machine *m = machine_of(PM_GUARD_EPOCH);
	struct pm_pte_info pte;
	uint64_t space, addr, i, rounds = 1 + 20000 / (forks + 1);
	double begin, end;
	size_t found = 0;

	if (forks > FORKS_MAX)
		die("too many forks");
	must(pm_space_create(m, &space));
	addr = map_core(m, space, 1, true);
	for (i = 0; i < forks; i++)
		must(pm_space_fork(m, 0, space, &children[i]));
	must(pm_lookup(m, 0, space, addr, &pte));
	begin = cpu_ns();
	for (i = 0; i < rounds; i++)
		must(pm_rmap(m, 0, pte.pfn, FORKS_MAX + 1, entries, &found, NULL));
	end = cpu_ns();
	if (found != forks + 1)
		die("the reverse map missed a mapping");
	for (i = 0; i < forks; i++)
		must(pm_space_exit(m, 0, children[i]));
	must(pm_space_exit(m, 0, space));
	return (end - begin) / (double)rounds / (double)(forks + 1);
}

/// The reverse map of a page that one of `forks` children got by writing, while all are alive: per walk.
static double rmap_private(uint64_t forks)
{
	static uint64_t children[FORKS_MAX];
	struct pm_machine *m = machine_of(PM_GUARD_EPOCH);
	struct pm_rmap_entry entry;
	struct pm_pte_info pte;
	uint64_t space, addr, i, rounds = 20000;
	double begin, end;
	size_t found = 0, done;

	if (forks > FORKS_MAX || forks == 0)
		die("1 to 1,000 forks");
	must(pm_space_create(m, &space));
	addr = map_core(m, space, 1, true);
	for (i = 0; i < forks; i++)
		must(pm_space_fork(m, 0, space, &children[i]));
	must(pm_write(m, 0, children[forks / 2], addr, "x", 1, &done));
	must(pm_lookup(m, 0, children[forks / 2], addr, &pte));
	begin = cpu_ns();
	for (i = 0; i < rounds; i++)
		must(pm_rmap(m, 0, pte.pfn, 1, &entry, &found, NULL));
	end = cpu_ns();
	if (found != 1)
		die("the reverse map missed a mapping");
	for (i = 0; i < forks; i++)
		must(pm_space_exit(m, 0, children[i]));
	must(pm_space_exit(m, 0, space));
	return (end - begin) / (double)rounds;
}

static const struct {
	const char *name;
	double (*run)(uint64_t);
} requests[] = {
	{ "fault_core", fault_core },	  { "fault_core_calls", fault_core_calls }, { "fault_kernel", fault_kernel }, { "fork_core", fork_core },
	{ "fork_kernel", fork_kernel },	  { "access_epoch", access_epoch },	    { "access_fence", access_fence }, { "access_lock", access_lock },
	{ "page_core", page_core },	  { "page_kernel", page_kernel },	    { "rmap_shared", rmap_shared },   { "rmap_private", rmap_private },
};

int main(void)
{
	char name[32];
	unsigned long long number;

	while (scanf("%31s %llu", name, &number) == 2) {
		size_t i = 0;

		while (i < sizeof(requests) / sizeof(requests[0]) && strcmp(requests[i].name, name) != 0)
			i++;
		if (i == sizeof(requests) / sizeof(requests[0]))
			die("no such request");
		printf("%.3f\n", requests[i].run(number));
		fflush(stdout);
	}
	for (int i = 0; i < 3; i++)
		pm_machine_destroy(machine[i]);
	return 0;
}
