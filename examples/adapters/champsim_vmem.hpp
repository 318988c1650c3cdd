// A virtual-memory class in the shape that trace-driven core simulators expect (ChampSim's VirtualMemory): addresses to physical addresses with the latency of a
// first touch, and the address of the entry that a page-table walker reads at each level. Own code; nothing of ChampSim is in it.
#ifndef EXAMPLE_CHAMPSIM_VMEM_HPP
#define EXAMPLE_CHAMPSIM_VMEM_HPP

#include "memory.hpp"

#include <tuple>
#include <unordered_map>
#include <utility>

namespace example {

class VirtualMemory {
public:
	// `levels`: 4 or 5, the walker's first level being `levels`, its last 1. `minor_fault_penalty`: cycles of a first touch.
	VirtualMemory(Memory &memory, unsigned levels, std::uint64_t minor_fault_penalty) : memory_(memory), levels_(levels), penalty_(minor_fault_penalty) {}

	// Bits below the index of a level: 12 at level 1, 21 at level 2, and so on.
	static constexpr unsigned shamt(unsigned level) { return PM_PAGE_SHIFT + kIndexBits * (level - 1); }
	static constexpr std::uint64_t get_offset(std::uint64_t vaddr, unsigned level) { return (vaddr >> shamt(level)) & ((1u << kIndexBits) - 1); }
	std::uint64_t available_ppages() const { return memory_.free_frames(); }

	// The physical address, and the cycles that a page fault on the way has cost.
	std::pair<std::uint64_t, std::uint64_t> va_to_pa(unsigned cpu, std::uint64_t vaddr, bool write = false)
	{
		const pm_translation t = memory_.translate(cpu, vaddr, write);
		const std::uint64_t offset = vaddr & (PM_PAGE_SIZE - 1);
		return {t.pfn << PM_PAGE_SHIFT | offset, t.kind == PM_TRANSLATED_HIT ? 0 : penalty_};
	}

	// How many levels a walk has: one less where the page is huge.
	unsigned walk_levels(unsigned cpu, std::uint64_t vaddr) { return memory_.translate(cpu, vaddr, false).order == PM_HUGE_ORDER ? levels_ - 1 : levels_; }

	// Where the walker reads the entry for `vaddr` at a level, and the cycles that making its table has cost.
	std::pair<std::uint64_t, std::uint64_t> get_pte_pa(unsigned cpu, std::uint64_t vaddr, unsigned level)
	{
		const auto key = std::make_tuple(cpu, level, vaddr >> shamt(level + 1));
		auto [at, fresh] = tables_.try_emplace(key, 0);
		if (fresh)
			at->second = memory_.take_frame();
		return {at->second << PM_PAGE_SHIFT | get_offset(vaddr, level) * kEntryBytes, fresh ? penalty_ : 0};
	}

	template <typename Visit> void for_each_table(Visit visit) const
	{
		for (const auto &table : tables_)
			visit(table.second);
	}

private:
	static constexpr unsigned kIndexBits = 9, kEntryBytes = 8;
	using Key = std::tuple<unsigned, unsigned, std::uint64_t>;
	struct Hash {
		std::size_t operator()(const Key &key) const
		{
			return (std::get<2>(key) * 0x9e3779b97f4a7c15u) ^ (std::get<0>(key) * 64 + std::get<1>(key));
		}
	};
	Memory &memory_;
	unsigned levels_;
	std::uint64_t penalty_;
	std::unordered_map<Key, std::uint64_t, Hash> tables_;
};

} // namespace example

#endif
