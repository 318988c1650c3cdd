/// What a filesystem does for a page that moves.
#ifndef PM_MOVE_FILE_H
#define PM_MOVE_FILE_H

#include "move/migrate.h"

/// In PREPARE, with the source locked and not under writeback: writes it out and gives up its private data where its kind of file cannot move them.
enum pm_status pm_move_prepare_file(struct pm_migration *mig);

#endif
