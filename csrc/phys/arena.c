#include "phys/arena.h"

#include <sys/mman.h>
#include <unistd.h>

enum pm_status pm_arena_init(struct pm_machine *m, uint32_t contents)
{
	size_t bytes = (size_t)m->nr_frames << PM_PAGE_SHIFT;
	int flags = MAP_NORESERVE | (contents == PM_CONTENTS_SHARED ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);
	void *base;

	m->arena_fd = -1;
	if (contents == PM_CONTENTS_NONE)
		return PM_OK;
	if (contents > PM_CONTENTS_SHARED)
		return PM_ERR_INVAL;
	if (contents == PM_CONTENTS_SHARED) {
		m->arena_fd = memfd_create("pymigrate", MFD_CLOEXEC);
		if (m->arena_fd < 0 || ftruncate(m->arena_fd, (off_t)bytes) != 0) {
			pm_arena_deinit(m);
			return PM_ERR_NOMEM;
		}
	}
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, m->arena_fd, 0);
	if (base == MAP_FAILED) {
		pm_arena_deinit(m);
		return PM_ERR_NOMEM;
	}
	/* Advice, all of it: where the host does not know it, things are slower and otherwise the same. */
	(void)madvise(base, bytes, MADV_HUGEPAGE);
	if (contents == PM_CONTENTS_PRIVATE)
		(void)madvise(base, bytes, MADV_WIPEONFORK);
	m->arena = base;
	return PM_OK;
}

void pm_arena_deinit(struct pm_machine *m)
{
	if (m->arena)
		munmap(m->arena, (size_t)m->nr_frames << PM_PAGE_SHIFT);
	if (m->arena_fd >= 0)
		close(m->arena_fd);
	m->arena = NULL;
	m->arena_fd = -1;
}
