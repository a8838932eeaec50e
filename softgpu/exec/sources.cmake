list(APPEND SOFTGPU_SOURCES
     ${CMAKE_CURRENT_LIST_DIR}/async.c ${CMAKE_CURRENT_LIST_DIR}/block.c ${CMAKE_CURRENT_LIST_DIR}/calls.c
     ${CMAKE_CURRENT_LIST_DIR}/checks.c
     ${CMAKE_CURRENT_LIST_DIR}/control.c ${CMAKE_CURRENT_LIST_DIR}/decode.c
     ${CMAKE_CURRENT_LIST_DIR}/decode_control.c ${CMAKE_CURRENT_LIST_DIR}/decode_convert.c
     ${CMAKE_CURRENT_LIST_DIR}/decode_float.c ${CMAKE_CURRENT_LIST_DIR}/decode_atomic.c ${CMAKE_CURRENT_LIST_DIR}/decode_matrix.c
     ${CMAKE_CURRENT_LIST_DIR}/decode_memory.c ${CMAKE_CURRENT_LIST_DIR}/decode_layout.c
     ${CMAKE_CURRENT_LIST_DIR}/exchange.c ${CMAKE_CURRENT_LIST_DIR}/routine.c
     ${CMAKE_CURRENT_LIST_DIR}/decode_branch.c ${CMAKE_CURRENT_LIST_DIR}/decode_wmma.c ${CMAKE_CURRENT_LIST_DIR}/flow.c
     ${CMAKE_CURRENT_LIST_DIR}/footprint.c ${CMAKE_CURRENT_LIST_DIR}/handlers.c
     ${CMAKE_CURRENT_LIST_DIR}/launch.c ${CMAKE_CURRENT_LIST_DIR}/module.c
     ${CMAKE_CURRENT_LIST_DIR}/print.c
     ${CMAKE_CURRENT_LIST_DIR}/countdown.c ${CMAKE_CURRENT_LIST_DIR}/deadlock.c ${CMAKE_CURRENT_LIST_DIR}/spin.c
     ${CMAKE_CURRENT_LIST_DIR}/probe.c ${CMAKE_CURRENT_LIST_DIR}/profile.c
     ${CMAKE_CURRENT_LIST_DIR}/profile_text.c
     ${CMAKE_CURRENT_LIST_DIR}/overflow.c
     ${CMAKE_CURRENT_LIST_DIR}/warning.c ${CMAKE_CURRENT_LIST_DIR}/watch.c
     ${CMAKE_CURRENT_LIST_DIR}/order.c ${CMAKE_CURRENT_LIST_DIR}/race.c)

# The handlers, once per instruction set, and those on memory once more with content checks. -O3 makes
# vectors of the loops over lanes; PTX arithmetic wraps and narrows by definition, hence no
# -Wconversion; no contraction: PTX says where fma is. Divergence from IEEE is not asked for: errno and
# trap flags are what is given up.
# Instrumented at -O3 one file takes minutes: sanitizers get -O1.
if(SEQTUNE_SANITIZE OR SEQTUNE_FUZZ)
  set(softgpu_lane_level -O1)
else()
  set(softgpu_lane_level -O3)
endif()
set(softgpu_lane_flags ${softgpu_lane_level} -Wno-conversion -Wno-sign-conversion -ffp-contract=off -fno-math-errno
                       -fno-trapping-math)
set(softgpu_isa_base "")
set(softgpu_isa_avx2 -mavx2 -mfma -mf16c -mbmi2 -mpopcnt -mlzcnt)
set(softgpu_isa_avx512 ${softgpu_isa_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd
                       -mprefer-vector-width=512)
set(softgpu_isas base)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND softgpu_isas avx2 avx512)
endif()
foreach(isa IN LISTS softgpu_isas)
  add_library(softgpu_handlers_${isa} OBJECT ${CMAKE_CURRENT_LIST_DIR}/lane.c
                                             ${CMAKE_CURRENT_LIST_DIR}/tensor.c)
  target_compile_definitions(softgpu_handlers_${isa} PRIVATE SG_ISA=${isa} SG_CHECKED=0)
  add_library(softgpu_checked_${isa} OBJECT ${CMAKE_CURRENT_LIST_DIR}/tensor.c)
  target_compile_definitions(softgpu_checked_${isa} PRIVATE SG_ISA=${isa}_checked SG_CHECKED=1)
  foreach(set softgpu_handlers_${isa} softgpu_checked_${isa})
    target_include_directories(${set} PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_options(${set} PRIVATE ${softgpu_lane_flags} ${softgpu_isa_${isa}})
    list(APPEND SOFTGPU_SOURCES $<TARGET_OBJECTS:${set}>)
  endforeach()
endforeach()
