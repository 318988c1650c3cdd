/// The contents of the frames: one reservation of host memory that is committed as it is touched.
#ifndef PM_PHYS_ARENA_H
#define PM_PHYS_ARENA_H

#include "phys/machine.h"

/// Reserves the arena: PM_CONTENTS_PRIVATE, or PM_CONTENTS_SHARED over a memory file. PM_ERR_NOMEM, PM_ERR_INVAL.
/// A forked child sees zeros in a private arena: it has no use for it, and fork stays cheap.
enum pm_status pm_arena_init(struct pm_machine *m, uint32_t contents);
void pm_arena_deinit(struct pm_machine *m);

static inline bool pm_has_contents(const struct pm_machine *m)
{
	return m->arena != NULL;
}

/// The bytes of a frame. The machine has contents.
static inline char *pm_frame_bytes(const struct pm_machine *m, struct pm_pfn pfn)
{
	return m->arena + ((size_t)pfn.v << PM_PAGE_SHIFT);
}

#endif
