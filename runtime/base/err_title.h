/* This file gives each error code one sentence for a person who sees nothing else: the `title` of a
 * problem document, wherever one is made.
 */
#pragma once

#include "runtime/base/err.h"

const char *err_code_title(enum err_code code);
