# ruff: noqa: E501, W291
"""Small texts that the tests of the readers share."""

from __future__ import annotations

PERF = """\
 5856 [001]  8022.008086728:                              kmem:mm_page_alloc: page=0x53b87b pfn=0x53b87b order=0 migratetype=0 gfp_flags=GFP_KERNEL
 5856 [001]  8022.108086728:                              kmem:mm_page_alloc: page=(nil) pfn=0x0 order=9 migratetype=1 gfp_flags=GFP_TRANSHUGE
 5856 [000]  8022.208086728:                 kmem:mm_page_alloc_zone_locked: page=0x400 pfn=0x400 order=0 migratetype=1 percpu_refill=1
 5856 [000]  8022.308086728:                              kmem:mm_page_alloc: page=0x400 pfn=0x400 order=3 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_COMP
 5856 [001]  8022.408086728:                               kmem:mm_page_free: page=0x53b87b pfn=0x53b87b order=0
 5856 [001]  8022.408086729:                       kmem:mm_page_free_batched: page=0x53b87b pfn=0x53b87b order=0
   35 [001]  8022.508086728:                         kmem:mm_page_pcpu_drain: page=0x53b87b pfn=0x53b87b order=0 migratetype=0
   35 [001]  8022.608086728: compaction:mm_compaction_isolate_freepages: range=(0x63fe00 ~ 0x640000) nr_scanned=512 nr_taken=0
   35 [000]  8022.708086728:                               kmem:mm_page_free: page=0x800 pfn=0x800 order=2
"""

TRACE_CMD = """\
version = 7
cpus=2
      tmux: server-5856  [001]  8022.008086: mm_page_alloc:        page=0xffffea00014ee1ec pfn=0x53b87b order=0 migratetype=0 gfp_flags=GFP_KERNEL
            <idle>-0     [000]  8022.108086: mm_page_free:         page=0xffffea00014ee1ec pfn=5486715 order=0
"""

FTRACE = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 2/2   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
  my [0] prog:x-5856    [001] d..2.  8022.008086: mm_page_alloc: page=00000000a8d2b1c4 pfn=0x53b87b order=0 migratetype=0 gfp_flags=GFP_KERNEL
CPU:0 [LOST 12 EVENTS]
          <idle>-0       [000] ..s1.  8022.108086: mm_page_free: page=00000000a8d2b1c4 pfn=0x53b87b order=0
"""

BUDDYINFO = """\
Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3 
Node 0, zone   Normal  21887  61123  43378  14731   2045     70      4      7      3      0      0 
"""

PAGETYPEINFO = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2      3      4      5      6      7      8      9     10 
Node    0, zone      DMA, type    Unmovable      0      0      0      0      0      0      0      0      1      0      0 
Node    0, zone      DMA, type      Movable      0      0      0      0      0      0      0      0      0      1      3 
Node    0, zone   Normal, type    Unmovable      1      3      4      2      0     15      2      1      0      0      0 
Node    0, zone   Normal, type      Movable >100000  61119  43373  14728   2045     53      1      0      1      0      0 

Number of blocks type     Unmovable      Movable 
Node 0, zone      DMA            1            7 
Node 0, zone   Normal          120        10540 
"""

ZONEINFO = """\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 1285864
      nr_free_pages_x 7
  pages free     3840
        boost    0
        min      10
        low      13
        high     16
        promo    19
        spanned  4095
        present  3998
        managed  3840
        cma      0
        protection: (0, 3018, 24090)
      nr_free_pages 3840
  pagesets
    cpu: 0
              count:    5
              high:     6
              batch:    1
              high_min: 6
              high_max: 240
  vm stats threshold: 4
    cpu: 1
              count:    0
              high:     0
              batch:    1
  vm stats threshold: 4
  node_unreclaimable:  0
  start_pfn:           1
Node 0, zone  Movable
  pages free     0
        boost    0
        min      32
        low      32
        high     32
        spanned  0
        present  0
        managed  0
        protection: (0, 0, 0)
"""
