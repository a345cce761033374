/* This file says how slow the machine is that tests run on; it never measures it. */
#pragma once

#include <stdlib.h>

/* How much slower than a machine of flesh: an emulated processor needs a tenth of a second to start
 * python. What a test waits for, allows and sleeps is multiplied by it (TEST_SLOWER). At least 1.
 */
__attribute__((unused)) static unsigned test_slower(void)
{
    const char *text = getenv("TEST_SLOWER");
    long factor = text ? strtol(text, NULL, 10) : 1;
    return factor > 1 && factor <= 1000 ? (unsigned)factor : 1;
}
