// A translation plug-in in the shape that DRAM simulators expect (Ramulator 2's ITranslation): it rewrites the address of a request before it goes to memory. Own
// code; nothing of Ramulator is in it.
#ifndef EXAMPLE_RAMULATOR_TRANSLATION_HPP
#define EXAMPLE_RAMULATOR_TRANSLATION_HPP

#include "memory.hpp"

namespace example {

// Of a simulator's request, what translation looks at and changes.
struct Request {
	std::int64_t addr = -1;
	int source_id = 0;
	bool is_write = false;
};

class Translation {
public:
	explicit Translation(Memory &memory, std::int64_t bytes) : memory_(memory), bytes_(bytes) {}

	// False: no memory is left, and the request has to be tried again later.
	bool translate(Request &request)
	{
		Process &process = memory_.process(static_cast<std::size_t>(request.source_id));
		const auto address = static_cast<std::uint64_t>(request.addr);
		pm_translation t;
		const pm_status status = pm_translate(memory_.machine(), 0, process.handle, process.fold(address), request.is_write ? PM_TRANSLATE_WRITE : 0, &t);
		if (status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK)
			return false;
		check(status, "pm_translate");
		request.addr = static_cast<std::int64_t>(t.pfn << PM_PAGE_SHIFT | (address & (PM_PAGE_SIZE - 1)));
		return true;
	}

	std::int64_t get_max_addr() const { return bytes_; }

private:
	Memory &memory_;
	std::int64_t bytes_;
};

} // namespace example

#endif
