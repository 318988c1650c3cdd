/// Swap: out and in again, shared slots, a small device, a failing one, and off.
#include "tests/test_back_rig.h"

static void out_and_in(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 64, 10), space = back_space(m), addr = back_map(m, 0, space, 8, 0, 0), i;
	struct pm_swap_slot_info slot;
	uint8_t bytes[PAGE];

	back_swap_on(m, 64, device);
	for (i = 0; i < 8; i++)
		CHECK_EQ(back_fill(m, 0, space, addr + i * PAGE, (uint8_t)(i + 1)), PM_OK);
	CHECK_EQ(back_page_out(m, space, addr, 8), 8);
	CHECK(rig_valid(m));
	CHECK_EQ(rig_zone(m, 0).nr_free, 256);
	CHECK_EQ(back_swap_info(m).nr_used, 8);
	CHECK_EQ(back_swap_info(m).nr_cached, 0);
	CHECK_EQ(back_swap_info(m).entries, 8);
	CHECK_EQ(back_swap_info(m).outs, 8);
	CHECK_EQ(back_pte(m, space, addr).kind, PM_PTE_SWAP);
	CHECK_EQ(pm_swap_slot_info(m, back_pte(m, space, addr).pfn, &slot), PM_OK);
	CHECK(slot.used && slot.entries == 1 && !slot.cached);
	CHECK_EQ(pm_device_peek(m, device, slot.block, bytes), PM_OK);
	CHECK_EQ(bytes[9], 1);
	CHECK_EQ(pm_swap_slot_info(m, 64, &slot), PM_ERR_RANGE);
	for (i = 0; i < 8; i++)
		CHECK_EQ(back_look(m, 0, space, addr + i * PAGE), (int)i + 1);
	CHECK_EQ(back_swap_info(m).ins, 8);
	/* Read, and clean: the slots are kept, and going out again needs no write. */
	CHECK_EQ(back_swap_info(m).nr_cached, 8);
	CHECK(rig_valid(m));
	CHECK_EQ(back_page_out(m, space, addr, 8), 8);
	CHECK_EQ(back_swap_info(m).outs, 8);
	/* Written: the slot is given up at once. */
	CHECK_EQ(back_fill(m, 0, space, addr, 99), PM_OK);
	CHECK_EQ(back_swap_info(m).nr_used, 7);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	CHECK_EQ(back_swap_info(m).nr_used, 0);
	CHECK_EQ(pm_device_destroy(m, device), PM_ERR_BUSY);
	CHECK_EQ(pm_swap_off(m, 0), PM_OK);
	CHECK_EQ(pm_swap_off(m, 0), PM_ERR_NO_SWAP);
	CHECK_EQ(pm_device_destroy(m, device), PM_OK);
	back_destroy_empty(m, 256);
}

/// A page shared by fork goes out once, under one slot with two entries; each of the two gets its own contents back.
static void shared_by_fork(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t space = back_space(m), addr = back_map(m, 0, space, 4, 0, 0), child, third, i;

	back_swap_on(m, 64, 0);
	for (i = 0; i < 4; i++)
		CHECK_EQ(back_fill(m, 0, space, addr + i * PAGE, (uint8_t)(i + 1)), PM_OK);
	CHECK_EQ(pm_space_fork(m, 0, space, &child), PM_OK);
	CHECK_EQ(back_page_out(m, child, addr, 4), 4);
	CHECK_EQ(back_swap_info(m).nr_used, 4);
	CHECK_EQ(back_swap_info(m).entries, 8);
	/* A fork of swap entries names them once more. */
	CHECK_EQ(pm_space_fork(m, 0, child, &third), PM_OK);
	CHECK_EQ(back_swap_info(m).entries, 12);
	CHECK(rig_valid(m));
	CHECK_EQ(back_fill(m, 0, space, addr, 50), PM_OK);
	CHECK_EQ(back_look(m, 0, child, addr), 1);
	CHECK_EQ(back_fill(m, 0, third, addr, 70), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr), 50);
	CHECK_EQ(back_look(m, 0, child, addr), 1);
	CHECK_EQ(back_look(m, 0, third, addr), 70);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	CHECK_EQ(back_look(m, 0, child, addr + PAGE), 2);
	CHECK_EQ(pm_space_exit(m, 0, child), PM_OK);
	CHECK_EQ(back_look(m, 0, third, addr + PAGE), 2);
	CHECK_EQ(back_look(m, 0, third, addr + 3 * PAGE), 4);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_space_exit(m, 0, third), PM_OK);
	CHECK_EQ(back_swap_info(m).nr_used, 0);
	back_destroy_empty(m, 256);
}

