/// The bytes of a frame go to another one.
#ifndef PM_MOVE_COPY_H
#define PM_MOVE_COPY_H

#include "move/migrate.h"

/// Frames of a batch whose bytes go one after the other: what is asked for ahead and what is still on its way out share the time.
enum { PM_COPY_FRAMES = 32 };

/// Copies the contents of each migration's source to its destination: both locked, nobody can reach either. What is done
/// afterwards is seen after the bytes. On a machine without contents: nothing.
void pm_move_copy(struct pm_machine *m, size_t n, struct pm_migration *const *migs);

#endif
