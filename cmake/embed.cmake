# embed_files(TARGET SYMBOL ROOT FILES...): a generated C file with the texts of FILES (paths relative
# to ROOT) as a table `const EmbeddedFile SYMBOL[]` ending in a NULL name (see base/embedded.h).
# The program then needs no data directory; SEQTUNE_SOURCE names a checkout to read instead.
function(embed_files target symbol root)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${symbol}.c)
  list(TRANSFORM ARGN PREPEND ${root}/ OUTPUT_VARIABLE inputs)
  list(JOIN ARGN "|" joined)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DSYMBOL=${symbol} -DROOT=${root} "-DFILES=${joined}"
            -P ${CMAKE_SOURCE_DIR}/cmake/embed_run.cmake
    DEPENDS ${inputs} ${CMAKE_SOURCE_DIR}/cmake/embed_run.cmake
    VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()