/// Swap that is too small, or absent: pages stay, and nothing else happens.
static void full_and_absent(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t space = back_space(m), addr = back_map(m, 0, space, 8, 0, 0), i;
	struct pm_swap_options options = { 0, 0 };

	CHECK_EQ(pm_swap_on(m, &options), PM_ERR_INVAL);
	options.nr_slots = 4;
	options.device = 12345;
	CHECK_EQ(pm_swap_on(m, &options), PM_ERR_HANDLE);
	options.device = back_device(m, 3, 0);
	CHECK_EQ(pm_swap_on(m, &options), PM_ERR_NO_BLOCK);
	for (i = 0; i < 8; i++)
		CHECK_EQ(back_fill(m, 0, space, addr + i * PAGE, (uint8_t)(i + 1)), PM_OK);
	CHECK_EQ(back_page_out(m, space, addr, 8), 0);
	CHECK(rig_valid(m));
	back_swap_on(m, 3, 0);
	CHECK_EQ(pm_swap_on(m, &options), PM_ERR_BUSY);
	CHECK_EQ(back_page_out(m, space, addr, 8), 3);
	CHECK_EQ(back_swap_info(m).nr_used, 3);
	CHECK(rig_valid(m));
	for (i = 0; i < 8; i++)
		CHECK_EQ(back_look(m, 0, space, addr + i * PAGE), (int)i + 1);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	back_destroy_empty(m, 256);
}

/// mlocked and pinned pages do not go out.
static void what_stays(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t space = back_space(m), addr = back_map(m, 0, space, 3, 0, 0), pin, pfn, i;

	back_swap_on(m, 64, 0);
	for (i = 0; i < 3; i++)
		CHECK_EQ(back_fill(m, 0, space, addr + i * PAGE, (uint8_t)(i + 1)), PM_OK);
	CHECK_EQ(pm_mlock(m, 0, space, addr, PAGE, true), PM_OK);
	CHECK_EQ(pm_pin(m, 0, space, addr + PAGE, PM_PIN_LONG, true, &pfn, &pin), PM_OK);
	CHECK_EQ(back_page_out(m, space, addr, 3), 1);
	CHECK_EQ(back_pte(m, space, addr).kind, PM_PTE_PRESENT);
	CHECK_EQ(back_pte(m, space, addr + PAGE).pfn, pfn);
	CHECK_EQ(back_pte(m, space, addr + 2 * PAGE).kind, PM_PTE_SWAP);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_unpin(m, 0, pin), PM_OK);
	CHECK_EQ(pm_mlock(m, 0, space, addr, PAGE, false), PM_OK);
	CHECK_EQ(back_page_out(m, space, addr, 3), 2);
	for (i = 0; i < 3; i++)
		CHECK_EQ(back_look(m, 0, space, addr + i * PAGE), (int)i + 1);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	back_destroy_empty(m, 256);
}

/// A failed write: the page stays dirty in the swap cache, and is found there. A failed read: the slot keeps what it has.
static void failing_device(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 64, 10), space = back_space(m), addr = back_map(m, 0, space, 2, 0, 0);

	back_swap_on(m, 64, device);
	CHECK_EQ(back_fill(m, 0, space, addr, 1), PM_OK);
	CHECK_EQ(back_fill(m, 0, space, addr + PAGE, 2), PM_OK);
	CHECK_EQ(pm_device_fail(m, device, PM_IO_WRITE, 1, false), PM_OK);
	CHECK_EQ(back_page_out(m, space, addr, 2), 1);
	CHECK_EQ(back_swap_info(m).nr_cached, 1);
	CHECK(rig_valid(m));
	CHECK_EQ(back_look(m, 0, space, addr), 1);
	CHECK_EQ(back_look(m, 0, space, addr + PAGE), 2);
	/* Again, and this time it works. */
	CHECK_EQ(back_page_out(m, space, addr, 2), 2);
	CHECK_EQ(pm_device_fail(m, device, PM_IO_READ, 1, true), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr), PM_ERR_IO);
	CHECK_EQ(back_look(m, 0, space, addr), PM_ERR_IO);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_swap_off(m, 0), PM_ERR_IO);
	CHECK_EQ(back_swap_info(m).on, 1);
	CHECK_EQ(back_swap_info(m).leaving, 0);
	CHECK_EQ(pm_device_fail(m, device, PM_IO_READ, 0, false), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr), 1);
	CHECK_EQ(pm_swap_off(m, 0), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr + PAGE), 2);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	back_destroy_empty(m, 256);
}

