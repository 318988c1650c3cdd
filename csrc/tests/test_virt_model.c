/// Random programs of everything that a space, a file, a pin or an owner can do, against an account of every page: each reads as the last write made
/// it, the reverse map leads to exactly the places where a frame is mapped, a pinned frame stays what its space sees, and when all is closed nothing is left.
#include "tests/virt_program.h"

#ifdef PM_TEST_FLAVOUR
enum { SEEDS = 60, STEPS = 200 };
#else
enum { SEEDS = 2000, STEPS = 200 };
#endif

static void agrees_with_the_account(uint64_t seed)
{
	struct space_rig_options options = space_options();
	struct space_rig rig;
	unsigned int i;
	int s;

	options.memory.guard = (uint32_t)(seed % 3);
	options.memory.tables_in_frames = (uint32_t)(seed / 3 % 2);
	options.pcp = seed / 6 % 2;
	options.memory.contents = seed / 12 % 2 ? PM_CONTENTS_SHARED : PM_CONTENTS_PRIVATE;
	rig = space_rig_make(&options);
	model_begin(&w, seed, rig.m, 0, 4);
	w.alone = true;
	for (i = 0; i < STEPS && check_result() == EXIT_SUCCESS; i++) {
		program_step();
		check_pins();
		if (i % 8 == 0)
			CHECK(rig_valid(w.m));
		if (check_result() != EXIT_SUCCESS)
			fprintf(stderr, "in step %u\n", i);
	}
	for (s = 0; s < MODEL_SPACES; s++)
		for (i = 0; w.space[s].handle && i < MODEL_PAGES; i++)
			check_page(&w.space[s], i);
	model_end(&w);
	model_end_device(&w);
	space_rig_end(&rig);
}

int main(int argc, char **argv)
{
	return draw_run(argc, argv, SEEDS, agrees_with_the_account);
}
