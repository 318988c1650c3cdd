#include "move/protocol.h"

const struct pm_protocol *pm_protocol_of(uint32_t number)
{
	switch (number) {
	case PM_PROTOCOL_ENTRY:
		return &pm_protocol_entry;
	case PM_PROTOCOL_SWAP_CACHE:
		return &pm_protocol_swap_cache;
	case PM_PROTOCOL_TABLE_LOCK:
		return &pm_protocol_table_lock;
	case PM_PROTOCOL_SEMAPHORE:
		return &pm_protocol_semaphore;
	case PM_PROTOCOL_WAITQUEUE:
		return &pm_protocol_waitqueue;
	default:
		return NULL;
	}
}

const char *pm_migrate_protocol_name(uint32_t protocol)
{
	const struct pm_protocol *found = pm_protocol_of(protocol);

	return found ? found->name : NULL;
}

const char *pm_migrate_reason_text(uint32_t reason)
{
	static const char *const texts[PM_NR_WHY] = {
		[PM_WHY_NONE] = "moved",
		[PM_WHY_FREED] = "freed meanwhile",
		[PM_WHY_NOT_MOVABLE] = "not movable",
		[PM_WHY_NOT_ON_LIST] = "isolated by somebody else, or on its way",
		[PM_WHY_NO_MEMORY] = "no destination",
		[PM_WHY_LOCKED] = "locked",
		[PM_WHY_WRITEBACK] = "under writeback",
		[PM_WHY_PINNED] = "pinned",
		[PM_WHY_REFERENCED] = "referenced in passing",
		[PM_WHY_NO_SWAP] = "no swap slot",
		[PM_WHY_SHARED] = "mapped more than once",
		[PM_WHY_TRUNCATED] = "truncated",
		[PM_WHY_DIRTY] = "dirty, no migrate operation",
		[PM_WHY_PRIVATE] = "private data that is not given up",
		[PM_WHY_CANCELLED] = "cancelled",
		[PM_WHY_MLOCKED] = "mlocked",
	};

	return reason < PM_NR_WHY ? texts[reason] : "unknown reason";
}

static const struct pm_migration_rule *rule_of(uint32_t state)
{
	return state < PM_MS_DONE ? &pm_migration_table[state] : NULL;
}

const char *pm_migration_state_name(uint32_t state)
{
	if (state == PM_MS_DONE)
		return "done";
	if (state == PM_MS_FAILED)
		return "failed";
	return rule_of(state) ? rule_of(state)->name : NULL;
}

const char *pm_migration_state_needs(uint32_t state)
{
	return rule_of(state) ? rule_of(state)->needs : state < PM_NR_MS ? "" : NULL;
}

const char *pm_migration_state_does(uint32_t state)
{
	return rule_of(state) ? rule_of(state)->does : state < PM_NR_MS ? "" : NULL;
}
