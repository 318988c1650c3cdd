/// What happened, for people.
#ifndef PM_SCHED_STORY_H
#define PM_SCHED_STORY_H

#include "sched/world.h"

/// The interleaving of a run that was traced, a line a stretch of a task. The caller frees it; NULL: no memory.
char *pm_story_tell(const struct pm_world *world);

/// An operation in words: "write A0 = 3".
void pm_story_operation(const struct pm_world *world, uint32_t index, char *text, size_t size);

#endif
