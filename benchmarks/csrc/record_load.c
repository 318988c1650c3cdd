/// The loads of benchmarks/record.py, timed by themselves: `record_load fault|io ROUNDS FOLDER`, on standard output the seconds
/// that it took, and the seconds of CPU time.
///
/// fault: maps 64 MiB, touches every page, unmaps: an allocation and a free for every page, and little else.
/// io: writes 32 MiB to a file in pieces of 64 KiB, reads them, removes the file: the page cache's allocations and frees.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { FAULT_BYTES = 64 << 20, IO_BYTES = 32 << 20, PIECE = 64 << 10, PAGE = 4096 };

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static void fault(void)
{
	char *memory = mmap(NULL, FAULT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(memory != MAP_FAILED, "mmap");
	/* Huge pages would make one event of 512 faults. */
	madvise(memory, FAULT_BYTES, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < FAULT_BYTES; at += PAGE)
		memory[at] = 1;
	check(munmap(memory, FAULT_BYTES) == 0, "munmap");
}

static void io(const char *folder)
{
	static char piece[PIECE];
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/load.%d", folder, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	check(fd >= 0, path);
	for (size_t at = 0; at < IO_BYTES; at += PIECE)
		check(write(fd, piece, PIECE) == PIECE, "write");
	for (size_t at = 0; at < IO_BYTES; at += PIECE)
		check(pread(fd, piece, PIECE, (off_t)at) == PIECE, "read");
	check(close(fd) == 0 && unlink(path) == 0, "unlink");
}

int main(int argc, char **argv)
{
	struct timespec begin, end, cpu;
	int rounds = argc == 4 ? atoi(argv[2]) : 0;

	check(rounds > 0, "usage: record_load fault|io ROUNDS FOLDER");
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int i = 0; i < rounds; i++) {
		if (strcmp(argv[1], "fault") == 0)
			fault();
		else
			io(argv[3]);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	printf("%.6f %.6f\n", (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9,
	       (double)cpu.tv_sec + (double)cpu.tv_nsec * 1e-9);
	return 0;
}
