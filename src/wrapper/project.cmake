# What every project is told before it enables its first language, by way of
# CMAKE_PROJECT_TOP_LEVEL_INCLUDES (CMake 3.24).

# A source that would be fetched, and that no recipe names.
function(crosswheel_check_source name)
  cmake_parse_arguments(PARSE_ARGV 1 SOURCE "" "GIT_REPOSITORY;GIT_TAG;URL;SOURCE_DIR" "")
  string(TOUPPER "${name}" upper)
  if(FETCHCONTENT_SOURCE_DIR_${upper} OR EXISTS "${SOURCE_SOURCE_DIR}")
    return()
  endif()
  # It may be an installed package: CMake looks for that first.
  if("FIND_PACKAGE_ARGS" IN_LIST ARGV)
    return()
  endif()
  if(SOURCE_GIT_REPOSITORY OR SOURCE_URL)
    message(FATAL_ERROR
      "crosswheel: missing source [${name}] git [${SOURCE_GIT_REPOSITORY}] "
      "commit [${SOURCE_GIT_TAG}] url [${SOURCE_URL}]")
  endif()
endfunction()

macro(crosswheel_provide method name)
  if("${method}" STREQUAL "FETCHCONTENT_MAKEAVAILABLE_SERIAL")
    crosswheel_check_source(${name} ${ARGN})
  elseif("${name}" MATCHES "^Python[23]?$")
    # FindPython asks no Python of another machine, and wants an emulator for it (CMP0190). The one
    # of the build environment runs here and answers as the target's.
    set(crosswheel_crosscompiling "${CMAKE_CROSSCOMPILING}")
    set(CMAKE_CROSSCOMPILING FALSE)
    set(crosswheel_arguments "${ARGN}")
    if("Development.Embed" IN_LIST crosswheel_arguments AND "REQUIRED" IN_LIST crosswheel_arguments)
      message(FATAL_ERROR "crosswheel: ${name} to embed")
    endif()
    # Both of what modules need and programs that embed Python: of a target there is no libpython.
    list(TRANSFORM crosswheel_arguments REPLACE "^Development$" "Development.Module")
    find_package(${name} ${crosswheel_arguments} BYPASS_PROVIDER)
    set(CMAKE_CROSSCOMPILING "${crosswheel_crosscompiling}")
  endif()
endmacro()

if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.24)
  cmake_language(SET_DEPENDENCY_PROVIDER crosswheel_provide
    SUPPORTED_METHODS FIND_PACKAGE FETCHCONTENT_MAKEAVAILABLE_SERIAL)
endif()
