/* What the files of test_softgpu_foreign share. */
#ifndef SEQTUNE_TESTS_SOFTGPU_FOREIGN_FOREIGN_H
#define SEQTUNE_TESTS_SOFTGPU_FOREIGN_FOREIGN_H

#include "tests/softgpu/foreign/drive.h"

/* The built library as the newest model, so that no case is too new for it. */
DriveDevice foreign_soft_device(void);

/* Tests of the runner itself; the number that failed. */
int foreign_own_tests(void);

#endif
