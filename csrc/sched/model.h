/// What a read may give. Each place (a private page of a space, a page of the file) has a list of what was written to it, and when: from the
/// beginning of an operation to its end, in the order in which operations begin and end. A read may give a value unless that was surely
/// overwritten before the read began. A read that no write overlaps settles the value: a later one has to agree.
#ifndef PM_SCHED_MODEL_H
#define PM_SCHED_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/explore.h"

enum {
	PM_MODEL_EVENTS = 28,
	PM_MODEL_PLACES = PM_WORLD_SPACES * PM_WORLD_PAGES + PM_WORLD_FILE_PAGES,
	PM_MODEL_GARBAGE = 62 ///< what no write left
};

/// A private page of the file that was not written to shows what the file shows.
#define PM_MODEL_FILE ((uint64_t)1 << 63)
#define PM_MODEL_NOW UINT32_MAX

struct pm_model_event {
	uint32_t start, end; ///< end PM_MODEL_NOW: under way
	uint64_t values;     ///< a bit a value
	bool sure;	     ///< it overwrites what was there
	bool write;	     ///< of a value; what else is noted overlaps no read
};

struct pm_model_place {
	uint32_t nr;
	struct pm_model_event event[PM_MODEL_EVENTS];
};

struct pm_model {
	uint32_t clock; ///< beginnings and ends of operations
	struct pm_model_place place[PM_MODEL_PLACES];
};

/// Which place a page of a space shows; *ret_file the file's page behind a private mapping of it, else -1.
uint32_t pm_model_place_of(uint32_t space, uint32_t page);
uint32_t pm_model_file_place(uint32_t page);
/// The file's place behind a private page; -1: none.
int32_t pm_model_behind(uint32_t place);

void pm_model_init(struct pm_model *model);
uint32_t pm_model_tick(struct pm_model *model);

/// Notes an event. Returns its index.
uint32_t pm_model_add(struct pm_model *model, uint32_t place, struct pm_model_event event);

/// A write by value begins and ends. One to a private page of the file may first take a copy of what the file shows.
uint32_t pm_model_begin_write(struct pm_model *model, uint32_t place, uint32_t value, uint32_t now);
void pm_model_end_write(struct pm_model *model, uint32_t place, uint32_t event, uint32_t now, bool done);

/// Writes under way to a place have had their effect by now, or will have none.
void pm_model_clamp(struct pm_model *model, uint32_t place, uint32_t now);

/// What an operation from `start` to `end` could see. With PM_MODEL_FILE if the private page may still show the file.
uint64_t pm_model_allowed(const struct pm_model *model, uint32_t place, uint32_t start, uint32_t end);
/// The same, with what the file shows instead of that mark.
uint64_t pm_model_visible(const struct pm_model *model, uint32_t place, uint32_t start, uint32_t end);

/// A read gave a value that was allowed.
void pm_model_settle(struct pm_model *model, uint32_t place, uint32_t value, uint32_t start, uint32_t end);

#endif