/// A stuck read in: the fault comes back when its patience ends, and the page is there later. The space may end meanwhile.
static void stuck_read(void)
{
	struct pm_machine *m = back_machine_with(256, 1, 1, rig_bare());
	uint64_t device = back_device(m, 64, 0), space = back_space(m), addr = back_map(m, 0, space, 2, 0, 0), released;

	back_swap_on(m, 64, device);
	CHECK_EQ(back_fill(m, 0, space, addr, 1), PM_OK);
	CHECK_EQ(back_fill(m, 0, space, addr + PAGE, 2), PM_OK);
	CHECK_EQ(back_page_out(m, space, addr, 2), 2);
	CHECK_EQ(pm_device_stick(m, device, PM_IO_READ, 1), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr), PM_ERR_INTR);
	CHECK_EQ(back_look(m, 0, space, addr), PM_ERR_INTR);
	CHECK_EQ(pm_swap_off(m, 0), PM_ERR_INTR);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_device_release(m, device, false, &released), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr), 1);
	/* The other one is being read in when the space ends. */
	CHECK_EQ(back_page_out(m, space, addr, 2), 1);
	CHECK_EQ(pm_device_stick(m, device, PM_IO_READ, 1), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr + PAGE), PM_ERR_INTR);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	CHECK_EQ(back_swap_info(m).nr_used, 1);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_device_release(m, device, false, &released), PM_OK);
	CHECK_EQ(back_swap_info(m).nr_used, 0);
	back_destroy_empty(m, 256);
}

/// Off: everything comes back, where it was, also what is protected from reading; in two spaces that share it; with nothing lost where memory ends.
static void off(void)
{
	struct pm_machine *m = back_machine(64, 1);
	uint64_t space = back_space(m), addr = back_map(m, 0, space, 32, 0, 0), child, pfn[64], i, n = 0;
	enum pm_status status;

	back_swap_on(m, 40, 0);
	for (i = 0; i < 32; i++)
		CHECK_EQ(back_fill(m, 0, space, addr + i * PAGE, (uint8_t)(i + 1)), PM_OK);
	CHECK_EQ(pm_space_fork(m, 0, space, &child), PM_OK);
	CHECK_EQ(pm_protect(m, 0, space, addr, 4 * PAGE, PM_PROT_NONE), PM_OK);
	CHECK_EQ(back_page_out(m, space, addr, 32), 32);
	/* Too little memory: some of it comes back, the rest stays in swap. */
	while (n < 64 - 20 && pm_alloc(m, 0, 0, RIG_MOVABLE, &pfn[n]) == PM_OK)
		n++;
	status = pm_swap_off(m, 0);
	CHECK(status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK);
	CHECK_EQ(back_swap_info(m).on, 1);
	CHECK(back_swap_info(m).nr_used > 0);
	CHECK(rig_valid(m));
	while (n)
		CHECK_EQ(pm_free(m, 0, pfn[--n], 0), PM_OK);
	CHECK_EQ(pm_swap_off(m, 0), PM_OK);
	CHECK_EQ(back_swap_info(m).on, 0);
	CHECK(rig_valid(m));
	CHECK_EQ(rig_zone(m, 0).nr_free, 32);
	CHECK_EQ(pm_protect(m, 0, space, addr, 4 * PAGE, PM_PROT_READ), PM_OK);
	for (i = 0; i < 32; i++) {
		CHECK_EQ(back_look(m, 0, space, addr + i * PAGE), (int)i + 1);
		CHECK_EQ(back_look(m, 0, child, addr + i * PAGE), (int)i + 1);
	}
	CHECK_EQ(pm_space_exit(m, 0, child), PM_OK);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	back_destroy_empty(m, 64);
}

int main(void)
{
	RUN(out_and_in);
	RUN(shared_by_fork);
	RUN(full_and_absent);
	RUN(what_stays);
	RUN(failing_device);
	RUN(stuck_read);
	RUN(off);
	return check_result();
}
