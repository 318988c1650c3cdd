/// Batches of events in columns: memory and views.
#include "replay/columns.h"

#include <stdlib.h>

bool pm_columns_init(struct pm_columns *columns, size_t batch)
{
	columns->n = 0;
	columns->batch = batch;
	columns->time_ns = calloc(batch, sizeof(*columns->time_ns));
	columns->tid = calloc(batch, sizeof(*columns->tid));
	columns->pfn = calloc(batch, sizeof(*columns->pfn));
	columns->gfp = calloc(batch, sizeof(*columns->gfp));
	columns->cpu = calloc(batch, sizeof(*columns->cpu));
	columns->kind = calloc(batch, sizeof(*columns->kind));
	columns->order = calloc(batch, sizeof(*columns->order));
	columns->migratetype = calloc(batch, sizeof(*columns->migratetype));
	for (int i = 0; i < 3; i++)
		columns->arg[i] = calloc(batch, sizeof(*columns->arg[i]));
	return columns->time_ns && columns->tid && columns->pfn && columns->gfp && columns->cpu && columns->kind && columns->order &&
	       columns->migratetype && columns->arg[0] && columns->arg[1] && columns->arg[2];
}

void pm_columns_deinit(struct pm_columns *columns)
{
	free(columns->time_ns);
	free(columns->tid);
	free(columns->pfn);
	free(columns->gfp);
	free(columns->cpu);
	free(columns->kind);
	free(columns->order);
	free(columns->migratetype);
	for (int i = 0; i < 3; i++)
		free(columns->arg[i]);
}

void pm_columns_view(const struct pm_columns *columns, struct pm_events *ret)
{
	*ret = (struct pm_events){
		.n = columns->n,
		.time_ns = columns->time_ns,
		.tid = columns->tid,
		.cpu = columns->cpu,
		.kind = columns->kind,
		.order = columns->order,
		.migratetype = columns->migratetype,
		.pfn = columns->pfn,
		.gfp = columns->gfp,
		.arg0 = columns->arg[0],
		.arg1 = columns->arg[1],
		.arg2 = columns->arg[2],
	};
}
