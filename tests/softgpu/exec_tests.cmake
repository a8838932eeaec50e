# Tests of the PTX parser and the executor; included by tests/softgpu/CMakeLists.txt.
set(exec_help ${CMAKE_CURRENT_LIST_DIR}/exec_help.c)
foreach(what
  address
  approx
  atomic
  calls
  checks
  control
  counters
  coverage
  exchange
  features
  matrix
  mbarrier
  mma_vectors
  nvrtc
  opcodes
  profile
  routine
  simd
  tensor
  wmma)
  seqtune_test(test_softgpu_exec_${what} ${CMAKE_CURRENT_LIST_DIR}/exec_${what}_test.c ${exec_help}
               LINK softgpu_parts ${CMAKE_DL_LIBS})
endforeach()
foreach(what sync wait)
  seqtune_test(test_softgpu_exec_${what} ${CMAKE_CURRENT_LIST_DIR}/exec_${what}_test.c
               ${CMAKE_CURRENT_LIST_DIR}/exec_sync_help.c ${exec_help}
               LINK softgpu_parts ${CMAKE_DL_LIBS})
endforeach()
seqtune_test(test_softgpu_ptx_parse ${CMAKE_CURRENT_LIST_DIR}/ptx_parse_test.c ${exec_help} LINK
             softgpu_parts)
foreach(what faults init race)
  seqtune_test(test_softgpu_check_${what} ${CMAKE_CURRENT_LIST_DIR}/check_${what}_test.c ${exec_help}
               LINK softgpu_parts)
endforeach()
seqtune_test(test_softgpu_ptx_forms ${CMAKE_CURRENT_LIST_DIR}/ptx_forms_test.c LINK softgpu_parts)
seqtune_test(test_softgpu_exec_ptxas ${CMAKE_CURRENT_LIST_DIR}/exec_ptxas_test.c LINK
             seqtune_runtime seqtune_base)
