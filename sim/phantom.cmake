# The phantoms are a library of their own: the sim program and the tests of other modules link it.
cordon_module(phantom SOURCES ${CMAKE_SOURCE_DIR}/sim/phantom.c ${CMAKE_SOURCE_DIR}/sim/phantom_image.c
    ${CMAKE_SOURCE_DIR}/sim/phantom_dicom.c LINK cordon_base m)
