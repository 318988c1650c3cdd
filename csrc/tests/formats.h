/// @file formats.h
/// Format files for the tests of the decoders: as kernels write them, shortened to what is read.
#ifndef PM_TESTS_FORMATS_H
#define PM_TESTS_FORMATS_H

#define COMMON_FIELDS                                                                    \
	"\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"           \
	"\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"           \
	"\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"   \
	"\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"

/// Bits as no kernel has numbered them, so that only the format can tell: IO is bit 40, ZERO bit 1.
#define FORMAT_ALLOC                                                                                                          \
	"name: mm_page_alloc\nID: 653\nformat:\n" COMMON_FIELDS                                                              \
	"\tfield:unsigned long pfn;\toffset:8;\tsize:8;\tsigned:0;\n"                                                        \
	"\tfield:unsigned int order;\toffset:16;\tsize:4;\tsigned:0;\n"                                                      \
	"\tfield:unsigned long gfp_flags;\toffset:24;\tsize:8;\tsigned:0;\n"                                                 \
	"\tfield:int migratetype;\toffset:32;\tsize:4;\tsigned:1;\n\n"                                                       \
	"print fmt: \"pfn=0x%lx order=%d\", REC->pfn, (REC->gfp_flags) ? __print_flags(REC->gfp_flags, \"|\", "              \
	"{( unsigned long)((( gfp_t)((((1UL))) << (40))) | (( gfp_t)0)), \"__GFP_IO\"}, {(unsigned long)0x2u, \"__GFP_ZERO\"}, " \
	"{( unsigned long)(((1UL)) << (___GFP_UNKNOWN_BIT)), \"__GFP_FS\"}, {4UL|8UL, \"GFP_USER\"}, { 0, ((void *)0) } ) : \"none\"\n"

#define FORMAT_FREE                                                           \
	"name: mm_page_free\nID: 655\nformat:\n" COMMON_FIELDS                \
	"\tfield:unsigned long pfn;\toffset:8;\tsize:8;\tsigned:0;\n"         \
	"\tfield:unsigned int order;\toffset:16;\tsize:4;\tsigned:0;\n\n"     \
	"print fmt: \"page=%p pfn=0x%lx order=%d\", 0, REC->pfn, REC->order\n"

#define FORMAT_RANGE                                                             \
	"name: mm_compaction_isolate_freepages\nID: 673\nformat:\n" COMMON_FIELDS \
	"\tfield:unsigned long start_pfn;\toffset:8;\tsize:8;\tsigned:0;\n"      \
	"\tfield:unsigned long end_pfn;\toffset:16;\tsize:8;\tsigned:0;\n"       \
	"\tfield:unsigned long nr_scanned;\toffset:24;\tsize:8;\tsigned:0;\n"    \
	"\tfield:unsigned long nr_taken;\toffset:32;\tsize:8;\tsigned:0;\n"

/// Results numbered otherwise than today.
#define FORMAT_FINISHED                                                       \
	"name: mm_compaction_finished\nID: 667\nformat:\n" COMMON_FIELDS      \
	"\tfield:int nid;\toffset:8;\tsize:4;\tsigned:1;\n"                   \
	"\tfield:enum zone_type idx;\toffset:12;\tsize:4;\tsigned:0;\n"       \
	"\tfield:int order;\toffset:16;\tsize:4;\tsigned:1;\n"                \
	"\tfield:int ret;\toffset:20;\tsize:4;\tsigned:1;\n\n"                \
	"print fmt: \"zone=%-8s ret=%s\", __print_symbolic(REC->idx, {0, \"Normal\"}, {1, \"Movable\"}), " \
	"__print_symbolic(REC->ret, {8-5, \"complete\"}, {77, \"partial\"})\n"

#define FORMAT_OTHER "name: sched_switch\nID: 316\nformat:\n" COMMON_FIELDS "\nprint fmt: \"\"\n"

#define HEADER_PAGE                                                          \
	"\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"           \
	"\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"          \
	"\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"           \
	"\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n"

#endif
