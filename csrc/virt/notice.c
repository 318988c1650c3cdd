#include "virt/notice.h"

#include "virt/epoch.h"

void pm_notify_options_default(struct pm_notify_options *ret)
{
	/* As measured on a desktop of 2020: a page copied from memory, an entry written twice, an interrupt to the other CPUs. */
	*ret = (struct pm_notify_options){ .copy_ns = 400, .entry_ns = 50, .flush_ns = 2000 };
}

enum pm_status pm_notify(struct pm_machine *m, const struct pm_notify_options *options)
{
	if (!m->virt)
		return PM_ERR_STATE;
	/* A sum of costs must not wrap around. */
	if (options && (options->copy_ns >> 40 || options->entry_ns >> 40 || options->flush_ns >> 40))
		return PM_ERR_INVAL;
	m->virt->notify = options ? *options : (struct pm_notify_options){ 0 };
	return PM_OK;
}

void pm_notice_send(struct pm_call *call, const struct pm_notice *notice)
{
	const struct pm_notify_options *options = &call->m->virt->notify;

	if (options->notify)
		options->notify(options->context, notice);
}

void pm_notice_remember(struct pm_notice_places *places, uint64_t space, uint64_t addr)
{
	if (places->n < PM_NOTICE_PLACES)
		places->place[places->n++] = (struct pm_notice_place){ space, addr };
	else
		places->lost = true;
}

void pm_notice_moved(struct pm_call *call, const struct pm_notice_places *places, struct pm_pfn from, struct pm_pfn to, unsigned int order, bool flushed)
{
	const struct pm_notify_options *options = &call->m->virt->notify;
	struct pm_notice notice = { .kind = PM_NOTICE_MOVED, .cpu = call->cpu, .order = order, .from = from.v, .to = to.v };
	uint32_t i;

	if (!options->notify)
		return;
	/* The first notice bears what was done once. */
	notice.cost_ns = (options->copy_ns << order) + (flushed ? options->flush_ns : 0);
	for (i = 0; i < places->n; i++) {
		notice.space = places->place[i].space;
		notice.addr = places->place[i].addr;
		notice.cost_ns += options->entry_ns;
		options->notify(options->context, &notice);
		notice.cost_ns = 0;
	}
	if (places->n && !places->lost)
		return;
	notice.space = notice.addr = 0;
	options->notify(options->context, &notice);
}
