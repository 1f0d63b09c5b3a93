# cordon_module(NAME SOURCES a.c b.c LINK other modules and libraries)
#     a static library cordon_NAME; includes are written from the root of the tree.
# cordon_program(NAME SOURCES ... LINK ...)
#     build/<preset>/bin/NAME
# cordon_test(NAME SOURCES test_x.c LINK ... [LABELS threads] [ARGS ...])
#     one cmocka program and one CTest entry; label "threads" also runs under the thread sanitizer, and the target
#     threads_tests builds those alone.
# cordon_fuzz(NAME SOURCES fuzz_x.c LINK ... CORPUS dir)
#     LLVMFuzzerTestOneInput: with CORDON_FUZZ a libFuzzer program, otherwise a program that replays the corpus as a test.

function(cordon_module name)
    cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
    add_library(cordon_${name} STATIC ${A_SOURCES})
    target_include_directories(cordon_${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_link_libraries(cordon_${name} PUBLIC ${A_LINK})
    # These two compute; unoptimised they would be most of a sanitized test run.
    if(CORDON_SANITIZE AND name MATCHES "^(train|privacy)$")
        target_compile_options(cordon_${name} PRIVATE -O2)
    endif()
endfunction()

add_custom_target(threads_tests)

function(cordon_program name)
    cmake_parse_arguments(A "" "" "SOURCES;LINK" ${ARGN})
    add_executable(${name} ${A_SOURCES})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${name} PRIVATE ${A_LINK})
endfunction()

function(cordon_test name)
    cmake_parse_arguments(A "" "" "SOURCES;LINK;LABELS;ARGS" ${ARGN})
    add_executable(${name} ${A_SOURCES})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_link_libraries(${name} PRIVATE ${A_LINK} cmocka)
    target_compile_definitions(${name} PRIVATE CORDON_SOURCE_DIR="${CMAKE_SOURCE_DIR}" CORDON_BIN_DIR="${CMAKE_BINARY_DIR}/bin")
    add_test(NAME ${name} COMMAND ${name} ${A_ARGS})
    if("threads" IN_LIST A_LABELS)
        add_dependencies(threads_tests ${name})
    endif()
    # 77: what the test needs is not on this machine
    set_tests_properties(${name} PROPERTIES LABELS "${A_LABELS}" SKIP_RETURN_CODE 77 TIMEOUT 300)
endfunction()

function(cordon_fuzz name)
    cmake_parse_arguments(A "" "CORPUS" "SOURCES;LINK" ${ARGN})
    add_executable(${name} ${A_SOURCES})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    target_link_libraries(${name} PRIVATE ${A_LINK})
    if(CORDON_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        add_test(NAME ${name} COMMAND ${name} -runs=2000 -max_total_time=20 -rss_limit_mb=4096 ${CMAKE_BINARY_DIR}/fuzz/${name}.found ${A_CORPUS})
        file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz/${name}.found)
    else()
        target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/fuzz/replay.c)
        add_test(NAME ${name} COMMAND ${name} ${A_CORPUS})
    endif()
    set_tests_properties(${name} PROPERTIES LABELS "fuzz" TIMEOUT 300)
endfunction()
