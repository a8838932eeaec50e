# Warnings and sanitizers for every C target of the tree.
add_compile_options(-Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes
                    -Wvla -Wwrite-strings)
add_compile_definitions(_GNU_SOURCE)
if(SEQTUNE_WERROR)
  add_compile_options(-Werror)
endif()
if(SEQTUNE_SANITIZE)
  add_compile_options(-fsanitize=${SEQTUNE_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SEQTUNE_SANITIZE})
endif()
if(SEQTUNE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined)
  add_link_options(-fsanitize=address,undefined)
endif()

# seqtune_test(NAME SOURCES... LINK targets...): one cmocka program, run by ctest and scripts/test.sh.
function(seqtune_test name)
  cmake_parse_arguments(T "" "" "LINK;SOURCES" ${ARGN})
  add_executable(${name} ${T_SOURCES} ${T_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${T_LINK} PkgConfig::CMOCKA)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE SEQTUNE_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                             SEQTUNE_BINARY_DIR="${CMAKE_BINARY_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/bin)
  add_test(NAME ${name} COMMAND ${name})
endfunction()
