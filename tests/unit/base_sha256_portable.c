/* This file tests SHA-256 as it is on a processor without instructions for it. */
#define SHA256_PORTABLE
/* The same functions as in the library, from which none is taken then. */
#include "runtime/base/sha256.c" /* NOLINT(bugprone-suspicious-include): it is what is tested */

#include "tests/unit/base_sha256.c" /* NOLINT(bugprone-suspicious-include): the same tests */
