/// @file columns.h
/// A batch of events in columns, as the text parser and the decoders of binary traces fill it.
#ifndef PM_REPLAY_COLUMNS_H
#define PM_REPLAY_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pymigrate.h"

/// A value that an event did not carry: an optional field of older or newer kernels.
#define PM_PARSE_ABSENT 0xffffffffu

/// One event before it goes to the columns.
struct pm_parsed {
	uint64_t time_ns;
	uint32_t tid;
	uint32_t pfn;
	uint32_t gfp;
	uint32_t arg[3];
	uint16_t cpu;
	uint8_t kind;
	int8_t order;
	int8_t migratetype;
	bool gfp_unknown;   ///< a flag that the table does not know
	bool odd_range;	    ///< the range started behind its end: taken as empty
	bool pte_undecoded; ///< no frame number in the PTE
};

/// The arrays of a batch: `batch` entries each, of which the first n are filled.
struct pm_columns {
	size_t n;
	size_t batch; ///< (C)
	uint64_t *time_ns;
	uint32_t *tid;
	uint32_t *pfn;
	uint32_t *gfp;
	uint32_t *arg[3];
	uint16_t *cpu;
	uint8_t *kind;
	int8_t *order;
	int8_t *migratetype;
};

/// Takes memory for `batch` events. False: there is none; deinit is still to be called.
bool pm_columns_init(struct pm_columns *columns, size_t batch);
void pm_columns_deinit(struct pm_columns *columns);
/// The columns as a borrowed view; `allocation` and `resolution` are NULL.
void pm_columns_view(const struct pm_columns *columns, struct pm_events *ret);

/// The kind of an event by its name without system, or -1.
int pm_event_kind_of(const char *name, size_t bytes);

/// What an event of a kind holds before its fields are read.
static inline void pm_parsed_clear(struct pm_parsed *event, int kind)
{
	*event = (struct pm_parsed){ .kind = (uint8_t)kind, .order = -1, .migratetype = -1, .pfn = PM_NO_PFN32 };
	if (kind == PM_EV_FREE_BATCHED)
		event->order = 0;
	/* What these kinds may lack, depending on the kernel's version. */
	if (kind == PM_EV_ZONE_LOCKED || kind == PM_EV_TRY_TO_COMPACT || kind == PM_EV_KCOMPACTD_WAKE)
		event->arg[0] = PM_PARSE_ABSENT;
}

/// Appends an event and counts it; there must be room.
static inline void pm_columns_push(struct pm_columns *columns, const struct pm_parsed *event, struct pm_parse_stats *stats)
{
	size_t i = columns->n++;

	columns->time_ns[i] = event->time_ns;
	columns->tid[i] = event->tid;
	columns->pfn[i] = event->pfn;
	columns->gfp[i] = event->gfp;
	columns->arg[0][i] = event->arg[0];
	columns->arg[1][i] = event->arg[1];
	columns->arg[2][i] = event->arg[2];
	columns->cpu[i] = event->cpu;
	columns->kind[i] = event->kind;
	columns->order[i] = event->order;
	columns->migratetype[i] = event->migratetype;
	stats->events++;
	stats->unknown_gfp += event->gfp_unknown;
	stats->odd_ranges += event->odd_range;
	stats->undecoded_ptes += event->pte_undecoded;
}

#endif
