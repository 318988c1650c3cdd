/// One call of pm_migrate(), as the parts that carry it out see it.
#ifndef PM_MOVE_JOB_H
#define PM_MOVE_JOB_H

#include "move/move.h"
#include "move/protocol.h"

struct pm_job {
	struct pm_call *call;
	const struct pm_migrate_request *request;
	const struct pm_protocol *protocol;
	struct pm_migrate_result *results; ///< of the chunk
	struct pm_migration *migs;	   ///< [n] of the chunk
	size_t first, n;		   ///< the chunk
	uint32_t *tries;		   ///< [n]
	bool *due;			   ///< [n] is to be tried in the next pass. Beside the migrations, which are large: most passes find nothing
	struct pm_batch *batch;
	struct pm_supply *supply;	   ///< of destinations; NULL
	bool exhausted;			   ///< the supply had none for a frame: nothing new is begun
};

/// A new migration of the i-th frame of the chunk, for one more try.
void pm_job_begin(struct pm_job *job, size_t i);
/// The i-th migration is over: its result, and whether another try may help.
void pm_job_over(struct pm_job *job, size_t i);
/// Is there no memory for any frame? A given destination is one frame's own matter.
bool pm_job_out_of_memory(const struct pm_job *job, const struct pm_migration *mig);
/// Goes on until `stop` is the next step, or it is over. INTR, CLOSED: undone, and the call is to end.
enum pm_status pm_job_advance(struct pm_job *job, struct pm_migration *mig, enum pm_migration_state stop);
/// Did it fail because there is no memory for any frame? A given destination is one frame's own matter.
bool pm_job_out_of_memory(const struct pm_job *job, const struct pm_migration *mig);
/// Is it a movable-ops block? Its owner moves it (pm_job_move_owned).
bool pm_job_is_owned(const struct pm_job *job, size_t i);
void pm_job_move_owned(struct pm_job *job, size_t i);

/// A block for which there is no destination of its order: split, and its frames moved one by one as far as there are destinations. Its result is the migration's. (split.c)
void pm_split_and_move(struct pm_migration *mig, unsigned int order);

/// A pass over the frames of the chunk that have not moved yet, all unmapped before one flush. Never sleeps: many frames are locked at once. (batch.c)
enum pm_status pm_batch_pass(struct pm_job *job);

#endif
