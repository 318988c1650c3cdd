/// Migrations between two steps, as pm_machine_validate() sees them.
#ifndef PM_MOVE_HALF_WAY_H
#define PM_MOVE_HALF_WAY_H

#include "move/migrate.h"

/// Does a migration that is half way have this frame? Then what it has of it. Nobody takes a step meanwhile. A nil frame: is any half way?
bool pm_move_half_way(struct pm_machine *m, struct pm_pfn pfn, struct pm_moving *ret);

#endif
