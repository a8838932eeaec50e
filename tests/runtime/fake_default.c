/* Every symbol of driver.def as a weak function that succeeds and does nothing; fake_driver.c has
 * those that do something. So the fake is complete by construction. */
#include "tests/runtime/fake.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"

#define DRIVER(member, symbol, since, params)                                                      \
    __attribute__((weak)) CuResult symbol params;                                                  \
    CuResult symbol params {                                                                       \
        fake_state()->calls++;                                                                     \
        return CUDA_SUCCESS;                                                                       \
    }
#include "runtime/driver.def"
#undef DRIVER
