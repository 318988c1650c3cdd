#include "sched/model.h"

#include <string.h>

enum { FIRST_FILE_PLACE = PM_WORLD_SPACES * PM_WORLD_PAGES };

uint32_t pm_model_file_place(uint32_t page)
{
	return FIRST_FILE_PLACE + page % PM_WORLD_FILE_PAGES;
}

uint32_t pm_model_place_of(uint32_t space, uint32_t page)
{
	return page == 2 || page == 3 ? pm_model_file_place(page - 2) : space * PM_WORLD_PAGES + page;
}

int32_t pm_model_behind(uint32_t place)
{
	uint32_t page = place % PM_WORLD_PAGES;

	return place < FIRST_FILE_PLACE && (page == 4 || page == 5) ? (int32_t)pm_model_file_place(page - 4) : -1;
}

void pm_model_init(struct pm_model *model)
{
	uint32_t place;

	memset(model, 0, sizeof(*model));
	for (place = 0; place < PM_MODEL_PLACES; place++)
		(void)pm_model_add(model, place, (struct pm_model_event){ 0, 0, pm_model_behind(place) >= 0 ? PM_MODEL_FILE : 1, true, true });
}

uint32_t pm_model_tick(struct pm_model *model)
{
	return ++model->clock;
}

/// Was this event surely overwritten before `now`?
static bool overwritten(const struct pm_model_place *at, const struct pm_model_event *event, uint32_t now)
{
	uint32_t i;

	for (i = 0; i < at->nr; i++) {
		const struct pm_model_event *later = &at->event[i];

		if (later->sure && later->start > event->end && later->end < now)
			return true;
	}
	return false;
}

uint32_t pm_model_add(struct pm_model *model, uint32_t place, struct pm_model_event event)
{
	struct pm_model_place *at = &model->place[place];

	if (at->nr == PM_MODEL_EVENTS) {
		/* Room: the last place stands for all that is too much, which allows more. */
		at->event[PM_MODEL_EVENTS - 1].values |= event.values;
		at->event[PM_MODEL_EVENTS - 1].end = event.end;
		at->event[PM_MODEL_EVENTS - 1].sure = false;
		return PM_MODEL_EVENTS - 1;
	}
	at->event[at->nr] = event;
	return at->nr++;
}

uint32_t pm_model_begin_write(struct pm_model *model, uint32_t place, uint32_t value, uint32_t now)
{
	uint32_t event = pm_model_add(model, place, (struct pm_model_event){ now, PM_MODEL_NOW, (uint64_t)1 << value, false, true });

	if (pm_model_behind(place) >= 0)
		(void)pm_model_add(model, place, (struct pm_model_event){ now, PM_MODEL_NOW, PM_MODEL_FILE, false, true });
	return event;
}

void pm_model_end_write(struct pm_model *model, uint32_t place, uint32_t index, uint32_t now, bool done)
{
	struct pm_model_place *at = &model->place[place];
	struct pm_model_event *event = &at->event[index];
	bool late = event->end != PM_MODEL_NOW;

	if (!done)
		event->values = 0;
	event->sure = done;
	if (!late)
		event->end = now;
	if (pm_model_behind(place) < 0 || index + 1 >= at->nr)
		return;
	event = &at->event[index + 1];
	/* The copy it took: of what the file showed at some time since it began. It was overwritten if the write was done. */
	event->values = pm_model_allowed(model, (uint32_t)pm_model_behind(place), event->start, now);
	event->end = done ? event->start - 1 : now;
}

void pm_model_clamp(struct pm_model *model, uint32_t place, uint32_t now)
{
	struct pm_model_place *at = &model->place[place];
	uint32_t i;

	for (i = 0; i < at->nr; i++)
		if (at->event[i].end == PM_MODEL_NOW)
			at->event[i].end = now;
}

uint64_t pm_model_allowed(const struct pm_model *model, uint32_t place, uint32_t start, uint32_t end)
{
	const struct pm_model_place *at = &model->place[place];
	uint64_t values = 0;
	uint32_t i;

	for (i = 0; i < at->nr; i++)
		if (at->event[i].start <= end && at->event[i].values && !overwritten(at, &at->event[i], start)) {
			uint64_t more = at->event[i].values;

			/* A copy that a write under way may have taken, at any time since it began. */
			if ((more & PM_MODEL_FILE) && at->event[i].end == PM_MODEL_NOW && pm_model_behind(place) >= 0)
				more = pm_model_allowed(model, (uint32_t)pm_model_behind(place), at->event[i].start, end);
			values |= more;
		}
	return values;
}

uint64_t pm_model_visible(const struct pm_model *model, uint32_t place, uint32_t start, uint32_t end)
{
	uint64_t values = pm_model_allowed(model, place, start, end);

	if (values & PM_MODEL_FILE)
		values = (values & ~PM_MODEL_FILE) | pm_model_allowed(model, (uint32_t)pm_model_behind(place), start, end);
	return values;
}

void pm_model_settle(struct pm_model *model, uint32_t place, uint32_t value, uint32_t start, uint32_t end)
{
	struct pm_model_place *at = &model->place[place];
	uint32_t i;

	if (at->nr >= PM_MODEL_EVENTS - 8 || (pm_model_allowed(model, place, start, end) & PM_MODEL_FILE))
		return;
	for (i = 0; i < at->nr; i++)
		if (at->event[i].write && at->event[i].end >= start && at->event[i].start <= end)
			return;
	(void)pm_model_add(model, place, (struct pm_model_event){ start, end, (uint64_t)1 << value, true, false });
}
